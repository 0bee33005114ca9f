//! Deletion gives space back, also on a disk that is full.

use std::sync::atomic::Ordering;

use super::*;

#[test]
fn what_is_deleted_leaves_the_disk() {
    let mut world = World::small_files();
    for _ in 0..10 {
        world.seal_file(0);
    }
    let full = world.log_bytes();
    let engine = Arc::clone(&world.engine);
    world.committed(async move { engine.delete_topic(TOPIC).await }).unwrap();
    let other = TopicPartition::new(TopicId([8; 16]), PartitionId(0));
    let partition = world.engine.open_partition(other);
    for _ in 0..20 {
        let batch = text_batch(&"other ".repeat(1000));
        let header = batch::check(&batch).unwrap();
        let append = world.engine.append(&partition, &header, &batch, Class::Client, false);
        world.env.block_on(append).unwrap();
        world.commit();
    }
    world.maintain();
    let left = world.log_bytes();
    assert!(left < full / 2, "{left} of {full} bytes are left");
    assert!(world.engine.stats().files_deleted.load(Ordering::Relaxed) >= 9);
}

#[test]
fn a_reader_under_way_keeps_its_file() {
    let mut world = World::small_files();
    world.put(1, &["kept"]);
    world.seal_file(0);
    let file = world.engine.files.get(millrace_types::FileId(1)).unwrap();
    let end = world.high_watermark(0);
    world.move_log_start(0, end).unwrap();
    world.move_log_start(1, 1).unwrap();
    for _ in 0..3 {
        world.seal_file(0);
        world.maintain();
    }
    assert!(world.engine.files.get(file.id).is_none());
    let mut buffer = crate::aligned::AlignedBuffer::zeroed(4096);
    assert_eq!(file.handle.read_at(0, &mut buffer).unwrap(), 4096);
}

#[test]
fn a_full_disk_is_emptied_by_deletion() {
    let options =
        EngineOptions { file_bytes: 1 << 20, reserve_bytes: 1 << 20, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::with_capacity(1, 32 << 20));
    world.engine.maintain_step();
    assert!(world.names("reserve").len() == 1, "{:?}", world.disk.list());
    let large = text_batch(&"x".repeat(200_000));
    let mut appended = 0;
    while world.append(0, &large).is_ok() {
        appended += 1;
        world.commit();
        assert!(appended < 1000, "the disk never filled");
    }
    assert_eq!(world.append(0, &large).unwrap_err(), AppendError::StorageFull);
    assert_eq!(world.names("reserve").len(), 1, "produce took the reserve");
    let end = world.high_watermark(0);
    world.move_log_start(0, end - 1).unwrap();
    world.maintain();
    assert!(!world.engine.is_ended());
    assert!(!world.engine.stats().space_exhausted.load(Ordering::Relaxed));
    world.append(0, &large).unwrap();
    world.commit();
    assert_eq!(world.names("reserve").len(), 1, "the reserve was not made again");
    assert_eq!(world.high_watermark(0), end + 1);
    world.crash(POWER_CUT);
    assert_eq!(world.high_watermark(0), end + 1);
}

/// Appends a batch, with maintenance where it waits for space.
fn append(world: &World, batch: &[u8]) -> Result<Appended, AppendError> {
    let header = batch::check(batch).unwrap();
    let partition = world.partition(0);
    let engine = Arc::clone(&world.engine);
    let mut append = Box::pin(engine.append(&partition, &header, batch, Class::Client, false));
    poll_once(&mut append).unwrap_or_else(|| {
        world.engine.maintain_step();
        world.env.block_on(append)
    })
}

/// Appends until that is refused; the high watermark then.
fn fill(world: &mut World, batch: &[u8]) -> i64 {
    loop {
        if let Err(error) = append(world, batch) {
            assert_eq!(error, AppendError::StorageFull);
            return world.high_watermark(0);
        }
        world.commit();
    }
}

#[test]
fn a_full_disk_is_started_on_and_emptied_by_deletion() {
    let options =
        EngineOptions { file_bytes: 1 << 20, reserve_bytes: 4 << 20, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::with_capacity(1, 32 << 20));
    world.engine.maintain_step();
    let large = text_batch(&"x".repeat(200_000));
    for crash in [POWER_CUT, Crash::Kill, POWER_CUT] {
        let end = fill(&mut world, &large);
        world.crash(crash);
        assert_eq!(world.high_watermark(0), end);
    }
    let end = fill(&mut world, &large);
    world.move_log_start(0, end - 1).unwrap();
    world.maintain();
    assert!(fill(&mut world, &large) > end);
    assert_eq!(world.names("reserve").len(), 1, "the reserve was not made again");
}

