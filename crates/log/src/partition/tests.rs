//! What a partition answers, example by example, then against a model that
//! remembers everything.

use millrace_types::{PartitionId, TopicId, TopicPartition};

use super::*;
use crate::batch::{Compression, ProducerStamp, TimestampType};

mod model;
mod seals;

const PARTITION: TopicPartition =
    TopicPartition { topic: TopicId([1; 16]), partition: PartitionId(0) };

/// A checked batch of `count` records.
fn batch(producer: Option<(i64, i16, i32)>, count: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(0),
        len: 100,
        leader_epoch: LeaderEpoch(-1),
        crc: 0,
        compression: Compression::None,
        timestamp_type: TimestampType::CreateTime,
        transactional: false,
        control: false,
        delete_horizon: false,
        last_offset_delta: count - 1,
        base_timestamp: Timestamp(0),
        max_timestamp: Timestamp(5),
        producer: producer.map(|(id, epoch, sequence)| ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
        }),
        count,
    }
}

/// The extent of an admitted batch.
fn extent(header: &BatchHeader, admission: Admission) -> Extent {
    let Admission::Append { base_offset, leader_epoch, append_time } = admission else {
        panic!("{admission:?} is not appended")
    };
    Extent {
        partition: PARTITION,
        kind: ExtentKind::Batch,
        base_offset,
        last_offset_delta: u32::try_from(header.last_offset_delta).unwrap(),
        leader_epoch,
        position: 0,
        len: 100,
        max_timestamp: header.max_timestamp,
        append_time,
        producer: header.producer,
        crc: 0,
    }
}

/// Admits a batch into frame 1 and makes it durable at once.
fn append(partition: &mut Partition, header: &BatchHeader) -> Extent {
    let extent = extent(header, partition.admit(header, Lsn(1), Timestamp(10)).unwrap());
    partition.committed(&extent);
    extent
}

fn admit(
    partition: &mut Partition,
    producer: (i64, i16, i32),
    count: i32,
) -> Result<Admission, AdmitError> {
    partition.admit(&batch(Some(producer), count), Lsn(9), Timestamp(10))
}

fn is_appended(result: Result<Admission, AdmitError>) -> bool {
    matches!(result, Ok(Admission::Append { .. }))
}

#[test]
fn offsets_are_given_out_at_once_and_shown_when_durable() {
    let mut partition = Partition::new();
    let header = batch(None, 3);
    let first = partition.admit(&header, Lsn(1), Timestamp(10)).unwrap();
    let second = partition.admit(&header, Lsn(1), Timestamp(11)).unwrap();
    let at = |offset, time| Admission::Append {
        base_offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        append_time: Timestamp(time),
    };
    assert_eq!((first, second), (at(0, 10), at(3, 11)));
    assert_eq!((partition.next_offset(), partition.high_watermark()), (Offset(6), Offset(0)));
    partition.committed(&extent(&header, first));
    assert_eq!((partition.next_offset(), partition.high_watermark()), (Offset(6), Offset(3)));
    assert_eq!(partition.last_stable_offset(), Offset(3));
}

#[test]
#[should_panic(expected = "committed out of order")]
fn what_was_never_admitted_cannot_be_committed() {
    let mut partition = Partition::new();
    let header = batch(None, 3);
    let admission = partition.admit(&header, Lsn(1), Timestamp(10)).unwrap();
    let wrong = Extent { base_offset: Offset(3), ..extent(&header, admission) };
    partition.committed(&wrong);
}

#[test]
fn append_times_never_go_back() {
    let mut partition = Partition::new();
    let header = batch(None, 1);
    partition.admit(&header, Lsn(1), Timestamp(50)).unwrap();
    let after = partition.admit(&header, Lsn(1), Timestamp(40)).unwrap();
    assert!(matches!(after, Admission::Append { append_time: Timestamp(50), .. }));
}

#[test]
fn offsets_run_out_with_an_error() {
    let mut partition = Partition::restore(PartitionSnapshot {
        high_watermark: Offset(i64::MAX - 2),
        ..PartitionSnapshot::default()
    });
    let refused = partition.admit(&batch(None, 3), Lsn(1), Timestamp(0));
    assert_eq!(refused, Err(AdmitError::OffsetOverflow));
    assert!(is_appended(partition.admit(&batch(None, 2), Lsn(1), Timestamp(0))));
}

#[test]
fn a_producer_without_state_begins_at_any_sequence_and_epoch() {
    let mut partition = Partition::new();
    assert!(is_appended(admit(&mut partition, (7, 3, 1_000), 5)));
    assert_eq!(
        admit(&mut partition, (7, 3, 1_006), 1),
        Err(AdmitError::OutOfOrderSequence {
            id: ProducerId(7),
            expected: Sequence(1_005),
            got: Sequence(1_006)
        }),
    );
    assert!(is_appended(admit(&mut partition, (7, 3, 1_005), 1)), "pipelined: not durable yet");
    assert!(is_appended(admit(&mut partition, (8, 0, 0), 1)), "another producer");
}

