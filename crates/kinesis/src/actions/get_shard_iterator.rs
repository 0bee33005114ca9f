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
use crate::shards::{self, Shards};
use crate::stream::Stream;
use crate::token::ShardIterator;
use crate::value::Members;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let (account, shard) = (&call.settings.account_id, input.required("ShardId"));
    // AWS reads the shard's name first, and says of a stream that is not there
    // that its shard is not.
    let Some(id) = shards::parse(shard) else {
        let stream = call.stream_name(input)?;
        return Err(shards::unknown(shard, &stream, account));
    };
    let absent = |stream: &str| shards::gone(id, stream, account);
    let name = call.stream_name(input)?;
    let stream = call.stream_named(&name).map_err(|_| absent(&name))?;
    let all = Shards::of(&stream.topic, call.now());
    let (shard, of) = all.find(shard, account).map_err(|_| absent(&name))?;
    let gone = || call.unknown_stream(stream.name());
    let partition = stream.topic.partition(shard).ok_or_else(gone)?;
    call.limits.iterator(call.shard_name(&stream, shard), call.counted())?;
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

impl Position<'_> {
    /// Its type and its number don't go together.
    fn contradicts(&self, has: &str) -> Error {
        let (kind, name) = (self.kind, self.number_name);
        Error::invalid(format!(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and {name} or (2) \
             TRIM_HORIZON or LATEST and no {name}. Request specified {kind} and {has} {name}."
        ))
    }
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
    if position.number.is_some() && matches!(position.kind, "TRIM_HORIZON" | "LATEST") {
        return Err(position.contradicts("also a"));
    }
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
            let lacks = "Must specify timestampInMillis parameter for iterator of type \
                         AT_TIMESTAMP. Current request has no timestamp parameter.";
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
    let (name, operation) = (position.number_name, position.operation);
    let Some(text) = position.number else {
        return Err(position.contradicts("no"));
    };
    let (stream, account) = (stream.name(), &call.settings.account_id);
    let invalid = |why: &str| {
        Error::invalid(format!(
            "{name} {text} used in {operation} on shard {} in stream {stream} under account \
             {account} is invalid{why}.",
            shards::name(shard)
        ))
    };
    let number = SequenceNumber::parse(text).ok_or_else(|| invalid(""))?;
    if number.shard != shard {
        return Err(Error::invalid(format!(
            "Invalid {name}. It encodes {}, while it was used in a call to a shard with {}",
            shards::name(number.shard),
            shards::name(shard)
        )));
    }
    if number.created_secs != of.created_secs {
        return Err(invalid(" because it did not come from this stream"));
    }
    Ok(number.place())
}
