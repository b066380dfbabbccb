#[derive(Clone, Copy, mp_layout::Plain)]
#[repr(C)]
struct Job {
    name: &'static str,
    id: u64,
}

fn main() {}
