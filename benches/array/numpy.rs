//! The same by numpy, which times itself.

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use mp_benches::Sample;

/// Does the work twice, and prints the nanoseconds of the second time.
const PROGRAM: &str = "
import numpy, sys, time
index = numpy.arange(int(sys.argv[1]), dtype='f8')
values = index * 0.5
def fill(): numpy.multiply(index, 0.5, out=values)
def sum(): values.sum()
def map(): numpy.add(numpy.multiply(values, 2.0, out=values), 1.0, out=values)
work = globals()[sys.argv[2]]
work()
start = time.perf_counter_ns()
work()
print(time.perf_counter_ns() - start)
";

static IS_THERE: LazyLock<bool> = LazyLock::new(|| {
    let asked = Command::new("python3")
        .args(["-c", "import numpy"])
        .output();
    asked.is_ok_and(|output| output.status.success())
});

pub(crate) fn is_there() -> bool {
    *IS_THERE
}

/// Reads numbers of another array, since numpy counts nowhere else.
pub(crate) fn fill(len: usize) -> Sample {
    run("fill", len)
}

pub(crate) fn sum(len: usize) -> Sample {
    run("sum", len)
}

/// Goes over them twice: each of its operations does one thing.
pub(crate) fn map(len: usize) -> Sample {
    run("map", len)
}

fn run(work: &str, len: usize) -> Sample {
    let ran = Command::new("python3")
        .args(["-c", PROGRAM, &len.to_string(), work])
        .output()
        .expect("there is a Python");
    let printed = String::from_utf8_lossy(&ran.stdout);
    let elapsed = printed.trim().parse().expect("nanoseconds");
    Sample::of(Duration::from_nanos(elapsed), 1)
}
