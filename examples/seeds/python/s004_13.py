from multiprocessing import Process, Semaphore
import time

def limited_resource(sem, name):
    """限制并发访问的资源"""
    with sem:
        print(f"{name} acquired semaphore")
        time.sleep(1)  # 使用资源
        print(f"{name} released semaphore")

if __name__ == '__main__':
    # 最多允许 2 个进程同时访问
    sem = Semaphore(2)

    processes = [
        Process(target=limited_resource, args=(sem, f"Process-{i}"))
        for i in range(5)
    ]

    for p in processes:
        p.start()
    for p in processes:
        p.join()
