import multiprocessing

def process_function():
    try:
        raise ValueError("An error occurred!")
    except Exception as e:
        print(f"Exception in process: {e}")

# 创建并启动进程
process = multiprocessing.Process(target=process_function)
process.start()
process.join()
