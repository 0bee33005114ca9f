//! The constraints of a request's values, and AWS's words for those that fail.

use std::fmt;

use super::{Kind, Model, Shape, ShapeId};
use crate::value::Value;

/// Failed constraints that one message lists, as at AWS.
const LISTED_MAX: usize = 10;
/// Bytes of one value in a message.
const SHOWN_MAX: usize = 16 << 10;

/// Checks a value that conforms to `shape`.
///
/// # Errors
/// The message that lists what failed.
pub(crate) fn validate(model: &Model, shape: ShapeId, value: &Value<'_>) -> Result<(), String> {
    let mut failed = Failed { model, list: Vec::new() };
    if let Some(shape) = model.shape(shape) {
        failed.members(shape, value, None);
    }
    message(&failed.list).map_or(Ok(()), Err)
}

/// The message that lists these failures, if there are any.
fn message(list: &[String]) -> Option<String> {
    let count = list.len();
    let plural = if count == 1 { "" } else { "s" };
    (count > 0).then(|| format!("{count} validation error{plural} detected: {}", list.join("; ")))
}

impl Model {
    /// Whether `text` breaks no constraint of its shape.
    pub(crate) fn allows_text(&self, shape: ShapeId, text: &str) -> bool {
        self.shape(shape).is_some_and(|shape| broken(shape, &Value::text(text)).is_empty())
    }

    /// Whether the shape of a blob or a list allows so many bytes or items.
    pub(crate) fn allows_size(&self, shape: ShapeId, size: usize) -> bool {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.shape(shape).is_some_and(|shape| {
            shape.min.is_none_or(|min| size >= min) && shape.max.is_none_or(|max| size <= max)
        })
    }
}

/// One validation message of one failure, for constraints that the model does
/// not have. A value that holds data is not shown.
pub(crate) fn one_failure(value: Option<&str>, at: &str, constraint: &str) -> String {
    format!("1 validation error detected: {}", words(value, at, constraint))
}

/// The message of what is missing at these places, if it is anywhere.
pub(crate) fn missing(at: impl Iterator<Item = String>) -> Option<String> {
    let list: Vec<_> = at.take(LISTED_MAX).map(|at| words(Some("null"), &at, NOT_NULL)).collect();
    message(&list)
}

const NOT_NULL: &str = "Member must not be null";

fn words(value: Option<&str>, at: &str, constraint: &str) -> String {
    let (gap, value) = value.map_or(("", ""), |value| (" ", value));
    format!("Value{gap}{value} at '{at}' failed to satisfy constraint: {constraint}")
}

/// Where a value is: only put into words when it fails.
struct Path<'p> {
    within: Option<&'p Self>,
    part: Part<'p>,
}

enum Part<'p> {
    Member(&'p str),
    /// Of a list, from 1.
    Item(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            write!(f, "{within}.")?;
        }
        match self.part {
            Part::Member(name) => f.write_str(&lower_first(name)),
            Part::Item(n) => write!(f, "{n}.member"),
        }
    }
}

struct Failed<'m> {
    model: &'m Model,
    list: Vec<String>,
}

