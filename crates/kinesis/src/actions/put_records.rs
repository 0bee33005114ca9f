//! PutRecords: up to 500 records, one batch for each shard that gets some, all
//! acknowledged together when all are durable.
//!
//! Invariant: records of one shard stand in the order of the request. A record
//! that could not be stored says so in its own entry; the others stand. One that
//! comes upon a shard that is just being split or merged goes to its children.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use millrace_broker::ranges::RangeMap;
use millrace_broker::{AppendError, Appended, Appends, BatchBuilder, RecordHeader};
use millrace_types::{Lsn, Offset, PartitionId};

use super::Answer;
use crate::call::Call;
use crate::error::{Code, Error};
use crate::keys;
use crate::model::{missing, one_failure};
use crate::puts::{PutRecordsEntry, PutRecordsInput};
use crate::sequence::{SequenceNumber, Shown};
use crate::shards;
use crate::stream::{DISTRIBUTION_AUTO, Stream};
use crate::value::Writer;

/// Bytes of keys and data in one request.
const BYTES_MAX: usize = 10 << 20;
/// What a record that was stored takes in an answer.
const SHOWN_BYTES: usize = 128;
/// What else is in an answer.
const AROUND: usize = 64;
/// About what a record takes in a batch beside its key and data.
const AROUND_RECORD: usize = 16;

pub(crate) async fn run(call: &Call<'_>, input: PutRecordsInput<'_>) -> Result<Answer, Error> {
    let stream = call.stream_by(input.names)?;
    let target = Target::new(call, &stream);
    if !target.spreads() {
        check_keys(&input.records)?;
    }
    let mut entries = Vec::with_capacity(input.records.len());
    let mut bytes = 0;
    for (n, given) in input.records.into_iter().enumerate() {
        let entry = Entry::read(given, &target)?;
        target.check_size(&entry, format_args!("records.{}.member.data", n + 1))?;
        bytes += entry.len();
        entries.push(entry);
    }
    if bytes > BYTES_MAX {
        return Err(Error::invalid("Records size exceeds 10 MB limit"));
    }
    call.end_if_dry(input.dry_run)?;
    let results = put(call, &target, &entries).await?;
    let failed = results.iter().filter(|result| result.is_err()).count();
    let mut answer = Writer::with_capacity(call.encoding, results.len() * SHOWN_BYTES + AROUND, 0);
    answer.map(2, |answer| {
        answer.int("FailedRecordCount", i64::try_from(failed).unwrap_or(i64::MAX));
        let mut shards = BTreeMap::new();
        answer.list("Records", results.len(), |answer| {
            for result in results {
                answer.map(2, |answer| show(result, &mut shards, answer));
            }
        });
    });
    Ok(Answer::Encoded(answer.done(), None))
}

