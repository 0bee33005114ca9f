use millrace_log::batch::{Compression, check};
use millrace_log::records::{body, records};
use millrace_types::{ProducerEpoch, ProducerId as LogProducerId, Sequence};
use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn template(sizes: Sizes, compression: Compression) -> (Filler, Arc<Template>) {
    let filler = Filler::new(sizes.record);
    let template = Arc::new(Template::new(7, sizes, &filler, compression));
    (filler, template)
}

proptest! {
    /// What is patched in place is what the log itself accepts, at every count and codec, also when
    /// a batch is used again for fewer records.
    #[test]
    fn the_log_accepts_every_batch(
        record in STAMP_LEN..600, batch in 100usize..20_000, counts in prop::collection::vec(1usize..40, 1..4),
        keyed: bool, codec in 0usize..5, first in 0u64..5_000_000_000,
    ) {
        let sizes = Sizes { record, keyed, batch, records_max: usize::MAX };
        let (filler, template) = template(sizes, CODECS[codec]);
        let mut it = Batch::new(&template);
        for count in counts {
            it.begin(3, first);
            let pushed = (0..count).take_while(|n| it.push(9, *n as u64, 1_000 + *n as u64, Some(*n as u64))).count();
            prop_assert_eq!(pushed, count.min(template.records_max()));
            it.finish(ProducerId { id: 5, epoch: 2 }, 1_234).unwrap();

            let header = check(it.wire()).unwrap();
            prop_assert_eq!(usize::try_from(header.count).unwrap(), pushed);
            prop_assert_eq!(header.compression, CODECS[codec]);
            prop_assert_eq!(header.max_timestamp.get(), 1_234);
            let producer = header.producer.unwrap();
            prop_assert_eq!(producer.id, LogProducerId(5));
            prop_assert_eq!(producer.epoch, ProducerEpoch(2));
            prop_assert_eq!(producer.base_sequence, Sequence(i32::try_from(first % (1 << 31)).unwrap()));
            prop_assert!(pushed == 1 || CODECS[codec] != Compression::None || it.wire().len() <= batch);

            let body = body(&header, it.wire(), usize::MAX).unwrap();
            for (n, read) in records(&header, &body).enumerate() {
                let read = read.unwrap();
                let value = read.value.unwrap();
                let stamp = Stamp::read(value).unwrap();
                let n = n as u64;
                prop_assert_eq!(stamp, Stamp { run: 7, producer: 9, sequence: first + n, time: 1_000 + n, slot: u32::try_from(n).unwrap() });
                prop_assert_eq!(value.len(), record);
                prop_assert_eq!(Some(&value[STAMP_LEN..]), filler.get(stamp.slot, record - STAMP_LEN));
                let key = keyed.then(|| key_bytes(n));
                prop_assert_eq!(read.key, key.as_ref().map(|key| &key[..]));
            }
        }
    }
}

#[test]
fn a_batch_holds_as_many_records_as_fit() {
    let sizes = Sizes { record: 1000, keyed: false, batch: 16_384, records_max: usize::MAX };
    assert_eq!(template(sizes, Compression::None).1.records_max(), 16);
    let one = Sizes { records_max: 1, ..sizes };
    assert_eq!(template(one, Compression::None).1.records_max(), 1);
    let long = Sizes { record: 50_000, ..sizes };
    assert_eq!(
        template(long, Compression::None).1.records_max(),
        1,
        "a record is sent, however long"
    );
}

#[test]
fn without_idempotence_a_batch_names_no_producer() {
    let sizes = Sizes { record: 100, keyed: false, batch: 1000, records_max: 5 };
    let mut batch = Batch::new(&template(sizes, Compression::None).1);
    batch.begin(0, 0);
    assert!(batch.push(0, 0, 0, None));
    batch.finish(ProducerId::NONE, 0).unwrap();
    assert_eq!(check(batch.wire()).unwrap().producer, None);
}

#[test]
fn keys_go_where_java_clients_send_them() {
    // From the Java client's own test of murmur2.
    let hashes = [
        ("21", -973_932_308i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ];
    for (key, hash) in hashes {
        let expected = (hash & i32::MAX).cast_unsigned() % 1000;
        assert_eq!(partition_of(key.as_bytes(), 1000), expected, "{key}");
    }
}
