# 传递给子进程的数据必须可序列化（pickle）
# ❌ 不能传递：lambda、局部函数、数据库连接等

# ❌ 错误
p = Process(target=lambda: print("hello"))

# ✅ 正确
def worker():
    print("hello")
p = Process(target=worker)
