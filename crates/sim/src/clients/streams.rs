//! A topic whose partitions are split and merged while it is written: by
//! producers that look for the partition of a key, as Kinesis' front does, and
//! by idempotent ones that stay with the partition they began with.
//!
//! A record stands in whatever partition took it, so that the book, which knows
//! records by their partition, is of no use here: what counts is that each
//! acknowledged one stands once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use millrace_broker::{
    AppendError, AppendOptions, Broker, Compression, CreateTopicError, NewTopic, ReadError,
    RecordsLimit, hash_of_key,
    ranges::{RangeMap, RangeState},
};
use millrace_log::batch::{BatchBuilder, ProducerStamp};
use millrace_types::{
    Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicName,
};
use parking_lot::Mutex;

use super::Client;
use crate::book::Promise;

const TOPIC: &str = "split";
/// Partitions that it has at first.
const PARTITIONS: u32 = 2;
/// Open partitions, at most, and all of them.
const OPEN_MAX: u32 = 6;
const ALL_MAX: usize = 300;

/// What its clients were told. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    topic: Option<TopicId>,
    /// Numbers of records, each with whether it was acknowledged.
    records: BTreeMap<u64, bool>,
    /// Partitions, sealed ones included, after the last change that was told.
    partitions: usize,
}

impl Told {
    fn new_record(&self) -> u64 {
        let mut state = self.0.lock();
        let number = state.records.len() as u64;
        state.records.insert(number, false);
        number
    }

    fn acked(&self, number: u64) {
        self.0.lock().records.insert(number, true);
    }
}

/// Makes the topic, if it comes to that.
pub(crate) async fn create(client: &mut Client) -> Told {
    let told = Told::default();
    while !client.is_stopping() {
        let connection = client.connect().await;
        let asked = connection.ask(|broker| async move {
            let Ok(name) = TopicName::new(TOPIC) else { panic!("{TOPIC} is no name of a topic") };
            let config = [("retention.ms".to_owned(), "-1".to_owned())].into();
            let plain = NewTopic::plain(name, PARTITIONS, config);
            match broker.create_topic(NewTopic { splittable: true, ..plain }, false).await {
                Ok(topic) => Some(Some(topic.id)),
                Err(CreateTopicError::Exists(_)) => Some(Some(broker.topic(TOPIC)?.id)),
                Err(_) => Some(None),
            }
        });
        if let Ok(Some(id)) = asked.await {
            told.0.lock().topic = Some(id);
            break;
        }
        client.think(300).await;
    }
    told
}

/// Puts records one after the other, each where its key belongs.
pub(crate) async fn put(mut client: Client, told: Told, records: u64, think_ms: u64) {
    for _ in 0..records {
        if client.is_stopping() {
            return;
        }
        client.think(think_ms).await;
        let connection = client.connect().await;
        let number = told.new_record();
        let asked = connection.ask(move |broker| async move { put_now(&broker, number).await });
        match asked.await {
            Ok(Ok(())) => told.acked(number),
            Ok(Err(error)) => refused(&client, &error),
            Err(_) => client.book.lost(),
        }
    }
}

async fn put_now(broker: &Broker, number: u64) -> Option<Result<(), AppendError>> {
    let topic = broker.topic(TOPIC)?;
    let key = number.to_be_bytes();
    let mut map = topic.ranges();
    loop {
        let id = map.of_hash(hash_of_key(&key))?;
        let partition = topic.partition(id)?;
        let mut record = BatchBuilder::new(broker.env().wall());
        record.record(0, Some(&key), Some(&key), &[]);
        let appended = broker.appends().append_records(&partition, record).await;
        match appended {
            Ok(appended) => return broker.durable(appended.lsn).await.ok().map(Ok),
            Err(AppendError::Sealed) => map = broker.routes(topic.id, &[id]).await.ok()?.1,
            Err(AppendError::Ended) => return None,
            Err(error) => return Some(Err(error)),
        }
    }
}

/// An idempotent producer of one of the first partitions, which sends each batch
/// until it has an answer.
pub(crate) async fn produce(
    mut client: Client,
    told: Told,
    partition: i32,
    batches: u64,
    think_ms: u64,
) {
    let connection = client.connect().await;
    let asked = connection.ask(|broker| async move { Some(broker.new_producer_id()) });
    let Ok(id) = asked.await else { return };
    let mut sequence = 0;
    for _ in 0..batches {
        if client.is_stopping() {
            return;
        }
        client.think(think_ms).await;
        let count = client.random.within(1, 3);
        let numbers: Vec<u64> = (0..count).map(|_| told.new_record()).collect();
        let batch = Arc::new(batch(&client, id, sequence, &numbers));
        sequence += i32::try_from(count).unwrap_or(0);
        loop {
            let connection = client.connect().await;
            let batch = Arc::clone(&batch);
            let asked = connection
                .ask(move |broker| async move { produce_now(&broker, partition, &batch).await });
            match asked.await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => refused(&client, &error),
                Err(_) => client.book.lost(),
            }
            if client.is_stopping() && client.server.life().is_none() {
                return;
            }
            client.think(100).await;
        }
        numbers.into_iter().for_each(|number| told.acked(number));
    }
}

fn batch(client: &Client, id: ProducerId, sequence: i32, numbers: &[u64]) -> Vec<u8> {
    let base_sequence = Sequence(sequence);
    let stamp = ProducerStamp { id, epoch: ProducerEpoch(0), base_sequence };
    let mut builder = BatchBuilder::new(client.world.wall()).producer(stamp);
    for number in numbers {
        let key = number.to_be_bytes();
        builder.record(0, Some(&key), Some(&key), &[]);
    }
    builder.build()
}

