from multiprocessing import Process, Queue

def producer(q: Queue):
    for i in range(5):
        q.put(i)
        print(f"Produced: {i}")
    q.put(None)  # 结束信号

def consumer(q: Queue):
    while True:
        item = q.get()
        if item is None:
            break
        print(f"Consumed: {item}")

if __name__ == "__main__":
    q = Queue()
    p1 = Process(target=producer, args=(q,))
    p2 = Process(target=consumer, args=(q,))

    p1.start()
    p2.start()

    p1.join()
    p2.join()
