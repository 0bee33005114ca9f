//! What readers that are slow, or never come back, do to the memory of others.

use super::*;
use crate::{blocks::BLOCK_BYTES, env::Env};

/// A cache of four blocks, and little besides.
fn little_memory() -> World {
    let options = EngineOptions {
        cache_bytes: 4 * BLOCK_BYTES as u64,
        pending_bytes_max: 1 << 20,
        ..EngineOptions::default()
    };
    World::with(options, MemDisk::new(1))
}

/// More than half a block.
fn large() -> String {
    "x".repeat(BLOCK_BYTES / 2 + 10_000)
}

/// Reads one batch and holds it.
fn hold(world: &World, offset: i64) -> Result<crate::engine::Read, ReadError> {
    let partition = world.partition(0);
    let read = world.engine.read(&partition, Offset(offset), 1, true, false);
    world.env.block_on(read)
}

/// Reads until memory is refused, and holds it all.
fn hold_all(world: &World, batches: i64) -> Vec<crate::engine::Read> {
    let mut held = Vec::new();
    for offset in 0..batches {
        if !world.engine.cache.may_pin() {
            break;
        }
        held.push(hold(world, offset).unwrap());
    }
    assert!(!world.engine.cache.may_pin(), "there is more memory than the test reads");
    held
}

#[test]
fn the_log_goes_on_while_readers_hold_all_that_they_may() {
    let mut world = little_memory();
    for _ in 0..20 {
        world.put(0, &[&large()]);
    }
    let held = hold_all(&world, 20);
    // Far more than all the memory that there is.
    for _ in 0..400 {
        world.put(0, &[&large()]);
    }
    assert_eq!(world.high_watermark(0), 420);
    assert!(world.engine.cache.pool().pinned() <= 5 * BLOCK_BYTES);
    drop(held);
    assert_eq!(world.engine.cache.pool().pinned(), 0);
    assert_eq!(world.read_to_end(0, 0).unwrap().len(), 420);
}

#[test]
fn a_reader_waits_for_the_memory_of_slower_ones_but_not_for_ever() {
    let mut world = little_memory();
    for _ in 0..20 {
        world.put(0, &[&large()]);
    }
    let mut held = hold_all(&world, 20);
    let (engine, partition) = (Arc::clone(&world.engine), world.partition(0));
    let read = |at_least_one| {
        let (engine, partition) = (Arc::clone(&engine), Arc::clone(&partition));
        Box::pin(async move { engine.read(&partition, Offset(19), 1, at_least_one, false).await })
    };
    let mut refused = read(true);
    assert!(poll_once(&mut refused).is_none());
    world.env.advance(5_000);
    assert_eq!(poll_once(&mut refused), Some(Err(ReadError::NoMemory)));

    let more = poll_once(&mut read(false)).unwrap().unwrap();
    assert_eq!((more.batches, more.offsets.high_watermark), (0, Offset(20)), "it has others");

    // Woken, not merely polled again.
    let done = Arc::new(parking_lot::Mutex::new(None));
    let answer = Arc::clone(&done);
    let waiting = read(true);
    world.env.spawn("reader", Box::pin(async move { *answer.lock() = Some(waiting.await) }));
    world.env.run();
    assert_eq!(*done.lock(), None);
    held.truncate(2);
    world.env.run();
    assert_eq!(done.lock().take().unwrap().unwrap().batches, 1);
}

#[test]
fn an_append_without_memory_goes_on_when_memory_comes_back() {
    let world = little_memory();
    // As if all of it were in the hands of others, and nothing to be written.
    let pool = world.engine.cache.pool();
    let mut taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    let done = Arc::new(parking_lot::Mutex::new(None));
    let (engine, partition, answer) =
        (Arc::clone(&world.engine), world.partition(0), Arc::clone(&done));
    let append = async move {
        // More than the block that is being filled.
        let batch = text_batch(&"waits".repeat(BLOCK_BYTES / 4));
        let header = batch::check(&batch).unwrap();
        let appended = engine.append(&partition, &header, &batch, Class::Client, false).await;
        *answer.lock() = Some(appended);
    };
    world.env.spawn("producer", Box::pin(append));
    world.env.run();
    assert_eq!(*done.lock(), None);
    taken.truncate(taken.len() - 2);
    world.env.run();
    assert_eq!(done.lock().take().unwrap().unwrap().base_offset, Offset(0));
}
