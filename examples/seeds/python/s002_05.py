from multiprocessing import Pool

def task(x: int) -> int:
    return x * 2

if __name__ == "__main__":
    with Pool(4) as pool:
        # 异步提交
        result = pool.apply_async(task, (10,))

        # 做其他事情...

        # 获取结果
        print(result.get())  # 20

        # 带超时
        print(result.get(timeout=5))
