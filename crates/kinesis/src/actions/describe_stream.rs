//! DescribeStream and DescribeStreamSummary.

use super::{Answer, update_stream_warm_throughput as warm_throughput};
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::shards::{self, Shards};
use crate::stream::{RECORD_KIB_DEFAULT, Stream};
use crate::value::{Members, Value};

/// Shards of one answer, at most.
const SHARDS_MAX: usize = 100;

pub(super) fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let limit = input.count("Limit").unwrap_or(SHARDS_MAX).min(SHARDS_MAX);
    let after = input.text("ExclusiveStartShardId");
    let after = after.map(|name| shards::parse(name).ok_or_else(|| unknown(name))).transpose()?;
    let all = Shards::of(&stream.topic, call.now());
    let mut behind = all.shown().filter(|(id, _)| after.is_none_or(|after| *id > after));
    let page: Vec<_> = behind.by_ref().take(limit).collect();
    let more = behind.next().is_some();
    let page = page.into_iter().map(|(id, of)| shards::describe(id, of)).collect();
    let description = common(call, &stream)
        .with("Shards", Value::List(page))
        .with("HasMoreShards", Value::Bool(more));
    Ok(Members::new().with("StreamDescription", description.done()).into())
}

pub(super) fn summary(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let state = &stream.state;
    let warm = state.warm_throughput_mibps.map(warm_throughput::show);
    let record_kib = state.max_record_kib.unwrap_or(RECORD_KIB_DEFAULT);
    let distribution = state.distribution.clone().map(Value::text);
    let open = stream.topic.ranges().open_len();
    let summary = common(call, &stream)
        .text("StreamId", stream.id())
        .with("OpenShardCount", Value::count(open))
        .with("ConsumerCount", Value::count(state.consumers.len()))
        .maybe("WarmThroughput", warm)
        .with("MaxRecordSizeInKiB", Value::Int(i64::from(record_kib)))
        .maybe("RecordDistributionStrategy", distribution);
    Ok(Members::new().with("StreamDescriptionSummary", summary.done()).into())
}

fn unknown(shard: &str) -> Error {
    Error::invalid(format!("{shard} is not the id of a shard."))
}

/// What both answers say.
fn common(call: &Call<'_>, stream: &Stream) -> Members {
    let metrics = stream.state.monitoring.iter().cloned().map(Value::text).collect();
    let monitoring = Members::new().with("ShardLevelMetrics", Value::List(metrics)).done();
    Members::new()
        .text("StreamName", stream.name().to_owned())
        .text("StreamARN", call.arn(stream.name()))
        .text("StreamStatus", "ACTIVE")
        .with("StreamModeDetails", mode(stream))
        .with("RetentionPeriodHours", Value::count(stream.retention_hours()))
        .with("StreamCreationTimestamp", Value::Time(stream.topic.created()))
        .with("EnhancedMonitoring", Value::List(vec![monitoring]))
        .text("EncryptionType", "NONE")
}

/// `StreamModeDetails`.
pub(super) fn mode(stream: &Stream) -> Value<'static> {
    Members::new().text("StreamMode", stream.state.mode.name()).done()
}
