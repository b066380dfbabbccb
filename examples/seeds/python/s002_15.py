# ❌ Windows 下会出错
from multiprocessing import Process

def worker():
    print("Working")

p = Process(target=worker)
p.start()  # Windows 下会递归创建进程

# ✅ 正确做法
if __name__ == "__main__":
    p = Process(target=worker)
    p.start()
