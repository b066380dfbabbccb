from multiprocessing import Pool

def task(x):
    return x * 2

def callback(result):
    print(f"Got result: {result}")

def error_callback(error):
    print(f"Got error: {error}")

if __name__ == "__main__":
    with Pool(4) as pool:
        pool.apply_async(
            task,
            (10,),
            callback=callback,
            error_callback=error_callback
        )
        pool.close()
        pool.join()