async fn produce_now(
    broker: &Broker,
    partition: i32,
    batch: &[u8],
) -> Option<Result<(), AppendError>> {
    let partition = broker.topic(TOPIC)?.partition(PartitionId(partition))?;
    let options = AppendOptions { compression_max: Compression::Zstd };
    match broker.append(&partition, batch, &options).await {
        Ok(appended) => broker.durable(appended.lsn).await.ok().map(Ok),
        Err(AppendError::Ended) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Whether the server had a reason.
fn refused(client: &Client, error: &AppendError) {
    let allowed = match error {
        AppendError::StorageFull | AppendError::ProducersFull => true,
        // The wall clock may have jumped since the batch was made.
        AppendError::Timestamp { .. } => true,
        _ => client.book.promise() > Promise::Everything,
    };
    if !allowed {
        client.book.violation("refused-write", format!("{TOPIC} refused a record: {error}"));
    }
}

/// Splits and merges at random.
pub(crate) async fn reshard(mut client: Client, told: Told, most_ms: u64) {
    while !client.is_stopping() {
        client.think(most_ms).await;
        let Some(topic) = told.0.lock().topic else { return };
        let connection = client.connect().await;
        let random = client.random.any();
        let asked = connection.ask(move |broker| async move {
            let changed = broker.reshard(topic, move |map| Ok::<_, ()>(plan(map, random))).await;
            let partitions = broker.topic_by_id(topic)?.ranges().len();
            Some(changed.is_ok().then_some(partitions))
        });
        if let Ok(Some(partitions)) = asked.await {
            let mut state = told.0.lock();
            state.partitions = state.partitions.max(partitions);
        }
    }
}

fn plan(map: &RangeMap, random: u64) -> (Vec<millrace_broker::ranges::Step>, ()) {
    let open = u32::try_from(map.open_len()).unwrap_or(1);
    let (least, most) = (open.div_ceil(2), OPEN_MAX.min(2 * open));
    let target = least + u32::try_from(random % u64::from(most + 1 - least)).unwrap_or(0);
    (if map.len() < ALL_MAX { map.scaled(target) } else { Vec::new() }, ())
}

/// Reads all of it, and compares it with what was told.
pub(crate) async fn check(client: &mut Client, told: &Told) {
    let Some(topic) = told.0.lock().topic else { return };
    if client.book.promise() > Promise::Everything {
        return;
    }
    let found = loop {
        let connection = client.connect().await;
        let asked = connection.ask(move |broker| async move { read_all(&broker, topic).await });
        match asked.await {
            Ok(found) => break found,
            Err(_) if client.server.life().is_none() => return,
            Err(_) => client.think(100).await,
        }
    };
    let wrong = match found {
        Ok((partitions, numbers)) => compare(&told.0.lock(), partitions, &numbers),
        Err(wrong) => vec![wrong],
    };
    wrong.into_iter().for_each(|what| client.book.violation("reshard", what));
}

/// The number of partitions, and the records of all, in no order.
async fn read_all(broker: &Broker, topic: TopicId) -> Option<Result<(usize, Vec<u64>), String>> {
    let Some(topic) = broker.topic_by_id(topic) else {
        return Some(Err(format!("topic {TOPIC} is gone")));
    };
    let map = topic.ranges();
    let mut numbers = Vec::new();
    for (id, of) in map.iter() {
        let Some(partition) = topic.partition(id) else {
            return Some(Err(format!("partition {id} of {TOPIC} is not there")));
        };
        let end = partition.offsets().high_watermark;
        if let RangeState::Sealed { end: sealed } = of.state
            && sealed != end
        {
            return Some(Err(format!("partition {id} is sealed at {sealed} and ends at {end}")));
        }
        let mut next = Offset(0);
        while next < end {
            let limit = RecordsLimit { records_max: 1_000, bytes_max: 1 << 16 };
            match broker.read_records(&partition, next, limit).await {
                Ok(read) => {
                    next = read.next;
                    let number = |value: &[u8]| value.try_into().map(u64::from_be_bytes).ok();
                    numbers.extend(
                        read.records.iter().filter_map(|it| it.value.as_deref().and_then(number)),
                    );
                }
                Err(ReadError::Ended | ReadError::NoMemory | ReadError::Unavailable) => {
                    return None;
                }
                Err(error) => return Some(Err(format!("partition {id} at {next}: {error}"))),
            }
        }
    }
    Some(Ok((map.len(), numbers)))
}

fn compare(told: &State, partitions: usize, numbers: &[u64]) -> Vec<String> {
    let mut wrong = Vec::new();
    if partitions < told.partitions {
        wrong.push(format!("{partitions} partitions, and {} were told", told.partitions));
    }
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    if distinct.len() != numbers.len() {
        wrong.push(format!("{} records stand twice", numbers.len() - distinct.len()));
    }
    let is_lost = |(number, acked): (&u64, &bool)| *acked && !distinct.contains(number);
    let lost: Vec<u64> =
        told.records.iter().filter(|it| is_lost(*it)).map(|(number, _)| *number).collect();
    if !lost.is_empty() {
        wrong.push(format!("acknowledged records are lost: {lost:?}"));
    }
    if let Some(stray) = distinct.iter().find(|number| !told.records.contains_key(number)) {
        wrong.push(format!("record {stray} was never sent"));
    }
    wrong
}
