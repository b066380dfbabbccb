use std::rc::Rc;

fn main() {
    mp_process::spawn(|number: Rc<u64>| *number, (Rc::new(7),)).unwrap();
}
