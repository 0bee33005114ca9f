use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use millrace_log::{
    batch::{BatchBuilder, ProducerStamp},
    compression::Codec,
    records,
};
use millrace_types::{ProducerEpoch, ProducerId, Sequence, TopicName};

use super::*;
use crate::{
    AdmitError, AppendOptions, Appended, Compression, NewTopic, Partition, RecordsLimit,
    Supervisor,
    config::Overrides,
    hash_of_key,
    testing::{Crash, Failure, Fault, MemDisk, MemoryCatalog, Unsynced},
};

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// A machine that is started again after each crash.
struct Machine {
    disk: Arc<MemDisk>,
    catalog: MemoryCatalog,
    supervisor: Arc<Supervisor>,
}

const OPTIONS: AppendOptions = AppendOptions { compression_max: Compression::Zstd };

impl Machine {
    /// With the splittable topic `t` of two partitions.
    fn new() -> Self {
        let (disk, catalog) = (Arc::new(MemDisk::new(1)), MemoryCatalog::new());
        let supervisor = Supervisor::in_memory_again(Arc::clone(&disk), &catalog);
        let machine = Self { disk, catalog, supervisor };
        let new = NewTopic {
            splittable: true,
            ..NewTopic::plain(TopicName::new("t").unwrap(), 2, Overrides::new())
        };
        wait(machine.broker().create_topic(new, false)).unwrap();
        machine
    }

    fn broker(&self) -> Arc<Broker> {
        self.supervisor.current()
    }

    fn topic(&self) -> Arc<Topic> {
        self.broker().topic("t").unwrap()
    }

    fn partition(&self, id: i32) -> Arc<Partition> {
        self.topic().partition(PartitionId(id)).unwrap()
    }

    fn crash(&mut self, crash: Crash) {
        self.disk = Arc::new(self.disk.crash(crash));
        self.supervisor = Supervisor::in_memory_again(Arc::clone(&self.disk), &self.catalog);
    }

    fn reshard(&self, steps: &[Step]) -> Result<(), ReshardTopicError<()>> {
        let steps = steps.to_vec();
        wait(self.broker().reshard(self.topic().id, move |_| Ok((steps, ()))))
    }

    /// Puts a record where its key belongs, as Kinesis' front does; whether it
    /// was acknowledged.
    fn put(&self, key: &str) -> bool {
        let (broker, topic) = (self.broker(), self.topic());
        let mut map = topic.ranges();
        loop {
            let id = map.of_hash(hash_of_key(key.as_bytes())).unwrap();
            let mut record = BatchBuilder::new(broker.env().wall());
            record.record(0, Some(key.as_bytes()), Some(key.as_bytes()), &[]);
            let partition = topic.partition(id).unwrap();
            // The log hears of it when the appends are over.
            let appended = wait(broker.appends().append_records(&partition, record));
            match appended {
                Ok(appended) => return wait(broker.durable(appended.lsn)).is_ok(),
                Err(AppendError::Sealed) => match wait(broker.routes(topic.id, &[id])) {
                    Ok((_, next)) => map = next,
                    Err(_) => return false,
                },
                Err(_) => return false,
            }
        }
    }

    /// Sends a batch to a partition, as Kafka's producers do.
    fn produce(&self, partition: i32, batch: &[u8]) -> Result<Appended, AppendError> {
        let broker = self.broker();
        let appended = wait(broker.append(&self.partition(partition), batch, &OPTIONS))?;
        wait(broker.durable(appended.lsn)).map_err(|_| AppendError::Ended)?;
        Ok(appended)
    }

    /// The values of one partition, in order.
    fn values(&self, id: i32) -> Vec<String> {
        let limit = RecordsLimit { records_max: 100_000, bytes_max: 64 << 20 };
        let partition = self.partition(id);
        let read = wait(self.broker().read_records(&partition, Offset(0), limit)).unwrap();
        let text = |value: Option<Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        read.records.into_iter().map(|record| text(record.value)).collect()
    }

