fn main() {
    let chosen: fn() -> u32 = std::process::id;
    mp_process::spawn(chosen, ()).unwrap();
}
