//! Offsets that were given up: readers pass them, partitions go on.

use std::io::IoSlice;

use millrace_log::frame::FrameHeader;

use super::{checks::check_disk, *};
use crate::{
    BLOCK,
    check::FindingKind,
    disk::{Access, Mode},
    repair::{give_up, skips_of},
};

impl World {
    /// Gives up what a check finds, as `millrace repair` does; how many
    /// partitions that concerns.
    fn repair(&self, kind: FindingKind) -> usize {
        let (findings, _) = check_disk(&self.env, &self.disk);
        let finding = findings.iter().find(|finding| finding.kind == kind);
        let finding = finding.unwrap_or_else(|| panic!("{findings:?}"));
        let given = skips_of(finding).unwrap();
        give_up(&self.disk, [5; 16], &given).unwrap();
        given.len()
    }

    /// The process ends, and starts as a broker does.
    fn restart(&mut self) {
        self.crash(POWER_CUT);
        for number in 0..3 {
            self.partition(number);
        }
        self.engine.all_opened().unwrap();
    }
}

/// Destroys both tables of the frame with this text, of a log that is off.
fn destroy(world: &mut World, text: &str) {
    world.engine.idle_step(&mut world.writer);
    world.disk = world.disk.crash(POWER_CUT);
    destroy_more(world, text);
}

fn destroy_more(world: &World, text: &str) {
    let name = world.engine.gather.lock().gather.file().name.clone();
    let file = world.disk.open(&name, Access::ReadWrite, Mode::Buffered).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).unwrap();
    let headers = (BLOCK..at).step_by(BLOCK).rev();
    let frame = headers.filter_map(|at| FrameHeader::peek(&bytes[at..]).ok()).next().unwrap();
    for at in [frame.position, frame.end() - BLOCK as u64] {
        file.write_at(at, &[IoSlice::new(&[0xee; BLOCK])]).unwrap();
    }
    file.sync().unwrap();
    world.disk.sync_directory().unwrap();
}

#[test]
fn readers_pass_a_batch_that_was_given_up_and_no_other() {
    let mut world = World::small_files();
    let texts: Vec<String> = (0..60).map(|n| format!("{n}-{}", "x".repeat(1500))).collect();
    for text in &texts {
        world.put(0, &[text]);
    }
    // So that a checkpoint lists where they are.
    world.maintain();
    let other = world.rot(0, 30);
    world.rot(0, 20);
    world.disk = world.disk.crash(POWER_CUT);
    assert_eq!(world.repair(FindingKind::Batch), 1);
    world.lock = Arc::new(world.disk.lock().unwrap());
    world.reopen(Synced::new()).unwrap();
    world.engine.all_opened().unwrap();
    for _ in 0..3 {
        let read = world.read(0, 19).unwrap();
        assert_eq!(read, texts[19..20], "up to what was lost");
        let read = world.read(0, 20);
        assert!(read.unwrap()[0].starts_with("21-"), "and on behind it");
        assert!(matches!(world.read(0, 30), Err(ReadError::Corrupt { first: Offset(30), .. })));
        assert!(world.names("skips-").is_empty(), "the log has it");
        world.maintain();
        world.restart();
    }
    assert!(world.engine.pinned_files().contains_key(&other.file));
    // What is deleted is not remembered.
    world.move_log_start(0, 40).unwrap();
    assert!(world.partition(0).lock().given_up.is_empty());
}

#[test]
fn a_partition_whose_end_was_lost_goes_on_behind_all_that_it_can_have_had() {
    let mut world = World::new();
    world.put(0, &["a0"]);
    world.put(1, &["lost"]);
    world.put(0, &["a1"]);
    destroy(&mut world, "lost");
    let lock = world.disk.clone();
    // All three may have had records there but 0, which goes on behind it.
    assert_eq!(world.repair(FindingKind::Frames), 2);
    world.lock = Arc::new(lock.lock().unwrap());
    world.reopen(Synced::new()).unwrap();
    for number in 0..3 {
        world.partition(number);
    }
    world.engine.all_opened().unwrap();
    let end = world.high_watermark(1);
    assert!(end >= 1_000_000_000_000 && end % 1_000_000_000_000 == 0, "{end}");
    world.put(1, &["b0", "b1"]);
    world.put(2, &["c0"]);
    world.put(0, &["a2"]);
    for _ in 0..3 {
        assert_eq!(world.read_to_end(0, 0).unwrap(), ["a0", "a1", "a2"]);
        assert_eq!(world.read(1, 0).unwrap(), ["b0", "b1"], "readers pass what was lost");
        assert_eq!(world.read(1, end).unwrap(), ["b0", "b1"]);
        assert_eq!(world.high_watermark(1), end + 2);
        assert_eq!(world.read(2, 0).unwrap(), ["c0"]);
        world.maintain();
        world.restart();
    }
    world.put(1, &["b2"]);
    assert_eq!(world.high_watermark(1), end + 3);
}