#[test]
fn a_batch_too_large_for_a_full_disk_costs_others_nothing() {
    let options =
        EngineOptions { file_bytes: 64 << 20, reserve_bytes: 1 << 20, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::with_capacity(1, 40 << 20));
    world.engine.maintain_step();
    fill(&mut world, &text_batch(&"x".repeat(200_000)));
    let logs = world.names("wal");
    let huge = text_batch(&"y".repeat(6 << 20));
    for _ in 0..5 {
        assert_eq!(append(&world, &huge).unwrap_err(), AppendError::StorageFull);
        world.commit();
        assert!(
            world.engine.stats().space_exhausted.load(Ordering::Relaxed),
            "there is no space for what was refused, and none came"
        );
    }
    assert_eq!(world.names("wal"), logs, "no file is begun that would not hold it either");
}

#[test]
fn a_batch_goes_on_in_the_next_file_beside_smaller_ones() {
    let options =
        EngineOptions { file_bytes: 64 << 20, reserve_bytes: 1 << 20, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::with_capacity(1, 40 << 20));
    world.engine.maintain_step();
    let large = text_batch(&"x".repeat(200_000));
    let small = text_batch("z");
    let mut appended = 0;
    // Each round begins a frame with a small batch: no large one finds it empty.
    loop {
        if append(&world, &small).is_err() || append(&world, &large).is_err() {
            break;
        }
        appended += 1;
        world.commit();
        assert!(appended < 1000, "the disk never filled");
    }
    let next = world.engine.gather.lock().next.clone();
    let left = next.map_or(0, |next| next.reserved());
    assert!(left < 1 << 20, "refused with {left} bytes ready in the next file");
}

#[test]
fn idle_producers_make_room_for_new_ones() {
    let options = EngineOptions { producers_max: 40, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::new(1));
    let produce = |world: &mut World, id| {
        let appended = world.append(0, &producer_batch(id, 0, "a"));
        world.commit();
        appended
    };
    for id in 0..40 {
        produce(&mut world, id).unwrap();
    }
    assert_eq!(produce(&mut world, 40).unwrap_err(), AppendError::ProducersFull);
    world.env.advance(30_000);
    world.append(0, &producer_batch(0, 1, "b")).unwrap();
    world.commit();
    assert_eq!(produce(&mut world, 40).unwrap_err(), AppendError::ProducersFull);
    world.env.advance(31_000);
    world.engine.maintain_step();
    produce(&mut world, 40).unwrap();
    let stats = world.engine.stats();
    assert_eq!(stats.producers_refused.load(Ordering::Relaxed), 2);
    assert_eq!(stats.producers_evicted.load(Ordering::Relaxed), 4);
    // The one that wrote last is remembered, older ones are not.
    assert!(world.append(0, &producer_batch(0, 1, "b")).unwrap().duplicate);
    assert!(!world.append(0, &producer_batch(1, 0, "a")).unwrap().duplicate);
}

/// Found by seed 8582 of the simulation: the first try used the reserve up and
/// failed, and no later one asked for as little as would have fitted.
#[test]
fn a_start_asks_for_the_least_also_when_the_reserve_is_gone() {
    let options =
        EngineOptions { file_bytes: 1 << 20, reserve_bytes: 4 << 20, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::with_capacity(1, 32 << 20));
    world.engine.maintain_step();
    let end = fill(&mut world, &text_batch(&"x".repeat(200_000)));
    world.disk.unlink("reserve").unwrap();
    world.disk.sync_directory().unwrap();
    let used: u64 = world.names("").iter().map(|name| world.disk.settled_length(name)).sum();
    world.disk.set_capacity(used + (2 << 20));
    world.crash(Crash::Kill);
    assert_eq!(world.high_watermark(0), end);
}

#[test]
fn a_retry_is_known_on_a_full_disk() {
    let options =
        EngineOptions { file_bytes: 1 << 20, reserve_bytes: 4 << 20, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::with_capacity(1, 32 << 20));
    world.engine.maintain_step();
    let batch = producer_batch(9, 0, &"x".repeat(100_000));
    let first = world.append(0, &batch).unwrap();
    world.commit();
    fill(&mut world, &text_batch(&"x".repeat(200_000)));
    fill(&mut world, &text_batch(&"x".repeat(20_000)));
    let again = append(&world, &batch).unwrap();
    assert!(again.duplicate);
    assert_eq!(again.base_offset, first.base_offset);
    let other = producer_batch(9, 1, &"x".repeat(100_000));
    assert_eq!(append(&world, &other).unwrap_err(), AppendError::StorageFull);
}
