//! GetShardIterator: a place in a shard, as a token.

use std::sync::Arc;

use millrace_broker::Partition;
use millrace_broker::ranges::PartitionRange;
use millrace_types::{Offset, PartitionId};

use super::Answer;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::sequence::{Place, SequenceNumber};
use crate::shards::Shards;
use crate::stream::Stream;
use crate::token::ShardIterator;
use crate::value::Members;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let all = Shards::of(&stream.topic);
    let (shard, of) = all.find(input.required("ShardId"), &call.settings.account_id)?;
    let gone = || call.unknown_stream(stream.name());
    let partition = stream.topic.partition(shard).ok_or_else(gone)?;
    let position = Position {
        operation: "GetShardIterator",
        kind: input.required("ShardIteratorType"),
        number: input.text("StartingSequenceNumber"),
        number_name: "StartingSequenceNumber",
        time: input.time("Timestamp"),
    };
    let next = start(call, &stream, (shard, of), &partition, &position).await?;
    call.end_dry_run(input)?;
    let iterator = ShardIterator { topic: stream.topic.id, shard, next };
    let token = call.tokens.iterator(&iterator, call.now());
    Ok(Members::new().text("ShardIterator", token).into())
}

/// Where a reader asks to begin. SubscribeToShard has the same.
pub(super) struct Position<'a> {
    pub(super) operation: &'static str,
    /// One of the model's `ShardIteratorType`.
    pub(super) kind: &'a str,
    pub(super) number: Option<&'a str>,
    /// What the request calls the number.
    pub(super) number_name: &'static str,
    pub(super) time: Option<millrace_types::Timestamp>,
}

/// The offset of the first record at a position.
pub(super) async fn start(
    call: &Call<'_>,
    stream: &Stream,
    (shard, of): (PartitionId, &PartitionRange),
    partition: &Arc<Partition>,
    position: &Position<'_>,
) -> Result<Offset, Error> {
    let offsets = partition.offsets();
    let place = || number(call, stream, (shard, of), position);
    let end = offsets.last_stable;
    Ok(match position.kind {
        "TRIM_HORIZON" => offsets.log_start,
        "LATEST" => end,
        "AT_SEQUENCE_NUMBER" => match place()? {
            Place::Start => offsets.log_start,
            Place::At(offset) => offset,
            Place::End => end,
        },
        "AFTER_SEQUENCE_NUMBER" => match place()? {
            Place::Start => offsets.log_start,
            Place::At(offset) => Offset(offset.get().saturating_add(1)),
            Place::End => end,
        },
        _ => {
            let lacks = "Must either specify (1) AT_TIMESTAMP iterator type and Timestamp or \
                         (2) another iterator type without one.";
            let time = position.time.ok_or_else(|| Error::invalid(lacks))?;
            let now = call.now();
            if time > now {
                return Err(Error::invalid(format!(
                    "The timestampInMillis parameter cannot be greater than the \
                     currentTimestampInMillis. timestampInMillis: {time}, \
                     currentTimestampInMillis: {now}"
                )));
            }
            call.broker.offset_appended_at(partition, time).await?.unwrap_or(end)
        }
    })
}

/// The place that the sequence number of a position names.
fn number(
    call: &Call<'_>,
    stream: &Stream,
    (shard, of): (PartitionId, &PartitionRange),
    position: &Position<'_>,
) -> Result<Place, Error> {
    let (name, kind, operation) = (position.number_name, position.kind, position.operation);
    let Some(text) = position.number else {
        return Err(Error::invalid(format!("{name} must be given with the type {kind}.")));
    };
    let (stream, account) = (stream.name(), &call.settings.account_id);
    let number = SequenceNumber::parse(text).ok_or_else(|| {
        Error::invalid(format!(
            "{name} {text} used in {operation} on shard {} in stream {stream} under account \
             {account} is invalid.",
            crate::shards::name(shard)
        ))
    })?;
    if number.shard != shard || number.created_secs != of.created_secs {
        return Err(Error::invalid(format!(
            "Invalid {name}. It encodes {}, while it was used in a call to a shard with {}",
            crate::shards::name(number.shard),
            crate::shards::name(shard)
        )));
    }
    Ok(number.place())
}
