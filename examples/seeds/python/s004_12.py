from multiprocessing import Process, Lock, RLock

def task_with_lock(lock, name):
    print(f"{name} waiting for lock")
    with lock:
        print(f"{name} acquired lock")
        # 临界区代码...
    print(f"{name} released lock")

if __name__ == '__main__':
    lock = Lock()

    processes = [
        Process(target=task_with_lock, args=(lock, f"Process-{i}"))
        for i in range(3)
    ]

    for p in processes:
        p.start()
    for p in processes:
        p.join()