    fn all_values(&self) -> Vec<String> {
        let count = i32::try_from(self.topic().partitions().len()).unwrap();
        (0..count).flat_map(|id| self.values(id)).collect()
    }

    /// Catalog, memory and log agree, whatever happened.
    fn check(&self, context: &str) {
        let state = wait(self.catalog.load()).unwrap();
        let row = state.topics.values().next().unwrap();
        let topic = self.topic();
        let map = topic.ranges();
        assert_eq!(row.attributes.get(RESHARD), None, "{context}");
        assert_eq!(row.attributes.get(RANGES), Some(&map.encode()), "{context}");
        assert_eq!(row.partitions as usize, map.len(), "{context}");
        assert_eq!(topic.partitions().len(), map.len(), "{context}");
        for (id, of) in map.iter() {
            let partition = topic.partition(id).unwrap();
            match of.state {
                RangeState::Open => assert!(!partition.log.is_sealing(), "{context}: {id}"),
                RangeState::Sealed { end } => {
                    assert_eq!(partition.log.sealed(), Some(end), "{context}: {id}");
                    assert_eq!(partition.offsets().high_watermark, end, "{context}: {id}");
                }
            }
        }
    }
}

fn split(partition: i32) -> Step {
    let first = if partition == 0 { 0 } else { 1 << 127 };
    Step::Split { partition: PartitionId(partition), at: first + (1 << 126) }
}

/// A batch of records, the key of each its value.
fn batch(keys: &[&str], codec: Codec, producer: Option<(i64, i32)>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(millrace_types::Timestamp(1_000));
    if let Some((id, sequence)) = producer {
        builder = builder.producer(ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(sequence),
        });
    }
    for (n, key) in (0..).zip(keys) {
        builder.record(n, Some(key.as_bytes()), Some(key.as_bytes()), &[]);
    }
    let bytes = builder.build();
    let header = millrace_log::batch::check(&bytes).unwrap();
    let body = bytes[millrace_log::batch::HEADER_LEN..].to_vec();
    millrace_log::batch::recode(&header, &bytes, &body, codec, header.max_timestamp).1
}

/// Names from one that are no keys of the tests.
fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

#[test]
fn a_split_sends_records_to_the_children_and_keeps_the_parents() {
    let mut machine = Machine::new();
    let before = keys("before", 40);
    assert!(before.iter().all(|key| machine.put(key)));
    machine.reshard(&[split(0)]).unwrap();
    let after = keys("after", 40);
    assert!(after.iter().all(|key| machine.put(key)));
    for crash in [Crash::Kill, Crash::PowerCut(Unsynced::Lost)] {
        machine.check("a split");
        let parent = machine.values(0);
        assert!(!parent.is_empty() && parent.iter().all(|key| before.contains(key)));
        let children = [machine.values(2), machine.values(3)].concat();
        assert!(!children.is_empty() && children.iter().all(|key| after.contains(key)));
        assert_eq!(machine.all_values().len(), 80);
        machine.crash(crash);
    }
    machine.reshard(&[Step::Merge { lower: PartitionId(3), upper: PartitionId(1) }]).unwrap();
    machine.check("a merge after restarts");
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let machine = Machine::new();
    let broker = machine.broker();
    let refused = wait(broker.reshard(machine.topic().id, |_| Err::<(Vec<Step>, ()), _>("no")));
    assert_eq!(refused, Err(ReshardTopicError::Refused("no")));
    let unknown = ReshardError::Unknown(PartitionId(9));
    assert_eq!(machine.reshard(&[split(9)]), Err(ReshardTopicError::Invalid(unknown)));
    let before = machine.catalog.mutations();
    machine.reshard(&[]).unwrap();
    assert_eq!(machine.catalog.mutations(), before);
    let kafka = NewTopic::plain(TopicName::new("k").unwrap(), 2, Overrides::new());
    let kafka = wait(broker.create_topic(kafka, false)).unwrap();
    let refused = wait(broker.reshard(kafka.id, |_| Ok::<_, ()>((vec![split(0)], ()))));
    assert_eq!(refused, Err(ReshardTopicError::Invalid(ReshardError::NotSplittable)));
    assert!(machine.put("a"));
}

