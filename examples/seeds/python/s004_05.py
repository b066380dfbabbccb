from multiprocessing import Pool

def add(a, b):
    return a + b

def process_item(item):
    return item['value'] * 2

if __name__ == '__main__':
    with Pool(4) as pool:
        # apply - 单个任务，阻塞
        result = pool.apply(add, (1, 2))
        print(result)  # 3

        # apply_async - 单个任务，非阻塞
        async_result = pool.apply_async(add, (3, 4))
        print(async_result.get())  # 7

        # starmap - 多参数版 map
        pairs = [(1, 2), (3, 4), (5, 6)]
        results = pool.starmap(add, pairs)
        print(results)  # [3, 7, 11]

        # imap - 惰性迭代器版本
        for result in pool.imap(process_item, [{'value': i} for i in range(5)]):
            print(result)  # 0, 2, 4, 6, 8
