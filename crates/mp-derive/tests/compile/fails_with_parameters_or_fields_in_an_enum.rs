#[derive(Clone, Copy, mp_layout::Plain)]
#[repr(C)]
struct Pair<T> {
    first: T,
    second: T,
}

#[derive(Clone, Copy, mp_layout::Plain)]
#[repr(u8)]
enum Command {
    Stop,
    Go(u8),
}

#[derive(Clone, Copy, mp_layout::Plain)]
#[repr(C)]
union Either {
    int: u32,
    float: f32,
}

#[derive(Clone, Copy, mp_layout::Plain)]
#[repr(u8, align(4))]
enum Aligned {
    One,
}

fn main() {}
