use proptest::prelude::*;

use super::*;
use crate::codec::produce_request::{PartitionProduceData, ProduceRequestData, TopicProduceData};
use crate::codec::{Encode, wire_str};

fn texts() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(".{0,200}")
}

proptest! {
    /// What the codec writes is what is read here.
    #[test]
    fn reads_what_the_codec_writes(
        id in texts(),
        acks: i16,
        name in ".{0,200}",
        index: i32,
        records in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        version in 3_i16..=12,
    ) {
        let records = records.map(Bytes::from);
        let partition = PartitionProduceData::default();
        let partition = partition.with_index(index).with_records(records.clone());
        let topic = TopicProduceData::default()
            .with_name(wire_str(&name))
            .with_partition_data(vec![partition]);
        let request = ProduceRequestData::default()
            .with_transactional_id(id.as_deref().map(wire_str))
            .with_acks(acks)
            .with_timeout_ms(index)
            .with_topic_data(vec![topic]);
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();

        let mut reader = Reader::new(body.freeze(), version >= 9);
        let bytes = |text: &String| Bytes::from(text.clone());
        prop_assert_eq!(reader.string().unwrap(), id.as_ref().map(bytes));
        prop_assert_eq!(reader.i16().unwrap(), acks);
        prop_assert_eq!(reader.i32().unwrap(), index);
        prop_assert_eq!(reader.array().unwrap(), 1);
        prop_assert_eq!(reader.string().unwrap(), Some(bytes(&name)));
        prop_assert_eq!(reader.array().unwrap(), 1);
        prop_assert_eq!(reader.i32().unwrap(), index);
        prop_assert_eq!(reader.bytes().unwrap(), records);
        for _ in 0..3 {
            reader.tags().unwrap();
        }
        prop_assert!(reader.bytes.is_empty());
    }

    /// What is written here is read back.
    #[test]
    fn writes_what_it_reads(text in texts(), len in 0_usize..1 << 28, flexible: bool) {
        let mut writer = Writer::new(BytesMut::new(), flexible);
        writer.string(text.as_deref());
        writer.array(len);
        writer.null_array();
        writer.no_tags();
        let mut reader = Reader::new(writer.out.freeze(), flexible);
        prop_assert_eq!(reader.string().unwrap(), text.map(Bytes::from));
        prop_assert_eq!(reader.array().unwrap(), len);
        prop_assert_eq!(reader.array().unwrap(), 0);
        reader.tags().unwrap();
        prop_assert!(reader.bytes.is_empty());
    }

    /// Nothing panics or reads beyond the end.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        steps in proptest::collection::vec(0_u8..7, 0..12),
        flexible: bool,
    ) {
        let mut reader = Reader::new(bytes.into(), flexible);
        for step in steps {
            let read = match step {
                0 => reader.i16().map(drop),
                1 => reader.i32().map(drop),
                2 => reader.array().map(drop),
                3 => reader.string().map(drop),
                4 => reader.bytes().map(drop),
                5 => reader.topic_id().map(drop),
                _ => reader.tags(),
            };
            if read.is_err() {
                break;
            }
        }
    }
}
