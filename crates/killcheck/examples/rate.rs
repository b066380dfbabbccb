//! How many kills per second: a victim that adds to shared words, and a survivor that returns at
//! once, by breakpoints and by single steps. Run it with `--release`.

use std::sync::atomic::{AtomicU64, Ordering};

use killcheck::{Check, Error, Mode, Report, SharedArea};

type Words = SharedArea<[AtomicU64; 512]>;

fn rate(words: &Words, additions: usize, mode: Mode) -> Result<Report, Error> {
    Check::new("additions")
        .mode(mode)
        .setup(|words: &Words| words.reset())
        .victim(|words| {
            for word in &words[..std::hint::black_box(additions)] {
                word.fetch_add(1, Ordering::Relaxed);
            }
        })
        .survivor(|_| Ok(()))
        .max_points(500)
        .run(words)
}

fn main() -> Result<(), Error> {
    // SAFETY: atomics only, for which zero is valid.
    let words: Words = unsafe { SharedArea::zeroed() }?;
    println!("instructions  planted kills/s  stepped kills/s");
    for additions in [5, 40, 120] {
        let planted = rate(&words, additions, Mode::Planted)?;
        let stepped = rate(&words, additions, Mode::Stepped)?;
        println!(
            "{:12}  {:15.0}  {:15.0}",
            planted.instructions(),
            planted.kills_per_second(),
            stepped.kills_per_second(),
        );
        assert!(planted.missed().is_empty() && stepped.missed().is_empty());
    }
    Ok(())
}
