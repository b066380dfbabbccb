//! A matrix that three processes fill by rows, while another one looks at it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mp_layout::Result;
use mp_value::{NdArray, NdReader};

const SHAPE: [usize; 2] = [300, 400];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let (Some(_), Some(name)) = (arguments.next(), arguments.next()) {
        return look(&name);
    }
    let name = format!("matrix-{}.npy", std::process::id());
    let matrix = NdArray::<f64>::create_named(&name, &SHAPE)?;
    println!("{}", matrix.numpy_line());
    let mut viewer = Command::new(std::env::current_exe().expect("this program"))
        .args(["look", &name])
        .stdout(Stdio::inherit())
        .spawn()
        .expect("another process");

    // Threads here; handles passed to processes claim rows in the same way.
    let filled = std::thread::scope(|scope| -> Result<()> {
        let workers = [(); 3].map(|()| scope.spawn(|| fill(&matrix)));
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("no panic"))
    });
    let status = viewer.wait().expect("a child");
    NdArray::<f64>::unlink(&name)?;
    assert!(status.success());
    filled
}

/// Fills the rows that no other worker has.
fn fill(matrix: &NdArray<f64>) -> Result<()> {
    let rows = matrix.blocks(1)?;
    let mut next = 0;
    while let Some(mut row) = rows.claim_from(next)? {
        let index = row.index();
        for (column, element) in row.iter_mut().enumerate() {
            *element = (index * SHAPE[1] + column + 1) as f64;
        }
        next = index + 1;
    }
    Ok(())
}

/// Another program: it reads while the first one writes, until no element is zero.
fn look(name: &str) -> Result<()> {
    let matrix = NdReader::<f64>::open(name)?;
    assert_eq!(matrix.shape(), SHAPE);
    let start = Instant::now();
    while matrix.cells().iter().any(|element| element == 0.0) {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "the matrix is not filled"
        );
        std::thread::yield_now();
    }
    let last = matrix.get(&[SHAPE[0] - 1, SHAPE[1] - 1])?;
    println!("filled: the last element is {last}");
    assert_eq!(last, (SHAPE[0] * SHAPE[1]) as f64);
    Ok(())
}
