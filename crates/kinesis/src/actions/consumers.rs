//! Consumers of a stream, each of which may subscribe to its shards:
//! RegisterStreamConsumer, DeregisterStreamConsumer, DescribeStreamConsumer
//! and ListStreamConsumers. They are kept with the stream.

use millrace_types::Timestamp;

use super::{Answer, list_shards, tags};
use crate::arn::Arn;
use crate::call::{Call, Pages};
use crate::error::{Code, Error};
use crate::input::Input;
use crate::stream::{Consumer, Stream};
use crate::token::PageToken;
use crate::value::{Members, Value};

/// Consumers that a stream may have.
const CONSUMERS_MAX: usize = 20;
/// Consumers of one page where nothing else is asked for.
const LIMIT_DEFAULT: usize = 100;

pub(super) async fn register(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let name = input.required("ConsumerName").to_owned();
    let mut consumer = Consumer { created_ms: call.now().get(), ..Consumer::default() };
    tags::add(&mut consumer.tags, &tags::given(input)?)?;
    let (on, account) = (stream.name().to_owned(), call.settings.account_id.clone());
    let registered = call.change(&stream.topic, move |state| {
        // An ARN has the second of a registration, and is never given twice.
        let free_ms = state.consumer_gone_secs.map_or(0, |secs| (secs + 1) * 1000);
        consumer.created_ms = consumer.created_ms.max(free_ms);
        if state.consumers.contains_key(&name) {
            return Err(Error::new(
                Code::ResourceInUse,
                format!(
                    "Consumer {name} under stream {on} under account {account} already exists."
                ),
            ));
        }
        if state.consumers.len() >= CONSUMERS_MAX {
            return Err(Error::new(
                Code::LimitExceeded,
                format!(
                    "Stream {on} under account {account} has {CONSUMERS_MAX} registered consumers, \
                     which is the most that it can have."
                ),
            ));
        }
        state.consumers.insert(name.clone(), consumer.clone());
        Ok((name, consumer))
    });
    let (name, consumer) = registered.await?;
    let shown = describe(call, &stream, &name, &consumer);
    Ok(Members::new().with("Consumer", shown.done()).into())
}

pub(super) async fn deregister(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let Found { stream, name, consumer } = find(call, input)?;
    let gone = unknown(call, &name);
    let removed = call.change(&stream.topic, move |state| {
        // Another of the name may have come meanwhile.
        let standing = state.consumers.get(&name).map(|standing| standing.created_ms);
        if standing != Some(consumer.created_ms) {
            return Err(gone);
        }
        state.consumers.remove(&name);
        state.consumer_gone_secs = state.consumer_gone_secs.max(Some(secs(&consumer)));
        Ok(())
    });
    removed.await?;
    Ok(Answer::Empty)
}

pub(super) fn describe_one(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let Found { stream, name, consumer } = find(call, input)?;
    let described =
        describe(call, &stream, &name, &consumer).text("StreamARN", call.arn(stream.name())).done();
    Ok(Members::new().with("ConsumerDescription", described).into())
}

pub(super) fn list(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let after = match input.text("NextToken") {
        Some(_) if input.member("StreamCreationTimestamp").is_some() => {
            return Err(Error::invalid(
                "NextToken and StreamCreationTimestamp cannot be provided together.",
            ));
        }
        Some(token) => {
            let page = call.open_page(Pages::Consumers, token)?;
            if page.topic != stream.topic.id {
                return Err(Error::invalid("NextToken is invalid."));
            }
            page.after
        }
        None => {
            list_shards::check_created(input, &stream)?;
            String::new()
        }
    };
    let limit = input.count("MaxResults").unwrap_or(LIMIT_DEFAULT);
    let mut behind = stream.state.consumers.iter().filter(|(name, _)| **name > after);
    let page: Vec<_> = behind.by_ref().take(limit).collect();
    let more = behind.next().is_some();
    let token = page.last().filter(|_| more).map(|(last, _)| {
        let page = PageToken { topic: stream.topic.id, after: (*last).clone() };
        Value::text(call.page(Pages::Consumers, &page))
    });
    let show =
        |(name, consumer): (&String, &Consumer)| describe(call, &stream, name, consumer).done();
    let page = page.into_iter().map(show).collect();
    Ok(Members::new().with("Consumers", Value::List(page)).maybe("NextToken", token).into())
}

/// A consumer that a request names.
pub(super) struct Found {
    pub(super) stream: Stream,
    pub(super) name: String,
    pub(super) consumer: Consumer,
}

/// The consumer of a `ConsumerARN`, or of a stream and a `ConsumerName`; where
/// all are given they must agree.
pub(super) fn find(call: &Call<'_>, input: Input<'_>) -> Result<Found, Error> {
    let named = input.text("ConsumerName");
    let on = input.member("StreamARN").or_else(|| input.member("StreamId"));
    let on = on.map(|_| call.stream(input)).transpose()?;
    let Some(text) = input.text("ConsumerARN") else {
        let (Some(stream), Some(name)) = (on, named) else {
            return Err(Error::invalid(
                "Either ConsumerARN, or both StreamARN and ConsumerName, must be provided.",
            ));
        };
        let consumer = stream.state.consumers.get(name).cloned();
        let consumer = consumer.ok_or_else(|| unknown(call, name))?;
        return Ok(Found { stream, name: name.to_owned(), consumer });
    };
    let found = of_arn(call, text)?;
    if on.is_some_and(|on| on.topic.id != found.stream.topic.id)
        || named.is_some_and(|named| named != found.name)
    {
        return Err(Error::invalid(
            "ConsumerARN, StreamARN and ConsumerName name different consumers; give one of them.",
        ));
    }
    Ok(found)
}

/// The consumer of an ARN.
pub(super) fn of_arn(call: &Call<'_>, text: &str) -> Result<Found, Error> {
    let none = || Error::invalid(format!("{text} is not the ARN of a consumer."));
    let arn = Arn::parse(text).ok_or_else(none)?;
    let (name, created_secs) = arn.consumer.and_then(|it| it.rsplit_once(':')).ok_or_else(none)?;
    call.check_arn(&arn)?;
    let stream = call.stream_named(arn.stream)?;
    let consumer = stream.state.consumers.get(name).cloned();
    // One that was registered again under its name has another ARN.
    let consumer = consumer.filter(|it| secs(it).to_string() == created_secs);
    let consumer = consumer.ok_or_else(|| unknown(call, text))?;
    Ok(Found { stream, name: name.to_owned(), consumer })
}

/// There is none: `named` is its name or its ARN, whichever it was asked for by.
fn unknown(call: &Call<'_>, named: &str) -> Error {
    Error::not_found(format!("Consumer {named}, account {} not found.", call.settings.account_id))
}

const fn secs(consumer: &Consumer) -> i64 {
    consumer.created_ms / 1000
}

fn describe(call: &Call<'_>, stream: &Stream, name: &str, consumer: &Consumer) -> Members {
    let arn = format!("{}/consumer/{name}:{}", call.arn(stream.name()), secs(consumer));
    Members::new()
        .text("ConsumerName", name.to_owned())
        .text("ConsumerARN", arn)
        .text("ConsumerStatus", "ACTIVE")
        .with("ConsumerCreationTimestamp", Value::Time(Timestamp(consumer.created_ms)))
}

#[cfg(test)]
mod tests;
