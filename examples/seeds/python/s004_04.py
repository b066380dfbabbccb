from multiprocessing import Pool
import time

def square(x):
    time.sleep(0.5)  # 模拟耗时操作
    return x * x

if __name__ == '__main__':
    # 创建包含 4 个工作进程的池
    with Pool(4) as pool:
        # map - 阻塞，返回结果列表
        results = pool.map(square, range(10))
        print(results)  # [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]

        # map_async - 非阻塞
        async_result = pool.map_async(square, range(5))
        # 做其他事情...
        results = async_result.get()  # 获取结果
        print(results)
