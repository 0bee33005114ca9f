//! MergeShards: two shards with neighbouring hashes become one.

use millrace_broker::ranges::Step;

use super::Answer;
use super::reshard::{self, Names};
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::shards::{self, Shards};

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    reshard::check(call, &stream)?;
    let all = Shards::of(&stream.topic, call.now());
    let find = |name| all.find(input.required(name), &call.settings.account_id);
    let (lower, _) = find("ShardToMerge")?;
    let (upper, _) = find("AdjacentShardToMerge")?;
    let names = Names::new(call, &stream);
    let plan = move |map: &_| {
        let (below, above) = (names.open(map, lower)?, names.open(map, upper)?);
        // The other way round is none for AWS either.
        if below.last.checked_add(1) != Some(above.first) {
            let (lower, upper) = (shards::name(lower), shards::name(upper));
            let Names { stream, account } = &names;
            return Err(Error::invalid(format!(
                "Shards {lower} and {upper} in stream {stream} under account {account} are not an \
                 adjacent pair of shards eligible for merging"
            )));
        }
        Ok((vec![Step::Merge { lower, upper }], ()))
    };
    reshard::run(call, &stream, plan).await?;
    Ok(Answer::Empty)
}
