//! Raw memory as an argument and as a result of a process.

use mp::{Result, SharedMemory};
use mp_testkit::{PATIENCE, Watchdog};

#[test]
fn memory_is_an_argument_and_a_result_of_a_process() -> Result<()> {
    fn double(memory: SharedMemory, len: usize) -> Result<SharedMemory> {
        let numbers = memory.cells::<f64>()?;
        for index in 0..numbers.len() {
            numbers.set(index, numbers.get(index) * 2.0);
        }
        let made = SharedMemory::new(len)?;
        // Its only name: the result travels all the same.
        SharedMemory::unlink(made.name())?;
        made.write(0, b"made by the child")?;
        Ok(made)
    }
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let memory = SharedMemory::new(80)?;
    SharedMemory::unlink(memory.name())?;
    memory.cells::<f64>()?.set(9, 1.5);
    let made = mp::spawn(double, (memory.clone(), 100))?.result()??;
    assert_eq!(memory.cells::<f64>()?.get(9), 3.0);
    let mut text = [0; 17];
    made.read(0, &mut text)?;
    assert_eq!((&text, made.len()), (b"made by the child", 100));
    Ok(())
}

#[test]
fn memory_comes_back_as_the_same() -> Result<()> {
    let _watchdog = Watchdog::new(PATIENCE * 2);
    let memory = SharedMemory::new(8)?;
    let back = mp::spawn(|memory: SharedMemory| memory, (memory.clone(),))?.result()?;
    assert!(back.is_same(&memory) && back.name() == memory.name());
    SharedMemory::unlink(memory.name())
}
