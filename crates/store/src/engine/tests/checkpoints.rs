//! What a start reads, and what it refuses.

use super::{super::OpenError, *};
use crate::disk::{Access, Mode};

/// A world with two checkpoints and sealed files behind them.
fn with_checkpoints() -> World {
    let mut world = World::small_files();
    for _ in 0..4 {
        world.seal_file(0);
        world.maintain();
    }
    assert_eq!(world.names("checkpoint-").len(), 2);
    world
}

#[test]
fn the_two_newest_checkpoints_stay() {
    let mut world = with_checkpoints();
    let before = world.names("checkpoint-");
    for _ in 0..12 {
        world.seal_file(0);
    }
    world.maintain();
    let after = world.names("checkpoint-");
    assert_eq!(after.len(), 2);
    assert_ne!(before, after);
}

#[test]
fn a_start_reads_the_checkpoint_and_what_follows_it() {
    let mut world = with_checkpoints();
    let sealed = world.names(".wal").len();
    world.put(1, &["behind the checkpoint"]);
    let expected = world.read_to_end(0, 0).unwrap();
    let disk = world.disk.crash(Crash::Kill);
    let lock = Arc::new(disk.lock().unwrap());
    let opened =
        super::open_all(&world.env, &disk, &lock, &world.options, 2, Synced::new()).unwrap();
    assert!(opened.files < sealed, "{} of {sealed} files were read", opened.files);
    (world.disk, world.lock, world.engine) = (disk, lock, opened.engine);
    world.writer = WriterState::default();
    assert_eq!(world.read_to_end(0, 0).unwrap(), expected);
    assert_eq!(world.read(1, 0).unwrap(), ["behind the checkpoint"]);
    world.incarnation = 2;
    world.crash(POWER_CUT);
    assert_eq!(world.read_to_end(0, 0).unwrap(), expected);
}

#[test]
fn after_a_clean_stop_nothing_is_read_but_the_checkpoint() {
    let mut world = World::new();
    world.put(0, &["a", "b"]);
    world.append(1, &producer_batch(9, 0, "x")).unwrap();
    world.commit();
    world.engine.stop();
    world.engine.close();
    assert_eq!(
        world.append(0, &text_batch("late")).unwrap_err(),
        AppendError::Ended(super::super::Ended)
    );
    let disk = world.disk.crash(POWER_CUT);
    let lock = Arc::new(disk.lock().unwrap());
    let opened =
        super::open_all(&world.env, &disk, &lock, &world.options, 2, Synced::new()).unwrap();
    assert_eq!((opened.files, opened.frames_copied), (0, 0));
    (world.disk, world.lock, world.engine) = (disk, lock, opened.engine);
    world.writer = WriterState::default();
    assert_eq!(world.read(0, 0).unwrap(), ["a", "b"]);
    assert!(world.append(1, &producer_batch(9, 0, "x")).unwrap().duplicate);
    world.put(0, &["c"]);
    assert_eq!(world.read(0, 0).unwrap(), ["a", "b", "c"]);
}

#[test]
fn state_outlives_the_files_that_made_it() {
    let mut world = World::small_files();
    world.append(1, &producer_batch(9, 0, "x")).unwrap();
    world.commit();
    world.put(1, &["y"]);
    world.move_log_start(1, 2).unwrap();
    world.seal_file(0);
    let end = world.high_watermark(0);
    world.move_log_start(0, end).unwrap();
    for _ in 0..3 {
        world.seal_file(2);
        world.maintain();
    }
    assert!(!world.names(".wal").contains(&"00000000000000000001.wal".to_owned()));
    for crash in [POWER_CUT, Crash::Kill, POWER_CUT] {
        world.crash(crash);
        assert_eq!(world.high_watermark(0), end);
        assert_eq!(world.partition(1).offsets().log_start, Offset(2));
        let again = world.append(1, &producer_batch(9, 0, "x")).unwrap();
        assert!(again.duplicate);
        assert_eq!(again.base_offset, Offset(0));
        let epoch = world.partition(1).epoch_end(LeaderEpoch(0)).unwrap();
        assert_eq!(epoch, (LeaderEpoch(0), Offset(2)));
    }
    world.put(0, &["next"]);
    assert_eq!(world.read(0, end).unwrap(), ["next"]);
}

#[test]
fn a_damaged_checkpoint_is_replaced_by_the_older_one() {
    let mut world = with_checkpoints();
    let expected = world.read_to_end(0, 0).unwrap();
    let names = world.names("checkpoint-");
    world.disk.rot(names.last().unwrap(), 200, 1);
    world.crash(POWER_CUT);
    assert_eq!(world.read_to_end(0, 0).unwrap(), expected);
    world.put(0, &["on"]);
    for _ in 0..3 {
        world.seal_file(1);
        world.maintain();
    }
    world.crash(POWER_CUT);
    assert_eq!(world.read_to_end(0, 0).unwrap()[expected.len()], "on");
}

