//! Partitions that take no more records.

use super::*;

fn sealed_extent(admission: Admission) -> Extent {
    let seal = batch(None, 1);
    Extent { kind: ExtentKind::Seal, len: 0, ..extent(&seal, admission) }
}

/// A partition of five records of producer 7, sealed behind them, durably.
fn sealed() -> (Partition, Vec<Extent>) {
    let mut partition = Partition::new();
    let records = append(&mut partition, &batch(Some((7, 0, 0)), 5));
    let seal = sealed_extent(partition.admit_seal(Timestamp(20)).unwrap().unwrap());
    partition.committed(&seal);
    (partition, vec![records, seal])
}

fn reroute(partition: &mut Partition, header: &BatchHeader) -> Result<Extent, AdmitError> {
    let admission = partition.admit_rerouted(header, Lsn(3), Timestamp(30))?;
    let extent = Extent { kind: ExtentKind::Rerouted, len: 0, ..extent(header, admission) };
    partition.committed(&extent);
    Ok(extent)
}

#[test]
fn a_seal_counts_for_appends_at_once_and_is_told_when_durable() {
    let mut partition = Partition::new();
    append(&mut partition, &batch(None, 5));
    let tentative = partition.admit(&batch(None, 2), Lsn(2), Timestamp(11)).unwrap();
    let seal = partition.admit_seal(Timestamp(20)).unwrap().unwrap();
    assert_eq!(partition.admitted_seal(), Some(Offset(7)), "behind all that was admitted");
    assert_eq!(partition.sealed(), None);
    assert_eq!(partition.snapshot().behind_seal, 0);
    let refused = partition.admit(&batch(None, 1), Lsn(2), Timestamp(12));
    assert_eq!(refused, Err(AdmitError::Sealed));
    partition.committed(&extent(&batch(None, 2), tentative));
    partition.committed(&sealed_extent(seal));
    assert_eq!((partition.sealed(), partition.high_watermark()), (Some(Offset(7)), Offset(7)));
    assert_eq!(partition.admit_seal(Timestamp(21)), Ok(None), "once is enough");
}

#[test]
fn an_empty_partition_can_be_sealed() {
    let mut partition = Partition::new();
    let seal = sealed_extent(partition.admit_seal(Timestamp(20)).unwrap().unwrap());
    partition.committed(&seal);
    assert_eq!((partition.sealed(), partition.high_watermark()), (Some(Offset(0)), Offset(0)));
    let restored = Partition::restore(partition.snapshot());
    assert_eq!(restored.sealed(), Some(Offset(0)));
}

#[test]
fn a_retry_of_what_stands_before_the_seal_is_known() {
    let (mut partition, _) = sealed();
    let retry = partition.admit(&batch(Some((7, 0, 0)), 5), Lsn(3), Timestamp(30)).unwrap();
    assert!(matches!(retry, Admission::Duplicate { base_offset: Offset(0), .. }));
    let next = partition.admit(&batch(Some((7, 0, 5)), 1), Lsn(3), Timestamp(30));
    assert_eq!(next, Err(AdmitError::Sealed));
    let gap = partition.admit(&batch(Some((7, 0, 9)), 1), Lsn(3), Timestamp(30));
    assert!(matches!(gap, Err(AdmitError::OutOfOrderSequence { .. })));
}

#[test]
fn what_goes_elsewhere_is_sequenced_and_known_when_it_comes_again() {
    let (mut partition, _) = sealed();
    reroute(&mut partition, &batch(Some((7, 0, 5)), 3)).unwrap();
    reroute(&mut partition, &batch(Some((7, 0, 8)), 2)).unwrap();
    assert_eq!(partition.high_watermark(), Offset(5), "no reader sees their offsets");
    let again = partition.admit(&batch(Some((7, 0, 5)), 3), Lsn(9), Timestamp(40)).unwrap();
    assert!(matches!(again, Admission::Duplicate { base_offset: Offset(6), .. }), "{again:?}");
    let gap = reroute(&mut partition, &batch(Some((7, 0, 99)), 1));
    assert!(matches!(gap, Err(AdmitError::OutOfOrderSequence { .. })));
}

#[test]
fn tentative_batches_that_go_elsewhere_are_known_too() {
    let (mut partition, _) = sealed();
    let header = batch(Some((7, 0, 5)), 3);
    partition.admit_rerouted(&header, Lsn(3), Timestamp(30)).unwrap();
    let again = partition.admit_rerouted(&header, Lsn(4), Timestamp(31)).unwrap();
    assert!(matches!(again, Admission::Duplicate { lsn: Lsn(3), .. }), "{again:?}");
}

#[test]
fn a_seal_and_what_came_after_it_are_restored_from_extents_and_from_snapshots() {
    let (mut partition, mut extents) = sealed();
    let middle = partition.snapshot();
    extents.push(reroute(&mut partition, &batch(Some((7, 0, 5)), 3)).unwrap());
    extents.push(reroute(&mut partition, &batch(Some((8, 0, 0)), 1)).unwrap());
    for from in [PartitionSnapshot::default(), middle, partition.snapshot()] {
        let mut bytes = Vec::new();
        from.encode(&mut bytes);
        let mut restored = Partition::restore(PartitionSnapshot::decode(&bytes).unwrap());
        for extent in &extents {
            restored.replay(extent);
        }
        assert_eq!(restored.snapshot(), partition.snapshot());
        assert_eq!(restored.next_offset(), partition.next_offset());
        assert_eq!(restored.admitted_seal(), Some(Offset(5)));
        let again = restored.admit(&batch(Some((7, 0, 5)), 3), Lsn(9), Timestamp(40));
        assert!(matches!(again, Ok(Admission::Duplicate { base_offset: Offset(6), .. })));
    }
}

#[test]
fn extents_on_the_wrong_side_of_a_seal_are_left_out() {
    let (mut partition, extents) = sealed();
    let header = batch(None, 1);
    let stray = Admission::Append {
        base_offset: Offset(9),
        leader_epoch: LeaderEpoch(0),
        append_time: Timestamp(30),
    };
    assert!(!partition.replay(&extent(&header, stray)), "a batch behind the seal");
    let mut open = Partition::new();
    open.replay(&extents[0]);
    let rerouted = Extent { kind: ExtentKind::Rerouted, ..extent(&header, stray) };
    assert!(!open.replay(&rerouted), "nothing goes elsewhere from an open partition");
    for kind in [ExtentKind::Mark, ExtentKind::Release, ExtentKind::Skip] {
        assert!(!open.replay(&Extent { kind, ..extent(&header, stray) }));
    }
}

#[test]
fn an_end_that_is_known_from_elsewhere_seals_too() {
    let mut partition = Partition::new();
    append(&mut partition, &batch(None, 5));
    partition.presume_sealed();
    assert_eq!((partition.sealed(), partition.high_watermark()), (Some(Offset(5)), Offset(5)));
    assert_eq!(Partition::restore(partition.snapshot()).sealed(), Some(Offset(5)));
    let refused = partition.admit(&batch(None, 1), Lsn(2), Timestamp(12));
    assert_eq!(refused, Err(AdmitError::Sealed));
}
