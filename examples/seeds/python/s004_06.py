from multiprocessing import Pool
from tqdm import tqdm

def task(x):
    return x * x

if __name__ == '__main__':
    items = range(100)

    with Pool(4) as pool:
        # 使用 imap_unordered 获取完成的结果
        results = []
        with tqdm(total=len(items)) as pbar:
            for result in pool.imap_unordered(task, items):
                results.append(result)
                pbar.update()

        print(f"Processed {len(results)} items")
