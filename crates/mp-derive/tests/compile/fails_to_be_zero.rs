#[derive(Clone, Copy, mp_layout::Plain)]
#[repr(u8)]
enum Weekday {
    Monday = 1,
    Tuesday = 2,
}

fn main() {
    mp_layout::zeroed::<Weekday>();
}
