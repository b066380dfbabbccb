from multiprocessing import Process, Lock

lock = Lock()

def safe_print(msg):
    with lock:
        print(msg)

if __name__ == "__main__":
    processes = [
        Process(target=safe_print, args=(f"Message {i}",))
        for i in range(5)
    ]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
