from multiprocessing import Pool
from pathlib import Path
import hashlib

def process_file(filepath):
    """计算文件哈希"""
    try:
        with open(filepath, 'rb') as f:
            content = f.read()
            return {
                'path': str(filepath),
                'size': len(content),
                'hash': hashlib.md5(content).hexdigest()
            }
    except Exception as e:
        return {'path': str(filepath), 'error': str(e)}

def parallel_file_process(directory, pattern='*.*', workers=4):
    """并行处理目录下的文件"""
    files = list(Path(directory).glob(pattern))

    with Pool(workers) as pool:
        results = pool.map(process_file, files)

    return results

if __name__ == '__main__':
    results = parallel_file_process('.', '*.py')
    for r in results[:5]:
        print(r)
