from multiprocessing import Process, current_process
import time

def task():
    proc = current_process()
    print(f"Name: {proc.name}")
    print(f"PID: {proc.pid}")
    print(f"Is alive: {proc.is_alive()}")
    time.sleep(1)

if __name__ == '__main__':
    p = Process(target=task, name="MyWorker")
    print(f"Before start - alive: {p.is_alive()}")  # False

    p.start()
    print(f"After start - alive: {p.is_alive()}")   # True

    p.join()
    print(f"After join - alive: {p.is_alive()}")    # False

    # 获取退出码
    print(f"Exit code: {p.exitcode}")  # 0 表示正常退出
