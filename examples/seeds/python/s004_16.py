from multiprocessing import Pool, cpu_count
import time

def compute_heavy(n):
    """CPU 密集型计算"""
    result = 0
    for i in range(n):
        result += i ** 2
    return result

if __name__ == '__main__':
    numbers = [10**6] * 8

    # 串行执行
    start = time.time()
    serial_results = [compute_heavy(n) for n in numbers]
    serial_time = time.time() - start

    # 并行执行
    start = time.time()
    with Pool(cpu_count()) as pool:
        parallel_results = pool.map(compute_heavy, numbers)
    parallel_time = time.time() - start

    print(f"Serial: {serial_time:.2f}s")
    print(f"Parallel: {parallel_time:.2f}s")
    print(f"Speedup: {serial_time / parallel_time:.2f}x")
