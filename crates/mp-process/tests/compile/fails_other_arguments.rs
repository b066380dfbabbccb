fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn main() {
    mp_process::spawn(add, (1_u64, 2_u64, 3_u64)).unwrap();
}
