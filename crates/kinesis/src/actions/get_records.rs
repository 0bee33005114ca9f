//! GetRecords: what is durable and committed, from an iterator on.

use bytes::Bytes;
use millrace_broker::ranges::{PartitionRange, RangeState};
use millrace_broker::{Broker, ReadError, RecordsLimit, RecordsRead, StoredRecord, Topic};
use millrace_types::{Offset, PartitionId};
use tokio::time::{Instant, sleep_until};

use super::Answer;
use crate::call::Call;
use crate::date;
use crate::error::{Code, Error};
use crate::input::Input;
use crate::keys;
use crate::model::Encoding;
use crate::sequence::{SequenceNumber, Shown};
use crate::shards::{self, Shards};
use crate::stream::Stream;
use crate::token::{BadToken, LIFETIME_MS, ShardIterator};
use crate::value::Writer;

/// Records of one answer, at most.
const RECORDS_MAX: usize = 10_000;
/// Bytes of keys and data in one answer, but for a single larger record.
const BYTES_MAX: usize = 10 << 20;
/// The same where others hold the memory for more: a page may always be
/// shorter.
const BYTES_SCARCE: usize = 1 << 20;
/// What an answer takes beside its keys and data: what is around ten thousand
/// small records, and the list of them.
const BYTES_AROUND: usize = RECORDS_MAX * 320;
/// What an answer has beside its records.
const AROUND: usize = 1024;
/// What a record has beside its key and data.
const AROUND_RECORD: usize = 160;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let iterator = open(call, input.required("ShardIterator"))?;
    let stream = find(call, &iterator)?;
    if input.member("StreamARN").is_some() || input.member("StreamId").is_some() {
        let named = call.stream(input)?;
        if named.topic.id != stream.topic.id {
            return Err(Error::invalid("The ShardIterator is that of another stream."));
        }
    }
    call.end_dry_run(input)?;
    let at = call.shard_name(&stream, iterator.shard);
    call.limits.get(at, call.counted())?;
    call.asked_to_wait(wait(call, &stream.topic, iterator.shard, iterator.next)).await;
    // Behind it: the shard may have been split meanwhile.
    let shards = Shards::of(&stream.topic, call.now());
    let (name, account) = (stream.name(), &call.settings.account_id);
    let gone = || shards::gone(iterator.shard, name, account);
    let of = shards.map().get(iterator.shard).ok_or_else(gone)?;
    let records_max = input.count("Limit").unwrap_or(RECORDS_MAX).min(RECORDS_MAX);
    let (bytes_max, held) = match call.answers.try_take(BYTES_MAX + BYTES_AROUND) {
        Some(held) => (BYTES_MAX, held),
        None => (BYTES_SCARCE, call.answers.take(BYTES_SCARCE + BYTES_AROUND).await?),
    };
    let limit = RecordsLimit { records_max, bytes_max };
    let read = read(&call.broker, &stream.topic, iterator.shard, iterator.next, limit).await?;
    call.limits.got(at, size(&read), call.counted());
    let ended = matches!(of.state, RangeState::Sealed { end } if read.next >= end);
    let now = call.now();
    let behind = behind(&call.broker, &stream.topic, iterator.shard, &read).await?;
    let mut answer = writer(call.encoding, &read);
    answer.map(3, |answer| {
        answer.int("MillisBehindLatest", behind);
        // At its end a shard has children and no iterator; before, the opposite.
        if ended {
            answer.value("ChildShards", &shards.children(iterator.shard));
        } else {
            let next = ShardIterator { next: read.next, ..iterator };
            answer.text("NextShardIterator", &call.tokens.iterator(&next, now));
        }
        records(answer, iterator.shard, of, read.records);
    });
    Ok(Answer::Encoded(answer.done(), Some(held)))
}

