// Producers and consumers of numbers over boost's lock-free queue, in threads: what the `Market` of
// the bench does with the other queues.
//
//     boost WORDS SIDES COUNT CAPACITY CORE...
//
// `SIDES` producers send `COUNT` values of so many words each, and as many consumers sum the first
// words. Members are pinned to the cores in turn. It prints the nanoseconds from the first start to
// the last end.

#if !__has_include(<boost/lockfree/queue.hpp>)
#error "the headers of boost are missing"
#endif

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <boost/lockfree/queue.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

struct Task {
    std::uint64_t words, sides, count, capacity;
    std::vector<int> cores;
};

// Ends the program with a message: the bench panics with it.
[[noreturn]] static void fail(const char *message) {
    std::fprintf(stderr, "%s\n", message);
    std::exit(1);
}

static std::uint64_t now() {
    auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

static void pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) fail("a core is not allowed");
}

// As Rust's `spin_loop`.
static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");
#endif
}

// Tries until it succeeds: spinning at first, then giving the core away.
template <typename Attempt>
static void patiently(Attempt attempt) {
    for (int tries = 1; !attempt(); tries++) {
        if (tries < 100)
            relax();
        else
            sched_yield();
    }
}

template <std::size_t WORDS>
struct Value {
    std::uint64_t words[WORDS];
};

template <std::size_t WORDS>
static std::uint64_t trade(const Task &task) {
    // Its nodes are an array of this length: it allocates no memory later.
    using Queue = boost::lockfree::queue<Value<WORDS>, boost::lockfree::fixed_sized<true>>;
    Queue queue(task.capacity);
    if (!queue.is_lock_free()) fail("the queue has a lock here");
    std::atomic<std::uint64_t> ready{0}, sum{0}, first_start{UINT64_MAX}, last_end{0};
    std::atomic<bool> open{false};

    auto produce = [&](std::uint64_t side) {
        for (auto number = side * task.count; number < (side + 1) * task.count; number++) {
            Value<WORDS> value;
            std::fill_n(value.words, WORDS, number);
            patiently([&] { return queue.push(value); });
        }
    };
    auto consume = [&] {
        std::uint64_t mine = 0;
        for (std::uint64_t done = 0; done < task.count; done++) {
            Value<WORDS> value;
            patiently([&] { return queue.pop(value); });
            if (value.words[0] != value.words[WORDS - 1]) fail("torn");
            mine += value.words[0];
        }
        sum += mine;
    };
    auto member = [&](std::uint64_t index) {
        pin(task.cores[index % task.cores.size()]);
        ready++;
        while (!open) sched_yield();
        auto start = now();
        index < task.sides ? produce(index) : consume();
        auto end = now();
        auto first = first_start.load();
        while (start < first && !first_start.compare_exchange_weak(first, start)) {
        }
        auto last = last_end.load();
        while (end > last && !last_end.compare_exchange_weak(last, end)) {
        }
    };

    std::vector<std::thread> members;
    for (std::uint64_t index = 0; index < 2 * task.sides; index++)
        members.emplace_back(member, index);
    while (ready != 2 * task.sides) sched_yield();
    open = true;
    for (auto &thread : members) thread.join();
    auto total = task.sides * task.count;
    if (sum != total * (total - 1) / 2) fail("a number was lost or came twice");
    return last_end - first_start;
}

static std::uint64_t run(const Task &task) {
    switch (task.words) {
    case 1: return trade<1>(task);
    case 7: return trade<7>(task);
    case 8: return trade<8>(task);
    case 128: return trade<128>(task);
    default: fail("values have 1, 7, 8 or 128 words");
    }
}

int main(int count, char **arguments) {
    if (count < 6) fail("usage: boost WORDS SIDES COUNT CAPACITY CORE...");
    auto number = [&](int index) { return std::strtoull(arguments[index], nullptr, 10); };
    Task task{number(1), number(2), number(3), number(4), {}};
    for (int index = 5; index < count; index++) task.cores.push_back(number(index));
    std::printf("%llu\n", static_cast<unsigned long long>(run(task)));
}
