from multiprocessing import Process, Event
import time

def waiter(event, name):
    print(f"{name} waiting for event")
    event.wait()
    print(f"{name} event received!")

def setter(event):
    print("Setting event in 2 seconds...")
    time.sleep(2)
    event.set()

if __name__ == '__main__':
    event = Event()

    waiters = [Process(target=waiter, args=(event, f"Waiter-{i}")) for i in range(3)]
    setter_proc = Process(target=setter, args=(event,))

    for w in waiters:
        w.start()
    setter_proc.start()

    for w in waiters:
        w.join()
    setter_proc.join()
