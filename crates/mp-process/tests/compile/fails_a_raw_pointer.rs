fn main() {
    let number = 7_u64;
    mp_process::spawn(|_: *const u64| (), (&raw const number,)).unwrap();
}
