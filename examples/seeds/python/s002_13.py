from multiprocessing import Process, Manager

def worker(shared_dict, shared_list):
    shared_dict["key"] = "value"
    shared_list.append(42)

if __name__ == "__main__":
    with Manager() as manager:
        shared_dict = manager.dict()
        shared_list = manager.list()

        p = Process(target=worker, args=(shared_dict, shared_list))
        p.start()
        p.join()

        print(dict(shared_dict))  # {'key': 'value'}
        print(list(shared_list))  # [42]
