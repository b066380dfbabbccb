import multiprocessing

def worker(num):
    """该函数将在子进程中执行"""
    print('Worker %d' % num)

# 创建进程池
pool = multiprocessing.Pool(4)
# 启动进程池中的进程
pool.map(worker, range(10))
# 关闭进程池
pool.close()
# 等待进程池中的进程结束
pool.join()
