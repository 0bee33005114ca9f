//! JSON 1.1 of AWS: blobs in base64, times in seconds with a fraction.

use std::{borrow::Cow, cell::Cell, fmt};

use base64_simd::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Budget, Malformed, NODES_MAX, Value};

/// Decodes one value, and nothing behind it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value<'_>, Malformed> {
    let nodes = Cell::new(NODES_MAX);
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(Budget::new(&nodes)).deserialize(&mut from).map_err(|_| Malformed)?;
    from.end().map_err(|_| Malformed)?;
    Ok(value)
}

/// Decodes one value within a budget.
struct Seed<'c>(Budget<'c>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value<'de>, D::Error> {
        self.0.node().map_err(D::Error::custom)?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value<'de>, A::Error> {
        let below = self.0.deeper().map_err(A::Error::custom)?;
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(Seed(below))? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value<'de>, A::Error> {
        let below = self.0.deeper().map_err(A::Error::custom)?;
        let mut members = Vec::new();
        while let Some(name) = from.next_key_seed(Name)? {
            members.push((name, from.next_value_seed(Seed(below))?));
        }
        Ok(Value::Map(members))
    }
}

/// The name of a member, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Encodes `value` behind what `out` has.
pub(crate) fn encode(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        Value::Float(value) if value.is_finite() => {
            out.extend_from_slice(value.to_string().as_bytes());
        }
        Value::Float(_) => out.extend_from_slice(b"null"),
        Value::Text(text) => encode_text(text, out),
        Value::Blob(bytes) => encode_blob(bytes, out),
        Value::Time(time) => {
            let (seconds, ms) = (time.get().div_euclid(1000), time.get().rem_euclid(1000));
            out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
            // Three digits: the fourth, in front, gives way to the point.
            let fraction = out.len();
            out.extend_from_slice(itoa::Buffer::new().format(1000 + ms).as_bytes());
            if let Some(digit) = out.get_mut(fraction) {
                *digit = b'.';
            }
        }
        Value::List(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                encode(item, out);
            }
            out.push(b']');
        }
        Value::Map(members) => {
            out.push(b'{');
            for (n, (name, member)) in members.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                encode_name(name, out);
                out.push(b':');
                encode(member, out);
            }
            out.push(b'}');
        }
    }
}

/// Names of the model need no look for what must be escaped, but for this.
fn encode_name(name: &str, out: &mut Vec<u8>) {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
    } else {
        encode_text(name, out);
    }
}

pub(super) fn encode_text(text: &str, out: &mut Vec<u8>) {
    // Looks at many bytes at once, since none ends it.
    let odd = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if text.bytes().fold(false, |found, byte| found | odd(byte)) {
        // Writing a string to memory does not fail.
        serde_json::to_writer(out, text).ok();
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

fn encode_blob(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    STANDARD.encode_append(bytes, out);
    out.push(b'"');
}
