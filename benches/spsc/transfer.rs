//! Numbered values moved from one process, or thread, to another: each contender in each form.

use std::hint::black_box;
use std::mem::MaybeUninit;

use crossbeam_queue::ArrayQueue;
#[cfg(feature = "compare")]
use mp_benches::peers::Lane;
use mp_benches::peers::Stream;
use mp_benches::{Pair, Sample};
use mp_ring::{BatchBackoff, ByteRing, Consumer, Producer};
use mp_shm::Segment;

use crate::blocking::{ring_segment, split};
use crate::{BATCH, PROCESSES, THREADS};

/// A value of `8 * WORDS` bytes; its first word is its number.
pub(crate) type Value<const WORDS: usize> = [u64; WORDS];

/// Values that a ring of `size`-byte values holds: at least two batches, at most 8 MiB.
pub(crate) fn capacity(size: usize) -> usize {
    ((8 << 20) / size).clamp(2 * BATCH, 4096)
}

/// Gives the values the numbers from `first` on.
#[inline(always)]
pub(crate) fn number<const WORDS: usize>(
    values: &mut [Value<WORDS>],
    first: u64,
) -> &[Value<WORDS>] {
    for (value, number) in values.iter_mut().zip(first..) {
        value[0] = number;
    }
    values
}

#[inline(always)]
pub(crate) fn sum_of_numbers<const WORDS: usize>(values: &[Value<WORDS>]) -> u64 {
    values.iter().map(|value| value[0]).sum()
}

/// Reads one word of each line, as a consumer does that works in place, and sums the numbers.
#[inline(always)]
pub(crate) fn read_in_place<const WORDS: usize>(values: &[Value<WORDS>]) -> u64 {
    black_box(
        values
            .as_flattened()
            .iter()
            .step_by(8)
            .fold(0, |sum: u64, word| sum.wrapping_add(*word)),
    );
    sum_of_numbers(values)
}

