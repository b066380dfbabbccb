from multiprocessing import Process, Queue
import time

def producer(queue, items):
    """生产者进程"""
    for item in items:
        print(f"Producing: {item}")
        queue.put(item)
        time.sleep(0.1)
    queue.put(None)  # 结束信号

def consumer(queue):
    """消费者进程"""
    while True:
        item = queue.get()
        if item is None:
            break
        print(f"Consuming: {item}")
        time.sleep(0.2)

if __name__ == '__main__':
    queue = Queue()

    # 创建生产者和消费者
    prod = Process(target=producer, args=(queue, range(5)))
    cons = Process(target=consumer, args=(queue,))

    prod.start()
    cons.start()

    prod.join()
    cons.join()
