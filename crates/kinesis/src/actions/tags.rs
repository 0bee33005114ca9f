//! Tags: of streams by name, and of resources by ARN.

use std::collections::BTreeMap;

use super::Answer;
use crate::call::Call;
use crate::error::Error;
use crate::input::Input;
use crate::resource::Resource;
use crate::stream::TAGS_MAX;
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
        check_alphabet(key)?;
        check_alphabet(value)?;
    }
    Ok(tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// Refuses what no key or value of a tag may contain.
fn check_alphabet(text: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_alphanumeric() || "_.:/=+-%@ ".contains(c);
    if text.chars().all(plain) {
        return Ok(());
    }
    Err(Error::invalid(
        "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white \
         space, _ . / = + - % @.",
    ))
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
    let keys = keys(input)?;
    let removed = call.change(&stream.topic, move |state| {
        remove(&mut state.tags, &keys);
        Ok(())
    });
    removed.await?;
    Ok(Answer::Empty)
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
    let resource = Resource::of(call, input)?;
    let more = given(input)?;
    resource.change(call, move |labels| add(labels.tags, &more)).await?;
    Ok(Answer::Empty)
}

pub(super) async fn untag_resource(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let resource = Resource::of(call, input)?;
    let keys = keys(input)?;
    let removed = resource.change(call, move |labels| {
        remove(labels.tags, &keys);
        Ok(())
    });
    removed.await?;
    Ok(Answer::Empty)
}

pub(super) fn list_for_resource(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let tags = Resource::of(call, input)?.look(|labels| labels.tags.iter().map(show).collect())?;
    Ok(Members::new().with("Tags", Value::List(tags)).into())
}

/// The keys that a request names.
fn keys(input: Input<'_>) -> Result<Vec<String>, Error> {
    let keys = input.texts("TagKeys");
    keys.iter().try_for_each(|key| check_alphabet(key))?;
    Ok(keys.into_iter().map(str::to_owned).collect())
}

fn remove(tags: &mut Tags, keys: &[String]) {
    for key in keys {
        tags.remove(key);
    }
}

fn show((key, value): (&String, &String)) -> Value<'static> {
    Members::new().text("Key", key.clone()).text("Value", value.clone()).done()
}
