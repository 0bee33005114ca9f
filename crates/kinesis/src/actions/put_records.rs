//! PutRecords: up to 500 records, one batch for each shard that gets some, all
//! acknowledged together when all are durable.
//!
//! Invariant: records of one shard stand in the order of the request. A record
//! that could not be stored says so in its own entry; the others stand. One that
//! comes upon a shard that is just being split or merged goes to its children.

use std::collections::BTreeMap;

use millrace_broker::ranges::RangeMap;
use millrace_broker::{AppendError, Appended, Appends, NewRecord, RecordHeader};
use millrace_types::{Lsn, Offset, PartitionId};

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
    let shown = results.into_iter().map(show).collect();
    Ok(Members::new()
        .with("FailedRecordCount", Value::count(failed))
        .with("Records", Value::List(shown))
        .into())
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
    let unasked = || Err(Error::internal("The record was not put."));
    let mut results: Vec<Result<Stored, Error>> = entries.iter().map(|_| unasked()).collect();
    let mut map = target.stream.topic.ranges();
    let mut left: Vec<usize> = (0..entries.len()).collect();
    let mut last = Lsn(0);
    loop {
        let mut by_shard: BTreeMap<PartitionId, Vec<(usize, &Entry<'_>)>> = BTreeMap::new();
        for n in left.drain(..) {
            let (Some(entry), Some(result)) = (entries.get(n), results.get_mut(n)) else {
                continue;
            };
            let shard = shard_of(&map, entry)?;
            match target.count(entry, shard) {
                Ok(()) => by_shard.entry(shard).or_default().push((n, entry)),
                Err(exceeded) => *result = Err(exceeded),
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
            return Ok(results);
        }
        // One child may be that of two.
        left.sort_unstable();
        (_, map) = call.broker.routes(target.stream.topic.id, &sealed).await?;
    }
}

/// Takes down what became of a batch.
fn fill(
    results: &mut [Result<Stored, Error>],
    map: &RangeMap,
    shard: PartitionId,
    batch: &[(usize, &Entry<'_>)],
    appended: Result<Appended, AppendError>,
) {
    let created_secs = map.get(shard).map_or(0, |of| of.created_secs);
    for (delta, (n, _)) in (0i64..).zip(batch) {
        let Some(result) = results.get_mut(*n) else { continue };
        *result = appended.clone().map_err(Error::from).map(|appended| {
            let offset = Offset(appended.base_offset.get().saturating_add(delta));
            let number = SequenceNumber::of_record(created_secs, shard, offset, appended.at);
            Stored { shard, number }
        });
    }
}

fn shard_of(map: &RangeMap, entry: &Entry<'_>) -> Result<PartitionId, Error> {
    map.of_hash(entry.hash).ok_or_else(|| Error::internal("The stream has no open shard."))
}

fn show(result: Result<Stored, Error>) -> Value<'static> {
    let members = Members::new();
    match result {
        Ok(Stored { shard, number }) => members
            .text("SequenceNumber", number.to_string())
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

    pub(super) fn check_size(&self, entry: &Entry<'_>, at: &str) -> Result<(), Error> {
        let limit = self.stream.state.record_bytes_max();
        if entry.len() <= limit {
            return Ok(());
        }
        let constraint = format!("Member must have length less than or equal to {limit}");
        Err(Error::validation(one_failure(None, at, &constraint)))
    }

    /// Counts a record against the limits of its shard.
    fn count(&self, entry: &Entry<'_>, shard: PartitionId) -> Result<(), Error> {
        let at = self.call.shard_name(self.stream, shard);
        self.call.limits.put(at, entry.len(), self.call.counted())
    }

    /// Appends records of one shard as one batch.
    async fn append(
        &self,
        appends: &Appends<'_>,
        shard: PartitionId,
        batch: &[(usize, &Entry<'_>)],
    ) -> Result<Appended, AppendError> {
        let partition = self.stream.topic.partition(shard).ok_or(AppendError::TopicDeleted)?;
        let headers: Vec<_> = batch.iter().map(|(_, entry)| entry.header()).collect();
        let records: Vec<_> = batch
            .iter()
            .zip(&headers)
            .map(|((_, entry), header)| NewRecord {
                key: entry.key.map(str::as_bytes),
                value: Some(entry.data),
                headers: header.as_slice(),
            })
            .collect();
        appends.append_records(&partition, &records).await
    }
}
