//! ListStreams: by name, a page at a time.

use millrace_types::TopicId;

use super::{Answer, describe_stream};
use crate::call::{Call, Pages};
use crate::error::Error;
use crate::input::Input;
use crate::stream::Stream;
use crate::token::PageToken;
use crate::value::{Members, Value};

/// Streams of one page, at most; who asks for more gets as many.
const LIMIT_MAX: usize = 100;

pub(super) fn run(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let after = match (input.text("NextToken"), input.text("ExclusiveStartStreamName")) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "NextToken and ExclusiveStartStreamName cannot be provided together.",
            ));
        }
        (Some(token), None) => call.open_page(Pages::Streams, token)?.after,
        (None, after) => after.unwrap_or_default().to_owned(),
    };
    let limit = input.count("Limit").unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    let mut behind = call
        .kafkas_alone
        .leave_out(call.broker.topics())
        .filter(|stream| after.is_empty() || stream.name() > after.as_str());
    let page: Vec<Stream> = behind.by_ref().take(limit).collect();
    let more = behind.next().is_some();
    let token = page.last().filter(|_| more).map(|last| {
        let after = last.name().to_owned();
        Value::text(call.page(Pages::Streams, &PageToken { topic: TopicId::default(), after }))
    });
    let names = page.iter().map(|stream| Value::text(stream.name().to_owned())).collect();
    let summaries = page.iter().map(|stream| summary(call, stream)).collect();
    Ok(Members::new()
        .with("StreamNames", Value::List(names))
        .with("HasMoreStreams", Value::Bool(more))
        .maybe("NextToken", token)
        .with("StreamSummaries", Value::List(summaries))
        .into())
}

fn summary(call: &Call<'_>, stream: &Stream) -> Value<'static> {
    Members::new()
        .text("StreamName", stream.name().to_owned())
        .text("StreamARN", call.arn(stream.name()))
        .text("StreamStatus", "ACTIVE")
        .with("StreamModeDetails", describe_stream::mode(stream))
        .with("StreamCreationTimestamp", Value::Time(stream.topic.created()))
        .done()
}
