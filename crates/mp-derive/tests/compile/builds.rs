#![forbid(unsafe_code)]
#![deny(warnings)]

use mp_layout::{Plain, PlainSlice};

#[derive(Clone, Copy, Plain)]
#[repr(C)]
pub struct Job {
    pub a: u32,
    pub b: [f32; 3],
}

#[derive(Clone, Copy, Plain)]
#[repr(C, packed(2))]
struct Packed(u32, u16);

#[derive(Clone, Copy, Plain)]
#[repr(transparent)]
struct Wrapped {
    r#type: Job,
}

#[derive(Clone, Copy, Plain)]
#[repr(C)]
struct Nothing;

#[derive(Clone, Copy, Plain)]
#[repr(i16)]
enum Direction {
    Back = -1,
    Forth = 1,
}

#[derive(Clone, Copy, Plain)]
#[repr(C)]
struct Checked {
    direction: Direction,
    quiet: bool,
    unused: u8,
}

fn plain<T: Plain>(_: T) {}
fn slice<T: PlainSlice>(_: T) {}

fn main() {
    let job = Job { a: 1, b: [0.5; 3] };
    slice(Packed(1, 2));
    slice(Wrapped { r#type: job });
    slice(Nothing);
    plain(Checked { direction: Direction::Back, quiet: true, unused: 0 });
    plain([Direction::Forth; 3]);
    mp_layout::zeroed::<Job>();
}
