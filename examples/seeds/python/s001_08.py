import multiprocessing
import math

def factorial(n):
    return math.factorial(n)

numbers = [100000, 200000, 300000, 400000, 500000]

# 创建进程池
with multiprocessing.Pool(processes=5) as pool:
    results = pool.map(factorial, numbers)

for number, result in zip(numbers, results):
    print(f"Factorial of {number} is calculated.")
