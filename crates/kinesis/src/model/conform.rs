//! The types of a request's values, and AWS's words where one is wrong.

use std::borrow::Cow;

use base64::{DecodeError, Engine as _, engine::general_purpose::STANDARD};
use millrace_types::Timestamp;

use super::{Kind, Model, ShapeId};
use crate::value::Value;

/// The two encodings differ in blobs and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Blobs in base64, times in seconds.
    Json,
    /// Blobs as bytes, times in milliseconds.
    Cbor,
}

/// A value is not of the model's type; AWS's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotOfType(pub(crate) String);

/// Texts that a message repeats are cut at this many characters.
const SHOWN_MAX: usize = 1024;

/// Gives `value` the type of `shape`: blobs decoded, times as times, members
/// that are null or unknown left out.
pub(crate) fn conform<'a>(
    model: &Model,
    shape: ShapeId,
    value: Value<'a>,
    encoding: Encoding,
) -> Result<Value<'a>, NotOfType> {
    let Some(of) = model.shape(shape) else { return Ok(Value::Null) };
    match (&of.kind, value) {
        (_, Value::Null) => Ok(Value::Null),
        (Kind::Structure(members), Value::Map(given)) => {
            let mut kept = Vec::with_capacity(given.len().min(members.len()));
            for (name, value) in given {
                let Some(member) = members.iter().find(|member| member.name == name) else {
                    continue;
                };
                let value = conform(model, member.shape, value, encoding)?;
                if value != Value::Null {
                    kept.push((name, value));
                }
            }
            Ok(Value::Map(kept))
        }
        (Kind::Map { value: shape, .. }, Value::Map(given)) => {
            let mut kept = Vec::with_capacity(given.len());
            for (name, value) in given {
                kept.push((name, conform(model, *shape, value, encoding)?));
            }
            Ok(Value::Map(kept))
        }
        (Kind::List(shape), Value::List(given)) => {
            let items = given.into_iter().map(|item| conform(model, *shape, item, encoding));
            Ok(Value::List(items.collect::<Result<_, _>>()?))
        }
        (Kind::Text, Value::Text(text)) => Ok(Value::Text(text)),
        (Kind::Boolean, Value::Bool(value)) => Ok(Value::Bool(value)),
        (Kind::Integer | Kind::Long, Value::Int(number)) => Ok(Value::Int(number)),
        (Kind::Integer | Kind::Long, Value::Float(number)) => Ok(Value::Int(floor(number))),
        (Kind::Blob, Value::Blob(bytes)) => Ok(Value::Blob(bytes)),
        (Kind::Blob, Value::Text(text)) if encoding == Encoding::Json => blob(&text),
        (Kind::Timestamp, Value::Int(number)) => {
            let unit = if encoding == Encoding::Json { 1000 } else { 1 };
            Ok(Value::Time(Timestamp(number.saturating_mul(unit))))
        }
        (Kind::Timestamp, Value::Float(number)) => {
            let unit = if encoding == Encoding::Json { 1000.0 } else { 1.0 };
            Ok(Value::Time(Timestamp(floor((number * unit).round()))))
        }
        (kind, value) => Err(NotOfType(words(kind, &value))),
    }
}

/// The largest whole number below, kept within the range of `i64`.
#[expect(clippy::cast_possible_truncation, reason = "`as` keeps a float within the range")]
fn floor(number: f64) -> i64 {
    number.floor() as i64
}

fn blob(text: &str) -> Result<Value<'static>, NotOfType> {
    let not = |why: String| {
        let shown: String = text.chars().take(SHOWN_MAX).collect();
        NotOfType(format!("'{shown}' can not be converted to a Blob: {why}"))
    };
    if !text.len().is_multiple_of(4) {
        return Err(not(format!(
            "Base64 encoded length is expected a multiple of 4 bytes but found: {}",
            text.len()
        )));
    }
    if let Ok(bytes) = base64_simd::STANDARD.decode_to_vec(text) {
        return Ok(Value::Blob(Cow::Owned(bytes)));
    }
    // Slower, and says what is wrong.
    match STANDARD.decode(text) {
        Ok(bytes) => Ok(Value::Blob(Cow::Owned(bytes))),
        Err(DecodeError::InvalidByte(at, byte)) => {
            // A pad where none may be stands for what follows it.
            let shown = text.get(at..).and_then(|rest| rest.chars().next());
            Err(not(format!("Invalid Base64 character: '{}'", shown.unwrap_or(char::from(byte)))))
        }
        Err(_) => Err(not("Invalid last non-pad Base64 character dectected".to_owned())),
    }
}

/// What AWS says of a value of the wrong type.
fn words(kind: &Kind, value: &Value<'_>) -> String {
    let wanted = match kind {
        Kind::Structure(_) => "a Structure",
        Kind::List(_) => "a List",
        Kind::Map { .. } => "a Map",
        Kind::Text => "an String",
        Kind::Blob => "a Blob",
        Kind::Integer => "an Integer",
        Kind::Long => "an Long",
        Kind::Boolean => "an Boolean",
        Kind::Timestamp => "milliseconds since epoch",
    };
    let class = match (kind, value) {
        (_, Value::List(_)) => return "Start of list found where not expected".to_owned(),
        (_, Value::Map(_)) => {
            return "Start of structure or map found where not expected.".to_owned();
        }
        (Kind::List(_), _) => return "Expected list or null".to_owned(),
        (Kind::Map { .. }, _) => return "Expected map or null".to_owned(),
        (Kind::Structure(_), _) => return "Expected null".to_owned(),
        (Kind::Boolean, Value::Text(text)) => {
            let shown: String = text.chars().take(SHOWN_MAX).collect();
            return format!("'{}' can not be converted to an Boolean", shown.to_uppercase());
        }
        (_, Value::Bool(_)) => "java.lang.Boolean",
        (_, Value::Int(_) | Value::Float(_)) => {
            "com.amazon.coral.value.json.numbers.TruncatingBigNumber"
        }
        (_, Value::Blob(_)) => "java.nio.HeapByteBuffer",
        (_, Value::Text(_) | Value::Time(_) | Value::Null) => "java.lang.String",
    };
    format!("class {class} can not be converted to {wanted}")
}
