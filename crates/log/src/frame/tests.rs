//! Frames and footers survive their round trip and nothing else passes for
//! one.

use millrace_types::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicPartition,
};
use proptest::prelude::*;

use super::*;
use crate::batch::ProducerStamp;

fn partitions() -> impl Strategy<Value = TopicPartition> {
    (0u8..3, 0i32..3).prop_map(|(topic, partition)| {
        TopicPartition::new(TopicId([topic; 16]), PartitionId(partition))
    })
}

fn producers() -> impl Strategy<Value = Option<ProducerStamp>> {
    let stamp = (0..=i64::MAX, 0..=i16::MAX, 0..=i32::MAX);
    proptest::option::of(stamp.prop_map(|(id, epoch, sequence)| ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
    }))
}

/// Extents as a group commit has them: sorted, offsets disjoint per partition,
/// bytes within `payload`.
fn extents(payload: u32) -> impl Strategy<Value = Vec<Extent>> {
    let one = (
        partitions(),
        (0i64..1 << 40, 0u32..100, any::<i32>()),
        (0..payload, 0..payload),
        (any::<i64>(), any::<i64>(), any::<u32>()),
        producers(),
    );
    let extent = one.prop_map(|(partition, offsets, bytes, rest, producer)| Extent {
        partition,
        kind: ExtentKind::Batch,
        base_offset: Offset(offsets.0 * 100),
        last_offset_delta: offsets.1 % 100,
        leader_epoch: LeaderEpoch(offsets.2),
        position: bytes.0.min(bytes.1),
        len: bytes.0.max(bytes.1) - bytes.0.min(bytes.1),
        max_timestamp: Timestamp(rest.0),
        append_time: Timestamp(rest.1),
        producer,
        crc: rest.2,
    });
    proptest::collection::vec(extent, 0..60).prop_map(|mut extents| {
        extents.sort_by_key(Extent::order);
        extents.dedup_by_key(|e| e.order());
        extents
    })
}

const SEED: Seed = Seed { incarnation: Incarnation(3), file: FileId(7), position: 5 * 4096 };

/// The bytes of a file at a range of positions.
fn part<'a>(file: &'a [u8], range: &std::ops::Range<u64>) -> &'a [u8] {
    let at = |position| usize::try_from(position).unwrap();
    &file[at(range.start)..at(range.end)]
}

/// A frame with some payload.
fn frame(extents: &[Extent], payload_len: usize) -> (FrameHeader, Vec<u8>) {
    let front = front_len(extents.len());
    let header =
        FrameHeader::new(Lsn(42), SEED, 4096, Timestamp(99), front, payload_len, extents.len())
            .unwrap();
    let mut bytes = vec![0xee; header.frame_len as usize];
    encode_front(&header, extents, &mut bytes[..front]);
    encode_back(&header, extents, &mut bytes[front + payload_len..]);
    (header, bytes)
}

