use mp_object::{Event, Mutex};
use mp_process::{Process, Run, spawn};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Job(Vec<u8>);

impl Run for Job {
    type Output = usize;

    fn run(self) -> usize {
        self.0.len()
    }
}

fn worker(id: i32, name: String, total: Mutex<u64>, done: Option<Event>) -> Result<i32, String> {
    *total.lock().map_err(|error| error.to_string())? += name.len() as u64;
    done.iter().for_each(|done| done.set());
    Ok(id)
}

fn serves(_: Mutex<u64>) -> ! {
    loop {
        std::thread::park();
    }
}

fn generic<T: Into<f64>>(value: T) -> f64 {
    value.into()
}

fn main() {
    let (total, done) = (Mutex::new(0).unwrap(), Event::new().unwrap());
    let process = spawn(worker, (1, "four".to_owned(), total.clone(), Some(done.clone()))).unwrap();
    assert_eq!(process.result().unwrap(), Ok(1));
    assert_eq!(*total.lock().unwrap(), 4);
    assert!(done.is_set());

    assert!(spawn(std::process::id, ()).unwrap().result().unwrap() > 0);
    assert_eq!(spawn(generic::<f32>, (1.5,)).unwrap().result().unwrap(), 1.5);
    assert_eq!(spawn(|x: i64| x * x, (9,)).unwrap().result().unwrap(), 81);
    assert_eq!(spawn(u32::count_ones, (7,)).unwrap().result().unwrap(), 3);
    spawn(
        |_: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8| (),
        (1, 2, 3, 4, 5, 6, 7, 8),
    )
    .unwrap()
    .join()
    .unwrap();

    let process = spawn(serves, (total.clone(),)).unwrap();
    process.kill().unwrap();
    assert!(process.result().is_err());
    let process = spawn(|code: i32| std::process::exit(code), (3,)).unwrap();
    process.join().unwrap();
    assert_eq!(process.exitcode(), Some(3));
    let mut process = Process::new(
        || loop {
            std::thread::park();
        },
        (),
    );
    process.start().unwrap();
    process.kill().unwrap();
    spawn(|| panic!("this one ends"), ()).unwrap().join().unwrap();

    let mut process = Process::from_run(Job(vec![0; 3]));
    process.start().unwrap();
    assert_eq!(process.result().unwrap(), 3);

    fn assert_shareable<T: Send + Sync>(_: &T) {}
    assert_shareable(&process);
}
