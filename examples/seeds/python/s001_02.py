import multiprocessing

def process_function():
    print("Hello from a process!")

# 创建并启动进程
process = multiprocessing.Process(target=process_function)
process.start()
process.join()
