#[derive(Clone, Copy, mp_layout::Plain)]
#[repr(C)]
struct Job {
    a: u32,
    b: u64,
}

fn main() {}