proptest! {
    #[test]
    fn both_tables_give_back_what_was_written(extents in extents(9_000), payload in 9_000usize..20_000) {
        let (header, bytes) = frame(&extents, payload);
        prop_assert_eq!(bytes.len() % BLOCK, 0);
        prop_assert_eq!(back_len(payload, extents.len()), bytes.len() - front_len(extents.len()) - payload);
        let front = decode_front(&bytes, SEED).unwrap();
        prop_assert_eq!(&front, &(header, extents));
        let back = decode_back(&bytes, SEED.incarnation, SEED.file, header.end()).unwrap();
        prop_assert_eq!(back, front);
    }

    #[test]
    fn one_flipped_bit_is_found(extents in extents(5_000), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (header, mut bytes) = frame(&extents, 5_000);
        // Magic, CRC, the other fields or the table.
        let at = at.index(header.table_len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode_front(&bytes, SEED).is_err());
        prop_assert!(decode_back(&bytes, SEED.incarnation, SEED.file, header.end()).is_ok());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), front in any::<bool>()) {
        prop_assert!(decode_front(&bytes, SEED).is_err());
        let end = bytes.len() as u64;
        prop_assert!(decode_back(&bytes, SEED.incarnation, SEED.file, end).is_err());
        if bytes.len() >= FRAME_HEADER_LEN {
            let magic = if front { FRONT_MAGIC } else { BACK_MAGIC };
            bytes[..4].copy_from_slice(&magic.to_le_bytes());
            prop_assert!(decode_front(&bytes, SEED).is_err());
        }
    }

    #[test]
    fn footers_give_back_every_partition(mut extents in extents(9_000), inputs in proptest::collection::vec(any::<u64>().prop_map(FileId), 0..5)) {
        let mut end = None;
        extents.retain(|e| {
            let disjoint = end.is_none_or(|(p, last)| p != e.partition || last < e.base_offset);
            if disjoint {
                end = Some((e.partition, e.last_offset()));
            }
            disjoint
        });
        let info = FooterInfo { file: FileId(7), incarnation: Incarnation(3), data_end: 9_000, first_lsn: Lsn(5), last_lsn: Lsn(6) };
        let position = 3 * BLOCK;
        let mut file = vec![0; position];
        file.extend(encode_footer(position as u64, info, &extents, &inputs));
        prop_assert_eq!(file.len() % BLOCK, 0);

        let trailer = Trailer::decode(&file, file.len() as u64).unwrap();
        prop_assert_eq!(trailer.info, info);
        let range = |r| part(&file, &r);
        let footer = Footer::decode(trailer, range(trailer.summary_range())).unwrap();
        prop_assert_eq!(&footer.inputs, &inputs);
        let mut found = Vec::new();
        for entry in &footer.directory {
            let part = decode_extents(&trailer, entry, range(entry.extents_range(&trailer))).unwrap();
            prop_assert_eq!(footer.find(entry.partition), Some(entry));
            prop_assert_eq!(part.len(), entry.extents as usize);
            prop_assert_eq!(part.iter().map(|e| u64::from(e.len)).sum::<u64>(), entry.bytes);
            prop_assert_eq!(part.iter().map(|e| e.max_timestamp).max(), Some(entry.max_timestamp));
            found.extend(part);
        }
        prop_assert_eq!(found, extents);
    }

    #[test]
    fn a_rotten_footer_is_found(extents in extents(5_000), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        prop_assume!(extents.windows(2).all(|w| w[0].partition != w[1].partition || w[0].last_offset() < w[1].base_offset));
        let info = FooterInfo { file: FileId(7), incarnation: Incarnation(3), data_end: 9_000, first_lsn: Lsn(5), last_lsn: Lsn(6) };
        let mut bytes = encode_footer(0, info, &extents, &[FileId(1)]);
        let whole = bytes.clone();
        bytes[at.index(whole.len())] ^= 1 << bit;
        let read = |bytes: &[u8]| -> Result<Vec<Extent>, FooterError> {
            let trailer = Trailer::decode(bytes, bytes.len() as u64)?;
            let range = |r| part(bytes, &r);
            let footer = Footer::decode(trailer, range(trailer.summary_range()))?;
            let parts: Result<Vec<_>, _> = footer.directory.iter()
                .map(|e| decode_extents(&trailer, e, range(e.extents_range(&trailer)))).collect();
            Ok(parts?.concat())
        };
        // Bits of the padding may flip unseen; nothing else.
        if let Ok(read) = read(&bytes) {
            prop_assert_eq!(read, extents);
        }
    }

    #[test]
    fn file_headers_survive(kind in 1u8..4, id: [u8; 16], numbers: (u64, u64, u64, i64), at in 0usize..68, bit in 0u8..8) {
        let header = FileHeader {
            kind: FileKind::from_number(kind).unwrap(), log_id: id, incarnation: Incarnation(numbers.0),
            file: FileId(numbers.1), first_lsn: Lsn(numbers.2), created: Timestamp(numbers.3),
        };
        let mut bytes = header.encode();
        prop_assert_eq!(FileHeader::decode(&bytes), Ok(header));
        bytes[at] ^= 1 << bit;
        prop_assert!(FileHeader::decode(&bytes).is_err());
    }
}

