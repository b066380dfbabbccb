from multiprocessing import Process
import os

def worker(name):
    """子进程执行的函数"""
    print(f"Worker {name}, PID: {os.getpid()}, Parent PID: {os.getppid()}")

if __name__ == '__main__':
    print(f"Main process PID: {os.getpid()}")

    # 创建进程
    p1 = Process(target=worker, args=('A',))
    p2 = Process(target=worker, args=('B',))

    # 启动进程
    p1.start()
    p2.start()

    # 等待进程结束
    p1.join()
    p2.join()

    print("All workers finished")
