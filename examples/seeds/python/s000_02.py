from multiprocessing import Process, Queue

def worker(q):
    for i in range(5):
        q.put(i)
        print(f'Put {i} into queue')

if __name__ == '__main__':
    q = Queue()
    p = Process(target=worker, args=(q,))
    p.start()
    p.join()

    while not q.empty():
        print(f'Get {q.get()} from queue')
