//! Rewriting: what is small and kept long does not hold the others' space.

use std::sync::atomic::Ordering;

use super::*;

#[test]
fn a_small_topic_kept_long_does_not_hold_the_space_of_others() {
    let mut world = World::small_files();
    let mut kept = Vec::new();
    for round in 0..20 {
        let text = format!("kept {round}");
        world.put(1, &[&text]);
        kept.push(text);
        world.seal_file(0);
    }
    let full = world.log_bytes();
    let end = world.high_watermark(0);
    world.move_log_start(0, end).unwrap();
    for _ in 0..3 {
        world.maintain();
        world.seal_file(0);
    }
    world.maintain();
    let left = world.log_bytes();
    assert!(left < full / 3, "{left} of {full} bytes are left");
    assert!(world.engine.stats().files_rewritten.load(Ordering::Relaxed) > 0);
    assert_eq!(world.read_to_end(1, 0).unwrap(), kept);
    for crash in [POWER_CUT, Crash::Kill, POWER_CUT] {
        world.crash(crash);
        assert_eq!(world.read_to_end(1, 0).unwrap(), kept);
    }
}

#[test]
fn a_file_with_a_rotten_batch_is_not_rewritten_and_not_deleted() {
    let mut world = World::small_files();
    world.put(1, &["kept"]);
    world.put(1, &["rotten"]);
    world.seal_file(0);
    let partition = world.partition(1);
    let at = world.rot(1, 1);
    let name = world.engine.files.get(at.file).unwrap().name.clone();
    let end = world.high_watermark(0);
    world.move_log_start(0, end).unwrap();
    for _ in 0..3 {
        world.seal_file(0);
        world.maintain();
    }
    assert!(world.disk.list().unwrap().contains(&name));
    assert_eq!(partition.quarantined().len(), 1);
    world.crash(POWER_CUT);
    assert_eq!(world.read(1, 0).unwrap(), ["kept"]);
    assert!(matches!(world.read(1, 1), Err(ReadError::Corrupt { .. })));
    // Once the log start has passed it, it may go.
    world.move_log_start(1, 2).unwrap();
    for _ in 0..3 {
        world.seal_file(0);
        world.maintain();
    }
    assert!(!world.disk.list().unwrap().contains(&name));
}

#[test]
fn an_index_beyond_its_budget_merges_files() {
    let options =
        EngineOptions { file_bytes: 64 << 10, index_entries_max: 8, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::new(1));
    for _ in 0..12 {
        world.put(1, &["one"]);
        world.seal_file(0);
    }
    let expected = world.read_to_end(0, 0).unwrap();
    world.maintain();
    let spans = world.partition(0).lock().index.spans().len();
    assert!(spans < 6, "{spans} spans");
    assert_eq!(world.read_to_end(0, 0).unwrap(), expected);
    world.crash(POWER_CUT);
    assert_eq!(world.read_to_end(0, 0).unwrap(), expected);
    assert_eq!(world.read_to_end(1, 0).unwrap().len(), 12);
}

#[test]
fn entries_beyond_the_budget_leave_memory_and_come_back() {
    let options =
        EngineOptions { file_bytes: 64 << 10, index_entries_max: 40, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::new(1));
    for _ in 0..12 {
        world.seal_file(0);
    }
    world.maintain();
    let loaded = |world: &World| world.partition(0).lock().index.loaded_entries();
    assert!(loaded(&world) <= 40, "{} entries", loaded(&world));
    let all = world.read_to_end(0, 0).unwrap();
    assert_eq!(i64::try_from(all.len()).unwrap(), world.high_watermark(0));
    world.maintain();
    assert!(loaded(&world) <= 40, "{} entries", loaded(&world));
}

#[test]
fn rot_is_found_before_a_reader_meets_it() {
    let options =
        EngineOptions { file_bytes: 64 << 10, scrub_period_ms: 60_000, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::new(1));
    world.put(1, &["a", "b"]);
    world.seal_file(0);
    let partition = world.partition(1);
    world.maintain();
    assert!(partition.quarantined().is_empty());
    let at = world.rot(1, 1);
    world.maintain();
    let [range] = partition.quarantined()[..] else { panic!("{:?}", partition.quarantined()) };
    assert_eq!((range.first, range.end), (Offset(1), Offset(2)));
    assert_eq!((range.file, range.byte), (at.file, u64::from(at.entry.position)));
}

#[test]
fn restarts_put_no_verification_off() {
    let day = 1_000_000;
    let options = EngineOptions {
        file_bytes: 64 << 10,
        scrub_period_ms: 7 * day,
        ..EngineOptions::default()
    };
    let mut world = World::with(options, MemDisk::new(1));
    world.put(1, &["a", "b"]);
    world.seal_file(0);
    world.rot(1, 1);
    for _ in 0..8 {
        world.crash(Crash::Kill);
        for _ in 0..10 {
            world.env.advance(day / 10);
            world.engine.maintain_step();
        }
        if !world.partition(1).quarantined().is_empty() {
            return;
        }
    }
    panic!("a server that starts every day verifies nothing in a week");
}

#[test]
fn what_was_read_ahead_is_verified_before_it_is_served() {
    let options = EngineOptions { file_bytes: 64 << 10, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::new(1));
    world.put(1, &["a"]);
    world.put(1, &["b"]);
    world.seal_file(0);
    let at = world.rot(1, 1);
    // Both lie in one block, which a read of the first brings to memory.
    let partition = world.partition(1);
    let first = world.engine.read(&partition, Offset(0), 1, true, false);
    assert_eq!(world.env.block_on(first).unwrap().batches, 1);
    assert!(partition.quarantined().is_empty(), "the second was not looked at");
    match world.read(1, 1) {
        Err(ReadError::Corrupt { file, first, .. }) => {
            assert_eq!((file, first), (at.file, Offset(1)))
        }
        other => panic!("rot is served: {other:?}"),
    }
}

#[test]
fn who_skips_corruption_passes_all_of_it() {
    let options = EngineOptions {
        file_bytes: 64 << 10,
        on_corruption: super::super::OnCorruption::Skip,
        ..EngineOptions::default()
    };
    let mut world = World::with(options, MemDisk::new(1));
    for text in ["a", "b", "c", "d", "e"] {
        world.put(0, &[text]);
    }
    world.seal_file(1);
    world.rot(0, 1);
    world.rot(0, 2);
    world.crash(POWER_CUT);
    assert_eq!(world.read(0, 0).unwrap(), ["a"]);
    assert_eq!(world.read(0, 1).unwrap(), ["d", "e"], "one range stands behind the other");
    assert_eq!(world.partition(0).quarantined().len(), 2);
}
