from multiprocessing import Process, Value, Array

def increment(counter, array):
    """修改共享值"""
    for _ in range(1000):
        counter.value += 1

    for i in range(len(array)):
        array[i] += 1

if __name__ == '__main__':
    # 共享整数 ('i' = int)
    counter = Value('i', 0)

    # 共享数组 ('d' = double)
    array = Array('d', [0.0, 1.0, 2.0])

    processes = [Process(target=increment, args=(counter, array)) for _ in range(4)]

    for p in processes:
        p.start()
    for p in processes:
        p.join()

    print(f"Counter: {counter.value}")  # 可能不是 4000 (需要锁)
    print(f"Array: {array[:]}")