#[test]
fn without_repair_a_lost_end_takes_nothing_and_a_crash_in_between_changes_nothing() {
    let mut nth = 1;
    loop {
        let mut world = World::new();
        world.put(1, &["lost"]);
        world.put(0, &["a"]);
        destroy(&mut world, "lost");
        world.repair(FindingKind::Frames);
        world.lock = Arc::new(world.disk.lock().unwrap());
        world.disk.stop_at_nth(nth);
        let started = world.reopen(Synced::new()).and_then(|()| {
            world.partition(1);
            world.engine.all_opened()
        });
        world.disk = world.disk.crash(POWER_CUT);
        world.lock = Arc::new(world.disk.lock().unwrap());
        world.reopen(Synced::new()).unwrap();
        world.partition(1);
        world.engine.all_opened().unwrap();
        let end = world.high_watermark(1);
        world.put(1, &["b"]);
        assert_eq!(world.read(1, 0).unwrap(), ["b"], "operation {nth}");
        world.restart();
        assert_eq!(world.high_watermark(1), end + 1, "operation {nth}");
        assert_eq!(world.read(0, 0).unwrap(), ["a"]);
        if started.is_ok() {
            break;
        }
        nth += 1;
    }
    assert!(nth > 5);

    let mut world = World::new();
    world.put(1, &["lost"]);
    world.put(0, &["a"]);
    destroy(&mut world, "lost");
    world.lock = Arc::new(world.disk.lock().unwrap());
    world.reopen(Synced::new()).unwrap();
    world.partition(1);
    world.engine.all_opened().unwrap();
    let refused = world.append(1, &text_batch("b")).unwrap_err();
    assert!(matches!(refused, AppendError::EndUnproven(_)), "{refused}");
    // Repaired later, when starts have noted the loss already.
    world.restart();
    world.disk = world.disk.crash(POWER_CUT);
    world.repair(FindingKind::Frames);
    world.lock = Arc::new(world.disk.lock().unwrap());
    world.reopen(Synced::new()).unwrap();
    world.partition(1);
    world.engine.all_opened().unwrap();
    world.put(1, &["b"]);
    assert_eq!(world.read(1, 0).unwrap(), ["b"]);
}

