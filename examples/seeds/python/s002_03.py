from multiprocessing import Process

class MyProcess(Process):
    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def run(self):
        print(f"Process {self.name} running")

if __name__ == "__main__":
    p = MyProcess("Worker")
    p.start()
    p.join()