/// Waits while there is nothing to read at `next`, as long as the settings
/// say; the partition wakes it. It holds no memory meanwhile.
async fn wait(call: &Call<'_>, topic: &Topic, shard: PartitionId, next: Offset) {
    let most = call.settings.get_records_wait;
    let Some(partition) = topic.partition(shard).filter(|_| !most.is_zero()) else { return };
    let until = Instant::now() + most;
    // Before the first look: nothing is missed in between.
    let mut watch = call.broker.watch();
    watch.add(&partition, 0);
    loop {
        let sealed = topic.ranges().get(shard).is_some_and(|of| of.state != RangeState::Open);
        if sealed || next < partition.offsets().last_stable {
            return;
        }
        tokio::select! {
            _ = watch.changed() => if partition.is_deleted() { return },
            () = call.broker.ended() => return,
            () = sleep_until(until) => return,
        }
    }
}

fn open(call: &Call<'_>, token: &str) -> Result<ShardIterator, Error> {
    let now = call.now();
    call.tokens.open_iterator(token, now).map_err(|error| match error {
        BadToken::Invalid => Error::invalid("Invalid ShardIterator."),
        BadToken::Expired(issued) => Error::new(
            Code::ExpiredIterator,
            format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} \
                 which is further in the future than the tolerated delay of {LIFETIME_MS} \
                 milliseconds.",
                date::show_long(issued.get().div_euclid(1000)),
                date::show_long(now.get().div_euclid(1000)),
            ),
        ),
    })
}

fn find(call: &Call<'_>, iterator: &ShardIterator) -> Result<Stream, Error> {
    let topic = call.broker.topic_by_id(iterator.topic);
    topic
        .and_then(Stream::of)
        .ok_or_else(|| Error::not_found("The stream of the ShardIterator is deleted."))
}

/// Reads from `next` on; from the oldest record, where retention has passed
/// that.
pub(super) async fn read(
    broker: &Broker,
    topic: &Topic,
    shard: PartitionId,
    next: Offset,
    limit: RecordsLimit,
) -> Result<RecordsRead, Error> {
    let gone = || Error::not_found("The shard is gone.");
    let partition = topic.partition(shard).ok_or_else(gone)?;
    match broker.read_records(&partition, next, limit).await {
        Err(ReadError::OutOfRange(offsets)) => {
            // Beyond the end: AT_SEQUENCE_NUMBER of what is not there yet.
            let from = next.max(offsets.log_start);
            if from > offsets.high_watermark {
                return Ok(RecordsRead { offsets, records: Vec::new(), next: from });
            }
            Ok(broker.read_records(&partition, from, limit).await?)
        }
        read => Ok(read?),
    }
}

/// The bytes of keys and data.
pub(super) fn size(read: &RecordsRead) -> usize {
    let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    read.records.iter().map(|record| len(&record.key) + len(&record.value)).sum()
}

/// How long ago the first record that is left was appended; 0 where none is.
pub(super) async fn behind(
    broker: &Broker,
    topic: &Topic,
    shard: PartitionId,
    read: &RecordsRead,
) -> Result<i64, Error> {
    if read.next >= read.offsets.last_stable {
        return Ok(0);
    }
    let Some(partition) = topic.partition(shard) else { return Ok(0) };
    let appended = broker.append_time_at(&partition, read.next).await?;
    let ms = appended.map_or(0, |at| broker.env().wall().get().saturating_sub(at.get()));
    Ok(ms.max(0))
}

/// What an answer with these records is written by.
pub(super) fn writer(encoding: Encoding, read: &RecordsRead) -> Writer {
    let count = read.records.len();
    let keys: usize = read.records.iter().map(|it| it.key.as_ref().map_or(0, Bytes::len)).sum();
    Writer::with_capacity(encoding, AROUND + count * AROUND_RECORD + keys, count)
}

/// Writes records as Kinesis' readers see them. SubscribeToShard's events have
/// the same.
pub(super) fn records(
    out: &mut Writer,
    shard: PartitionId,
    of: &PartitionRange,
    records: Vec<StoredRecord>,
) {
    let mut numbers = Shown::default();
    out.list("Records", records.len(), |out| {
        for StoredRecord { offset, append_time, key, value } in records {
            let number = SequenceNumber::of_record(of.created_secs, shard, offset, append_time);
            out.map(4, |out| {
                out.plain("SequenceNumber", numbers.of(number));
                out.time("ApproximateArrivalTimestamp", append_time);
                out.blob("Data", value.unwrap_or_default());
                out.text("PartitionKey", &keys::shown(key.as_deref(), offset));
            });
        }
    });
}
