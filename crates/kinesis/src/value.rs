//! The tree that requests are decoded into and answers are encoded from,
//! whichever of the two encodings the client speaks.
//!
//! Invariant: a tree that came from the network has at most [`NODES_MAX`]
//! nodes and [`DEPTH_MAX`] levels, so that its memory stays in proportion to
//! its bytes. Texts and bytes are borrowed from the request where they can be.

pub(crate) mod cbor;
mod encoded;
pub(crate) mod json;
mod writer;

use std::borrow::Cow;

use millrace_types::Timestamp;

pub(crate) use encoded::{Chunks, Encoded};
pub(crate) use writer::Writer;

/// Values in one request. The largest that the model allows, ten thousand
/// stream filters, has fifty thousand.
pub(crate) const NODES_MAX: usize = 1 << 16;
/// Levels of one request; the model has six.
pub(crate) const DEPTH_MAX: usize = 32;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// JSON's and CBOR's null: a member that is absent.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes: base64 in JSON.
    Blob(Cow<'a, [u8]>),
    /// A time: seconds with a fraction in JSON, milliseconds in CBOR.
    Time(Timestamp),
    /// Values in order.
    List(Vec<Self>),
    /// Values by name, in the order in which they came.
    Map(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Value<'a> {
    /// The value of the member `name`; of several, the last.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => {
                members.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// About how many bytes it takes in either encoding.
    pub(crate) fn encoded_len(&self) -> usize {
        const EACH: usize = 8;
        match self {
            Self::Null | Self::Bool(_) => EACH,
            Self::Int(_) | Self::Float(_) | Self::Time(_) => 2 * EACH,
            Self::Text(text) => text.len() + EACH,
            Self::Blob(bytes) => bytes.len() / 3 * 4 + EACH,
            Self::List(items) => items.iter().map(|item| item.encoded_len()).sum::<usize>() + EACH,
            Self::Map(members) => {
                let of = |(name, member): &(Cow<'_, str>, Self)| {
                    name.len() + EACH + member.encoded_len()
                };
                members.iter().map(of).sum::<usize>() + EACH
            }
        }
    }

    /// A text.
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// A number that is not negative; one too large to be is the largest.
    pub(crate) fn count(n: impl TryInto<i64>) -> Self {
        Self::Int(n.try_into().unwrap_or(i64::MAX))
    }
}

/// Builds the answer of an action: members in order, absent ones left out.
#[derive(Debug, Default)]
pub(crate) struct Members(Vec<(Cow<'static, str>, Value<'static>)>);

impl Members {
    pub(crate) fn new() -> Self {
        // Room for a record's, which are many.
        Self(Vec::with_capacity(5))
    }

    /// With the member `name`.
    pub(crate) fn with(mut self, name: &'static str, value: Value<'static>) -> Self {
        self.0.push((Cow::Borrowed(name), value));
        self
    }

    /// With a text.
    pub(crate) fn text(self, name: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        self.with(name, Value::text(text))
    }

    /// With the member `name`, where there is a value.
    pub(crate) fn maybe(self, name: &'static str, value: Option<Value<'static>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// All of them.
    pub(crate) fn done(self) -> Value<'static> {
        Value::Map(self.0)
    }
}

/// Why bytes are not a tree: what they are is of no use to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is malformed, or too deep, or has too many values")]
pub(crate) struct Malformed;

/// What is left of a request's nodes and levels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget<'c> {
    nodes: &'c std::cell::Cell<usize>,
    depth: usize,
}

impl<'c> Budget<'c> {
    pub(crate) fn new(nodes: &'c std::cell::Cell<usize>) -> Self {
        Self { nodes, depth: DEPTH_MAX }
    }

    /// Takes one node.
    pub(crate) fn node(&self) -> Result<(), Malformed> {
        self.nodes.set(self.nodes.get().checked_sub(1).ok_or(Malformed)?);
        Ok(())
    }

    /// For the level below.
    pub(crate) fn deeper(self) -> Result<Self, Malformed> {
        Ok(Self { depth: self.depth.checked_sub(1).ok_or(Malformed)?, ..self })
    }
}

#[cfg(test)]
mod tests;
