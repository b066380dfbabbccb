import multiprocessing

# 创建一个锁对象
lock = multiprocessing.Lock()

# 创建共享内存
m = multiprocessing.Value('i', 0)
n = multiprocessing.Value('i', 0)

def process_function(m, n):
    for _ in range(100000):
        m.value += 1
    with lock:
        for _ in range(100000):
            n.value += 1

# 创建并启动多个进程
processes = []
for _ in range(10):
    process = multiprocessing.Process(target=process_function, args=(m, n,))
    process.start()
    processes.append(process)

# 等待所有进程完成
for process in processes:
    process.join()

print(f"Final m.value:{m.value} n.value:{n.value}")
