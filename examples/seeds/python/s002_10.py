from multiprocessing import Process, Value

def increment(counter):
    for _ in range(10000):
        with counter.get_lock():  # 需要锁！
            counter.value += 1

if __name__ == "__main__":
    counter = Value('i', 0)  # 'i' = int

    processes = [Process(target=increment, args=(counter,)) for _ in range(4)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()

    print(f"Result: {counter.value}")  # 40000
