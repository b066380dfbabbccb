import multiprocessing

def sender(pipe):
    for i in range(5):
        pipe.send(i)
        print(f"Sent {i}")

def receiver(pipe):
    while True:
        item = pipe.recv()
        if item is None:
            break
        print(f"Received {item}")

# 创建管道
parent_conn, child_conn = multiprocessing.Pipe()

# 创建发送者和接收者进程
sender_process = multiprocessing.Process(target=sender, args=(parent_conn,))
receiver_process = multiprocessing.Process(target=receiver, args=(child_conn,))

# 启动进程
sender_process.start()
receiver_process.start()

# 等待发送者进程完成
sender_process.join()

# 向管道中添加结束信号
parent_conn.send(None)

# 等待接收者进程完成
receiver_process.join()
