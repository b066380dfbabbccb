from multiprocessing import Process

class MyProcess(Process):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def run(self):
        """重写 run 方法"""
        print(f"Process {self.name} is running")
        # 执行任务...

if __name__ == '__main__':
    processes = [MyProcess(f"Worker-{i}") for i in range(3)]

    for p in processes:
        p.start()

    for p in processes:
        p.join()
