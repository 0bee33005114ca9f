//! What a producer may send, and what becomes of it.

use proptest::prelude::*;

use super::*;
use crate::{compression::Codec, records};

fn batch(records: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Timestamp(1_000));
    for n in 0..records {
        builder.record(i64::from(n), Some(b"key"), Some(b"value"), &[]);
    }
    builder.build()
}

/// A batch with one header field replaced and its CRC made right again.
fn with<const N: usize>(at: usize, field: [u8; N]) -> Vec<u8> {
    let mut bytes = batch(3);
    bytes[at..at + N].copy_from_slice(&field);
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn a_built_batch_passes() {
    let bytes = batch(3);
    let header = check(&bytes).unwrap();
    assert_eq!(header.len, bytes.len());
    assert_eq!(header.count, 3);
    assert_eq!(header.last_offset_delta, 2);
    assert_eq!(header.base_timestamp, Timestamp(1_000));
    assert_eq!(header.max_timestamp, Timestamp(1_002));
    assert_eq!(header.producer, None);
}

#[test]
fn what_a_producer_may_not_send() {
    let refused = |bytes: &[u8]| check(bytes).unwrap_err();
    let whole = batch(3);
    assert_eq!(refused(&[]), BatchError::Truncated { needed: 61, available: 0 });
    assert_eq!(
        refused(&whole[..whole.len() - 1]),
        BatchError::Truncated { needed: whole.len(), available: whole.len() - 1 }
    );
    assert_eq!(refused(&[&whole[..], b"x"].concat()), BatchError::Trailing { extra: 1 });
    assert_eq!(refused(&with(8, 48i32.to_be_bytes())), BatchError::Length { length: 48 });
    assert_eq!(refused(&with(8, (-1i32).to_be_bytes())), BatchError::Length { length: -1 });
    assert!(matches!(refused(&with(8, i32::MAX.to_be_bytes())), BatchError::Truncated { .. }));
    assert_eq!(refused(&with(16, [1])), BatchError::Magic(1));
    assert_eq!(refused(&with(16, [3])), BatchError::Magic(3));
    assert_eq!(refused(&with(21, [0, 0x80])), BatchError::Attributes(0x80));
    assert_eq!(refused(&with(21, [0x80, 0])), BatchError::Attributes(0x8000));
    assert_eq!(refused(&with(21, [0, 5])), BatchError::UnknownCompression(5));
    assert_eq!(refused(&with(21, [0, 0x08])), BatchError::AppendTime);
    assert_eq!(refused(&with(21, [0, 0x20])), BatchError::Control);
    assert_eq!(refused(&with(21, [0, 0x40])), BatchError::DeleteHorizon);
    assert_eq!(refused(&with(0, 1i64.to_be_bytes())), BatchError::BaseOffset(Offset(1)));
    assert_eq!(refused(&with(57, 0i32.to_be_bytes())), BatchError::Count(0));
    assert_eq!(refused(&with(57, i32::MIN.to_be_bytes())), BatchError::Count(i32::MIN));
    assert_eq!(
        refused(&with(57, 4i32.to_be_bytes())),
        BatchError::LastOffsetDelta { count: 4, last_offset_delta: 2 }
    );
    assert_eq!(
        refused(&with(43, 7i64.to_be_bytes())),
        BatchError::Producer { id: 7, epoch: -1, base_sequence: -1 }
    );
    let mut rotten = whole.clone();
    *rotten.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(&rotten), BatchError::Crc { .. }));
}

#[test]
fn damage_is_told_from_what_is_not_allowed() {
    assert!(BatchError::Crc { stored: 0, computed: 1 }.is_corrupt());
    assert!(BatchError::Truncated { needed: 61, available: 0 }.is_corrupt());
    assert!(!BatchError::Magic(1).is_corrupt());
    assert!(!BatchError::Control.is_corrupt());
}

#[test]
fn what_looks_odd_but_is_allowed() {
    assert!(check(&with(27, (-5i64).to_be_bytes())).is_ok(), "times before 1970");
    let transactional = check(&with(21, [0, 0x10])).unwrap();
    assert!(transactional.transactional, "left to the broker");
}

#[test]
fn stamping_moves_a_batch_and_keeps_its_checksum() {
    let mut bytes = batch(3);
    stamp(&mut bytes, Offset(42), LeaderEpoch(7)).unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    check_crc(&header, &bytes).unwrap();
    assert_eq!(header.base_offset, Offset(42));
    assert_eq!(header.leader_epoch, LeaderEpoch(7));
    assert_eq!(header.last_offset(), Offset(44));
    assert_eq!(header.next_offset(), Some(Offset(45)));
    assert!(stamp(&mut bytes[..60], Offset(0), LeaderEpoch(0)).is_err());
}

