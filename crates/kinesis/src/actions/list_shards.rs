//! ListShards: with every filter, a page at a time.

use millrace_broker::ranges::RangeState;
use millrace_types::{PartitionId, Timestamp};

use super::Answer;
use crate::call::{Call, Pages};
use crate::error::Error;
use crate::input::Input;
use crate::shards::{self, Shards};
use crate::stream::Stream;
use crate::token::PageToken;
use crate::value::{Members, Value};

/// Shards of one page, at most.
const LIMIT_MAX: usize = 1000;

/// Which shards are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// All that are shown.
    All,
    /// Those behind one.
    After(PartitionId),
    /// Those that are open.
    Latest,
    /// Those that were open at a time.
    At(Timestamp),
    /// Those that were open at a time or since.
    From(Timestamp),
}

/// What is left to list.
struct Rest {
    stream: Stream,
    filter: Filter,
    after: Option<PartitionId>,
}

pub(super) async fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let Rest { stream, filter, after } = match input.text("NextToken") {
        Some(token) => go_on(call, input, token)?,
        None => begin(call, input)?,
    };
    let limit = input.count("MaxResults").unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    let all = Shards::of(&stream.topic, call.now());
    let mut page = Vec::new();
    let mut last = None;
    let mut more = false;
    for (id, of) in all.shown().filter(|(id, _)| after.is_none_or(|after| *id > after)) {
        let ended = match of.state {
            RangeState::Open => None,
            RangeState::Sealed { .. } => Some(shards::sealed_at(all.map(), id)),
        };
        let created = Timestamp(i64::try_from(of.created_secs * 1000).unwrap_or(i64::MAX));
        if !listed(filter, id, created, ended) {
            continue;
        }
        if page.len() == limit {
            more = true;
            break;
        }
        page.push(shards::describe(id, of));
        last = Some(id);
    }
    let token = last.filter(|_| more).map(|last| {
        let after = format!("{} {}", last, encode(filter));
        Value::text(call.page(Pages::Shards, &PageToken { topic: stream.topic.id, after }))
    });
    Ok(Members::new().with("Shards", Value::List(page)).maybe("NextToken", token).into())
}

fn listed(filter: Filter, id: PartitionId, created: Timestamp, ended: Option<Timestamp>) -> bool {
    match filter {
        Filter::All => true,
        Filter::After(after) => id > after,
        Filter::Latest => ended.is_none(),
        Filter::At(time) => created <= time && ended.is_none_or(|ended| ended >= time),
        Filter::From(time) => ended.is_none_or(|ended| ended >= time),
    }
}

fn begin(call: &Call<'_>, input: Input<'_>) -> Result<Rest, Error> {
    if ["StreamName", "StreamARN", "StreamId"].iter().all(|name| input.member(name).is_none()) {
        return Err(Error::invalid("Either NextToken or StreamName should be provided."));
    }
    let stream = call.stream(input)?;
    check_created(input, &stream)?;
    let shard = |name: &str| {
        shards::parse(name).ok_or_else(|| Error::invalid(format!("{name} is not a shard's id.")))
    };
    let after = input.text("ExclusiveStartShardId").map(shard).transpose()?;
    let filter = input.member("ShardFilter").map(|filter| read(filter, &stream, call.now(), shard));
    Ok(Rest { filter: filter.transpose()?.unwrap_or(Filter::All), stream, after })
}

fn read(
    filter: Input<'_>,
    stream: &Stream,
    now: Timestamp,
    shard: impl Fn(&str) -> Result<PartitionId, Error>,
) -> Result<Filter, Error> {
    let kind = filter.required("Type");
    let lacks = |what: &str| Error::invalid(format!("A ShardFilter of type {kind} needs {what}."));
    let time = || {
        // Before the stream was, its first shards stand for it.
        let time = filter.time("Timestamp").ok_or_else(|| lacks("a Timestamp"))?;
        Ok::<_, Error>(time.max(stream.topic.created()))
    };
    Ok(match kind {
        "AFTER_SHARD_ID" => {
            Filter::After(shard(filter.text("ShardId").ok_or_else(|| lacks("a ShardId"))?)?)
        }
        "AT_TRIM_HORIZON" => Filter::At(shards::trim_horizon(&stream.topic, now)),
        "AT_LATEST" => Filter::Latest,
        "AT_TIMESTAMP" => Filter::At(time()?),
        "FROM_TIMESTAMP" => Filter::From(time()?),
        // FROM_TRIM_HORIZON: all that have records, and the open ones.
        _ => Filter::All,
    })
}

/// Refuses a stream that was made at another time than the request says.
pub(super) fn check_created(input: Input<'_>, stream: &Stream) -> Result<(), Error> {
    let Some(created) = input.time("StreamCreationTimestamp") else { return Ok(()) };
    if created.get() / 1000 != stream.topic.created().get() / 1000 {
        let name = stream.name();
        return Err(Error::not_found(format!("Stream {name} of that creation time not found.")));
    }
    Ok(())
}

/// Members that say where a list begins, which a token does.
const BEGINNINGS: [&str; 6] = [
    "StreamName",
    "StreamARN",
    "StreamId",
    "ExclusiveStartShardId",
    "StreamCreationTimestamp",
    "ShardFilter",
];

fn go_on(call: &Call<'_>, input: Input<'_>, token: &str) -> Result<Rest, Error> {
    if let Some(name) = BEGINNINGS.into_iter().find(|name| input.member(name).is_some()) {
        return Err(Error::invalid(format!("NextToken and {name} cannot be provided together.")));
    }
    let page = call.open_page(Pages::Shards, token)?;
    let gone = || Error::not_found("The stream of NextToken is deleted.");
    let topic = call.broker.topic_by_id(page.topic).ok_or_else(gone)?;
    let stream = Stream::of(topic).ok_or_else(gone)?;
    let invalid = || Error::invalid("NextToken is invalid.");
    let (after, filter) = page.after.split_once(' ').ok_or_else(invalid)?;
    let after = PartitionId(after.parse().map_err(|_| invalid())?);
    let filter = decode(filter).ok_or_else(invalid)?;
    Ok(Rest { stream, filter, after: Some(after) })
}

fn encode(filter: Filter) -> String {
    match filter {
        Filter::All => "all".to_owned(),
        Filter::After(id) => format!("after {id}"),
        Filter::Latest => "latest".to_owned(),
        Filter::At(time) => format!("at {time}"),
        Filter::From(time) => format!("from {time}"),
    }
}

fn decode(text: &str) -> Option<Filter> {
    let (kind, value) = text.split_once(' ').unwrap_or((text, ""));
    let time = || value.parse().ok().map(Timestamp);
    Some(match kind {
        "all" => Filter::All,
        "after" => Filter::After(PartitionId(value.parse().ok()?)),
        "latest" => Filter::Latest,
        "at" => Filter::At(time()?),
        "from" => Filter::From(time()?),
        _ => return None,
    })
}
