//! What SplitShard, MergeShards and UpdateShardCount have in common.
//!
//! Invariant: a plan is made upon the shards that stand when it is carried out;
//! it is carried out when the answer comes, so that UPDATING is never seen.

use millrace_broker::ReshardTopicError;
use millrace_broker::ranges::{HashRange, RangeMap, RangeState, Step};
use millrace_types::PartitionId;

use crate::call::Call;
use crate::error::{Code, Error};
use crate::shards;
use crate::stream::{Mode, Stream};

/// Refuses streams whose shards are not the caller's to change.
pub(super) fn check(call: &Call<'_>, stream: &Stream) -> Result<(), Error> {
    let (name, account) = (stream.name(), &call.settings.account_id);
    if stream.state.mode == Mode::OnDemand {
        return Err(Error::validation(format!(
            "Request is invalid. Stream {name} under account {account} is in On-Demand mode."
        )));
    }
    if !stream.topic.ranges().is_splittable() {
        return Err(not_splittable(name));
    }
    Ok(())
}

fn not_splittable(stream: &str) -> Error {
    Error::invalid(format!(
        "Stream {stream} is a topic made by Kafka's clients: its partitions share out the hashes \
         equally, and become more by Kafka's CreatePartitions alone."
    ))
}

/// Changes the shards of a stream by the steps of `plan`, which comes with its
/// own answer.
pub(super) async fn run<T: Send + 'static>(
    call: &Call<'_>,
    stream: &Stream,
    plan: impl FnOnce(&RangeMap) -> Result<(Vec<Step>, T), Error> + Send + 'static,
) -> Result<T, Error> {
    check(call, stream)?;
    call.broker.reshard(stream.topic.id, plan).await.map_err(|error| match error {
        ReshardTopicError::Refused(error) => error,
        ReshardTopicError::NotFound => call.unknown_stream(stream.name()),
        ReshardTopicError::TooMany(room) => Error::new(
            Code::LimitExceeded,
            format!("This request would exceed the shard limit: {room} shards more can be made."),
        ),
        // Somebody else was faster.
        ReshardTopicError::Invalid(error) => {
            Error::invalid(format!("The shards cannot be changed so: {error}."))
        }
        error @ (ReshardTopicError::Unavailable(_) | ReshardTopicError::Ended) => {
            Error::internal(error.to_string())
        }
    })
}

/// The names that messages of one request have.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) stream: String,
    pub(super) account: String,
}

impl Names {
    pub(super) fn new(call: &Call<'_>, stream: &Stream) -> Self {
        Self { stream: stream.name().to_owned(), account: call.settings.account_id.clone() }
    }

    /// The hashes of an open shard.
    pub(super) fn open(&self, map: &RangeMap, id: PartitionId) -> Result<HashRange, Error> {
        let (shard, Self { stream, account }) = (shards::name(id), self);
        let of = map.get(id).ok_or_else(|| shards::unknown(&shard, stream, account))?;
        if of.state != RangeState::Open {
            return Err(Error::invalid(format!(
                "Shard {shard} in stream {stream} under account {account} has already been merged \
                 or split, and thus is not eligible for merging or splitting."
            )));
        }
        Ok(of.range)
    }
}

#[cfg(test)]
mod tests;
