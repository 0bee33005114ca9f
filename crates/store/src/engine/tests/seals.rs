//! Partitions that take no more records, and where their producers' batches go.

use super::*;
use crate::engine::Part;

const SEALED: AdmitError = AdmitError::Sealed;

impl World {
    /// Seals partitions and tells their ends.
    fn seal(&mut self, numbers: &[u32]) -> Result<Vec<i64>, AppendError> {
        let partitions: Vec<_> = numbers.iter().map(|n| self.partition(*n)).collect();
        let engine = Arc::clone(&self.engine);
        let sealed = self.committed(async move { engine.seal_partitions(&partitions).await });
        Ok(sealed?.into_iter().map(Offset::get).collect())
    }

    fn sealed(&self, number: u32) -> Option<i64> {
        self.partition(number).sealed().map(Offset::get)
    }

    /// What producer 9 sent to `from` goes to others, as a record each.
    fn reroute(
        &self,
        from: u32,
        sequence: i32,
        to: &[(u32, &str)],
    ) -> Result<Appended, AppendError> {
        let batch = producer_batch(9, sequence, "never looked at");
        let header = batch::check(&batch).unwrap();
        let parts: Vec<Part> = to
            .iter()
            .map(|(number, text)| {
                let batch = text_batch(text);
                let header = batch::check(&batch).unwrap();
                Part { partition: self.partition(*number), header, batch }
            })
            .collect();
        let from = self.partition(from);
        let appends = self.engine.appends();
        self.env.block_on(appends.append_rerouted(&from, &header, &parts, false))
    }
}

