//! A bar on standard error shows how many tasks are done.

use indicatif::ProgressBar;
use mp::Pool;

fn task(x: u64) -> u64 {
    x * x
}

fn main() -> mp::Result<()> {
    let items = 0..100;
    let pool = Pool::new(4)?;

    // takes results as they come
    let mut results = Vec::new();
    let progress = ProgressBar::new(100);
    for result in pool.imap_unordered(task, items) {
        results.push(result?);
        progress.inc(1);
    }
    progress.finish();

    println!("Processed {} items", results.len());
    Ok(())
}
