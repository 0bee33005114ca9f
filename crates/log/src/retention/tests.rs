//! What expires, what is unlinked, what is rewritten.

use millrace_types::{LeaderEpoch, PartitionId, TopicId, TopicPartition};
use proptest::prelude::*;

use super::*;
use crate::frame::{Extent, ExtentKind};

/// An index of one extent of 10 offsets and 100 bytes for each (file, largest
/// timestamp, append time).
fn index(extents: &[(u64, i64, i64)]) -> PartitionIndex {
    let mut index = PartitionIndex::new();
    for (number, (file, max_timestamp, append_time)) in (0..).zip(extents) {
        let extent = Extent {
            partition: TopicPartition { topic: TopicId([1; 16]), partition: PartitionId(0) },
            kind: ExtentKind::Batch,
            base_offset: Offset(number * 10),
            last_offset_delta: 9,
            leader_epoch: LeaderEpoch(0),
            position: 4096,
            len: 100,
            max_timestamp: Timestamp(*max_timestamp),
            append_time: Timestamp(*append_time),
            producer: None,
            crc: 0,
        };
        assert!(index.push(FileId(*file), &extent));
    }
    index
}

const HOUR: RetentionLimits = RetentionLimits { age_ms: Some(3_600_000), bytes: None };

fn after_hours(hours: i64) -> Timestamp {
    Timestamp(hours * 3_600_000 + 1)
}

#[test]
fn old_batches_expire_from_the_start_on() {
    let hour = 3_600_000;
    let index = index(&[(1, 0, 0), (1, hour, hour), (1, 0, hour), (2, 2 * hour, 2 * hour)]);
    let expired = |hours| expired(&index, HOUR, after_hours(hours));
    assert_eq!(expired(0), None);
    assert_eq!(expired(1), Some(Offset(10)));
    assert_eq!(expired(2), Some(Offset(30)), "an old one behind a younger waits for it");
    assert_eq!(expired(3), Some(Offset(40)), "all of it");
}

#[test]
fn a_future_timestamp_pins_nothing_and_none_counts_as_appended() {
    let far = i64::MAX;
    let index = index(&[(1, far, 0), (1, -1, 0), (1, 0, 0)]);
    assert_eq!(expired(&index, HOUR, after_hours(1)), Some(Offset(30)));
    assert_eq!(expired(&index, HOUR, after_hours(0)), None);
}

#[test]
fn spans_whose_entries_are_away_expire_whole() {
    let hour = 3_600_000;
    let mut index = index(&[(1, 0, 0), (1, hour, hour), (2, hour, hour)]);
    index.seal(FileId(1));
    index.evict(0);
    assert_eq!(expired(&index, HOUR, after_hours(1)), None);
    assert_eq!(expired(&index, HOUR, after_hours(2)), Some(Offset(30)));
}

#[test]
fn never_less_than_the_limit_stays() {
    let index = index(&[(1, 0, 0), (1, 0, 0), (1, 0, 0)]);
    let keep = |bytes| {
        let limits = RetentionLimits { age_ms: None, bytes: Some(bytes) };
        expired(&index, limits, Timestamp(0))
    };
    assert_eq!(keep(301), None);
    assert_eq!(keep(300), None);
    assert_eq!(keep(201), None);
    assert_eq!(keep(200), Some(Offset(10)));
    assert_eq!(keep(0), Some(Offset(30)));
    assert_eq!(expired(&index, RetentionLimits::default(), after_hours(1_000)), None);
}

#[test]
fn limits_hold_together() {
    let index = index(&[(1, 0, 0), (1, 0, 0), (1, i64::MAX, i64::MAX)]);
    let limits = RetentionLimits { age_ms: Some(3_600_000), bytes: Some(200) };
    assert_eq!(expired(&index, limits, after_hours(1)), Some(Offset(20)));
    assert_eq!(expired(&index, limits, Timestamp(0)), Some(Offset(10)));
}

