from concurrent.futures import ProcessPoolExecutor, as_completed
import time

def task(n):
    time.sleep(0.5)
    return n ** 2

if __name__ == '__main__':
    # 推荐使用 ProcessPoolExecutor
    with ProcessPoolExecutor(max_workers=4) as executor:
        # submit 单个任务
        future = executor.submit(task, 5)
        print(f"Result: {future.result()}")

        # map 批量任务
        results = list(executor.map(task, range(10)))
        print(f"Results: {results}")

        # as_completed 获取完成的任务
        futures = [executor.submit(task, i) for i in range(5)]
        for future in as_completed(futures):
            print(f"Completed: {future.result()}")
