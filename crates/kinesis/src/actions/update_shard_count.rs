//! UpdateShardCount: as many shards, of about equal ranges.

use millrace_broker::ranges::RangeMap;

use super::{Answer, reshard};
use crate::call::Call;
use crate::error::{Code, Error};
use crate::input::Input;
use crate::value::{Members, Value};

/// Open shards that a stream can be scaled to.
const SHARDS_MAX: u32 = 10_000;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let target = input.count("TargetShardCount").unwrap_or(1);
    let target = u32::try_from(target).unwrap_or(u32::MAX);
    let plan = move |map: &RangeMap| {
        let present = u32::try_from(map.open_len()).unwrap_or(u32::MAX);
        check(present, target)?;
        Ok((map.scaled(target), present))
    };
    let present = reshard::run(call, &stream, plan).await?;
    Ok(Members::new()
        .text("StreamName", stream.name().to_owned())
        .with("CurrentShardCount", Value::Int(i64::from(present)))
        .with("TargetShardCount", Value::Int(i64::from(target)))
        .text("StreamARN", call.arn(stream.name()))
        .into())
}

/// AWS's limits of one call.
fn check(present: u32, target: u32) -> Result<(), Error> {
    let refused = |why: &str| {
        Err(Error::new(
            Code::LimitExceeded,
            format!("{why} Current open shard count: {present} Target shard count: {target}"),
        ))
    };
    if target > SHARDS_MAX {
        return refused(&format!(
            "Target shard count or number of open shards cannot be greater than {SHARDS_MAX}."
        ));
    }
    if target > present.saturating_mul(2) {
        return refused(
            "UpdateShardCount cannot scale up over double your current open shard count.",
        );
    }
    if target.saturating_mul(2) < present {
        return refused(
            "UpdateShardCount cannot scale down below half your current open shard count.",
        );
    }
    Ok(())
}
