//! PutRecords: up to 500 records, one batch for each shard that gets some, all
//! acknowledged together when all are durable.
//!
//! Invariant: records of one shard stand in the order of the request. A record
//! that could not be stored says so in its own entry; the others stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_broker::ranges::RangeMap;
use millrace_broker::{Appended, Appends, NewRecord, RecordHeader};
use millrace_types::{Lsn, Offset, PartitionId, Timestamp};

use super::Answer;
use crate::call::Call;
use crate::error::{Code, Error};
use crate::input::Input;
use crate::keys;
use crate::model::one_failure;
use crate::sequence::SequenceNumber;
use crate::shards;
use crate::stream::{DISTRIBUTION_AUTO, Stream};
use crate::value::{Members, Value};

/// Bytes of keys and data in one request.
const BYTES_MAX: usize = 10 << 20;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let target = Target::new(call, &stream);
    let mut entries = Vec::new();
    let mut bytes = 0;
    for (n, item) in input.list("Records").enumerate() {
        let entry = Entry::read(item, &target)?;
        target.check_size(&entry, &format!("records.{}.member.data", n + 1))?;
        bytes += entry.len();
        entries.push(entry);
    }
    if bytes > BYTES_MAX {
        return Err(Error::invalid("Records size exceeds 10 MB limit"));
    }
    call.end_dry_run(input)?;
    let results = put(call, &target, &entries).await?;
    let failed = results.iter().filter(|result| result.is_err()).count();
    let shown = results.into_iter().map(|result| show(&target, result)).collect();
    Ok(Members::new()
        .with("FailedRecordCount", Value::count(failed))
        .with("Records", Value::List(shown))
        .into())
}

/// Where one record stands.
struct Stored {
    shard: PartitionId,
    offset: Offset,
    at: Timestamp,
}

async fn put(
    call: &Call<'_>,
    target: &Target<'_>,
    entries: &[Entry<'_>],
) -> Result<Vec<Result<Stored, Error>>, Error> {
    let unasked = || Err(Error::internal("The record was not put."));
    let mut results: Vec<Result<Stored, Error>> = entries.iter().map(|_| unasked()).collect();
    let mut by_shard: BTreeMap<PartitionId, Vec<usize>> = BTreeMap::new();
    for ((n, entry), result) in entries.iter().enumerate().zip(&mut results) {
        let shard = target.shard_of(entry)?;
        match target.count(entry, shard) {
            Ok(()) => by_shard.entry(shard).or_default().push(n),
            Err(exceeded) => *result = Err(exceeded),
        }
    }
    let mut last = Lsn(0);
    let appends = call.broker.appends();
    for (shard, numbers) in by_shard {
        let batch: Vec<&Entry<'_>> = numbers.iter().filter_map(|n| entries.get(*n)).collect();
        let appended = target.append(&appends, shard, &batch).await;
        for (delta, n) in (0i64..).zip(numbers) {
            let Some(result) = results.get_mut(n) else { continue };
            *result = appended.clone().map(|appended| Stored {
                shard,
                offset: Offset(appended.base_offset.get().saturating_add(delta)),
                at: appended.at,
            });
        }
        if let Ok(appended) = appended {
            last = last.max(appended.lsn);
        }
    }
    drop(appends);
    call.broker.durable(last).await?;
    Ok(results)
}

fn show(target: &Target<'_>, result: Result<Stored, Error>) -> Value<'static> {
    let members = Members::new();
    match result {
        Ok(Stored { shard, offset, at }) => members
            .text("SequenceNumber", target.number(shard, offset, at))
            .text("ShardId", shards::name(shard))
            .done(),
        // Clients retry records of two codes only.
        Err(error) => members
            .text(
                "ErrorCode",
                match error.code {
                    Code::ProvisionedThroughputExceeded => error.code.name(),
                    _ => "InternalFailure",
                },
            )
            .text("ErrorMessage", error.message.unwrap_or_default())
            .done(),
    }
}

/// A record of a request.
pub(super) struct Entry<'v> {
    data: &'v [u8],
    key: Option<&'v str>,
    /// Where it lies among the hashes.
    hash: u128,
    /// The hash key that its producer gave, as it gave it.
    explicit: Option<&'v str>,
}

impl<'v> Entry<'v> {
    pub(super) fn read(input: Input<'v>, target: &Target<'_>) -> Result<Self, Error> {
        let data = input.blob("Data").unwrap_or_default();
        let key = input.text("PartitionKey");
        if target.spreads() {
            return Ok(Self { data, key, hash: target.random_hash(), explicit: None });
        }
        let explicit = input.text("ExplicitHashKey");
        let hash = match (explicit, key) {
            (Some(text), _) => keys::explicit_hash(text).ok_or_else(|| {
                Error::invalid(format!(
                    "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. \
                     Specified value was {text}"
                ))
            })?,
            (None, Some(key)) => keys::hash(key.as_bytes()),
            (None, None) => {
                let null = one_failure(Some("null"), "partitionKey", "Member must not be null");
                return Err(Error::validation(null));
            }
        };
        Ok(Self { data, key, hash, explicit })
    }

    /// Keeps the hash key where Kafka's clients see it too.
    fn header(&self) -> Option<RecordHeader<'v>> {
        let value = Some(self.explicit?.as_bytes());
        Some(RecordHeader { key: keys::EXPLICIT_HASH_KEY, value })
    }

    fn len(&self) -> usize {
        self.data.len() + self.key.map_or(0, str::len)
    }
}

