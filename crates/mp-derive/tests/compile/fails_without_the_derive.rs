#[derive(Clone, Copy)]
#[repr(C)]
struct Job {
    a: u32,
}

fn shared<T: mp_layout::Plain>(_: T) {}

fn main() {
    shared(Job { a: 1 });
}
