//! The operations, one file each, and the way from a name to its file.
//!
//! Invariant: every operation of the model is named here; an action sees only
//! input that the model allows. `DryRun` is answered after all checks and
//! before any effect.

mod account;
mod account_settings;
mod consumers;
mod create_stream;
mod delete_stream;
mod describe_stream;
mod get_records;
mod get_shard_iterator;
mod list_shards;
mod list_streams;
mod merge_shards;
mod monitoring;
mod policies;
mod put_record;
mod put_records;
mod reshard;
mod retention;
mod split_shard;
mod subscribe_to_shard;
mod tags;
mod update_max_record_size;
mod update_shard_count;
mod update_stream_mode;
mod update_stream_record_distribution_strategy;
mod update_stream_warm_throughput;

pub(crate) use put_records::run as put_records;
use tokio::sync::OwnedSemaphorePermit;

use crate::call::Call;
use crate::error::Error;
use crate::http::Body;
use crate::input::Input;
use crate::puts::PutRecordsInput;
use crate::value::{Encoded, Members, Value};

/// The operation whose input may come without a tree.
pub(crate) const PUT_RECORDS: &str = "PutRecords";

/// What an action answers.
pub(crate) enum Answer {
    /// Nothing: a body without bytes.
    Empty,
    /// A structure.
    Value(Value<'static>),
    /// A structure that was written without a tree, with the memory that it
    /// takes where that is much.
    Encoded(Encoded, Option<OwnedSemaphorePermit>),
    /// Messages without an end that is known: see [`crate::event_stream`].
    Events(Body),
}

impl From<Members> for Answer {
    fn from(members: Members) -> Self {
        Self::Value(members.done())
    }
}

/// Performs an operation of the model.
pub(crate) async fn run(
    operation: &str,
    call: &Call<'_>,
    input: &Value<'_>,
) -> Result<Answer, Error> {
    let input = Input(input);
    match operation {
        "AddTagsToStream" => tags::add_to_stream(call, input).await,
        "CreateStream" => create_stream::run(call, input).await,
        "DecreaseStreamRetentionPeriod" => retention::decrease(call, input).await,
        "DeleteResourcePolicy" => policies::delete(call, input).await,
        "DeleteStream" => delete_stream::run(call, input).await,
        "DeregisterStreamConsumer" => consumers::deregister(call, input).await,
        "DescribeAccountSettings" => Ok(account_settings::describe(call)),
        "DescribeLimits" => account::describe_limits(call),
        "DescribeStream" => describe_stream::run(call, input),
        "DescribeStreamConsumer" => consumers::describe_one(call, input),
        "DescribeStreamSummary" => describe_stream::summary(call, input),
        "DisableEnhancedMonitoring" => monitoring::disable(call, input).await,
        "EnableEnhancedMonitoring" => monitoring::enable(call, input).await,
        "GetRecords" => get_records::run(call, input).await,
        "GetResourcePolicy" => policies::get(call, input),
        "GetShardIterator" => get_shard_iterator::run(call, input).await,
        "IncreaseStreamRetentionPeriod" => retention::increase(call, input).await,
        "ListChannels" => Ok(empty_list("ChannelSummaries")),
        "ListQueues" => Ok(empty_list("QueueSummaries")),
        "ListShards" => list_shards::run(call, input).await,
        "ListStreamConsumers" => consumers::list(call, input),
        "ListStreams" => list_streams::run(call, input),
        "ListTagsForResource" => tags::list_for_resource(call, input),
        "ListTagsForStream" => tags::list_for_stream(call, input),
        "MergeShards" => merge_shards::run(call, input).await,
        "PutRecord" => put_record::run(call, input).await,
        PUT_RECORDS => put_records::run(call, PutRecordsInput::of(input)).await,
        "PutResourcePolicy" => policies::put(call, input).await,
        "RegisterStreamConsumer" => consumers::register(call, input).await,
        "RemoveTagsFromStream" => tags::remove_from_stream(call, input).await,
        "SplitShard" => split_shard::run(call, input).await,
        "SubscribeToShard" => subscribe_to_shard::run(call, input).await,
        "TagResource" => tags::tag_resource(call, input).await,
        "UntagResource" => tags::untag_resource(call, input).await,
        "UpdateAccountSettings" => account_settings::update(call, input).await,
        "UpdateMaxRecordSize" => update_max_record_size::run(call, input).await,
        "UpdateShardCount" => update_shard_count::run(call, input).await,
        "UpdateStreamMode" => update_stream_mode::run(call, input).await,
        "UpdateStreamRecordDistributionStrategy" => {
            update_stream_record_distribution_strategy::run(call, input).await
        }
        "UpdateStreamWarmThroughput" => update_stream_warm_throughput::run(call, input).await,
        _ => Err(not_served(operation)),
    }
}

/// What has no engine yet.
fn not_served(operation: &str) -> Error {
    Error::invalid(format!("Millrace does not serve {operation} yet."))
}

fn empty_list(name: &'static str) -> Answer {
    Members::new().with(name, Value::List(Vec::new())).into()
}

#[cfg(test)]
mod tests;
