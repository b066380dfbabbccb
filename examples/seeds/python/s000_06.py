from concurrent.futures import ProcessPoolExecutor

def task(n):
    return n * n

if __name__ == '__main__':
    with ProcessPoolExecutor() as executor:
        # submit方法提交任务并获取Future对象
        future = executor.submit(task, 10)
        # 等待任务完成并获取结果
        result = future.result()
        print(f"任务结果：{result}")
        

        # 并发执行多个任务
        results = executor.map(task, [1, 2, 3, 4, 5])
        for result in results:
            print(f"任务结果：{result}")
