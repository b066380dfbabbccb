import multiprocessing

class MyProcess(multiprocessing.Process):
    def run(self):
        print("Hello from a process!")

# 创建并启动进程
process = MyProcess()
process.start()
process.join()