#[test]
fn offsets_at_the_end_of_their_range_do_not_wrap() {
    let mut bytes = batch(3);
    stamp(&mut bytes, Offset(i64::MAX - 2), LeaderEpoch(0)).unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header.last_offset(), Offset(i64::MAX));
    assert_eq!(header.next_offset(), None);
}

#[test]
fn append_time_replaces_type_and_time_and_keeps_the_records() {
    let mut bytes = batch(3);
    stamp_append_time(&mut bytes, Timestamp(5_000)).unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    check_crc(&header, &bytes).unwrap();
    assert_eq!(header.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, Timestamp(5_000));
    assert_eq!(header.base_timestamp, Timestamp(1_000));
    assert_eq!(bytes[HEADER_LEN..], batch(3)[HEADER_LEN..]);
}

#[test]
fn consecutive_batches_are_walked_up_to_the_first_broken_one() {
    let mut bytes = [batch(1), batch(2)].concat();
    bytes.extend_from_slice(&batch(3)[..70]);
    let walked: Vec<_> =
        batches(&bytes).map(|b| b.map(|(h, whole)| (h.count, whole.len()))).collect();
    assert_eq!(walked.len(), 3);
    assert_eq!(walked[0], Ok((1, batch(1).len())));
    assert_eq!(walked[1], Ok((2, batch(2).len())));
    assert!(walked[2].is_err());
}

const CODECS: [Codec; 5] =
    [Codec::None, Codec::Gzip { level: 6 }, Codec::Snappy, Codec::Lz4, Codec::Zstd { level: 3 }];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// From each codec to each: the records byte for byte, and of the header
    /// all but what tells of their form.
    #[test]
    fn a_batch_in_another_codec_holds_the_same_records(
        values in prop::collection::vec(prop::collection::vec(0u8..9, 0..300), 1..40),
        producer in prop::option::of((0..i64::MAX, 0..i16::MAX, 0..i32::MAX)),
    ) {
        let mut builder = BatchBuilder::new(Timestamp(1_000));
        if let Some((id, epoch, sequence)) = producer {
            builder = builder.producer(ProducerStamp {
                id: ProducerId(id),
                epoch: ProducerEpoch(epoch),
                base_sequence: Sequence(sequence),
            });
        }
        for (n, value) in (0..).zip(&values) {
            builder.record(n * 7 % 5, Some(b"key"), Some(value), &[]);
        }
        let plain = builder.build();
        let first = check(&plain).unwrap();
        let body = &plain[HEADER_LEN..];
        for source in CODECS {
            let (header, bytes) = recode(&first, &plain, body, source, first.max_timestamp);
            prop_assert_eq!(check(&bytes), Ok(header));
            for target in CODECS {
                let found = records::body(&header, &bytes, body.len()).unwrap();
                prop_assert_eq!(&*found, body);
                let (recoded, again) = recode(&header, &bytes, &found, target, header.max_timestamp);
                prop_assert_eq!(check(&again), Ok(recoded));
                prop_assert_eq!(recoded.compression, target.compression());
                let as_before = BatchHeader {
                    len: first.len,
                    crc: first.crc,
                    compression: first.compression,
                    ..recoded
                };
                prop_assert_eq!(as_before, first);
                prop_assert_eq!(&*records::body(&recoded, &again, body.len()).unwrap(), body);
                if target == Codec::None {
                    prop_assert_eq!(&again, &plain);
                }
            }
        }
    }
}

#[test]
fn marks_of_the_attributes_outlive_another_codec() {
    let bytes = with(21, [0, 0b1_0000]);
    let header = check(&bytes).unwrap();
    assert!(header.transactional);
    let body = &bytes[HEADER_LEN..];
    let (recoded, again) = recode(&header, &bytes, body, Codec::Lz4, header.max_timestamp);
    assert_eq!(again[21..23], [0, 0b1_0011]);
    assert_eq!(check(&again), Ok(recoded));
}

#[test]
fn a_largest_timestamp_is_put_right() {
    let bytes = with(35, 77_i64.to_be_bytes());
    let header = check(&bytes).unwrap();
    let (header, right) = with_max_timestamp(&header, &bytes, Timestamp(1_002));
    assert_eq!(right, batch(3));
    assert_eq!(check(&right), Ok(header));
}
