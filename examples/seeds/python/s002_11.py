from multiprocessing import Process, Array

def fill_array(arr, start):
    for i in range(len(arr)):
        arr[i] = start + i

if __name__ == "__main__":
    arr = Array('i', 10)  # 10 个 int

    p = Process(target=fill_array, args=(arr, 100))
    p.start()
    p.join()

    print(list(arr))  # [100, 101, 102, ...]
