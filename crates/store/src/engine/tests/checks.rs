//! Each kind of damage, as a check tells it; and that a check changes nothing.

use std::io::IoSlice;

use millrace_log::frame::FrameHeader;

use super::*;
use crate::{
    BLOCK,
    catalog::{CatalogState, CatalogTopic, Identity},
    check::{CheckProgress, CheckRequest, Checked, Finding, FindingKind, check},
    disk::{Access, Mode},
};

impl World {
    fn check(&self) -> (Vec<Finding>, Checked) {
        check_disk(&self.env, &self.disk)
    }

    /// The bytes of a file.
    fn content(&self, name: &str) -> Vec<u8> {
        let file = self.disk.open(name, Access::Read, Mode::Buffered).unwrap();
        let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }
}

pub(super) fn check_disk(env: &TestEnv, disk: &MemDisk) -> (Vec<Finding>, Checked) {
    let topic = CatalogTopic {
        id: TOPIC,
        name: millrace_types::TopicName::new("orders").unwrap(),
        partitions: 3,
        config: BTreeMap::default(),
        attributes: BTreeMap::default(),
        created: crate::env::testing::START,
    };
    let identity = Identity { cluster_id: "c".into(), log_id: [5; 16], format_version: 1 };
    let catalog = CatalogState {
        identity: Some(identity),
        incarnation: Incarnation(100),
        topics: BTreeMap::from([(TOPIC, topic)]),
        configs: BTreeMap::default(),
    };
    let request = CheckRequest {
        env: Arc::new(env.clone()),
        disk: Arc::new(disk.clone()),
        catalog,
        only: None,
    };
    let mut findings = Vec::new();
    let progress = CheckProgress::default();
    let checked = check(&request, &progress, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(checked.findings, findings.len() as u64);
    let (done, total) = progress.bytes();
    assert_eq!(done, total);
    (findings, checked)
}

/// Sealed files, rewritten ones, companions, two checkpoints.
fn filled() -> World {
    let mut world = World::small_files();
    for n in 0..120 {
        world.put(n % 3, &[&format!("{n}-{}", "x".repeat(1500))]);
    }
    world.maintain();
    world.crash(POWER_CUT);
    for n in 0..40 {
        world.put(n % 3, &[&format!("{n}-{}", "y".repeat(1500))]);
    }
    world.maintain();
    // A mark, so that all is known to be synced.
    world.engine.idle_step(&mut world.writer);
    world.crash(POWER_CUT);
    world
}

#[test]
fn a_sound_directory_has_no_findings_and_stays_as_it_is() {
    let world = filled();
    let names = world.disk.list().unwrap();
    assert!(world.names(".sorted").len() + world.names(".companion").len() > 1, "{names:?}");
    let before: Vec<_> = names.iter().map(|name| world.content(name)).collect();
    let (findings, checked) = world.check();
    assert_eq!(findings, []);
    assert!(checked.batches >= 160 && checked.frames > 5, "{checked:?}");
    assert_eq!(world.disk.list().unwrap(), names);
    for (name, before) in names.iter().zip(before) {
        assert!(world.content(name) == before, "{name} has changed");
    }
}

#[test]
fn every_flipped_bit_of_a_log_file_is_found_or_harmless() {
    let world = filled();
    let names = world.disk.list().unwrap();
    let names = names.iter().filter(|name| crate::engine::is_log_file(name));
    let mut found = BTreeMap::<FindingKind, u32>::new();
    let mut random = 5;
    for name in names {
        let bytes = world.content(name);
        for _ in 0..40 {
            let position = crate::env::testing::split_mix(&mut random) % bytes.len() as u64;
            world.disk.rot(name, position, 3);
            let (findings, _) = world.check();
            world.disk.rot(name, position, 3);
            for finding in &findings {
                *found.entry(finding.kind).or_default() += 1;
            }
            let told = findings.iter().any(|finding| {
                finding.file == *name && finding.byte <= position
                    || finding.kind == FindingKind::Start
            });
            assert!(told || findings.is_empty(), "byte {position} of {name}: {findings:?}");
        }
    }
    assert!(found.len() >= 5, "{found:?}");
    assert_eq!(world.check().0, []);
}

#[test]
fn a_rotten_batch_is_told_by_file_byte_partition_and_offsets() {
    let mut world = filled();
    let at = world.rot(1, 20);
    world.crash(POWER_CUT);
    let (findings, _) = world.check();
    let batch: Vec<_> =
        findings.iter().filter(|finding| finding.kind == FindingKind::Batch).collect();
    let [finding] = batch.as_slice() else { panic!("{findings:?}") };
    assert!(finding.file.starts_with(&format!("{:020}.", at.file.get())), "{finding:?}");
    assert_eq!(finding.byte, u64::from(at.entry.position));
    let [lost] = finding.lost.as_slice() else { panic!("{finding:?}") };
    assert_eq!(lost.partition, world.partition(1).id());
    assert_eq!((lost.first, lost.end), (Offset(20), Some(Offset(21))));
}

#[test]
fn frames_that_are_gone_are_told_with_the_partitions_whose_end_they_took() {
    let mut world = World::new();
    world.put(0, &["a"]);
    world.put(1, &["b"]);
    world.put(0, &["c"]);
    world.engine.idle_step(&mut world.writer);
    let name = world.engine.gather.lock().gather.file().name.clone();
    world.disk = world.disk.crash(POWER_CUT);
    // Both tables of the frame with b.
    let bytes = world.content(&name);
    let headers = (BLOCK..bytes.len()).step_by(BLOCK);
    let frame = headers
        .filter_map(|at| FrameHeader::peek(&bytes[at..]).ok())
        .filter(|header| header.extents > 0)
        .nth(1)
        .unwrap();
    let file = world.disk.open(&name, Access::ReadWrite, Mode::Buffered).unwrap();
    for at in [frame.position, frame.end() - BLOCK as u64] {
        file.write_at(at, &[IoSlice::new(&[0xee; BLOCK])]).unwrap();
    }
    let (findings, _) = check_disk(&world.env, &world.disk);
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(finding.kind, FindingKind::Frames);
    assert_eq!((finding.file.as_str(), finding.byte), (name.as_str(), frame.position));
}

#[test]
fn a_torn_tail_is_no_finding() {
    let mut world = World::new();
    world.put(0, &["a"]);
    let name = world.engine.gather.lock().gather.file().name.clone();
    world.put(0, &["b"]);
    world.disk = world.disk.crash(POWER_CUT);
    let bytes = world.content(&name);
    let last = (BLOCK..bytes.len())
        .step_by(BLOCK)
        .filter_map(|at| FrameHeader::peek(&bytes[at..]).ok())
        .next_back()
        .unwrap();
    let file = world.disk.open(&name, Access::ReadWrite, Mode::Buffered).unwrap();
    file.write_at(last.position, &[IoSlice::new(&[0xee; BLOCK])]).unwrap();
    assert_eq!(check_disk(&world.env, &world.disk).0, []);
}

#[test]
fn what_is_missing_and_what_is_unknown_is_told() {
    let world = filled();
    let listed = world.names(".sorted").pop().unwrap_or_else(|| world.names(".wal").remove(0));
    world.disk.unlink(&listed).unwrap();
    let (findings, _) = world.check();
    assert!(findings.iter().any(|finding| finding.kind == FindingKind::Start), "{findings:?}");

    let mut world = filled();
    let other = TopicPartition::new(TopicId([9; 16]), PartitionId(0));
    let partition = world.engine.open_partition(other);
    let batch = text_batch("x");
    let header = batch::check(&batch).unwrap();
    let append = world.engine.append(&partition, &header, &batch, Class::Client, false);
    world.env.block_on(append).unwrap();
    world.commit();
    world.crash(POWER_CUT);
    let (findings, _) = world.check();
    let kinds: Vec<_> = findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::Topic]);
}