#[test]
fn many_steps_are_one_change() {
    let mut machine = Machine::new();
    assert!(keys("a", 20).iter().all(|key| machine.put(key)));
    let steps = machine.topic().ranges().scaled(3);
    machine.reshard(&steps).unwrap();
    machine.check("to three");
    let map = machine.topic().ranges();
    assert_eq!(map.open_len(), 3);
    // What was only made on the way takes nothing of Kafka's clients either.
    let made = map.iter().find(|(id, of)| id.get() > 1 && of.state != RangeState::Open).unwrap().0;
    let sent = batch(&["x", "y", "z"], Codec::None, Some((7, 0)));
    assert_eq!(machine.produce(made.get(), &sent).unwrap().base_offset, Offset(-1));
    for crash in [Crash::Kill, Crash::PowerCut(Unsynced::Lost)] {
        machine.crash(crash);
        machine.check("to three, and a crash");
        machine.produce(made.get(), &sent).unwrap();
        assert_eq!(machine.all_values().len(), 23, "the retry is known");
    }
}

#[test]
fn a_change_whose_catalog_fails_is_made_or_not_and_the_next_one_works() {
    for failure in [Failure::Away, Failure::UnknownNotDone, Failure::UnknownDone] {
        for nth in 1..=2 {
            for restart in [true, false] {
                let mut machine = Machine::new();
                machine.catalog.fail_nth(nth, failure);
                let context = format!("mutation {nth}, {failure:?}");
                let done = machine.reshard(&[split(0)]).is_ok();
                assert_eq!(done, nth == 2, "{context}: the log has it, or nobody");
                machine.catalog.heal();
                assert_eq!(machine.topic().ranges().len(), if done { 4 } else { 2 }, "{context}");
                assert!(keys("k", 10).iter().all(|key| machine.put(key)));
                if restart {
                    machine.crash(Crash::PowerCut(Unsynced::Lost));
                    machine.check(&context);
                }
                assert_eq!(machine.topic().ranges().len(), if done { 4 } else { 2 }, "{context}");
                machine.reshard(&[split(1)]).unwrap();
                machine.check(&context);
                assert_eq!(machine.all_values().len(), 10, "{context}");
            }
        }
    }
}

/// What clients were told until the machine stopped.
#[derive(Default)]
struct Told {
    resharded: usize,
    acknowledged: Vec<String>,
}

/// Records, a split, records, a batch to the parent, a merge, records.
fn live(machine: &Machine) -> (Told, bool) {
    let mut told = Told::default();
    let all = |told: &mut Told| {
        let put = |prefix: &str, told: &mut Told| {
            keys(prefix, 4).into_iter().all(|key| {
                let done = machine.put(&key);
                if done {
                    told.acknowledged.push(key);
                }
                done
            })
        };
        if !put("a", told) || machine.reshard(&[split(0)]).is_err() {
            return false;
        }
        told.resharded += 1;
        let sent = batch(&["x", "y"], Codec::Lz4, Some((7, 0)));
        if !put("b", told) || machine.produce(0, &sent).is_err() {
            return false;
        }
        told.acknowledged.extend(["x".to_owned(), "y".to_owned()]);
        let merge = Step::Merge { lower: PartitionId(3), upper: PartitionId(1) };
        if machine.reshard(&[merge]).is_err() {
            return false;
        }
        told.resharded += 1;
        put("c", told)
    };
    let done = all(&mut told);
    (told, done)
}