/// Refuses records of which nothing says where they belong.
fn check_keys(records: &[PutRecordsEntry<'_>]) -> Result<(), Error> {
    let lacks = |(_, given): &(usize, &PutRecordsEntry<'_>)| {
        given.key.is_none() && given.explicit.is_none()
    };
    let at = (1..).zip(records).filter(lacks);
    match missing(at.map(|(n, _)| format!("records.{n}.member.partitionKey"))) {
        Some(missing) => Err(Error::validation(missing)),
        None => Ok(()),
    }
}

/// Where one record stands.
pub(super) struct Stored {
    pub(super) shard: PartitionId,
    pub(super) number: SequenceNumber,
}

/// Puts records; what became of each, once those that were stored are durable.
pub(super) async fn put(
    call: &Call<'_>,
    target: &Target<'_>,
    entries: &[Entry<'_>],
) -> Result<Vec<Result<Stored, Error>>, Error> {
    let mut results: Vec<Option<Result<Stored, Error>>> = entries.iter().map(|_| None).collect();
    let mut map = target.stream.topic.ranges();
    let mut left: Vec<usize> = (0..entries.len()).collect();
    let mut last = Lsn(0);
    loop {
        let now = call.counted();
        let mut by_shard: BTreeMap<PartitionId, Vec<(usize, &Entry<'_>)>> = BTreeMap::new();
        for n in left.drain(..) {
            let (Some(entry), Some(result)) = (entries.get(n), results.get_mut(n)) else {
                continue;
            };
            let shard = shard_of(&map, entry)?;
            match target.count(entry, shard, now) {
                Ok(()) => by_shard.entry(shard).or_default().push((n, entry)),
                Err(exceeded) => *result = Some(Err(exceeded)),
            }
        }
        let mut sealed = Vec::new();
        let appends = call.broker.appends();
        for (shard, batch) in by_shard {
            match target.append(&appends, shard, &batch).await {
                Err(AppendError::Sealed) => {
                    sealed.push(shard);
                    left.extend(batch.iter().map(|(n, _)| *n));
                }
                appended => {
                    last = last.max(appended.as_ref().map_or(Lsn(0), |appended| appended.lsn));
                    fill(&mut results, &map, shard, &batch, appended);
                }
            }
        }
        // What was appended is committed while it is waited for the children.
        drop(appends);
        if left.is_empty() {
            call.durable(last).await?;
            let unasked = || Err(Error::internal("The record was not put."));
            return Ok(results.into_iter().map(|put| put.unwrap_or_else(unasked)).collect());
        }
        // One child may be that of two.
        left.sort_unstable();
        (_, map) = call.broker.routes(target.stream.topic.id, &sealed).await?;
    }
}

/// Takes down what became of a batch.
fn fill(
    results: &mut [Option<Result<Stored, Error>>],
    map: &RangeMap,
    shard: PartitionId,
    batch: &[(usize, &Entry<'_>)],
    appended: Result<Appended, AppendError>,
) {
    let created_secs = map.get(shard).map_or(0, |of| of.created_secs);
    for (delta, (n, _)) in (0i64..).zip(batch) {
        let Some(result) = results.get_mut(*n) else { continue };
        *result = Some(appended.clone().map_err(Error::from).map(|appended| {
            let offset = Offset(appended.base_offset.get().saturating_add(delta));
            let number = SequenceNumber::of_record(created_secs, shard, offset, appended.at);
            Stored { shard, number }
        }));
    }
}

fn shard_of(map: &RangeMap, entry: &Entry<'_>) -> Result<PartitionId, Error> {
    map.of_hash(entry.hash).ok_or_else(|| Error::internal("The stream has no open shard."))
}

/// The two members of a result. `shards` are those that were shown before.
fn show(
    result: Result<Stored, Error>,
    shards: &mut BTreeMap<PartitionId, (String, Shown)>,
    out: &mut Writer,
) {
    match result {
        Ok(Stored { shard, number }) => {
            let new = || (shards::name(shard), Shown::default());
            let (name, numbers) = shards.entry(shard).or_insert_with(new);
            out.plain("SequenceNumber", numbers.of(number));
            out.plain("ShardId", name.as_bytes());
        }
        // Clients retry records of two codes only.
        Err(error) => {
            let code = match error.code {
                Code::ProvisionedThroughputExceeded => error.code.name(),
                _ => "InternalFailure",
            };
            out.text("ErrorCode", code);
            out.text("ErrorMessage", &error.message.unwrap_or_default());
        }
    }
}

/// A record of a request.
pub(super) struct Entry<'v> {
    given: PutRecordsEntry<'v>,
    /// Bytes of its data.
    data_len: usize,
    /// Where it lies among the hashes.
    hash: u128,
}

impl<'v> Entry<'v> {
    pub(super) fn read(given: PutRecordsEntry<'v>, target: &Target<'_>) -> Result<Self, Error> {
        let data_len = given.data.len();
        if target.spreads() {
            let given = PutRecordsEntry { explicit: None, ..given };
            return Ok(Self { given, data_len, hash: target.random_hash() });
        }
        let hash = match (given.explicit, given.key) {
            (Some(text), _) => keys::explicit_hash(text).ok_or_else(|| {
                Error::invalid(format!(
                    "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. \
                     Specified value was {text}"
                ))
            })?,
            (None, Some(key)) => keys::hash(key.as_bytes()),
            (None, None) => {
                let null = missing(["partitionKey".to_owned()].into_iter());
                return Err(Error::validation(null.unwrap_or_default()));
            }
        };
        Ok(Self { given, data_len, hash })
    }

    /// Keeps the hash key where Kafka's clients see it too.
    fn header(&self) -> Option<RecordHeader<'v>> {
        let value = Some(self.given.explicit?.as_bytes());
        Some(RecordHeader { key: keys::EXPLICIT_HASH_KEY, value })
    }

    fn len(&self) -> usize {
        self.data_len + self.given.key.map_or(0, str::len)
    }

    fn append_to(&self, batch: &mut BatchBuilder) {
        let PutRecordsEntry { data, key, .. } = self.given;
        let (key, header) = (key.map(str::as_bytes), self.header());
        batch.record_with(
            0,
            key,
            Some(self.data_len),
            |out| data.append_to(out),
            header.as_slice(),
        );
    }
}

/// The stream that records go to.
pub(super) struct Target<'c> {
    call: &'c Call<'c>,
    stream: &'c Stream,
}

impl<'c> Target<'c> {
    pub(super) const fn new(call: &'c Call<'c>, stream: &'c Stream) -> Self {
        Self { call, stream }
    }

    /// Whether the service chooses the shard, whatever the producer says.
    fn spreads(&self) -> bool {
        self.stream.state.distribution.as_deref() == Some(DISTRIBUTION_AUTO)
    }

    fn random_hash(&self) -> u128 {
        let env = self.call.broker.env();
        (u128::from(env.random_u64()) << 64) | u128::from(env.random_u64())
    }

    pub(super) fn check_size(&self, entry: &Entry<'_>, at: impl Display) -> Result<(), Error> {
        let limit = self.stream.state.record_bytes_max();
        if entry.len() <= limit {
            return Ok(());
        }
        let constraint = format!("Member must have length less than or equal to {limit}");
        Err(Error::validation(one_failure(None, &at.to_string(), &constraint)))
    }

    /// Counts a record against the limits of its shard.
    fn count(&self, entry: &Entry<'_>, shard: PartitionId, now: Duration) -> Result<(), Error> {
        let at = self.call.shard_name(self.stream, shard);
        self.call.limits.put(at, entry.len(), now)
    }

    /// Appends records of one shard as one batch.
    async fn append(
        &self,
        appends: &Appends<'_>,
        shard: PartitionId,
        batch: &[(usize, &Entry<'_>)],
    ) -> Result<Appended, AppendError> {
        let partition = self.stream.topic.partition(shard).ok_or(AppendError::TopicDeleted)?;
        let bytes = batch.iter().map(|(_, entry)| entry.len() + AROUND_RECORD).sum();
        let mut records = BatchBuilder::with_capacity(self.call.broker.env().wall(), bytes);
        for (_, entry) in batch {
            entry.append_to(&mut records);
        }
        appends.append_records(&partition, records).await
    }
}