#[test]
fn extreme_limits_and_clocks_do_not_overflow() {
    let index = index(&[(1, 0, 0)]);
    for age in [0, 1, u64::MAX] {
        for now in [i64::MIN, -1, 0, i64::MAX] {
            let limits = RetentionLimits { age_ms: Some(age), bytes: Some(u64::MAX) };
            let _start = expired(&index, limits, Timestamp(now));
        }
    }
}

const MIB: u64 = 1 << 20;

/// A file of 100 MiB with so many MiB live, in extents of 16 KiB.
fn file(id: u64, live_mib: u64) -> FileUse {
    FileUse {
        file: FileId(id),
        len: 100 * MIB,
        live_bytes: live_mib * MIB,
        live_extents: live_mib * 64,
        partitions: 10.min(live_mib),
        pinned: false,
    }
}

fn ids(ids: &[u64]) -> Vec<FileId> {
    ids.iter().copied().map(FileId).collect()
}

#[test]
fn files_without_anything_live_are_unlinked() {
    let pinned = FileUse { pinned: true, ..file(3, 0) };
    assert_eq!(dead_files(&[file(1, 0), file(2, 1), pinned]).collect::<Vec<_>>(), ids(&[1]));
}

#[test]
fn files_are_rewritten_once_more_than_half_is_dead() {
    assert_eq!(rewrite_for_space(&[file(1, 51)], 200 * MIB), None);
    assert_eq!(rewrite_for_space(&[file(1, 49)], 200 * MIB), Some(ids(&[1])));
    let pinned = FileUse { pinned: true, ..file(1, 10) };
    assert_eq!(rewrite_for_space(&[pinned], 200 * MIB), None);
}

#[test]
fn neighbours_become_one_file() {
    let files = [file(1, 90), file(2, 30), file(3, 0), file(4, 20), file(5, 90), file(6, 10)];
    assert_eq!(rewrite_for_space(&files, 200 * MIB), Some(ids(&[2, 4])));
    assert_eq!(rewrite_for_space(&files, 40 * MIB), Some(ids(&[6])), "2 and 4 do not fit one");
}

#[test]
fn many_files_are_merged_when_the_index_is_over_its_budget() {
    let files = [file(1, 90), file(2, 60), file(3, 60), file(4, 60), file(5, 90)];
    assert_eq!(rewrite_for_index(&files, 190 * MIB), Some(ids(&[2, 3, 4])));
    assert_eq!(rewrite_for_index(&files, 100 * MIB), None);
}

proptest! {
    /// Rewriting ends: what it wrote is not worth rewriting again, and each
    /// rewriting gives back at least half of what it read.
    #[test]
    fn rewriting_ends(len in 0u64..1 << 32, live in 1u64..1 << 32, extents in 0u64..1 << 20, partitions in 0u64..1 << 14) {
        let before = FileUse { file: FileId(1), len, live_bytes: live, live_extents: extents, partitions, pinned: false };
        let after = FileUse { len: before.rewritten_len(), ..before };
        prop_assert!(!after.is_mostly_dead());
        if before.is_mostly_dead() {
            prop_assert!(after.len <= before.len / 2);
        }
    }

    #[test]
    fn plans_name_consecutive_files_that_fit(sizes in proptest::collection::vec((0u64..100, any::<bool>()), 0..12), len_max in 0u64..300) {
        let files: Vec<_> = (1..).zip(&sizes)
            .map(|(id, (live, pinned))| FileUse { pinned: *pinned, ..file(id, *live) }).collect();
        let live: Vec<_> = files.iter().filter(|file| !file.is_dead()).collect();
        for plan in [rewrite_for_space(&files, len_max * MIB), rewrite_for_index(&files, len_max * MIB)].into_iter().flatten() {
            let from = live.iter().position(|file| file.file == plan[0]).unwrap();
            let run = &live[from..from + plan.len()];
            prop_assert_eq!(run.iter().map(|file| file.file).collect::<Vec<_>>(), plan);
            prop_assert!(run.iter().all(|file| !file.pinned));
            let len: u64 = run.iter().map(|file| file.rewritten_len()).sum();
            prop_assert!(run.len() == 1 || len <= len_max * MIB);
        }
    }
}
