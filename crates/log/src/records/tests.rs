//! Records come back as they were built, and lies are found out.

use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, BatchError, check};

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

fn any_records() -> impl Strategy<Value = Vec<Owned>> {
    let some = || proptest::option::of(bytes());
    let headers = proptest::collection::vec((bytes(), some()), 0..4);
    proptest::collection::vec((-1_000_000i64..1_000_000, some(), some(), headers), 1..20)
}

fn build(records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Timestamp(1_000_000));
    for (delta, key, value, headers) in records {
        let headers: Vec<_> = headers
            .iter()
            .map(|(key, value)| RecordHeader { key, value: value.as_deref() })
            .collect();
        builder.record(*delta, key.as_deref(), value.as_deref(), &headers);
    }
    builder.build()
}

fn own(record: &Record<'_>) -> Owned {
    let headers = record.headers.iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec)));
    (
        record.timestamp_delta,
        record.key.map(<[u8]>::to_vec),
        record.value.map(<[u8]>::to_vec),
        headers.collect(),
    )
}

#[test]
fn fields_of_every_length_are_read() {
    let lengths = [0, 1, 63, 64, 8191, 8192, 1 << 20];
    let record = |len: usize| {
        let bytes = || vec![7; len];
        (0, Some(bytes()), Some(bytes()), vec![(bytes(), Some(bytes())), (bytes(), None)])
    };
    let mut all: Vec<Owned> = lengths.into_iter().map(record).collect();
    all.push((i64::MAX, None, None, Vec::new()));
    all.push((i64::MIN, None, None, Vec::new()));
    let batch = build(&all);
    let header = check(&batch).unwrap();
    let body = body(&header, &batch, 8 << 20).unwrap();
    let found: Vec<_> = super::records(&header, &body).map(|it| own(&it.unwrap())).collect();
    assert_eq!(found, all);
}

proptest! {
    #[test]
    fn what_was_built_is_read(records in any_records()) {
        let batch = build(&records);
        let header = check(&batch).unwrap();
        let body = body(&header, &batch, 1 << 20).unwrap();
        let mut latest = i64::MIN;
        for (number, (found, wanted)) in (0..).zip(super::records(&header, &body).zip(&records)) {
            let found = found.unwrap();
            prop_assert_eq!(&own(&found), wanted);
            prop_assert_eq!(found.headers.len(), wanted.3.len());
            prop_assert_eq!(found.offset(&header), Offset(number));
            latest = latest.max(found.timestamp(&header).get());
        }
        prop_assert_eq!(super::records(&header, &body).count(), records.len());
        prop_assert_eq!(header.max_timestamp, Timestamp(latest));
    }

    #[test]
    fn garbled_records_end_in_an_error_or_in_other_records(records in any_records(), at in any::<prop::sample::Index>(), byte: u8) {
        let batch = build(&records);
        let header = check(&batch).unwrap();
        let mut garbled = batch[HEADER_LEN..].to_vec();
        let at = at.index(garbled.len());
        garbled[at] = byte;
        prop_assert!(super::records(&header, &garbled).count() <= records.len() + 1);
        for record in super::records(&header, &garbled).flatten() {
            prop_assert_eq!(record.headers.iter().count(), record.headers.len());
        }
    }

    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300), count: i32) {
        let mut header = check(&build(&[(0, None, None, vec![])])).unwrap();
        header.count = count;
        prop_assert!(super::records(&header, &bytes).count() <= 301);
    }
}

#[test]
fn counts_that_lie_are_found_out() {
    let batch = build(&[(0, None, None, vec![]), (1, None, None, vec![])]);
    let mut header = check(&batch).unwrap();
    let body = &batch[HEADER_LEN..];
    header.count = 3;
    assert_eq!(
        super::records(&header, body).last(),
        Some(Err(RecordError::Count { count: 3, found: 2 }))
    );
    header.count = 1;
    assert_eq!(
        super::records(&header, body).last(),
        Some(Err(RecordError::Count { count: 1, found: 2 }))
    );
}

#[test]
fn a_hostile_header_count_costs_nothing() {
    // length 11, attributes, delta 0, offset 0, null key, null value, 2^31 - 1 headers
    let body = [20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    let mut header = check(&build(&[(0, None, None, vec![])])).unwrap();
    header.count = 1;
    assert_eq!(
        super::records(&header, &body).next(),
        Some(Err(RecordError::Malformed { index: 0 }))
    );
}

#[test]
fn with_append_time_every_record_has_the_batchs_time() {
    let mut batch = build(&[(5, None, None, vec![])]);
    crate::batch::stamp_append_time(&mut batch, Timestamp(77)).unwrap();
    assert_eq!(check(&batch), Err(BatchError::AppendTime), "a client may not send that");
    let header = BatchHeader::parse(&batch).unwrap();
    let record = super::records(&header, &batch[HEADER_LEN..]).next().unwrap().unwrap();
    assert_eq!(record.timestamp(&header), Timestamp(77));
}
