//! A process is killed while it holds a mutex; the next owner is told, repairs the data and goes
//! on.
//!
//! ```text
//! cargo run --example owner_died
//! ```

#![forbid(unsafe_code)]

use mp::sync::LockError;
use mp::{Event, Mutex};

/// Moves money between two accounts, and is killed in the middle of it.
fn transfer(accounts: Mutex<[i64; 2]>, half_done: Event) -> mp::Result<()> {
    let mut accounts = accounts.lock()?;
    accounts[0] -= 30;
    half_done.set();
    loop {
        std::thread::park();
    }
}

fn main() -> mp::Result<()> {
    let (accounts, half_done) = (Mutex::new([100, 100])?, Event::new()?);
    let teller = mp::spawn(transfer, (accounts.clone(), half_done.clone()))?;
    half_done.wait();
    teller.kill()?;

    let accounts = match accounts.lock() {
        Ok(_) => unreachable!("the owner was killed"),
        Err(LockError::OwnerDied(mut accounts)) => {
            println!("found half done: {:?}", *accounts);
            accounts[0] = 200 - accounts[1];
            accounts.recover();
            accounts
        }
        Err(error) => return Err(error.into()),
    };
    assert_eq!(*accounts, [100, 100]);
    Ok(())
}
