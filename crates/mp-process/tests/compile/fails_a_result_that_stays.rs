struct Local;

fn make() -> Local {
    Local
}

fn main() {
    mp_process::spawn(make, ()).unwrap();
}