fn check_told(machine: &Machine, told: &Told, context: &str) {
    machine.check(context);
    let resharded = match machine.topic().ranges().len() {
        2 => 0,
        4 => 1,
        5 => 2,
        other => panic!("{context}: {other} partitions"),
    };
    assert!(resharded >= told.resharded, "{context}: {resharded}");
    let values = machine.all_values();
    let distinct: BTreeSet<_> = values.iter().collect();
    assert_eq!(distinct.len(), values.len(), "{context}: {values:?}");
    for key in &told.acknowledged {
        assert!(distinct.contains(key), "{context}: {key} is lost");
    }
}

#[test]
fn a_machine_that_dies_at_any_operation_of_its_disk_keeps_its_word() {
    let crashes = [
        Crash::Kill,
        Crash::PowerCut(Unsynced::Lost),
        Crash::PowerCut(Unsynced::Torn),
        Crash::PowerCut(Unsynced::Kept),
    ];
    for crash in crashes {
        for nth in 1.. {
            let mut machine = Machine::new();
            machine.disk.stop_at_nth(nth);
            let (told, done) = live(&machine);
            let context = format!("operation {nth}, {crash:?}");
            for again in [crash, Crash::PowerCut(Unsynced::Lost)] {
                machine.crash(again);
                check_told(&machine, &told, &context);
            }
            // A producer that had no answer sends its batch again.
            if machine.topic().ranges().len() > 2 {
                machine.produce(0, &batch(&["x", "y"], Codec::Lz4, Some((7, 0)))).unwrap();
                assert_eq!(machine.all_values().iter().filter(|value| *value == "x").count(), 1);
            }
            let steps = machine.topic().ranges().scaled(4);
            machine.reshard(&steps).unwrap();
            assert!(machine.put("later"), "{context}");
            machine.check(&context);
            if done {
                break;
            }
        }
    }
}

#[test]
fn a_machine_that_dies_between_catalog_and_log_keeps_its_word() {
    for failure in [Failure::Away, Failure::UnknownDone] {
        for nth in 1..=4 {
            let mut machine = Machine::new();
            machine.catalog.fail_nth(nth, failure);
            let (told, _) = live(&machine);
            machine.catalog.heal();
            machine.crash(Crash::PowerCut(Unsynced::Lost));
            check_told(&machine, &told, &format!("mutation {nth}, {failure:?}"));
        }
    }
}

#[test]
fn a_write_that_fails_leaves_the_next_incarnation_a_whole_change_or_none() {
    for nth in 1..14 {
        let machine = Machine::new();
        let before = machine.broker().incarnation();
        machine.disk.fail_nth(nth, Fault::Io);
        let (told, done) = live(&machine);
        machine.disk.heal();
        while !done && machine.broker().incarnation() == before {
            std::thread::yield_now();
        }
        check_told(&machine, &told, &format!("operation {nth}"));
    }
}

#[test]
fn what_kafka_sends_to_a_sealed_partition_keeps_codec_times_and_order() {
    let machine = Machine::new();
    machine.reshard(&[split(0)]).unwrap();
    let sent = keys("key", 200);
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    let codecs = [
        Codec::None,
        Codec::Gzip { level: 1 },
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd { level: 1 },
    ];
    for codec in codecs {
        let appended = machine.produce(0, &batch(&sent, codec, None)).unwrap();
        assert_eq!(appended.base_offset, Offset(-1));
    }
    let (broker, map) = (machine.broker(), machine.topic().ranges());
    let mut seen = 0;
    for id in [2, 3] {
        let partition = machine.partition(id);
        let read = wait(broker.engine.read(&partition.log, Offset(0), 1 << 20, true, false));
        let bytes = read.unwrap().records.concat();
        for (found, codec) in millrace_log::batch::batches(&bytes).zip(codecs) {
            let (header, bytes) = found.unwrap();
            assert_eq!(header.compression, codec.compression());
            assert_eq!(header.producer, None);
            let body = records::body(&header, bytes, 1 << 20).unwrap();
            let mut last = -1;
            for record in records::records(&header, &body).map(Result::unwrap) {
                // The timestamp says which of the sent ones it was.
                let nth = record.timestamp(&header).get() - 1_000;
                let key = record.key.unwrap();
                assert_eq!(key, sent[usize::try_from(nth).unwrap()].as_bytes());
                assert!(nth > last, "the order of the batch");
                let takes = map.of_hash_among(&[PartitionId(2), PartitionId(3)], hash_of_key(key));
                assert_eq!(takes, Some(PartitionId(id)));
                (last, seen) = (nth, seen + 1);
            }
        }
    }
    assert_eq!(seen, 5 * 200);
    assert_eq!(broker.metrics().batches_rerouted.get(), 5);
}

