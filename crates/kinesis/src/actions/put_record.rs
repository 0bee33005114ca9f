//! PutRecord: one record, acknowledged when it is durable.

use super::Answer;
use super::put_records::{Entry, Stored, Target, put};
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::puts::PutRecordsEntry;
use crate::sequence::SequenceNumber;
use crate::shards;
use crate::value::Members;

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let target = Target::new(call, &stream);
    let entry = Entry::read(PutRecordsEntry::of(input), &target)?;
    target.check_size(&entry, "data")?;
    if let Some(number) = input.text("SequenceNumberForOrdering")
        && SequenceNumber::parse(number).is_none_or(|number| number.is_later_than(call.now()))
    {
        let (name, account) = (stream.name(), &call.settings.account_id);
        return Err(Error::invalid(format!(
            "ExclusiveMinimumSequenceNumber {number} used in PutRecord on stream {name} under \
             account {account} is invalid."
        )));
    }
    call.end_dry_run(input)?;
    let results = put(call, &target, &[entry]).await?;
    let missing = || Error::internal("The record was not put.");
    let Stored { shard, number } = results.into_iter().next().ok_or_else(missing)??;
    Ok(Members::new()
        .text("ShardId", shards::name(shard))
        .text("SequenceNumber", number.to_string())
        .into())
}
