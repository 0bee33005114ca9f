//! Producers, idempotent and plain ones. A plain one sends each batch once; an
//! idempotent one sends again what it does not know to be there, with the same
//! sequence numbers, in order, until it does.

use std::{collections::BTreeMap, sync::Arc};

use millrace_broker::{AppendError, AppendOptions, Appended, Broker, Compression};
use millrace_log::batch::{BatchBuilder, ProducerStamp};
use millrace_types::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use tokio::sync::oneshot;

use super::{Client, find};
use crate::{
    book::{Promise, Value},
    server::{Connection, Lost},
};

/// Batches of one partition that may be under way: what a broker remembers of
/// an idempotent producer.
const WINDOW: u64 = 5;

/// How long a producer waits for an answer: longer than any run.
const PATIENCE_US: u64 = 600_000_000;

/// One producer.
pub(crate) struct Producer {
    pub(crate) client: Client,
    pub(crate) topic: &'static str,
    pub(crate) writer: u32,
    pub(crate) idempotent: bool,
    /// Batches to send in all.
    pub(crate) batches: u64,
    /// Largest values.
    pub(crate) value_bytes_max: u64,
    /// Longest pause between two windows, in milliseconds.
    pub(crate) think_ms: u64,
    id: Option<ProducerId>,
    sequences: BTreeMap<TopicPartition, i32>,
    numbers: u32,
}

/// One batch, as it is sent as often as needed.
struct Batch {
    at: TopicPartition,
    bytes: Arc<Vec<u8>>,
    values: Vec<Value>,
}

/// How the server answered a batch.
enum Answer {
    At(Offset),
    Refused(AppendError),
    /// There is no such partition.
    Unknown,
}

/// What becomes of a window of batches.
enum Outcome {
    /// All stand.
    Done,
    /// The topic is gone, and with it what had not been answered.
    Gone,
}

