//! EnableEnhancedMonitoring and DisableEnhancedMonitoring: which metrics of
//! shards were asked for.

use std::collections::BTreeSet;

use super::Answer;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::value::{Members, Value};

/// Stands for every metric.
const ALL: &str = "ALL";
const METRICS: [&str; 7] = [
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
];

pub(super) async fn enable(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    change(call, input, |present, more| present.union(more).cloned().collect()).await
}

pub(super) async fn disable(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    change(call, input, |present, less| present.difference(less).cloned().collect()).await
}

type Metrics = BTreeSet<String>;

/// Sets what `next` makes of the present metrics and those of the request.
async fn change(
    call: &Call<'_>,
    input: Input<'_>,
    next: fn(&Metrics, &Metrics) -> Metrics,
) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let asked = input.texts("ShardLevelMetrics");
    let asked = if asked.contains(&ALL) { METRICS.to_vec() } else { asked };
    let asked: Metrics = asked.into_iter().map(str::to_owned).collect();
    let changed = call.change(&stream.topic, move |state| {
        let desired = next(&state.monitoring, &asked);
        Ok((std::mem::replace(&mut state.monitoring, desired.clone()), desired))
    });
    let (current, desired) = changed.await?;
    let show = |metrics: Metrics| Value::List(metrics.into_iter().map(Value::text).collect());
    Ok(Members::new()
        .text("StreamName", stream.name().to_owned())
        .with("CurrentShardLevelMetrics", show(current))
        .with("DesiredShardLevelMetrics", show(desired))
        .text("StreamARN", call.arn(stream.name()))
        .into())
}
