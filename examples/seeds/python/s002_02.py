from multiprocessing import Process
import os

def worker(name: str):
    print(f"Worker {name}, PID: {os.getpid()}")

if __name__ == "__main__":  # Windows 必须！
    processes = []
    for i in range(4):
        p = Process(target=worker, args=(f"P{i}",))
        p.start()
        processes.append(p)

    for p in processes:
        p.join()
