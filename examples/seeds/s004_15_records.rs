//! A pool processes ten thousand records.

use mp::Pool;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Record {
    id: i32,
    value: i32,
}

#[derive(Serialize, Deserialize)]
struct Processed {
    id: i32,
    processed: i32,
    category: String,
}

/// Processes one record.
fn process_record(record: Record) -> Processed {
    Processed {
        id: record.id,
        processed: record.value.pow(2),
        category: if record.value > 50 { "high" } else { "low" }.to_owned(),
    }
}

/// Processes all of them.
fn parallel_process(data: Vec<Record>, workers: usize) -> mp::Result<Vec<Processed>> {
    let pool = Pool::new(workers)?;
    let results = pool.map(process_record, data)?;
    Ok(results)
}

fn main() -> mp::Result<()> {
    // many records
    let data = (0..10000)
        .map(|i| Record {
            id: i,
            value: i * 2,
        })
        .collect();

    let results = parallel_process(data, 4)?;
    println!("Processed {} records", results.len());
    let Processed {
        id,
        processed,
        category,
    } = &results[0];
    println!("First result: {{'id': {id}, 'processed': {processed}, 'category': '{category}'}}");
    Ok(())
}