#[test]
fn a_frame_holds_nowhere_else() {
    let (header, bytes) = frame(&[], 100);
    for seed in [
        Seed { incarnation: Incarnation(4), ..SEED },
        Seed { file: FileId(8), ..SEED },
        Seed { position: 6 * 4096, ..SEED },
    ] {
        let elsewhere = FrameError::Elsewhere { file: SEED.file, position: SEED.position };
        assert_eq!(decode_front(&bytes, seed), Err(elsewhere));
    }
    let end = header.end() + 4096;
    assert!(decode_back(&bytes, SEED.incarnation, SEED.file, end).is_err());
}

#[test]
fn a_mark_takes_two_blocks() {
    let (header, bytes) = frame(&[], 0);
    assert_eq!(bytes.len(), 2 * BLOCK);
    assert_eq!(header.extents, 0);
    assert_eq!(header.payload_position(), SEED.position + 4096);
}

#[test]
fn a_writer_may_leave_more_room_before_the_payload() {
    let front = 4 * BLOCK;
    let header = FrameHeader::new(Lsn(1), SEED, 0, Timestamp(0), front, 10, 1).unwrap();
    assert_eq!(header.frame_len as usize, front + BLOCK);
    assert_eq!(
        FrameHeader::new(Lsn(1), SEED, 0, Timestamp(0), BLOCK, 10, 100),
        None,
        "too little room"
    );
    assert_eq!(FrameHeader::new(Lsn(1), SEED, 0, Timestamp(0), BLOCK, FRAME_LEN_MAX, 1), None);
}

#[test]
fn a_reader_learns_how_much_to_read() {
    let (header, bytes) = frame(&[], 100);
    assert_eq!(FrameHeader::peek(&bytes[..FRAME_HEADER_LEN]), Ok(header));
    assert_eq!(
        FrameHeader::peek(&bytes[..100]),
        Err(FrameError::Truncated { needed: FRAME_HEADER_LEN, available: 100 })
    );
    assert_eq!(FrameHeader::peek(&[0; 200]), Err(FrameError::Magic));
}

#[test]
fn unknown_versions_are_told() {
    let mut bytes = FileHeader {
        kind: FileKind::Wal,
        log_id: [1; 16],
        incarnation: Incarnation(1),
        file: FileId(1),
        first_lsn: Lsn(1),
        created: Timestamp(0),
    }
    .encode();
    bytes[8] = 2;
    assert_eq!(FileHeader::decode(&bytes), Err(FileError::Version(2)));
    assert_eq!(FileHeader::decode(&bytes[..60]), Err(FileError::Truncated));
    assert_eq!(FileHeader::decode(&[0; 4096]), Err(FileError::Magic));
}

/// Found by the fuzz target `footer`: a directory that says other bytes than
/// its extents was believed.
#[test]
fn a_directory_agrees_with_its_extents() {
    let stamp = Timestamp(0);
    let extent = |base: i64| Extent {
        partition: TopicPartition::new(TopicId([7; 16]), PartitionId(0)),
        kind: ExtentKind::Batch,
        base_offset: Offset(base),
        last_offset_delta: 9,
        leader_epoch: LeaderEpoch(0),
        position: 0,
        len: 100,
        max_timestamp: stamp,
        append_time: stamp,
        producer: None,
        crc: 0,
    };
    let info = FooterInfo {
        file: FileId(7),
        incarnation: Incarnation(3),
        data_end: 9_000,
        first_lsn: Lsn(5),
        last_lsn: Lsn(6),
    };
    let bytes = encode_footer(0, info, &[extent(0), extent(10)], &[]);
    let trailer = Trailer::decode(&bytes, bytes.len() as u64).unwrap();
    let footer = Footer::decode(trailer, part(&bytes, &trailer.summary_range())).unwrap();
    let entry = footer.directory[0];
    let table = part(&bytes, &entry.extents_range(&trailer));
    assert!(decode_extents(&trailer, &entry, table).is_ok());
    for lie in [
        DirectoryEntry { bytes: 199, ..entry },
        DirectoryEntry { base_offset: Offset(1), ..entry },
        DirectoryEntry { last_offset: Offset(20), ..entry },
    ] {
        assert_eq!(decode_extents(&trailer, &lie, table), Err(FooterError::Content));
    }
}
