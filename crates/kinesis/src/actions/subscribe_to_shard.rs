//! SubscribeToShard: a shard's records as events, for five minutes.
//!
//! Invariant: the body makes an event only when the connection has room for
//! it, so that a client that does not read holds one event, whose memory is
//! taken from a pool of events' own, and a small one where that is half taken:
//! who does not read delays nobody else. It waits on the partition and polls nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use millrace_broker::ranges::{PartitionRange, RangeState};
use millrace_broker::{Broker, Partition, ReadError, RecordsLimit, RecordsRead, Topic, Watch};
use millrace_types::{Offset, Timestamp};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::get_shard_iterator::{Position, start};
use super::{Answer, consumers, get_records};
use crate::call::Call;
use crate::error::{Code, Error};
use crate::event_stream;
use crate::http::Memory;
use crate::input::Input;
use crate::model::Encoding;
use crate::sequence::SequenceNumber;
use crate::shards::{self, Shards};
use crate::stream::Stream;
use crate::subscriptions::{InUse, Key};

/// A subscription ends after this.
const LIFETIME: Duration = Duration::from_secs(300);
/// An answer begins this long after its request. The AWS SDK for Go closes the
/// body of a request when the answer begins, and net/http closes the connection
/// if its writer was not done with the body by then. Other calls it sends again.
const BEGINS_AFTER: Duration = Duration::from_millis(2);
/// An event comes at least so often, if without records.
const QUIET: Duration = Duration::from_secs(5);
/// Records of one event, at most.
const RECORDS_MAX: usize = 2_000;
/// Bytes of keys and data in one event, but for a single larger record.
const EVENT_BYTES: usize = 512 << 10;
/// The same while clients that do not read hold half of the memory: it is enough
/// for many more of them than are there before they are cut off.
const EVENT_BYTES_SCARCE: usize = 32 << 10;
/// Memory is taken for records up to this size; larger ones are Kafka's alone.
const RECORD_BYTES: usize = 10 << 20;
/// What an event takes while it is made: see GetRecords.
const MEMORY_FACTOR: usize = 3;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let consumers::Found { stream, name, consumer } = consumers::find(call, input)?;
    let all = Shards::of(&stream.topic, call.now());
    let (shard, of) = all.find(input.required("ShardId"), &call.settings.account_id)?;
    let gone = || call.unknown_stream(stream.name());
    let partition = stream.topic.partition(shard).ok_or_else(gone)?;
    let lacks = || Error::invalid("StartingPosition must be provided.");
    let at = input.member("StartingPosition").ok_or_else(lacks)?;
    let position = Position {
        operation: "SubscribeToShard",
        kind: at.required("Type"),
        number: at.text("SequenceNumber"),
        number_name: "SequenceNumber",
        time: at.time("Timestamp"),
    };
    // Before the place is looked up: nothing is missed in between.
    let mut watch = call.broker.watch();
    watch.add(&partition, 0);
    let next = start(call, &stream, (shard, of), &partition, &position).await?;
    call.end_dry_run(input)?;
    sleep(BEGINS_AFTER).await;
    let key =
        Key { topic: stream.topic.id, shard, consumer: name, created_ms: consumer.created_ms };
    let in_use = in_use(&call.settings.account_id, stream.name(), &key);
    let Ok(taken) = call.subscriptions.begin(key.clone()).map_err(|InUse| ()) else {
        return Err(in_use);
    };
    let subscription = Subscription {
        continuation: before(of, &key, next, call.now()),
        broker: Arc::clone(&call.broker),
        topic: stream.topic,
        partition,
        key,
        memory: call.events.clone(),
        encoding: call.encoding,
        watch,
        taken,
        in_use,
        next,
        ends_at: Instant::now() + LIFETIME,
        stage: Stage::New,
        held: None,
    };
    let messages = unfold(subscription, Subscription::message);
    let frames = messages.map(|message| Ok::<_, Infallible>(Frame::data(message)));
    Ok(Answer::Events(StreamBody::new(frames).boxed_unsync()))
}

fn in_use(account: &str, stream: &str, key: &Key) -> Error {
    let (consumer, shard) = (&key.consumer, shards::name(key.shard));
    Error::new(
        Code::ResourceInUse,
        format!(
            "Another active subscription exists for this consumer: \
             {account}:{stream}:{consumer}:{shard}"
        ),
    )
}

/// The number after which a reader finds `next`. Its time is later than that
/// of any record before.
fn before(of: &PartitionRange, key: &Key, next: Offset, now: Timestamp) -> SequenceNumber {
    if next <= Offset(0) {
        return SequenceNumber::start(of.created_secs, key.shard);
    }
    let last = Offset(next.get().saturating_sub(1));
    SequenceNumber::of_record(of.created_secs, key.shard, last, now)
}

/// How far an answer is.
enum Stage {
    New,
    Live,
    Over,
}

/// One subscription: what its next message is made of.
struct Subscription {
    broker: Arc<Broker>,
    topic: Arc<Topic>,
    partition: Arc<Partition>,
    key: Key,
    memory: Memory,
    encoding: Encoding,
    watch: Watch,
    /// Resolves when another takes over.
    taken: oneshot::Receiver<()>,
    /// What is said then.
    in_use: Error,
    /// The next record.
    next: Offset,
    /// The number after which it comes.
    continuation: SequenceNumber,
    ends_at: Instant,
    stage: Stage,
    /// The memory of the event that is being sent.
    held: Option<OwnedSemaphorePermit>,
}