/// The stream that records go to.
pub(super) struct Target<'c> {
    call: &'c Call<'c>,
    stream: &'c Stream,
    map: Arc<RangeMap>,
}

impl<'c> Target<'c> {
    pub(super) fn new(call: &'c Call<'c>, stream: &'c Stream) -> Self {
        Self { call, stream, map: stream.topic.ranges() }
    }

    /// Whether the service chooses the shard, whatever the producer says.
    fn spreads(&self) -> bool {
        self.stream.state.distribution.as_deref() == Some(DISTRIBUTION_AUTO)
    }

    fn random_hash(&self) -> u128 {
        let env = self.call.broker.env();
        (u128::from(env.random_u64()) << 64) | u128::from(env.random_u64())
    }

    pub(super) fn check_size(&self, entry: &Entry<'_>, at: &str) -> Result<(), Error> {
        let limit = self.stream.state.record_bytes_max();
        if entry.len() <= limit {
            return Ok(());
        }
        let constraint = format!("Member must have length less than or equal to {limit}");
        Err(Error::validation(one_failure(None, at, &constraint)))
    }

    pub(super) fn shard_of(&self, entry: &Entry<'_>) -> Result<PartitionId, Error> {
        let found = self.map.of_hash(entry.hash);
        found.ok_or_else(|| Error::internal("The stream has no open shard."))
    }

    /// Counts a record against the limits of its shard.
    pub(super) fn count(&self, entry: &Entry<'_>, shard: PartitionId) -> Result<(), Error> {
        let at = self.call.shard_name(self.stream, shard);
        self.call.limits.put(at, entry.len(), self.call.counted())
    }

    /// Appends records of one shard as one batch.
    pub(super) async fn append(
        &self,
        appends: &Appends<'_>,
        shard: PartitionId,
        entries: &[&Entry<'_>],
    ) -> Result<Appended, Error> {
        let partition = self.stream.topic.partition(shard);
        let partition = partition.ok_or_else(|| self.call.unknown_stream(self.stream.name()))?;
        let headers: Vec<_> = entries.iter().map(|entry| entry.header()).collect();
        let records: Vec<_> = entries
            .iter()
            .zip(&headers)
            .map(|(entry, header)| NewRecord {
                key: entry.key.map(str::as_bytes),
                value: Some(entry.data),
                headers: header.as_slice(),
            })
            .collect();
        Ok(appends.append_records(&partition, &records).await?)
    }

    /// The sequence number of a record.
    pub(super) fn number(&self, shard: PartitionId, offset: Offset, at: Timestamp) -> String {
        let created_secs = self.map.get(shard).map_or(0, |of| of.created_secs);
        SequenceNumber::of_record(created_secs, shard, offset, at).to_string()
    }
}
