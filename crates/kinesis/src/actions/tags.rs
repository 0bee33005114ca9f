//! Tags: of streams by name, and of resources by ARN.

use std::collections::BTreeMap;

use super::Answer;
use crate::arn::Arn;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::stream::{Stream, TAGS_MAX};
use crate::value::{Members, Value};

type Tags = BTreeMap<String, String>;

/// Keys that are AWS's own.
const RESERVED: &str = "aws:";

/// The tags of a request, checked against AWS's alphabet.
pub(super) fn given(input: Input<'_>) -> Result<Vec<(String, String)>, Error> {
    let tags = input.text_map("Tags");
    for (key, value) in &tags {
        if key.starts_with(RESERVED) {
            return Err(Error::invalid(format!("Tag keys must not begin with {RESERVED}")));
        }
        let plain = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
        if !key.chars().all(plain) || !value.chars().all(plain) {
            return Err(Error::invalid(
                "Some tags contain invalid characters. Valid characters: Unicode letters, digits, \
                 white space, _ . / = + - % @.",
            ));
        }
    }
    Ok(tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// Adds or replaces tags, all or none.
pub(super) fn add(tags: &mut Tags, more: &[(String, String)]) -> Result<(), Error> {
    let mut next = tags.clone();
    next.extend(more.iter().cloned());
    if next.len() > TAGS_MAX {
        return Err(Error::invalid(format!(
            "Failed to add tags because a given resource cannot have more than {TAGS_MAX} tags \
             associated with it."
        )));
    }
    *tags = next;
    Ok(())
}

pub(super) async fn add_to_stream(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let more = given(input)?;
    call.change(&stream.topic, move |state| add(&mut state.tags, &more)).await?;
    Ok(Answer::Empty)
}

pub(super) async fn remove_from_stream(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    remove(call, input, &stream).await
}

pub(super) fn list_for_stream(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = call.stream(input)?;
    let after = input.text("ExclusiveStartTagKey").unwrap_or_default();
    let limit = input.count("Limit").unwrap_or(TAGS_MAX);
    let tags = &stream.state.tags;
    let mut behind = tags.iter().filter(|(key, _)| after.is_empty() || key.as_str() > after);
    let page = behind.by_ref().take(limit).map(show).collect();
    let more = behind.next().is_some();
    Ok(Members::new().with("Tags", Value::List(page)).with("HasMoreTags", Value::Bool(more)).into())
}

pub(super) async fn tag_resource(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = resource(call, input)?;
    let more = given(input)?;
    call.change(&stream.topic, move |state| add(&mut state.tags, &more)).await?;
    Ok(Answer::Empty)
}

pub(super) async fn untag_resource(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = resource(call, input)?;
    remove(call, input, &stream).await
}

pub(super) fn list_for_resource(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let stream = resource(call, input)?;
    let tags = stream.state.tags.iter().map(show).collect();
    Ok(Members::new().with("Tags", Value::List(tags)).into())
}

/// The stream of a `ResourceARN`. Consumers' tags come with consumers.
fn resource(call: &Call<'_>, input: Input<'_>) -> Result<Stream, Error> {
    let text = input.required("ResourceARN");
    let arn = Arn::parse(text)
        .ok_or_else(|| Error::invalid(format!("{text} is not the ARN of a stream.")))?;
    call.check_arn(&arn)?;
    if arn.consumer.is_some() {
        return Err(Error::invalid("Millrace does not serve tags of consumers yet."));
    }
    call.stream_named(arn.stream)
}

async fn remove(call: &Call<'_>, input: Input<'_>, stream: &Stream) -> Result<Answer, Error> {
    let keys: Vec<String> = input.texts("TagKeys").into_iter().map(str::to_owned).collect();
    let removed = call.change(&stream.topic, move |state| {
        for key in &keys {
            state.tags.remove(key);
        }
        Ok(())
    });
    removed.await?;
    Ok(Answer::Empty)
}

fn show((key, value): (&String, &String)) -> Value<'static> {
    Members::new().text("Key", key.clone()).text("Value", value.clone()).done()
}
