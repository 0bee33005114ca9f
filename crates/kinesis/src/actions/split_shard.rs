//! SplitShard: one shard becomes two.

use millrace_broker::ranges::{HashRange, Step};

use super::Answer;
use super::reshard::{self, Names};
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::keys;
use crate::shards::{self, Shards};

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    reshard::check(call, &stream)?;
    let all = Shards::of(&stream.topic, call.now());
    let (shard, _) = all.find(input.required("ShardToSplit"), &call.settings.account_id)?;
    let asked = input.required("NewStartingHashKey").to_owned();
    let names = Names::new(call, &stream);
    let plan = move |map: &_| {
        let HashRange { first, last } = names.open(map, shard)?;
        // AWS leaves each of the two more than one hash.
        let at = keys::explicit_hash(&asked)
            .filter(|at| first.saturating_add(1) < *at && *at < last)
            .ok_or_else(|| {
                let (shard, Names { stream, account }) = (shards::name(shard), &names);
                Error::invalid(format!(
                    "NewStartingHashKey {asked} used in SplitShard() on shard {shard} in stream \
                     {stream} under account {account} is not both greater than one plus the \
                     shard's StartingHashKey {first} and less than the shard's EndingHashKey \
                     {last}."
                ))
            })?;
        Ok((vec![Step::Split { partition: shard, at }], ()))
    };
    reshard::run(call, &stream, plan).await?;
    Ok(Answer::Empty)
}
