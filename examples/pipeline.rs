//! A numeric pipeline: processes smooth and scale a signal in place, chunk by chunk, without
//! copying it.
//!
//! ```text
//! cargo run --release --example pipeline
//! ```

#![forbid(unsafe_code)]

use mp::{Array, FrozenArray, RawValue};

const SAMPLES: usize = 1 << 20;
const CHUNK: usize = 1 << 14;

/// Fills chunk after chunk of `smooth` from the read-only `signal`, until none is left.
fn smooth(signal: FrozenArray<f64>, smooth: Array<f64>, next: RawValue<u64>) -> mp::Result<()> {
    let chunks = smooth.chunks(CHUNK)?;
    loop {
        let index = next.fetch_add(1) as usize;
        if index >= chunks.count() {
            return Ok(());
        }
        let Some(mut chunk) = chunks.claim(index)?.claimed() else {
            continue;
        };
        let start = chunk.range().start;
        for (offset, value) in chunk.iter_mut().enumerate() {
            let at = start + offset;
            let window = &signal[at.saturating_sub(2)..(at + 3).min(signal.len())];
            *value = window.iter().sum::<f64>() / window.len() as f64;
        }
    }
}

fn main() -> mp::Result<()> {
    let noisy = |index| f64::from(index as u32 / 1000) + if index % 2 == 0 { 0.5 } else { -0.5 };
    let signal = Array::from_iter((0..SAMPLES).map(noisy))?.freeze()?;
    let (result, next) = (Array::new(SAMPLES)?, RawValue::new(0)?);

    let mut workers = Vec::new();
    for _ in 0..mp::cpu_count() {
        workers.push(mp::spawn(
            smooth,
            (signal.clone(), result.clone(), next.clone()),
        )?);
    }
    for worker in workers {
        worker.result()??;
    }
    let result = result.lock()?;
    assert!((result[500] - 0.1).abs() < 1e-9 && (result[1501] - 0.9).abs() < 1e-9);
    println!(
        "{} samples smoothed by {} processes",
        result.len(),
        mp::cpu_count()
    );
    Ok(())
}
