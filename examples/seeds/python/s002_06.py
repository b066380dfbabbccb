from multiprocessing import Pool

def process_item(item):
    return item ** 2

if __name__ == "__main__":
    items = range(100)

    with Pool(4) as pool:
        # 方式 1：map（阻塞，返回列表）
        results = pool.map(process_item, items)

        # 方式 2：imap（惰性，返回迭代器）
        for result in pool.imap(process_item, items):
            print(result)

        # 方式 3：imap_unordered（无序，更快）
        for result in pool.imap_unordered(process_item, items):
            print(result)

        # 方式 4：starmap（多参数）
        pairs = [(1, 2), (3, 4), (5, 6)]
        results = pool.starmap(lambda a, b: a + b, pairs)