pub(crate) fn with_ring<const WORDS: usize>(
    count: usize,
    batch: usize,
    push: impl Fn(&mut Producer<'_, Value<WORDS>>, &[Value<WORDS>]) -> usize + Send + Sync,
    pop: impl Fn(&mut Consumer<'_, Value<WORDS>>, &mut [Value<WORDS>]) -> (usize, u64),
) -> Sample {
    let capacity = capacity(size_of::<Value<WORDS>>());
    let segment = ring_segment::<Value<WORDS>>(capacity);
    let (mut producer, mut consumer) = split::<Value<WORDS>>(&segment, capacity);
    transfer(
        PROCESSES,
        count,
        batch,
        move |values| push(&mut producer, values),
        move |into| pop(&mut consumer, into),
    )
}

pub(crate) fn with_rtrb<const WORDS: usize>(
    count: usize,
    batch: usize,
    push: impl Fn(&mut rtrb::Producer<Value<WORDS>>, &[Value<WORDS>]) -> usize + Send + Sync,
    pop: impl Fn(&mut rtrb::Consumer<Value<WORDS>>, &mut [Value<WORDS>]) -> (usize, u64),
) -> Sample {
    let capacity = capacity(size_of::<Value<WORDS>>());
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(capacity);
    transfer(
        THREADS,
        count,
        batch,
        move |values| push(&mut producer, values),
        move |into| pop(&mut consumer, into),
    )
}

/// Moves values out of one batch of numbered ones into another, at most `batch` of them at once.
pub(crate) fn transfer<const WORDS: usize>(
    pair: Pair,
    count: usize,
    batch: usize,
    mut push: impl FnMut(&[Value<WORDS>]) -> usize + Send,
    mut pop: impl FnMut(&mut [Value<WORDS>]) -> (usize, u64),
) -> Sample {
    // The allocator may put one right behind the other: the two sides must not share a line.
    let spare = 256_usize.div_ceil(size_of::<Value<WORDS>>());
    let mut values = vec![[7; WORDS]; BATCH + spare];
    let mut into = vec![[0; WORDS]; BATCH + spare];
    pair.transfer(
        count,
        move |next, most| push(number(&mut values[..most.min(batch)], next)),
        |most| pop(&mut into[..most.min(batch)]),
    )
}

pub(crate) fn push_one<const WORDS: usize>(
    producer: &mut Producer<'_, Value<WORDS>>,
    values: &[Value<WORDS>],
) -> usize {
    usize::from(producer.push(*black_box(&values[0])).is_ok())
}

/// Pops one value, and leaves an empty ring alone as `backoff` says.
pub(crate) fn pop_one<const WORDS: usize>(
    consumer: &mut Consumer<'_, Value<WORDS>>,
    backoff: &BatchBackoff,
) -> (usize, u64) {
    match consumer.pop() {
        Ok(value) => (1, black_box(&value)[0]),
        Err(_) => {
            backoff.pause_for_batch(|| consumer.len());
            (0, 0)
        }
    }
}

pub(crate) fn push_slice<const WORDS: usize>(
    producer: &mut Producer<'_, Value<WORDS>>,
    values: &[Value<WORDS>],
) -> usize {
    producer.push_slice(values).unwrap_or(0)
}

pub(crate) fn pop_slice<const WORDS: usize>(
    consumer: &mut Consumer<'_, Value<WORDS>>,
    into: &mut [Value<WORDS>],
) -> (usize, u64) {
    let count = consumer.pop_slice(into).unwrap_or(0);
    (count, sum_of_numbers(black_box(&into[..count])))
}

pub(crate) fn push_in_place<const WORDS: usize>(
    producer: &mut Producer<'_, Value<WORDS>>,
    values: &[Value<WORDS>],
) -> usize {
    let Ok(mut grant) = producer.reserve(values.len()) else {
        return 0;
    };
    let (one, two) = grant.slices();
    let (first, second) = values.split_at(one.len());
    one.copy_from_slice(first);
    two.copy_from_slice(second);
    grant.commit_all();
    values.len()
}

pub(crate) fn pop_in_place<const WORDS: usize>(
    consumer: &mut Consumer<'_, Value<WORDS>>,
    into: &mut [Value<WORDS>],
) -> (usize, u64) {
    let Ok(chunk) = consumer.read_chunk(into.len()) else {
        return (0, 0);
    };
    let (one, two) = chunk.slices();
    let result = (chunk.len(), read_in_place(one) + read_in_place(two));
    chunk.release_all();
    result
}

pub(crate) fn rtrb_push_in_place<const WORDS: usize>(
    producer: &mut rtrb::Producer<Value<WORDS>>,
    values: &[Value<WORDS>],
) -> usize {
    let Ok(mut chunk) = producer.write_chunk_uninit(values.len()) else {
        return 0;
    };
    let (one, two) = chunk.as_mut_slices();
    let (first, second) = values.split_at(one.len());
    write(one, first);
    write(two, second);
    // SAFETY: every slot was just written.
    unsafe { chunk.commit_all() };
    values.len()
}

#[inline(always)]
fn write<T: Copy>(slots: &mut [MaybeUninit<T>], values: &[T]) {
    for (slot, value) in slots.iter_mut().zip(values) {
        slot.write(*value);
    }
}

pub(crate) fn rtrb_pop_in_place<const WORDS: usize>(
    consumer: &mut rtrb::Consumer<Value<WORDS>>,
    into: &mut [Value<WORDS>],
) -> (usize, u64) {
    let count = consumer.slots().min(into.len());
    let Ok(chunk) = consumer.read_chunk(count) else {
        return (0, 0);
    };
    let (one, two) = chunk.as_slices();
    let result = (count, read_in_place(one) + read_in_place(two));
    chunk.commit_all();
    result
}

pub(crate) fn byte_records<const WORDS: usize>(count: usize) -> Sample {
    let size = size_of::<Value<WORDS>>();
    let bytes = capacity(size) * (size + 8);
    let segment_size = ByteRing::size_for(bytes).expect("not too much");
    let segment = Segment::anonymous("byte ring", segment_size).expect("memory for a ring");
    // SAFETY: the segment was just made for this ring, and all reach it through what this returns.
    let ring = unsafe { ByteRing::create(segment.region(), bytes, None) };
    let ring = ring.expect("the segment was made for it");
    let (mut producer, mut consumer) = ring.split().expect("nobody else is here");
    let mut record = Vec::new();
    transfer::<WORDS>(
        PROCESSES,
        count,
        1,
        |values| usize::from(producer.push(black_box(bytes_of(&values[0]))).is_ok()),
        |_| match consumer.pop_into(&mut record) {
            Ok(_) => (1, number_in(black_box(&record))),
            Err(_) => (0, 0),
        },
    )
}

pub(crate) fn with_crossbeam<const WORDS: usize>(count: usize) -> Sample {
    let queue = ArrayQueue::new(capacity(size_of::<Value<WORDS>>()));
    transfer::<WORDS>(
        THREADS,
        count,
        1,
        |values| usize::from(queue.push(*black_box(&values[0])).is_ok()),
        |_| {
            queue
                .pop()
                .map_or((0, 0), |value| (1, black_box(&value)[0]))
        },
    )
}

pub(crate) fn with_stream<const WORDS: usize>(count: usize, new: fn() -> Stream) -> Sample {
    let stream = new();
    let mut bytes = vec![0; size_of::<Value<WORDS>>()];
    transfer::<WORDS>(
        PROCESSES,
        count,
        1,
        |values| {
            stream.send(bytes_of(&values[0]));
            1
        },
        |_| {
            stream.receive(&mut bytes);
            (1, number_in(&bytes))
        },
    )
}

#[cfg(feature = "compare")]
pub(crate) fn with_iceoryx2<const WORDS: usize>(
    count: usize,
    read: impl Fn(&Value<WORDS>) -> u64,
) -> Sample {
    let capacity = capacity(size_of::<Value<WORDS>>());
    let count = count.max(8 * capacity);
    let lane = Lane::new(capacity);
    let mut publisher = lane.publisher();
    transfer::<WORDS>(
        PROCESSES,
        count,
        1,
        |values| {
            publisher.send(black_box(&values[0]));
            1
        },
        |_| lane.receive(&read).map_or((0, 0), |number| (1, number)),
    )
}

#[cfg(feature = "compare")]
pub(crate) fn with_ipc_channel<const WORDS: usize>(count: usize) -> Sample {
    let (sender, receiver) = ipc_channel::ipc::bytes_channel().expect("a channel");
    transfer::<WORDS>(
        PROCESSES,
        count,
        1,
        |values| {
            sender
                .send(bytes_of(&values[0]))
                .expect("the other end is open");
            1
        },
        |_| {
            (
                1,
                number_in(&receiver.recv().expect("the other end is open")),
            )
        },
    )
}

pub(crate) fn bytes_of<const WORDS: usize>(value: &Value<WORDS>) -> &[u8] {
    bytemuck::cast_slice(value)
}

pub(crate) fn number_in(bytes: &[u8]) -> u64 {
    bytemuck::pod_read_unaligned(&bytes[..8])
}
