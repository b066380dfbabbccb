fn main() {
    let number = 7_u64;
    mp_process::spawn(move || number + 1, ()).unwrap();
}
