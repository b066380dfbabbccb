import time
import multiprocessing

def worker(process_name):
    print(f"{process_name} 开始工作")
    time.sleep(2)  # 模拟工作
    print(f"{process_name} 完成工作")

if __name__ == "__main__":
    # 创建进程
    processes = []
    for i in range(5):
        process = multiprocessing.Process(target=worker, args=(f"进程-{i+1}",))
        processes.append(process)
        process.start()

    # 等待所有进程完成
    for process in processes:
        process.join()

    print("所有进程完成")