#[test]
fn a_duplicate_waits_for_the_frame_of_its_original() {
    let mut partition = Partition::new();
    let header = batch(Some((7, 0, 0)), 3);
    let original = partition.admit(&header, Lsn(4), Timestamp(10)).unwrap();
    let duplicate = |lsn| Admission::Duplicate {
        base_offset: Offset(0),
        append_time: Timestamp(10),
        lsn: Lsn(lsn),
    };
    assert_eq!(partition.admit(&header, Lsn(5), Timestamp(20)), Ok(duplicate(4)));
    assert_eq!(partition.next_offset(), Offset(3), "nothing was given out");
    partition.committed(&extent(&header, original));
    assert_eq!(partition.admit(&header, Lsn(6), Timestamp(30)), Ok(duplicate(0)));
}

#[test]
fn the_last_five_batches_are_known_exactly() {
    let mut partition = Partition::new();
    for number in 0..6 {
        append(&mut partition, &batch(Some((7, 0, number * 2)), 2));
    }
    let out_of_order = |result| matches!(result, Err(AdmitError::OutOfOrderSequence { .. }));
    assert!(out_of_order(admit(&mut partition, (7, 0, 0), 2)), "the sixth last");
    for number in 1..6 {
        let duplicate = admit(&mut partition, (7, 0, number * 2), 2);
        let base_offset = Offset(i64::from(number) * 2);
        assert!(
            matches!(duplicate, Ok(Admission::Duplicate { base_offset: b, .. }) if b == base_offset)
        );
    }
    assert!(out_of_order(admit(&mut partition, (7, 0, 10), 1)), "the first half of one");
    assert!(out_of_order(admit(&mut partition, (7, 0, 8), 4)), "two in one");
}

#[test]
fn tentative_batches_push_durable_ones_out_of_the_five() {
    let mut partition = Partition::new();
    append(&mut partition, &batch(Some((7, 0, 0)), 1));
    for sequence in 1..6 {
        assert!(is_appended(admit(&mut partition, (7, 0, sequence), 1)));
    }
    let sixth_last = admit(&mut partition, (7, 0, 0), 1);
    assert!(matches!(sixth_last, Err(AdmitError::OutOfOrderSequence { .. })));
    // If they are lost with the incarnation, it is known again.
    let mut next = Partition::restore(partition.snapshot());
    assert!(matches!(admit(&mut next, (7, 0, 0), 1), Ok(Admission::Duplicate { .. })));
}

#[test]
fn sequences_wrap_around() {
    let mut partition = Partition::new();
    append(&mut partition, &batch(Some((7, 0, i32::MAX - 1)), 2));
    assert!(is_appended(admit(&mut partition, (7, 0, 0), 1)));
    let mut partition = Partition::new();
    append(&mut partition, &batch(Some((7, 0, i32::MAX - 1)), 4));
    assert!(matches!(
        admit(&mut partition, (7, 0, i32::MAX - 1), 4),
        Ok(Admission::Duplicate { .. })
    ));
    assert!(is_appended(admit(&mut partition, (7, 0, 2), 1)));
}

#[test]
fn a_newer_epoch_begins_at_zero_and_fences_the_older() {
    let mut partition = Partition::new();
    append(&mut partition, &batch(Some((7, 1, 0)), 4));
    assert_eq!(
        admit(&mut partition, (7, 2, 4), 1),
        Err(AdmitError::OutOfOrderSequence {
            id: ProducerId(7),
            expected: Sequence(0),
            got: Sequence(4)
        }),
    );
    assert!(is_appended(admit(&mut partition, (7, 2, 0), 1)));
    let fenced = Err(AdmitError::InvalidProducerEpoch {
        id: ProducerId(7),
        current: ProducerEpoch(2),
        got: ProducerEpoch(1),
    });
    assert_eq!(admit(&mut partition, (7, 1, 4), 1), fenced);
    assert_eq!(admit(&mut partition, (7, 1, 0), 4), fenced, "a duplicate of the older one too");
}

#[test]
fn producers_leave_by_age_unless_they_have_batches_in_flight() {
    let mut partition = Partition::new();
    for (id, time) in [(1, 10), (2, 20), (3, 30)] {
        let header = batch(Some((id, 0, 0)), 1);
        let admission = partition.admit(&header, Lsn(1), Timestamp(time)).unwrap();
        partition.committed(&extent(&header, admission));
    }
    assert!(is_appended(admit(&mut partition, (1, 0, 1), 1)));
    assert!(is_appended(admit(&mut partition, (4, 0, 0), 1)));
    assert_eq!(partition.producer_count(), 4);
    assert!(partition.knows_producer(ProducerId(4)));
    assert!(!partition.knows_producer(ProducerId(5)));
    assert_eq!(partition.least_recent_producer(), Some((ProducerId(2), Timestamp(20))));
    assert_eq!(partition.expire_producers(Timestamp(30)), 1);
    assert!(!partition.knows_producer(ProducerId(2)));
    assert!(!partition.forget_producer(ProducerId(1)), "in flight");
    assert!(partition.forget_producer(ProducerId(3)));
    let left: Vec<_> = partition.producers().map(|p| p.id).collect();
    assert_eq!(left, [ProducerId(1)]);
}

