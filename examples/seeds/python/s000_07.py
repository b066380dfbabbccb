from multiprocessing import Pool

def worker(x):
    return x * x

if __name__ == '__main__':
    with Pool(5) as p:  # 创建一个包含5个进程的进程池
        results = p.map(worker, range(10))  # 将任务分配给进程池中的进程
    print(results)
