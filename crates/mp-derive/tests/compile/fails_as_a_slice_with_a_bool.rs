#[derive(Clone, Copy, mp_layout::Plain)]
#[repr(C)]
struct Job {
    id: u8,
    done: bool,
}

fn lent<T: mp_layout::PlainSlice>(_: T) {}

fn main() {
    lent(Job { id: 1, done: false });
}