#[test]
fn without_a_checkpoint_the_whole_log_is_read_if_it_is_there() {
    let mut world = with_checkpoints();
    let expected = world.read_to_end(0, 0).unwrap();
    for name in world.names("checkpoint-") {
        world.disk.rot(&name, 200, 1);
    }
    world.crash(POWER_CUT);
    assert_eq!(world.read_to_end(0, 0).unwrap(), expected);
}

#[test]
fn without_a_checkpoint_a_log_without_its_beginning_is_refused() {
    let mut world = with_checkpoints();
    let end = world.high_watermark(0);
    world.move_log_start(0, end - 3).unwrap();
    for _ in 0..3 {
        world.seal_file(1);
        world.maintain();
    }
    assert!(!world.names(".wal").contains(&"00000000000000000001.wal".to_owned()));
    for name in world.names("checkpoint-") {
        world.disk.rot(&name, 200, 1);
    }
    world.disk = world.disk.crash(POWER_CUT);
    world.lock = Arc::new(world.disk.lock().unwrap());
    let refused = world.reopen(Synced::new()).unwrap_err();
    let OpenError::Missing { what, why } = &refused else { panic!("{refused}") };
    assert!(what.contains("log file") && why.contains("checkpoint-"), "{refused}");
}

#[test]
fn a_missing_file_with_live_data_is_named() {
    let mut world = with_checkpoints();
    let name = world.names(".wal")[0].clone();
    world.disk.unlink(&name).unwrap();
    world.disk.sync_directory().unwrap();
    world.disk = world.disk.crash(POWER_CUT);
    world.lock = Arc::new(world.disk.lock().unwrap());
    let refused = world.reopen(Synced::new()).unwrap_err();
    assert!(refused.to_string().contains("log file 1 "), "{refused}");
}

#[test]
fn files_that_were_unlinked_and_came_back_change_nothing() {
    let mut world = with_checkpoints();
    let end = world.high_watermark(0);
    world.disk.link("00000000000000000001.wal", "kept").unwrap();
    world.move_log_start(0, end).unwrap();
    for _ in 0..4 {
        world.seal_file(1);
        world.maintain();
    }
    world.disk.rename("kept", "00000000000000000001.wal").unwrap();
    world.disk.sync_directory().unwrap();
    world.crash(POWER_CUT);
    assert_eq!(world.partition(0).offsets().log_start, Offset(end));
    assert!(!world.names(".wal").contains(&"00000000000000000001.wal".to_owned()));
}

#[test]
fn a_tombstone_lasts_until_it_is_forgotten() {
    let mut world = with_checkpoints();
    let engine = Arc::clone(&world.engine);
    world.committed(async move { engine.delete_topic(TOPIC).await }).unwrap();
    world.maintain();
    assert_eq!(world.high_watermark(0), 0);
    let tombstones = |world: &World| world.engine.tombstones.lock().clone();
    world.crash(POWER_CUT);
    assert!(tombstones(&world).contains_key(&TOPIC));
    let engine = Arc::clone(&world.engine);
    world.env.block_on(engine.forget_tombstones(&[TOPIC])).unwrap();
    world.commit();
    world.crash(POWER_CUT);
    let other = TopicPartition::new(TopicId([8; 16]), PartitionId(0));
    for _ in 0..60 {
        let batch = text_batch(&"other ".repeat(1000));
        let header = batch::check(&batch).unwrap();
        let partition = world.engine.open_partition(other);
        let append = world.engine.append(&partition, &header, &batch, Class::Client, false);
        world.env.block_on(append).unwrap();
        world.commit();
    }
    world.maintain();
    assert!(tombstones(&world).is_empty());
    world.crash(POWER_CUT);
    assert!(tombstones(&world).is_empty());
    assert_eq!(world.high_watermark(0), 0);
}

#[test]
fn with_flush_os_a_checkpoint_outlives_nothing_that_it_names() {
    let options =
        EngineOptions { flush: Flush::Os, file_bytes: 64 << 10, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::new(1));
    for _ in 0..3 {
        world.seal_file(0);
        world.maintain();
    }
    world.put(0, &["in the cache"]);
    world.seal_file(1);
    world.maintain();
    let covered = world.high_watermark(0);
    world.put(0, &["never synced"]);
    world.crash(POWER_CUT);
    assert!(world.high_watermark(0) >= covered);
    assert!(world.read_to_end(0, 0).unwrap().contains(&"in the cache".to_owned()));
    assert!(world.partition(0).quarantined().is_empty());
}