impl Subscription {
    /// The next message, and what is left. Asked for when the one before has
    /// been taken.
    async fn message(mut self) -> Option<(Bytes, Self)> {
        self.held = None;
        let message = match self.stage {
            Stage::New => {
                self.stage = Stage::Live;
                event_stream::initial_response(self.encoding)
            }
            Stage::Live => match self.event().await {
                Ok(event) => event?,
                Err(error) => {
                    self.stage = Stage::Over;
                    event_stream::exception(&error, self.encoding)
                }
            },
            Stage::Over => return None,
        };
        Some((message, self))
    }

    /// The next event: with records as soon as there are any. None when the
    /// time is over.
    async fn event(&mut self) -> Result<Option<Bytes>, Error> {
        let quiet = (Instant::now() + QUIET).min(self.ends_at);
        loop {
            if Instant::now() >= self.ends_at {
                return Ok(None);
            }
            self.check()?;
            let read = self.read(quiet).await?;
            let ended = self.is_ended(&read);
            if ended || !read.records.is_empty() || Instant::now() >= quiet {
                return self.encode(read, ended).await.map(Some);
            }
            self.go_on(&read);
            tokio::select! {
                biased;
                _ = &mut self.taken => return Err(self.in_use.clone()),
                _ = self.watch.changed() => {}
                () = self.broker.ended() => {}
                () = sleep_until(quiet) => {}
            }
        }
    }

    /// Whether the subscription may go on.
    fn check(&mut self) -> Result<(), Error> {
        if !matches!(self.taken.try_recv(), Err(TryRecvError::Empty)) {
            return Err(self.in_use.clone());
        }
        if self.broker.is_ended() {
            return Err(ReadError::Ended.into());
        }
        let stream = self.broker.topic_by_id(self.key.topic).and_then(Stream::of);
        let stream = stream.ok_or(ReadError::Deleted)?;
        let consumer = stream.state.consumers.get(&self.key.consumer);
        if consumer.is_none_or(|standing| standing.created_ms != self.key.created_ms) {
            let name = &self.key.consumer;
            return Err(Error::not_found(format!("Consumer {name} is deregistered.")));
        }
        Ok(())
    }

    /// What is there to be read; nothing, if there is no memory for it until
    /// `quiet`.
    async fn read(&mut self, quiet: Instant) -> Result<RecordsRead, Error> {
        let offsets = self.partition.offsets();
        let nothing = RecordsRead { offsets, records: Vec::new(), next: self.next };
        if self.next >= offsets.last_stable {
            return Ok(nothing);
        }
        let plentiful = self.memory.is_plentiful();
        let mut room = if plentiful { EVENT_BYTES } else { EVENT_BYTES_SCARCE };
        let limit = RecordsLimit { records_max: RECORDS_MAX, bytes_max: room };
        loop {
            let taken = timeout_at(quiet, self.memory.take(room * MEMORY_FACTOR)).await;
            let Ok(held) = taken else { return Ok(nothing) };
            let held = held?;
            let (broker, topic, shard) = (&self.broker, &self.topic, self.key.shard);
            let read = get_records::read(broker, topic, shard, self.next, limit).await?;
            let size = get_records::size(&read);
            if size <= room || room == RECORD_BYTES {
                self.held = Some(held);
                return Ok(read);
            }
            // A single large record: read again, with memory for it.
            room = size.min(RECORD_BYTES);
        }
    }

    /// Whether the shard was split or merged, and all of it has been read.
    fn is_ended(&self, read: &RecordsRead) -> bool {
        let map = self.topic.ranges();
        let state = map.get(self.key.shard).map(|of| of.state);
        matches!(state, Some(RangeState::Sealed { end }) if read.next >= end)
    }

    /// Goes on behind what was read.
    fn go_on(&mut self, read: &RecordsRead) {
        let map = self.topic.ranges();
        let Some(of) = map.get(self.key.shard) else { return };
        if let Some(last) = read.records.last() {
            let (shard, offset) = (self.key.shard, last.offset);
            self.continuation =
                SequenceNumber::of_record(of.created_secs, shard, offset, last.append_time);
        } else if read.next > self.next {
            self.continuation = before(of, &self.key, read.next, self.broker.env().wall());
        }
        self.next = read.next;
    }

    async fn encode(&mut self, read: RecordsRead, ended: bool) -> Result<Bytes, Error> {
        let (broker, topic, shard) = (&self.broker, &self.topic, self.key.shard);
        let behind = get_records::behind(broker, topic, shard, &read).await?;
        self.go_on(&read);
        let shards = Shards::of(&self.topic, self.broker.env().wall());
        let of = shards.map().get(shard).ok_or(ReadError::Deleted)?;
        let mut event = get_records::writer(self.encoding, &read);
        event.map(3, |event| {
            get_records::records(event, shard, of, read.records);
            event.int("MillisBehindLatest", behind);
            // At its end a shard has children and no way on; before, the opposite.
            if ended {
                self.stage = Stage::Over;
                event.value("ChildShards", &shards.children(shard));
            } else {
                event.text("ContinuationSequenceNumber", &self.continuation.to_string());
            }
        });
        let event = event_stream::event("SubscribeToShardEvent", event.done(), self.encoding);
        self.held = self.held.take().and_then(|held| Memory::keep(held, event.len()));
        Ok(event)
    }
}

#[cfg(test)]
mod tests;
