//! The members of a request that has passed the model, by name and type.

use millrace_types::Timestamp;

use crate::value::Value;

/// How a request names its stream; what is given must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamNames<'v> {
    pub(crate) name: Option<&'v str>,
    pub(crate) arn: Option<&'v str>,
    pub(crate) id: Option<&'v str>,
}

/// A structure of a request. What is absent is `None`; types are right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'v>(pub(crate) &'v Value<'v>);

impl<'v> Input<'v> {
    pub(crate) fn text(self, name: &str) -> Option<&'v str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn stream_names(self) -> StreamNames<'v> {
        StreamNames {
            name: self.text("StreamName"),
            arn: self.text("StreamARN"),
            id: self.text("StreamId"),
        }
    }

    /// A text that the model requires.
    pub(crate) fn required(self, name: &str) -> &'v str {
        self.text(name).unwrap_or_default()
    }

    pub(crate) fn int(self, name: &str) -> Option<i64> {
        match self.0.get(name) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// A number that the model bounds from below by 0 or 1.
    pub(crate) fn count(self, name: &str) -> Option<usize> {
        self.int(name).map(|number| usize::try_from(number).unwrap_or(0))
    }

    pub(crate) fn flag(self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Bool(true)))
    }

    pub(crate) fn time(self, name: &str) -> Option<Timestamp> {
        match self.0.get(name) {
            Some(Value::Time(time)) => Some(*time),
            _ => None,
        }
    }

    pub(crate) fn blob(self, name: &str) -> Option<&'v [u8]> {
        match self.0.get(name) {
            Some(Value::Blob(bytes)) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn member(self, name: &str) -> Option<Self> {
        self.0.get(name).map(Self)
    }

    /// The items of a list; none where it is absent.
    pub(crate) fn list(self, name: &str) -> impl ExactSizeIterator<Item = Self> + use<'v> {
        let items = match self.0.get(name) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        items.iter().map(Input)
    }

    /// The texts of a list of texts.
    pub(crate) fn texts(self, name: &str) -> Vec<&'v str> {
        let text = |item: Self| match item.0 {
            Value::Text(text) => Some(text.as_ref()),
            _ => None,
        };
        self.list(name).filter_map(text).collect()
    }

    /// The texts of a map of texts, by name.
    pub(crate) fn text_map(self, name: &str) -> Vec<(&'v str, &'v str)> {
        let Some(Value::Map(members)) = self.0.get(name) else { return Vec::new() };
        let text = |(key, value): &'v (std::borrow::Cow<'v, str>, Value<'v>)| match value {
            Value::Text(text) => Some((key.as_ref(), text.as_ref())),
            _ => None,
        };
        members.iter().filter_map(text).collect()
    }
}