/// Rots both tables of a frame in the midst of the present file.
fn rot_a_frame(world: &mut World) {
    world.put(0, &["lost"]);
    let entry = world.locate(0, world.high_watermark(0) - 1).entry;
    let name = world.engine.gather.lock().gather.file().name.clone();
    world.put(1, &["behind"]);
    world.put(1, &["proof"]);
    let front = u64::from(entry.position) - 4096;
    world.disk.rot(&name, front + 10, 1);
    world.disk.rot(&name, front + 2 * 4096 + 4090, 1);
    world.disk.rot(&name, front + 4096 + 4090, 1);
}

#[test]
fn what_corruption_took_is_remembered() {
    let mut world = with_checkpoints();
    let before = world.high_watermark(0);
    rot_a_frame(&mut world);
    world.crash(POWER_CUT);
    world.engine.all_opened().unwrap();
    let refused = world.append(0, &text_batch("again at the same offset?")).unwrap_err();
    assert!(matches!(refused, AppendError::EndUnproven(_)), "{refused}");
    assert_eq!(world.read(1, 0).unwrap(), ["behind", "proof"]);
    for crash in [POWER_CUT, Crash::Kill, POWER_CUT] {
        world.crash(crash);
        world.engine.all_opened().unwrap();
        let refused = world.append(0, &text_batch("again at the same offset?")).unwrap_err();
        assert!(matches!(refused, AppendError::EndUnproven(_)), "{refused}");
        assert_eq!(world.high_watermark(0), before);
        world.seal_file(1);
        world.maintain();
    }
}

#[test]
fn a_checkpoint_proves_an_end_that_the_log_lost() {
    let mut world = with_checkpoints();
    let before = world.high_watermark(0);
    rot_a_frame(&mut world);
    let end = world.high_watermark(0);
    // The partitions' states go up to now, the spans to the sealed files.
    world.engine.checkpoint(&mut world.engine.housekeeping.lock());
    world.crash(POWER_CUT);
    world.engine.all_opened().unwrap();
    assert_eq!(world.high_watermark(0), end);
    world.put(0, &["after"]);
    let corrupt = world.read(0, before).unwrap_err();
    assert!(matches!(corrupt, ReadError::Corrupt { .. }), "{corrupt}");
    assert_eq!(world.read(0, end).unwrap(), ["after"]);
    world.crash(POWER_CUT);
    world.engine.all_opened().unwrap();
    assert!(matches!(world.read(0, before).unwrap_err(), ReadError::Corrupt { .. }));
    assert_eq!(world.read(0, end).unwrap(), ["after"]);
}

/// A world whose second youngest sealed file holds the only batch of a
/// partition, and that file's name.
fn with_a_batch_between() -> (World, String) {
    let mut world = World::small_files();
    world.put(0, &["before"]);
    world.seal_file(0);
    world.put(1, &["between"]);
    let at = world.locate(1, 0);
    let name = world.engine.files.get(at.file).unwrap().name.clone();
    world.seal_file(0);
    world.put(0, &["behind"]);
    (world, name)
}

#[test]
fn a_file_cut_short_is_a_hole_that_its_successor_proves() {
    for left in [1, 2, 5] {
        let (mut world, name) = with_a_batch_between();
        let end = world.high_watermark(0);
        let handle = world.disk.open(&name, Access::ReadWrite, Mode::Direct).unwrap();
        handle.set_length(left * 4096).unwrap();
        handle.sync().unwrap();
        for crash in [POWER_CUT, Crash::Kill, POWER_CUT] {
            world.crash(crash);
            world.engine.all_opened().unwrap();
            let gone = world.partition(0).quarantined();
            assert!(!gone.is_empty(), "{left} blocks: nothing is told");
            assert_eq!(world.read(0, 0).unwrap()[0], "before");
            let corrupt = world.read(0, gone[0].first.get()).unwrap_err();
            assert!(matches!(corrupt, ReadError::Corrupt { .. }), "{corrupt}");
            assert_eq!(world.high_watermark(0), end);
            assert_eq!(world.read(0, end - 1).unwrap(), ["behind"]);
        }
    }
}

#[test]
fn a_log_with_a_file_gone_from_its_midst_is_refused() {
    let (mut world, name) = with_a_batch_between();
    world.disk = world.disk.crash(Crash::Kill);
    world.lock = Arc::new(world.disk.lock().unwrap());
    world.disk.unlink(&name).unwrap();
    let refused = world.reopen(Synced::new()).unwrap_err();
    assert!(matches!(refused, OpenError::Missing { .. }), "{refused}");
}
