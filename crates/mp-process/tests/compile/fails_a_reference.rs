fn greet(name: &str) {
    println!("{name}");
}

fn main() {
    mp_process::spawn(greet, ("w",)).unwrap();
}
