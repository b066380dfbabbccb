from multiprocessing import Process, Queue, Event
import time
import random

def producer(queue, stop_event, producer_id):
    """生产者"""
    while not stop_event.is_set():
        item = random.randint(1, 100)
        queue.put((producer_id, item))
        print(f"Producer {producer_id} produced: {item}")
        time.sleep(random.uniform(0.1, 0.5))

def consumer(queue, stop_event, consumer_id):
    """消费者"""
    while not stop_event.is_set() or not queue.empty():
        try:
            producer_id, item = queue.get(timeout=1)
            print(f"Consumer {consumer_id} consumed: {item} from Producer {producer_id}")
            time.sleep(random.uniform(0.2, 0.4))
        except:
            continue

if __name__ == '__main__':
    queue = Queue(maxsize=10)
    stop_event = Event()

    # 创建生产者和消费者
    producers = [Process(target=producer, args=(queue, stop_event, i)) for i in range(2)]
    consumers = [Process(target=consumer, args=(queue, stop_event, i)) for i in range(3)]

    # 启动所有进程
    for p in producers + consumers:
        p.start()

    # 运行 3 秒后停止
    time.sleep(3)
    stop_event.set()

    # 等待所有进程结束
    for p in producers + consumers:
        p.join()

    print("All processes finished")
