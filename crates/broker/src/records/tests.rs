use millrace_types::{PartitionId, TopicName};

use super::*;
use crate::{NewTopic, config::Overrides};

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn partition(broker: &Broker) -> Arc<Partition> {
    let new = NewTopic::plain(TopicName::new("t").unwrap(), 1, Overrides::new());
    let topic = wait(broker.create_topic(new, false)).unwrap();
    topic.partition(PartitionId(0)).unwrap()
}

fn append(broker: &Broker, partition: &Arc<Partition>, values: &[&[u8]]) -> Appended {
    let mut records = BatchBuilder::new(broker.env().wall());
    for value in values {
        records.record(0, None, Some(value), &[]);
    }
    let appended = wait(broker.appends().append_records(partition, records)).unwrap();
    wait(broker.durable(appended.lsn)).unwrap();
    appended
}

fn read(
    broker: &Broker,
    partition: &Arc<Partition>,
    from: i64,
    limit: (usize, usize),
) -> RecordsRead {
    let limit = RecordsLimit { records_max: limit.0, bytes_max: limit.1 };
    wait(broker.read_records(partition, Offset(from), limit)).unwrap()
}

fn values(read: &RecordsRead) -> Vec<&[u8]> {
    read.records.iter().map(|record| record.value.as_deref().unwrap()).collect()
}

#[test]
fn what_is_appended_is_read_with_the_time_of_its_append() {
    let broker = Broker::in_memory();
    let partition = partition(&broker);
    let first = append(&broker, &partition, &[b"a", b"b"]);
    let second = append(&broker, &partition, &[b"c"]);
    let all = read(&broker, &partition, 0, (100, 100));
    assert_eq!(values(&all), [b"a", b"b", b"c"]);
    let times: Vec<_> = all.records.iter().map(|record| record.append_time).collect();
    assert_eq!(times, [first.at, first.at, second.at]);
    assert_eq!(all.next, Offset(3));
    assert_eq!(wait(broker.append_time_at(&partition, Offset(2))).unwrap(), Some(second.at));
    let found = wait(broker.offset_appended_at(&partition, first.at)).unwrap();
    assert_eq!(found, Some(Offset(0)));
    let later = second.at.plus_ms(1);
    assert_eq!(wait(broker.offset_appended_at(&partition, later)).unwrap(), None);
}

#[test]
fn a_page_ends_at_its_limits_and_goes_on_from_there() {
    let broker = Broker::in_memory();
    let partition = partition(&broker);
    append(&broker, &partition, &[b"aa", b"bb", b"cc"]);
    append(&broker, &partition, &[b"dd", b"eeeeeeee", b"f"]);
    let page = read(&broker, &partition, 0, (2, 100));
    assert_eq!((values(&page), page.next), (vec![&b"aa"[..], b"bb"], Offset(2)));
    let page = read(&broker, &partition, 2, (100, 5));
    assert_eq!((values(&page), page.next), (vec![&b"cc"[..], b"dd"], Offset(4)));
    let page = read(&broker, &partition, 4, (100, 5));
    assert_eq!((values(&page), page.next), (vec![&b"eeeeeeee"[..]], Offset(5)), "alone, whole");
    let page = read(&broker, &partition, 5, (100, 5));
    assert_eq!((values(&page), page.next), (vec![&b"f"[..]], Offset(6)));
    assert!(read(&broker, &partition, 6, (100, 5)).records.is_empty());
}

#[test]
fn records_are_found_wherever_blocks_cut_them() {
    let mut whole = Vec::new();
    for (base, size) in [(0, 0), (2, 9), (4, 40)] {
        let mut batch = BatchBuilder::new(Timestamp(0));
        batch.record(0, Some(b"key"), Some(&vec![7; size]), &[]);
        batch.record(0, None, Some(b"last"), &[]);
        let mut batch = batch.build();
        batch[..8].copy_from_slice(&i64::to_be_bytes(base));
        whole.extend_from_slice(&batch);
    }
    let whole = Bytes::from(whole);
    let read = |pieces: &[Bytes]| {
        let limit = RecordsLimit { records_max: 100, bytes_max: 1000 };
        let mut page = Page { read: RecordsRead::default(), limit };
        let more = page.take(Batches(Pieces(pieces.to_vec().into())), &[Timestamp(1); 3]);
        (more, page.read.next, page.read.records)
    };
    let expected = read(std::slice::from_ref(&whole));
    assert_eq!((expected.0, expected.1, expected.2.len()), (true, Offset(6), 6));
    for first in 0..=whole.len() {
        for second in [first, (first + 3).min(whole.len()), (first + 70).min(whole.len())] {
            let pieces = [whole.slice(..first), whole.slice(first..second), whole.slice(second..)];
            assert_eq!(read(&pieces), expected, "cut at {first} and {second}");
        }
        let (more, ..) = read(&[whole.slice(..first)]);
        let is_end = BatchHeader::parse(&whole[first..]).is_ok() || first == whole.len();
        assert_eq!(more, is_end, "what is cut off at {first} is not read");
    }
}