#[test]
fn producers_are_described_as_durable() {
    let mut partition = Partition::new();
    append(&mut partition, &batch(Some((7, 1, 5)), 4));
    assert!(is_appended(admit(&mut partition, (7, 1, 9), 1)));
    let described: Vec<_> = partition.producers().collect();
    let state = ProducerState {
        id: ProducerId(7),
        epoch: ProducerEpoch(1),
        last_sequence: Sequence(8),
        last_offset: Offset(3),
        last_timestamp: Timestamp(5),
        append_time: Timestamp(10),
    };
    assert_eq!(described, [state]);
}

#[test]
fn an_entry_is_small() {
    assert_eq!(size_of::<producers::Entry>(), 136);
}

/// A partition that three incarnations appended to: epochs 0 at 0, 1 at 3, 2 at
/// 6; the fourth has appended nothing yet.
fn of_three_lives() -> Partition {
    let mut partition = Partition::new();
    for _ in 0..3 {
        append(&mut partition, &batch(None, 3));
        partition = Partition::restore(partition.snapshot());
    }
    partition
}

#[test]
fn each_life_that_appends_opens_an_epoch() {
    let partition = Partition::restore(Partition::new().snapshot());
    assert_eq!(partition.leader_epoch(), LeaderEpoch(0), "nothing was ever appended");
    let partition = of_three_lives();
    assert_eq!(partition.leader_epoch(), LeaderEpoch(3));
    assert_eq!(
        Partition::restore(partition.snapshot()).leader_epoch(),
        LeaderEpoch(3),
        "it appended nothing"
    );
    let starts: Vec<_> =
        partition.epochs().iter().map(|e| (e.epoch.get(), e.start.get())).collect();
    assert_eq!(starts, [(0, 0), (1, 3), (2, 6)]);
}

#[test]
fn epochs_end_where_the_next_one_begins() {
    let mut partition = of_three_lives();
    let end = |partition: &Partition, epoch| {
        partition.epoch_end(LeaderEpoch(epoch)).map(|(epoch, end)| (epoch.get(), end.get()))
    };
    assert_eq!(end(&partition, 0), Some((0, 3)));
    assert_eq!(end(&partition, 2), Some((2, 9)));
    assert_eq!(end(&partition, 3), Some((3, 9)), "the current one, without records");
    assert_eq!(end(&partition, 4), None);
    assert_eq!(end(&partition, -1), None);
    assert_eq!(partition.log_start_epoch(), LeaderEpoch(0));
    partition.move_log_start(Offset(4));
    assert_eq!(end(&partition, 0), Some((0, 4)), "its records are gone");
    assert_eq!(end(&partition, 1), Some((1, 6)));
    assert_eq!(partition.log_start_epoch(), LeaderEpoch(1));
    partition.move_log_start(Offset(9));
    assert_eq!(partition.epochs().len(), 1, "the last one stays");
    assert_eq!(partition.log_start_epoch(), LeaderEpoch(2));
    assert_eq!(Partition::restore(partition.snapshot()).leader_epoch(), LeaderEpoch(3));
}

#[test]
fn recovery_replays_what_is_new_and_only_that() {
    let mut partition = Partition::new();
    let old = append(&mut partition, &batch(Some((7, 0, 0)), 3));
    let snapshot = partition.snapshot();
    let new = append(&mut partition, &batch(Some((7, 0, 3)), 3));
    let mut next = Partition::restore(snapshot);
    assert!(!next.replay(&old));
    assert!(next.replay(&new));
    assert!(!next.replay(&new));
    assert_eq!(next.snapshot(), partition.snapshot());
    assert_eq!(next.leader_epoch(), LeaderEpoch(1));
    assert!(is_appended(admit(&mut next, (7, 0, 6), 1)));
}

#[test]
fn a_log_start_may_be_replayed_before_what_it_outran() {
    let mut live = Partition::new();
    let extents: Vec<_> =
        (0..4).map(|n| append(&mut live, &batch(Some((7, 0, n * 3)), 3))).collect();
    live.move_log_start(Offset(7));
    let mut next = Partition::new();
    next.move_log_start(Offset(7));
    assert_eq!((next.high_watermark(), next.next_offset()), (Offset(7), Offset(7)));
    for extent in &extents {
        assert!(next.replay(extent));
    }
    assert_eq!(next.snapshot(), live.snapshot());
    // Where rewriting dropped dead batches, their producers are forgotten.
    let mut next = Partition::new();
    next.move_log_start(Offset(7));
    assert!(next.replay(&extents[3]));
    assert_eq!((next.log_start(), next.high_watermark()), (Offset(7), Offset(12)));
}

#[test]
fn appends_go_on_behind_a_log_start_that_outran_everything() {
    let mut partition = Partition::new();
    partition.move_log_start(Offset(100));
    let extent = append(&mut partition, &batch(None, 1));
    assert_eq!(extent.base_offset, Offset(100));
    assert!(!partition.move_log_start(Offset(50)));
    assert_eq!(partition.log_start(), Offset(100));
}
