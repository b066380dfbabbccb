from multiprocessing import Process, Manager

def worker(shared_dict, shared_list, lock, worker_id):
    """修改共享数据"""
    with lock:
        shared_dict[worker_id] = worker_id * 10
        shared_list.append(worker_id)

if __name__ == '__main__':
    with Manager() as manager:
        # 创建共享数据结构
        shared_dict = manager.dict()
        shared_list = manager.list()
        lock = manager.Lock()

        processes = []
        for i in range(5):
            p = Process(target=worker, args=(shared_dict, shared_list, lock, i))
            processes.append(p)
            p.start()

        for p in processes:
            p.join()

        print(f"Dict: {dict(shared_dict)}")  # {0: 0, 1: 10, 2: 20, 3: 30, 4: 40}
        print(f"List: {list(shared_list)}")  # [0, 1, 2, 3, 4] (顺序可能不同)
