from multiprocessing import Pool
import json

def process_record(record):
    """处理单条记录"""
    # 模拟复杂计算
    result = {
        'id': record['id'],
        'processed': record['value'] ** 2,
        'category': 'high' if record['value'] > 50 else 'low'
    }
    return result

def parallel_process(data, workers=4):
    """并行处理数据"""
    with Pool(workers) as pool:
        results = pool.map(process_record, data)
    return results

if __name__ == '__main__':
    # 模拟大量数据
    data = [{'id': i, 'value': i * 2} for i in range(10000)]

    results = parallel_process(data)
    print(f"Processed {len(results)} records")
    print(f"First result: {results[0]}")
