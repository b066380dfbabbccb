from multiprocessing import shared_memory
import numpy as np

# 创建共享内存
shm = shared_memory.SharedMemory(create=True, size=1000)

# 使用 numpy 操作
arr = np.ndarray((10, 10), dtype=np.float64, buffer=shm.buf)
arr[:] = 0  # 初始化

# 在另一个进程中访问
def worker(name):
    existing_shm = shared_memory.SharedMemory(name=name)
    arr = np.ndarray((10, 10), dtype=np.float64, buffer=existing_shm.buf)
    arr[0, 0] = 42
    existing_shm.close()

# 清理
shm.close()
shm.unlink()  # 删除共享内存
