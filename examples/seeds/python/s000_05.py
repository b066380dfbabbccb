from multiprocessing import Process, Array

def worker(arr):
    for i in range(len(arr)):
        arr[i] = i + 1

if __name__ == '__main__':
    arr = Array('i', range(5))
    p = Process(target=worker, args=(arr,))
    p.start()
    p.join()

    print(f'Array from main: {arr[:]}')