impl Failed<'_> {
    fn push(&mut self, shape: &Shape, value: Option<&Value<'_>>, at: &Path<'_>, constraint: &str) {
        if self.list.len() < LISTED_MAX {
            let shown = match value {
                Some(_) if self.is_private(shape) => None,
                Some(value) => Some(format!("'{}'", self.show(shape, value))),
                None => Some("null".to_owned()),
            };
            self.list.push(words(shown.as_deref(), &at.to_string(), constraint));
        }
    }

    /// The members of a structure, in the model's order.
    fn members(&mut self, shape: &Shape, value: &Value<'_>, at: Option<&Path<'_>>) {
        let Kind::Structure(members) = &shape.kind else { return };
        for member in members {
            let Some(of) = self.model.shape(member.shape) else { continue };
            let at = Path { within: at, part: Part::Member(&member.name) };
            match value.get(&member.name) {
                Some(value) => self.check(of, value, &at),
                None if member.required => self.push(of, None, &at, NOT_NULL),
                None => {}
            }
        }
    }

    fn check(&mut self, shape: &Shape, value: &Value<'_>, at: &Path<'_>) {
        if self.list.len() >= LISTED_MAX {
            return;
        }
        for constraint in broken(shape, value) {
            self.push(shape, Some(value), at, &constraint);
        }
        match (&shape.kind, value) {
            (Kind::Structure(_), _) => self.members(shape, value, Some(at)),
            (Kind::List(member), Value::List(items)) => {
                let Some(of) = self.model.shape(*member) else { return };
                if let Kind::Structure(_) = of.kind {
                    for (n, item) in items.iter().enumerate() {
                        self.check(of, item, &Path { within: Some(at), part: Part::Item(n + 1) });
                    }
                } else if items.iter().any(|item| is_broken(of, item)) {
                    let constraint = format!("Member must satisfy constraint: [{}]", all(of));
                    self.push(shape, Some(value), at, &constraint);
                }
            }
            (Kind::Map { key, value: member }, Value::Map(items)) => {
                let (Some(keys), Some(values)) =
                    (self.model.shape(*key), self.model.shape(*member))
                else {
                    return;
                };
                if items.iter().any(|(key, _)| is_broken(keys, &Value::text(key.as_ref()))) {
                    let constraint = format!("Map keys must satisfy constraint: [{}]", all(keys));
                    self.push(shape, Some(value), at, &constraint);
                }
                if items.iter().any(|(_, item)| is_broken(values, item)) {
                    let constraint =
                        format!("Map value must satisfy constraint: [{}]", all(values));
                    self.push(shape, Some(value), at, &constraint);
                }
            }
            _ => {}
        }
    }

    /// Whether a value is data, or holds some: AWS's messages don't repeat it.
    fn is_private(&self, shape: &Shape) -> bool {
        let holds = |id: &ShapeId| self.model.shape(*id).is_some_and(|of| self.is_private(of));
        match &shape.kind {
            Kind::Blob => true,
            Kind::List(member) => holds(member),
            Kind::Map { value, .. } => holds(value),
            Kind::Structure(members) => members.iter().any(|member| holds(&member.shape)),
            _ => false,
        }
    }

    /// A value as Java would print it, cut where it gets long.
    fn show(&self, shape: &Shape, value: &Value<'_>) -> String {
        let mut out = String::new();
        self.show_into(shape, value, &mut out);
        if out.len() > SHOWN_MAX {
            let end = (0..=SHOWN_MAX).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
            out.truncate(end);
        }
        out
    }

    fn show_into(&self, shape: &Shape, value: &Value<'_>, out: &mut String) {
        if out.len() > SHOWN_MAX {
            return;
        }
        match (&shape.kind, value) {
            (_, Value::Text(text)) => out.push_str(text),
            (_, Value::Bool(value)) => out.push_str(&format!("{value}")),
            (_, Value::Int(value)) => out.push_str(&format!("{value}")),
            (_, Value::Float(value)) => out.push_str(&format!("{value}")),
            (_, Value::Time(time)) => out.push_str(&format!("{time}")),
            (Kind::List(member), Value::List(items)) => {
                let Some(of) = self.model.shape(*member) else { return };
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    out.push_str(if n > 0 { ", " } else { "" });
                    self.show_into(of, item, out);
                }
                out.push(']');
            }
            (Kind::Map { value: member, .. }, Value::Map(items)) => {
                let Some(of) = self.model.shape(*member) else { return };
                out.push('{');
                for (n, (key, item)) in items.iter().enumerate() {
                    out.push_str(&format!("{}{key}=", if n > 0 { ", " } else { "" }));
                    self.show_into(of, item, out);
                }
                out.push('}');
            }
            (Kind::Structure(members), _) => {
                out.push_str(&format!("{}(", shape.name));
                for (n, member) in members.iter().enumerate() {
                    let name = lower_first(&member.name);
                    out.push_str(&format!("{}{name}=", if n > 0 { ", " } else { "" }));
                    match (self.model.shape(member.shape), value.get(&member.name)) {
                        (Some(of), Some(value)) => self.show_into(of, value, out),
                        _ => out.push_str("null"),
                    }
                }
                out.push(')');
            }
            _ => out.push_str("null"),
        }
    }
}

/// The constraints of `shape` itself that `value` breaks.
fn broken(shape: &Shape, value: &Value<'_>) -> Vec<String> {
    let mut all = Vec::new();
    if let (Some(pattern), Value::Text(text)) = (&shape.pattern, value)
        && !pattern.regex.is_match(text)
    {
        all.push(matches_pattern(&pattern.source));
    }
    if let Some((size, what)) = size(value) {
        if let Some(min) = shape.min.filter(|min| size < *min) {
            all.push(at_least(what, min));
        }
        if let Some(max) = shape.max.filter(|max| size > *max) {
            all.push(at_most(what, max));
        }
    }
    if let Value::Text(text) = value
        && !shape.values.is_empty()
        && !shape.values.iter().any(|allowed| allowed == text)
    {
        all.push(is_one_of(&shape.values));
    }
    all
}

fn is_broken(shape: &Shape, value: &Value<'_>) -> bool {
    *value == Value::Null || !broken(shape, value).is_empty()
}

/// All constraints of what lists and maps hold, as one message names them.
fn all(shape: &Shape) -> String {
    let what = if matches!(shape.kind, Kind::Integer | Kind::Long) { VALUE } else { LENGTH };
    let mut all = Vec::new();
    all.extend(shape.max.map(|max| at_most(what, max)));
    all.extend(shape.min.map(|min| at_least(what, min)));
    all.extend(shape.pattern.as_ref().map(|pattern| matches_pattern(&pattern.source)));
    if !shape.values.is_empty() {
        all.push(is_one_of(&shape.values));
    }
    all.join(", ")
}

const LENGTH: &str = "length";
const VALUE: &str = "value";

/// What minimum and maximum count, and what messages call it.
fn size(value: &Value<'_>) -> Option<(i64, &'static str)> {
    let length = |len: usize| Some((i64::try_from(len).unwrap_or(i64::MAX), LENGTH));
    match value {
        Value::Int(number) => Some((*number, VALUE)),
        Value::Text(text) => length(text.chars().count()),
        Value::Blob(bytes) => length(bytes.len()),
        Value::List(items) => length(items.len()),
        Value::Map(members) => length(members.len()),
        _ => None,
    }
}

fn at_least(what: &str, min: i64) -> String {
    format!("Member must have {what} greater than or equal to {min}")
}

fn at_most(what: &str, max: i64) -> String {
    format!("Member must have {what} less than or equal to {max}")
}

/// AWS's own patterns stand without the anchors that botocore's copy puts around
/// some.
fn matches_pattern(source: &str) -> String {
    let bare = source.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$"));
    let source = bare.unwrap_or(source);
    format!("Member must satisfy regular expression pattern: {source}")
}

fn is_one_of(values: &[String]) -> String {
    format!("Member must satisfy enum value set: [{}]", values.join(", "))
}

/// The name as messages have it: `streamName`, but `streamARN`.
fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