#[test]
fn the_state_of_the_server_can_be_given_up_too() {
    let mut world = World::new();
    world.link(0).unwrap();
    world.link(1).unwrap();
    world.engine.idle_step(&mut world.writer);
    let partition = world.engine.hidden_partition(TopicId::GROUPS);
    let at = {
        let core = partition.lock();
        match core.index.lookup(Offset(0)) {
            Lookup::Found(mut run) => run.next().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let name = world.engine.files.get(at.file).unwrap().name.clone();
    world.disk = world.disk.crash(POWER_CUT);
    world.disk.rot(&name, u64::from(at.entry.position + at.entry.len) - 1, 2);
    world.lock = Arc::new(world.disk.lock().unwrap());
    assert!(world.reopen(Synced::new()).is_err());
    drop(std::mem::replace(&mut world.lock, Arc::new(crate::disk::DiskLock::new(()))));
    world.disk = world.disk.crash(POWER_CUT);
    assert_eq!(world.repair(FindingKind::Batch), 1);
    for _ in 0..3 {
        world.restart();
        assert_eq!(world.names("skips-").len(), 1, "it is read before what the log says");
    }
}

#[test]
fn a_damaged_skip_file_is_refused() {
    let mut world = World::small_files();
    world.put(0, &["a"]);
    world.rot(0, 0);
    world.engine.idle_step(&mut world.writer);
    world.disk = world.disk.crash(POWER_CUT);
    world.repair(FindingKind::Batch);
    world.disk.rot("skips-1", 60, 1);
    world.lock = Arc::new(world.disk.lock().unwrap());
    let refused = world.reopen(Synced::new()).unwrap_err().to_string();
    assert!(refused.contains("skips-1") && refused.contains("millrace repair"), "{refused}");
}

#[test]
fn one_loss_that_was_given_up_settles_no_other() {
    // Partition 1 may have ended in either; partition 2 left no trace at all.
    let mut world = World::new();
    world.put(1, &["b0"]);
    world.put(0, &["first"]);
    world.put(0, &["between"]);
    world.put(0, &["second"]);
    world.put(0, &["last"]);
    destroy(&mut world, "first");
    destroy_more(&world, "second");
    let (findings, _) = check_disk(&world.env, &world.disk);
    let frames: Vec<_> = findings.iter().filter(|f| f.kind == FindingKind::Frames).collect();
    let [first, second] = frames.as_slice() else { panic!("{findings:?}") };
    give_up(&world.disk, [5; 16], &skips_of(first).unwrap()).unwrap();
    world.lock = Arc::new(world.disk.lock().unwrap());
    for _ in 0..2 {
        world.reopen(Synced::new()).unwrap();
        (0..3).for_each(|number| drop(world.partition(number)));
        world.engine.all_opened().unwrap();
        for number in [1, 2] {
            let refused = world.append(number, &text_batch("b")).unwrap_err();
            assert!(matches!(refused, AppendError::EndUnproven(_)), "{refused}");
        }
        world.disk = world.disk.crash(POWER_CUT);
        world.lock = Arc::new(world.disk.lock().unwrap());
    }
    give_up(&world.disk, [5; 16], &skips_of(second).unwrap()).unwrap();
    world.restart();
    world.put(1, &["b1"]);
    world.put(2, &["c0"]);
}

#[test]
fn the_servers_own_records_can_have_lost_their_end() {
    let mut world = World::new();
    world.put(0, &["a", "b"]);
    world.move_log_start(0, 1).unwrap();
    world.link(0).unwrap();
    world.put(1, &["lost"]);
    world.put(0, &["c"]);
    destroy(&mut world, "lost");
    world.lock = Arc::new(world.disk.lock().unwrap());
    world.reopen(Synced::new()).unwrap();
    // What is left of them is read; what may be lost is a person's to give up.
    assert_eq!(world.chain.links("before the loss"), 1);
    let refused = world.engine.all_opened().unwrap_err().to_string();
    assert!(refused.contains("millrace repair DIR --skip 00000000000000000001.wal:"), "{refused}");
    world.disk = world.disk.crash(POWER_CUT);
    assert_eq!(world.repair(FindingKind::Frames), 4);
    world.restart();
    assert_eq!(world.names("skips-").len(), 1, "it is read before what the log says");
    for round in 1..4 {
        world.restart();
        assert_eq!(world.partition(0).offsets().log_start, Offset(1));
        world.link(round).unwrap();
        assert_eq!(world.chain.links("behind the loss"), round + 1);
        assert_eq!(world.read(0, 1).unwrap(), ["b", "c"]);
        world.put(1, &["d"]);
    }
    // Once checkpoints stand for what it is needed for it goes.
    world.options.file_bytes = 64 << 10;
    world.restart();
    for _ in 0..3 {
        world.maintain();
        world.seal_file(0);
        world.maintain();
    }
    world.restart();
    world.restart();
    assert!(world.names("skips-").is_empty());
}

#[test]
fn what_stays_for_the_servers_own_records_outlives_no_topic() {
    let mut world = World::new();
    world.link(0).unwrap();
    world.put(1, &["lost"]);
    world.put(0, &["a"]);
    destroy(&mut world, "lost");
    world.repair(FindingKind::Frames);
    world.restart();
    assert_eq!(world.names("skips-").len(), 1, "it is read before what the log says");
    let engine = Arc::clone(&world.engine);
    world.committed(async move { engine.delete_topic(TOPIC).await }).unwrap();
    let engine = Arc::clone(&world.engine);
    world.committed(async move { engine.forget_tombstones(&[TOPIC]).await }).unwrap();
    world.crash(POWER_CUT);
    assert_eq!(world.names("skips-").len(), 1);
    let topics: Vec<_> = world.engine.partitions_by_id().iter().map(|p| p.id().topic).collect();
    assert!(!topics.contains(&TOPIC), "{topics:?}");
}

#[test]
fn a_backup_has_the_skip_file_that_a_start_needs() {
    for elsewhere in [true, false] {
        let mut world = World::new();
        world.put(0, &["a"]);
        world.link(0).unwrap();
        world.put(1, &["lost"]);
        world.put(0, &["b"]);
        destroy(&mut world, "lost");
        world.repair(FindingKind::Frames);
        world.restart();
        assert_eq!(world.names("skips-").len(), 1);
        world.disk.copy_elsewhere(elsewhere);
        world.back_up().unwrap();
        let copy = world.restored();
        assert_eq!(copy.read(0, 0).unwrap(), ["a", "b"]);
        assert_eq!(copy.chain.links("restored"), 1);
    }
}

#[test]
fn an_unfinished_skip_file_is_in_nobodys_way() {
    let mut world = World::small_files();
    world.put(0, &["a"]);
    world.rot(0, 0);
    world.engine.idle_step(&mut world.writer);
    let mut nth = 1;
    loop {
        world.disk = world.disk.crash(POWER_CUT);
        let (findings, _) = check_disk(&world.env, &world.disk);
        let given = skips_of(&findings[0]).unwrap();
        world.disk.fail_nth(nth, Fault::Full);
        let written = give_up(&world.disk, [5; 16], &given);
        world.disk.heal();
        if let Ok(name) = written {
            assert_eq!(name, "skips-1");
            break;
        }
        assert_eq!(world.names("skips-"), Vec::<String>::new(), "operation {nth}");
        nth += 1;
    }
    assert!(nth > 4, "{nth}");
    // One that a process left which died.
    world.disk.create("skips-2.new", Mode::Buffered).unwrap();
    assert_eq!(give_up(&world.disk, [5; 16], &[]).unwrap(), "skips-2");
}

#[test]
fn what_was_given_up_is_found_again_and_nothing_is_to_be_done() {
    let mut world = World::small_files();
    for n in 0..60 {
        world.put(0, &[&format!("{n}-{}", "x".repeat(1500))]);
    }
    world.maintain();
    world.rot(0, 20);
    world.engine.idle_step(&mut world.writer);
    world.disk = world.disk.crash(POWER_CUT);
    world.repair(FindingKind::Batch);
    world.restart();
    world.engine.idle_step(&mut world.writer);
    let kinds: Vec<_> = check_disk(&world.env, &world.disk.crash(POWER_CUT))
        .0
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert_eq!(kinds, [FindingKind::DeadBatch]);

    let mut world = World::new();
    world.put(0, &["lost"]);
    world.put(0, &["a"]);
    destroy(&mut world, "lost");
    world.repair(FindingKind::Frames);
    world.restart();
    world.engine.idle_step(&mut world.writer);
    let kinds: Vec<_> = check_disk(&world.env, &world.disk.crash(POWER_CUT))
        .0
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert_eq!(kinds, [FindingKind::DeadBatch]);
}

#[test]
fn what_is_lost_is_noted_where_the_first_file_is_full_of_what_was_recovered() {
    let mut world = World::new();
    world.put(1, &["lost"]);
    world.put(0, &["a"]);
    world.engine.idle_step(&mut world.writer);
    // No frame says that this one is synced: the start copies it.
    let big = "b".repeat(60_000);
    world.put(0, &[&big]);
    world.disk = world.disk.crash(POWER_CUT);
    destroy_more(&world, "lost");
    world.options.file_bytes = 16 << 10;
    for _ in 0..3 {
        world.restart();
        world.engine.maintain_step();
        assert!(matches!(world.append(1, &text_batch("c")), Err(AppendError::EndUnproven(_))));
        assert!(world.read_to_end(0, 0).unwrap() == ["a".to_owned(), big.clone()]);
    }
}

#[test]
fn an_end_that_is_lost_with_a_files_own_end_is_given_up_by_its_place() {
    let mut world = World::small_files();
    world.seal_file(0);
    world.put(1, &["lost with the end of its file"]);
    let name = world.engine.gather.lock().gather.file().name.clone();
    world.seal_file(0);
    world.put(0, &["behind"]);
    world.engine.idle_step(&mut world.writer);
    world.disk = world.disk.crash(POWER_CUT);
    let file = world.disk.open(&name, Access::ReadWrite, Mode::Buffered).unwrap();
    file.set_length(2 * BLOCK as u64).unwrap();
    file.sync().unwrap();
    // All of 0's range that is lost, and the ends of 1 and 2.
    assert_eq!(world.repair(FindingKind::Lost), 3);
    let (findings, _) = check_disk(&world.env, &world.disk);
    assert!(findings.iter().all(|finding| finding.lost.is_empty()), "{findings:?}");
    world.restart();
    world.put(1, &["b"]);
    world.put(2, &["c"]);
}