fn admit_error<T: std::fmt::Debug>(result: Result<T, AppendError>) -> AdmitError {
    match result.unwrap_err() {
        AppendError::Admit(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_sealed_partition_takes_nothing_and_stays_readable() {
    let mut world = World::new();
    world.put(0, &["a", "b"]);
    assert_eq!(world.seal(&[0]).unwrap(), [2]);
    assert_eq!(admit_error(world.append(0, &text_batch("late"))), SEALED);
    for crash in [Crash::Kill, POWER_CUT, Crash::PowerCut(Unsynced::Torn)] {
        assert_eq!(world.sealed(0), Some(2));
        assert_eq!(world.high_watermark(0), 2);
        assert_eq!(world.read(0, 0).unwrap(), ["a", "b"]);
        assert_eq!(admit_error(world.append(0, &text_batch("late"))), SEALED);
        world.put(1, &["goes on"]);
        world.crash(crash);
    }
}

#[test]
fn a_seal_holds_from_the_moment_that_it_is_gathered_and_is_told_when_durable() {
    let mut world = World::new();
    world.append(0, &text_batch("tentative")).unwrap();
    let (engine, partition) = (Arc::clone(&world.engine), world.partition(0));
    let mut sealing =
        Box::pin(async move { engine.seal_partitions(&[partition]).await.map(|ends| ends[0]) });
    assert!(poll_once(&mut sealing).is_none(), "it waits for the disk");
    assert_eq!(admit_error(world.append(0, &text_batch("late"))), SEALED);
    assert_eq!((world.sealed(0), world.high_watermark(0)), (None, 0));
    world.commit();
    assert_eq!(poll_once(&mut sealing), Some(Ok(Offset(1))));
    assert_eq!((world.sealed(0), world.high_watermark(0)), (Some(1), 1));
}

#[test]
fn a_seal_that_never_reached_the_disk_is_none() {
    let mut world = World::new();
    world.put(0, &["a"]);
    let (engine, partition) = (Arc::clone(&world.engine), world.partition(0));
    let mut sealing = Box::pin(async move { engine.seal_partitions(&[partition]).await });
    assert!(poll_once(&mut sealing).is_none());
    world.crash(POWER_CUT);
    assert_eq!(world.sealed(0), None);
    world.put(0, &["b"]);
    assert_eq!(world.read(0, 0).unwrap(), ["a", "b"]);
}

#[test]
fn many_are_sealed_by_one_frame() {
    let mut world = World::new();
    world.put(3, &["x"]);
    // One is under way already, in a frame with room for few.
    world.append(4, &text_batch("y")).unwrap();
    let numbers: Vec<u32> = (0..1000).collect();
    let before = world.engine.durable_lsn();
    let ends = world.seal(&numbers).unwrap();
    assert_eq!((ends.len(), ends[3], ends[4], ends[5]), (1000, 1, 1, 0));
    assert!(world.engine.durable_lsn().get() - before.get() <= 2);
    world.crash(Crash::Kill);
    assert!(numbers.iter().all(|n| world.sealed(*n).is_some()));
    assert_eq!(world.seal(&numbers).unwrap(), ends, "what is sealed stays so");
}

#[test]
fn a_seal_outlives_its_file() {
    let mut world = World::small_files();
    world.put(0, &["a"]);
    world.seal(&[0, 5]).unwrap();
    world.reroute(0, 0, &[(1, "b")]).unwrap();
    world.commit();
    for _ in 0..6 {
        world.seal_file(2);
        world.maintain();
    }
    world.move_log_start(0, 1).unwrap();
    let end = world.high_watermark(2);
    world.move_log_start(2, end).unwrap();
    for _ in 0..6 {
        world.seal_file(2);
        world.maintain();
    }
    for crash in [POWER_CUT, Crash::Kill] {
        world.crash(crash);
        assert_eq!((world.sealed(0), world.sealed(5)), (Some(1), Some(0)));
        assert_eq!(world.partition(0).offsets().log_start, Offset(1));
        assert_eq!(world.read(1, 0).unwrap(), ["b"]);
        assert!(world.reroute(0, 0, &[(1, "b")]).unwrap().duplicate, "{crash:?}");
        assert!(world.partition(0).quarantined().is_empty());
    }
}

#[test]
fn what_goes_elsewhere_stands_once_whoever_retries() {
    let mut world = World::new();
    world.append(0, &producer_batch(9, 0, "before")).unwrap();
    world.seal(&[0]).unwrap();
    assert!(world.append(0, &producer_batch(9, 0, "before")).unwrap().duplicate);
    assert_eq!(admit_error(world.append(0, &producer_batch(9, 1, "x"))), SEALED);
    let first = world.reroute(0, 1, &[(1, "one"), (2, "two")]).unwrap();
    let tentative = world.reroute(0, 1, &[(1, "one"), (2, "two")]).unwrap();
    assert!(tentative.duplicate && tentative.lsn == first.lsn);
    assert!(world.append(0, &producer_batch(9, 1, "x")).unwrap().duplicate);
    world.commit();
    for crash in [Crash::Kill, POWER_CUT, Crash::Kill] {
        world.crash(crash);
        assert!(world.reroute(0, 1, &[(1, "one"), (2, "two")]).unwrap().duplicate);
        assert_eq!(world.read(1, 0).unwrap(), ["one"]);
        assert_eq!(world.read(2, 0).unwrap(), ["two"]);
        assert_eq!(world.read(0, 0).unwrap(), ["before"]);
    }
    assert!(!world.reroute(0, 2, &[(1, "three")]).unwrap().duplicate);
    let gap = world.reroute(0, 7, &[(1, "gap")]);
    assert!(matches!(admit_error(gap), AdmitError::OutOfOrderSequence { .. }));
    world.commit();
    assert_eq!(world.read(1, 0).unwrap(), ["one", "three"]);
}

#[test]
fn nothing_goes_to_one_that_is_sealed_too() {
    let mut world = World::new();
    world.seal(&[0, 1]).unwrap();
    assert_eq!(admit_error(world.reroute(0, 0, &[(2, "two"), (1, "one")])), SEALED);
    world.commit();
    assert_eq!(world.high_watermark(2), 0);
    assert!(!world.reroute(0, 0, &[(2, "two")]).unwrap().duplicate, "nothing was remembered");
}

#[test]
fn an_end_that_corruption_took_is_taken_from_elsewhere() {
    let mut world = World::new();
    world.put(0, &["a"]);
    world.partition(0).presume_sealed();
    assert_eq!(admit_error(world.append(0, &text_batch("late"))), SEALED);
    assert_eq!((world.sealed(0), world.read(0, 0).unwrap()), (Some(1), vec!["a".to_owned()]));
}

/// What the one who seals was told before the disk failed.
#[derive(Default)]
struct Told {
    ends: Option<Vec<i64>>,
    children: Vec<String>,
    rerouted: Option<String>,
}

/// Records, a seal of two partitions, records of what takes over, and a batch
/// that goes elsewhere; until the disk fails.
fn reshard(world: &mut World, told: &mut Told) -> Option<()> {
    for text in ["a", "b"] {
        world.append(0, &text_batch(text)).ok()?;
    }
    world.append(1, &text_batch("c")).ok()?;
    let partitions = [world.partition(0), world.partition(1)];
    let engine = Arc::clone(&world.engine);
    let mut sealing = Box::pin(async move { engine.seal_partitions(&partitions).await });
    assert!(poll_once(&mut sealing).is_none_or(|ends| ends.is_err()));
    // Before the seal is durable: readers must not find it without that.
    world.append(2, &text_batch("d")).ok()?;
    world.commit();
    let ends = poll_once(&mut sealing)?.ok()?;
    told.ends = Some(ends.into_iter().map(Offset::get).collect());
    told.children.push("d".to_owned());
    world.append(2, &text_batch("e")).ok()?;
    world.commit();
    (!world.engine.is_ended()).then_some(())?;
    told.children.push("e".to_owned());
    world.reroute(1, 0, &[(2, "f"), (3, "g")]).ok()?;
    world.commit();
    (!world.engine.is_ended()).then_some(())?;
    told.rerouted = Some("g".to_owned());
    Some(())
}

/// Fails at the n-th operation of the disk by `fail`, for every n, and checks
/// what the next starts find.
fn fail_everywhere(fail: impl Fn(&mut World, u64) -> Option<Crash>) {
    for nth in 1.. {
        let mut world = World::new();
        world.put(7, &["before"]);
        let from = world.disk.operations();
        let crash = fail(&mut world, nth);
        let mut told = Told::default();
        let done = reshard(&mut world, &mut told).is_some();
        let over = world.disk.operations() - from < nth;
        match crash {
            Some(crash) => world.crash(crash),
            None => {
                world.disk.heal();
                if world.engine.is_ended() {
                    let synced = world.engine.synced();
                    world.reopen(synced).unwrap();
                }
            }
        }
        for again in [Crash::Kill, POWER_CUT] {
            check(&world, &told, &format!("operation {nth}, {crash:?}"));
            world.crash(again);
        }
        if over {
            assert!(done, "all went well in the end");
            return;
        }
    }
}

fn check(world: &World, told: &Told, context: &str) {
    let sealed = [world.sealed(0), world.sealed(1)];
    assert_eq!(sealed[0].is_some(), sealed[1].is_some(), "{context}: both or none");
    if told.ends.is_some() {
        assert_eq!(sealed, [Some(2), Some(1)], "{context}: it was told");
    }
    let children = world.read(2, 0).unwrap();
    if sealed[0].is_some() {
        assert_eq!([world.read(0, 0).unwrap().len(), world.read(1, 0).unwrap().len()], [2, 1]);
    } else {
        assert!(children.is_empty(), "{context}: {children:?} outlived the seal");
    }
    assert!(children.starts_with(&told.children), "{context}: {children:?}");
    let rerouted = world.read(3, 0).unwrap();
    assert_eq!(rerouted.contains(&"g".to_owned()), children.contains(&"f".to_owned()), "{context}");
    assert!(rerouted.len() >= usize::from(told.rerouted.is_some()), "{context}");
    if sealed[1].is_some() {
        let again = world.reroute(1, 0, &[(2, "f"), (3, "g")]).unwrap();
        assert_eq!(again.duplicate, !rerouted.is_empty(), "{context}: it stands once");
    }
}

#[test]
fn a_kill_at_any_operation_leaves_all_seals_or_none() {
    fail_everywhere(|world, nth| {
        world.disk.stop_at_nth(nth);
        Some(Crash::Kill)
    });
}

#[test]
fn a_power_cut_at_any_operation_leaves_all_seals_or_none() {
    for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn] {
        fail_everywhere(|world, nth| {
            world.disk.stop_at_nth(nth);
            Some(Crash::PowerCut(unsynced))
        });
    }
}

#[test]
fn a_failing_operation_leaves_all_seals_or_none() {
    fail_everywhere(|world, nth| {
        world.disk.fail_nth(nth, Fault::Io);
        None
    });
}
