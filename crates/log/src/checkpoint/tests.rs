//! Checkpoints come back, lose no more than what is rotten, and count for
//! nothing without their end.

use millrace_types::{LeaderEpoch, PartitionId};
use proptest::prelude::*;

use super::*;
use crate::partition::{EpochStart, Partition};

const HEADER: CheckpointHeader = CheckpointHeader {
    log_id: [9; 16],
    incarnation: Incarnation(3),
    number: 12,
    lsn: Lsn(77),
    time: Timestamp(1_000),
};

fn file() -> impl Strategy<Value = FileRecord> {
    let kind = prop_oneof![Just(FileKind::Wal), Just(FileKind::Sorted), Just(FileKind::Companion)];
    let numbers = any::<[u64; 6]>();
    let companion = proptest::option::of((1..u64::MAX).prop_map(FileId));
    (kind, any::<bool>(), numbers, companion).prop_map(|(kind, quarantined, n, companion)| {
        FileRecord {
            file: FileId(n[0]),
            kind,
            quarantined,
            incarnation: Incarnation(n[1]),
            first_lsn: Lsn(n[2]),
            last_lsn: Lsn(n[3]),
            data_end: n[4],
            len: n[5],
            companion,
        }
    })
}

fn partition() -> impl Strategy<Value = Chunk> {
    let spans =
        proptest::collection::vec((any::<u64>(), 0..50i64, any::<u32>(), any::<[i64; 3]>()), 0..6);
    let epochs = proptest::collection::vec(0i64..100, 0..4);
    (any::<[u8; 16]>(), any::<i32>(), any::<u64>(), spans, epochs).prop_map(
        |(topic, number, lsn, spans, epochs)| {
            let span =
                |(at, (file, offsets, bytes, times)): (i64, (u64, i64, u32, [i64; 3]))| Span {
                    file: FileId(file),
                    base_offset: Offset(at * 100),
                    last_offset: Offset(at * 100 + offsets),
                    bytes: u64::from(bytes),
                    max_timestamp: Timestamp(times[0]),
                    retention_time: Timestamp(times[1]),
                    append_time: Timestamp(times[2]),
                    extents: bytes / 2,
                };
            let start = |(epoch, gap): (i32, i64)| EpochStart {
                epoch: LeaderEpoch(epoch),
                start: Offset(i64::from(epoch) * 100 + gap),
            };
            let mut state = Partition::new().snapshot();
            state.log_start = Offset(7);
            state.high_watermark = Offset(1_000);
            state.epochs = (0..).zip(epochs).map(start).collect();
            Chunk::Partition(Box::new(PartitionRecord {
                partition: TopicPartition { topic: TopicId(topic), partition: PartitionId(number) },
                lsn: Lsn(lsn),
                state,
                spans: (0..).zip(spans).map(span).collect(),
            }))
        },
    )
}

fn chunk() -> impl Strategy<Value = Chunk> {
    let hidden = (any::<[u8; 16]>(), any::<i64>(), proptest::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        proptest::collection::vec(file(), 0..5).prop_map(Chunk::Files),
        partition(),
        hidden.prop_map(|(topic, offset, state)| Chunk::Hidden(HiddenRecord {
            topic: TopicId(topic),
            offset: Offset(offset),
            state,
        })),
    ]
}

/// The checkpoint's bytes, and where each chunk begins.
fn write(chunks: &[Chunk]) -> (Vec<u8>, Vec<usize>) {
    let mut out = Vec::new();
    let mut writer = CheckpointWriter::new(&HEADER, &mut out);
    let mut begins = Vec::new();
    for chunk in chunks {
        begins.push(out.len());
        writer.chunk(chunk, &mut out);
    }
    begins.push(out.len());
    writer.finish(&mut out);
    (out, begins)
}

proptest! {
    #[test]
    fn what_was_written_is_read(chunks in proptest::collection::vec(chunk(), 0..8)) {
        let (bytes, _) = write(&chunks);
        let (header, found) = read(&bytes).unwrap();
        prop_assert_eq!(header, HEADER);
        let found: Result<Vec<_>, _> = found.collect();
        prop_assert_eq!(found.unwrap(), chunks);
    }

    #[test]
    fn a_checkpoint_cut_off_anywhere_is_incomplete(chunks in proptest::collection::vec(chunk(), 0..4), at in any::<prop::sample::Index>()) {
        let (bytes, _) = write(&chunks);
        let cut = &bytes[..at.index(bytes.len())];
        match read(cut) {
            Err(error) => prop_assert_eq!(error, CheckpointError::Header),
            Ok((_, found)) => {
                let incomplete = matches!(found.last(), Some(Err(CheckpointError::Incomplete { .. })));
                prop_assert!(incomplete);
            }
        }
    }

    #[test]
    fn a_rotten_chunk_costs_itself_only(chunks in proptest::collection::vec(chunk(), 1..6), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (mut bytes, begins) = write(&chunks);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let Ok((header, found)) = read(&bytes) else {
            prop_assert!(at < CHECKPOINT_HEADER_LEN);
            return Ok(());
        };
        prop_assert_eq!(header, HEADER);
        let found: Vec<_> = found.collect();
        if (68..CHECKPOINT_HEADER_LEN).contains(&at) {
            return Ok(()); // padding
        }
        let hit = begins.partition_point(|begin| *begin <= at) - 1;
        for (number, chunk) in chunks.iter().enumerate().take(hit) {
            prop_assert_eq!(found[number].as_ref(), Ok(chunk));
        }
        prop_assert!(found.get(hit).is_some_and(Result::is_err));
        if hit < chunks.len() && at >= begins[hit] + CHUNK_HEADER_LEN {
            prop_assert_eq!(&found[hit], &Err(CheckpointError::Chunk { position: begins[hit] }));
            prop_assert_eq!(found.len(), chunks.len());
            prop_assert!(found[hit + 1..].iter().all(Result::is_ok));
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), number in 0u8..5) {
        prop_assert!(read(&bytes).is_err());
        // As a body whose checksum holds: decoded or refused.
        let _decoded = Chunk::decode(number, &bytes);
    }
}

#[test]
fn unknown_versions_are_told() {
    let (mut bytes, _) = write(&[]);
    bytes[8] = 9;
    assert_eq!(read(&bytes).err(), Some(CheckpointError::Version(9)));
}

#[test]
fn a_hostile_count_of_spans_costs_nothing() {
    let mut body = vec![0; 20];
    body.extend_from_slice(&u32::MAX.to_le_bytes());
    body.extend_from_slice(&[0; 200]);
    assert_eq!(Chunk::decode(2, &body), None);
}
