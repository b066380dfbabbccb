from multiprocessing import Process, Value

def worker(num):
    num.value = 3.14

if __name__ == '__main__':
    num = Value('d', 0.0)
    p = Process(target=worker, args=(num,))
    p.start()
    p.join()

    print(f'Value from main: {num.value}')
