fn main() {
    let numbers = vec![1, 2, 3];
    mp_process::spawn(|| numbers.len(), ()).unwrap();
}
