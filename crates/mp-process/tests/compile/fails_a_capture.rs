fn main() {
    let text = String::from("of this process");
    mp_process::spawn(move || println!("{text}"), ()).unwrap();
}