impl Producer {
    pub(crate) fn new(
        client: Client,
        topic: &'static str,
        writer: u32,
        idempotent: bool,
        batches: u64,
        value_bytes_max: u64,
        think_ms: u64,
    ) -> Self {
        Self {
            client,
            topic,
            writer,
            idempotent,
            batches,
            value_bytes_max,
            think_ms,
            id: None,
            sequences: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// Produces until all is sent or the load ends.
    pub(crate) async fn run(mut self) {
        let mut left = self.batches;
        while left > 0 && !self.client.is_stopping() {
            self.client.think(self.think_ms).await;
            let Some(topic) = self.client.topic(self.topic).await else { continue };
            if self.idempotent && self.id.is_none() {
                let connection = self.client.connect().await;
                let asked = connection.ask(|broker| async move { Some(broker.new_producer_id()) });
                self.id = asked.await.ok();
                continue;
            }
            let partitions = u64::try_from(topic.partitions().len()).unwrap_or(1);
            let count = self.client.random.within(1, WINDOW).min(left);
            let window: Vec<Batch> = (0..count)
                .map(|_| {
                    let number = self.client.random.below(partitions);
                    let number = PartitionId(i32::try_from(number).unwrap_or(0));
                    self.batch(TopicPartition::new(topic.id, number))
                })
                .collect();
            left -= count;
            drop(topic);
            if matches!(self.send(window).await, Outcome::Gone) {
                // Nobody knows which of its batches stand: another producer
                // goes on.
                self.id = None;
                self.sequences.clear();
                self.client.think(500).await;
            }
        }
    }

    fn batch(&mut self, at: TopicPartition) -> Batch {
        let count = self.client.random.within(1, 4);
        let mut builder = BatchBuilder::new(self.client.world.wall());
        if let Some(id) = self.id {
            let sequence = self.sequences.entry(at).or_default();
            let base_sequence = Sequence(*sequence);
            *sequence += i32::try_from(count).unwrap_or(0);
            builder =
                builder.producer(ProducerStamp { id, epoch: ProducerEpoch(0), base_sequence });
        }
        let mut values = Vec::new();
        for _ in 0..count {
            let (writer, number) = (self.writer, self.numbers);
            self.numbers += 1;
            let value = Value { writer, number, idempotent: self.idempotent };
            let len = self.client.random.below(self.value_bytes_max);
            let bytes = value.encode(usize::try_from(len).unwrap_or(0));
            builder.record(0, None, Some(&bytes), &[]);
            values.push(value);
        }
        let bytes = Arc::new(builder.build());
        self.client.book.sent(at, &values, bytes.len() as u64);
        Batch { at, bytes, values }
    }

    async fn send(&mut self, mut window: Vec<Batch>) -> Outcome {
        // Answers that never came since the last one that did.
        let mut lost = false;
        loop {
            let connection = self.client.connect().await;
            let mut answers = Vec::new();
            for batch in &window {
                answers.push(append(&connection, batch));
            }
            let mut rest = Vec::new();
            let mut gone = false;
            // An impatient client gives up a connection before the server does.
            let impatient = self.client.random.percent(8);
            let patience_us = if impatient { self.client.random.below(4_000) } else { PATIENCE_US };
            let mut patience = self.client.world.sleep_us(patience_us);
            // Once one of a partition is not in, those behind it are out of
            // order.
            let mut behind = std::collections::BTreeSet::new();
            for (batch, answer) in window.into_iter().zip(answers) {
                let answer = tokio::select! {
                    biased;
                    answer = answer => answer,
                    () = &mut patience => Err(Lost),
                };
                match answer {
                    Ok(Answer::At(base)) => {
                        let bytes = batch.bytes.len() as u64;
                        self.client.book.acked(batch.at, base, &batch.values, bytes);
                    }
                    Ok(Answer::Unknown | Answer::Refused(AppendError::TopicDeleted)) => gone = true,
                    Ok(Answer::Refused(error)) => {
                        let first = behind.insert(batch.at);
                        self.refused(&batch, &error, first && !lost);
                        rest.push(batch);
                    }
                    Err(Lost) => {
                        self.client.book.lost();
                        behind.insert(batch.at);
                        lost = true;
                        rest.push(batch);
                    }
                }
            }
            if gone {
                return Outcome::Gone;
            }
            if rest.is_empty() {
                return Outcome::Done;
            }
            if !self.idempotent {
                // What was refused or is unknown is not sent again: it might
                // stand twice.
                return Outcome::Done;
            }
            if self.client.is_stopping() && self.client.server.life().is_none() {
                return Outcome::Done;
            }
            window = rest;
            self.client.think(100).await;
        }
    }

    /// Whether the server had a reason.
    fn refused(&self, batch: &Batch, error: &AppendError, first: bool) {
        let book = &self.client.book;
        book.note_refusal(batch.at, error);
        let allowed = match error {
            AppendError::StorageFull | AppendError::ProducersFull | AppendError::Ended => true,
            AppendError::Sequence(_) => !first || book.promise() == Promise::NothingWrong,
            AppendError::EndUnproven(_) => book.promise() > Promise::Everything,
            // The wall clock may have jumped since the batch was made.
            AppendError::Timestamp { .. } => true,
            _ => false,
        };
        if !allowed {
            let (at, values) = (batch.at, &batch.values);
            book.violation(
                "refused-write",
                format!("{at} refused {values:?} without a reason: {error}"),
            );
        }
    }
}

/// Sends a batch; the answer comes when it is durable.
fn append(
    connection: &Connection,
    batch: &Batch,
) -> impl Future<Output = Result<Answer, Lost>> + use<> {
    let (answer, answered) = oneshot::channel();
    let (at, bytes) = (batch.at, Arc::clone(&batch.bytes));
    connection.send(Box::new(move |broker: Arc<Broker>| {
        Box::pin(async move {
            let Some(partition) = find(&broker, at) else {
                drop(answer.send(Answer::Unknown));
                return None;
            };
            let options = AppendOptions { compression_max: Compression::Zstd };
            match broker.append(&partition, &bytes, &options).await {
                Ok(Appended { base_offset, lsn, .. }) => Some(Box::pin(async move {
                    // An incarnation that ended leaves it unanswered.
                    if broker.durable(lsn).await.is_ok() {
                        drop(answer.send(Answer::At(base_offset)));
                    }
                }) as _),
                Err(AppendError::Ended) => None,
                Err(error) => {
                    drop(answer.send(Answer::Refused(error)));
                    None
                }
            }
        })
    }));
    async move { answered.await.map_err(|_| Lost) }
}
