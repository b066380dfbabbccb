import multiprocessing

def process_function(name):
    print(f"Hello from {name}!")

# 创建并启动进程
process = multiprocessing.Process(target=process_function, args=("Process-1",))
process.start()
process.join()