#[test]
fn an_idempotent_producer_does_not_notice_a_split() {
    let mut machine = Machine::new();
    let sent = |sequence, key| batch(&[key], Codec::None, Some((7, sequence)));
    assert_eq!(machine.produce(0, &sent(0, "a")).unwrap().base_offset, Offset(0));
    machine.reshard(&[split(0)]).unwrap();
    for crash in [None, Some(Crash::Kill), Some(Crash::PowerCut(Unsynced::Lost))] {
        if let Some(crash) = crash {
            machine.crash(crash);
        }
        assert_eq!(machine.produce(0, &sent(0, "a")).unwrap().base_offset, Offset(0), "a retry");
        for (sequence, key) in [(1, "b"), (2, "c"), (1, "b")] {
            let told = machine.produce(0, &sent(sequence, key)).unwrap();
            assert_eq!(told.base_offset, Offset(-1));
        }
        let mut values = machine.all_values();
        values.sort_unstable();
        assert_eq!(values, ["a", "b", "c"]);
    }
    let gap = machine.produce(0, &sent(9, "gap"));
    assert!(matches!(gap, Err(AppendError::Sequence(AdmitError::OutOfOrderSequence { .. }))));
}

#[test]
fn a_large_batch_is_rerouted_beside_its_connection() {
    let machine = Machine::new();
    machine.reshard(&[split(0), split(1)]).unwrap();
    let long = "v".repeat(300_000);
    let values = ["a", "b", "c"].map(|key| format!("{key}{long}"));
    let sent: Vec<&str> = values.iter().map(String::as_str).collect();
    machine.produce(0, &batch(&sent, Codec::Zstd { level: 1 }, Some((7, 0)))).unwrap();
    let mut all = machine.all_values();
    all.sort_unstable();
    assert_eq!(all, values);
}

/// Producers of both kinds at work while partitions are split and merged.
#[test]
fn at_full_load_every_record_stands_once() {
    let machine = Machine::new();
    let stop = AtomicBool::new(false);
    let done = AtomicUsize::new(0);
    let acknowledged = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker: i32| {
                let (machine, stop, done) = (&machine, &stop, &done);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    let mut n = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let key = format!("{worker}-{n}");
                        if worker % 2 == 0 {
                            assert!(machine.put(&key));
                        } else {
                            let producer = Some((i64::from(worker), n));
                            let sent = batch(&[&key], Codec::None, producer);
                            machine.produce(worker / 2, &sent).unwrap();
                            // A client that did not see the answer.
                            machine.produce(worker / 2, &sent).unwrap();
                        }
                        acknowledged.push(key);
                        done.fetch_add(1, Ordering::Relaxed);
                        n += 1;
                    }
                    acknowledged
                })
            })
            .collect();
        for target in [4, 3, 6, 5, 3, 2, 4, 2, 1, 2] {
            let steps = machine.topic().ranges().scaled(target);
            machine.reshard(&steps).unwrap();
            let enough = done.load(Ordering::Relaxed) + 20;
            while done.load(Ordering::Relaxed) < enough {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    machine.check("at full load");
    let mut values = machine.all_values();
    let mut expected = acknowledged;
    values.sort_unstable();
    expected.sort_unstable();
    assert_eq!(values, expected);
}
