//! DescribeLimits: what the account has, and may have.

use super::Answer;
use crate::call::Call;
use crate::error::Error;
use crate::stream::{Mode, Stream};
use crate::value::{Members, Value};

/// Shards that AWS's clients are told they may have: there is no such limit,
/// but for `partitions_max`.
const SHARD_LIMIT: i64 = 100_000;

pub(super) fn describe_limits(call: &Call<'_>) -> Result<Answer, Error> {
    let mut open = 0usize;
    let mut on_demand = 0usize;
    for stream in call.broker.topics().into_iter().filter_map(Stream::of) {
        open += stream.topic.ranges().open_len();
        on_demand += usize::from(stream.state.mode == Mode::OnDemand);
    }
    Ok(Members::new()
        .with("ShardLimit", Value::Int(SHARD_LIMIT))
        .with("OpenShardCount", Value::count(open))
        .with("OnDemandStreamCount", Value::count(on_demand))
        .with("OnDemandStreamCountLimit", Value::Int(SHARD_LIMIT))
        .into())
}
