#[derive(Clone, Copy, mp_layout::Plain)]
struct Job {
    a: u32,
}

#[derive(Clone, Copy, mp_layout::Plain)]
enum Direction {
    Back,
    Forth,
}

fn main() {}
