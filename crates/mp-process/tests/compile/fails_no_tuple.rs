fn main() {
    mp_process::spawn(|number: u64| number, 7_u64).unwrap();
}
