//! CBOR 1.1 of AWS: blobs as they are, times in whole milliseconds under the
//! tag for times. Maps, lists and texts of unknown length are read; those of
//! answers say theirs.

use std::{borrow::Cow, cell::Cell};

use minicbor::{
    Decoder, Encoder,
    data::{IanaTag, Tag, Type},
    encode::write::Write,
};

use super::{Budget, Malformed, NODES_MAX, Value};

/// Decodes one value, and nothing behind it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value<'_>, Malformed> {
    let nodes = Cell::new(NODES_MAX);
    let mut from = Decoder::new(bytes);
    let value = value(&mut from, Budget::new(&nodes))?;
    if from.position() == bytes.len() { Ok(value) } else { Err(Malformed) }
}

fn value<'a>(from: &mut Decoder<'a>, budget: Budget<'_>) -> Result<Value<'a>, Malformed> {
    budget.node()?;
    let malformed = |_| Malformed;
    Ok(match from.datatype().map_err(malformed)? {
        Type::Null => from.null().map(|()| Value::Null).map_err(malformed)?,
        Type::Undefined => from.undefined().map(|()| Value::Null).map_err(malformed)?,
        Type::Bool => Value::Bool(from.bool().map_err(malformed)?),
        Type::F16 => Value::Float(from.f16().map_err(malformed)?.into()),
        Type::F32 => Value::Float(from.f32().map_err(malformed)?.into()),
        Type::F64 => Value::Float(from.f64().map_err(malformed)?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
            Value::Int(i64::try_from(from.u64().map_err(malformed)?).unwrap_or(i64::MAX))
        }
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => Value::Int(from.i64().map_err(malformed)?),
        Type::Int => {
            let number = i128::from(from.int().map_err(malformed)?);
            Value::Int(i64::try_from(number).unwrap_or(i64::MIN))
        }
        Type::String | Type::StringIndef => Value::Text(text(from)?),
        Type::Bytes => Value::Blob(Cow::Borrowed(from.bytes().map_err(malformed)?)),
        Type::BytesIndef => {
            let mut whole = Vec::new();
            for part in from.bytes_iter().map_err(malformed)? {
                whole.extend_from_slice(part.map_err(malformed)?);
            }
            Value::Blob(Cow::Owned(whole))
        }
        Type::Array | Type::ArrayIndef => {
            let below = budget.deeper()?;
            let len = from.array().map_err(malformed)?;
            let mut items = Vec::new();
            while goes_on(from, len, items.len())? {
                items.push(value(from, below)?);
            }
            Value::List(items)
        }
        Type::Map | Type::MapIndef => {
            let below = budget.deeper()?;
            let len = from.map().map_err(malformed)?;
            let mut members = Vec::new();
            while goes_on(from, len, members.len())? {
                let name = text(from)?;
                members.push((name, value(from, below)?));
            }
            Value::Map(members)
        }
        // Which kind of time or number it is, the model knows.
        Type::Tag => {
            from.tag().map_err(malformed)?;
            value(from, budget.deeper()?)?
        }
        Type::Simple | Type::Break | Type::Unknown(_) => return Err(Malformed),
    })
}

/// A text. As the name of a member it is no node of its own: JSON counts the
/// same.
fn text<'a>(from: &mut Decoder<'a>) -> Result<Cow<'a, str>, Malformed> {
    let malformed = |_| Malformed;
    match from.datatype().map_err(malformed)? {
        Type::String => Ok(Cow::Borrowed(from.str().map_err(malformed)?)),
        Type::StringIndef => {
            let parts: Result<String, _> = from.str_iter().map_err(malformed)?.collect();
            Ok(Cow::Owned(parts.map_err(malformed)?))
        }
        _ => Err(Malformed),
    }
}

/// Whether another item follows; passes over the end of one without a length.
pub(crate) fn goes_on(
    from: &mut Decoder<'_>,
    len: Option<u64>,
    read: usize,
) -> Result<bool, Malformed> {
    match len {
        Some(len) => Ok(u64::try_from(read).is_ok_and(|read| read < len)),
        None if from.datatype().map_err(|_| Malformed)? == Type::Break => {
            from.set_position(from.position() + 1);
            Ok(false)
        }
        None => Ok(true),
    }
}

/// A text.
pub(super) fn encode_text(text: &str, out: &mut Vec<u8>) {
    encode_plain(text.as_bytes(), out);
}

/// A text whose bytes are known to be one.
pub(super) fn encode_plain(text: &[u8], out: &mut Vec<u8>) {
    encode_head(TEXT, text.len(), out);
    out.extend_from_slice(text);
}

/// What stands before a blob of so many bytes.
pub(super) fn encode_blob_len(len: usize, out: &mut Vec<u8>) {
    encode_head(BLOB, len, out);
}

/// What stands before a list of so many items.
pub(super) fn encode_list_len(items: usize, out: &mut Vec<u8>) {
    encode_head(LIST, items, out);
}

/// What stands before a map of so many members.
pub(super) fn encode_map_len(members: usize, out: &mut Vec<u8>) {
    encode_head(MAP, members, out);
}

/// The types of items that have a length, where an item's first byte has them.
const BLOB: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const LIST: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
/// From here on a length stands behind the first byte, in 1, 2, 4 or 8 bytes.
const LENGTH_BEHIND: u8 = 24;

/// The head of an item. Answers have some for each record: [`Encoder`], which
/// writes to anything, took a twentieth of what reads cost.
fn encode_head(kind: u8, len: usize, out: &mut Vec<u8>) {
    if let Ok(len) = u8::try_from(len) {
        if len < LENGTH_BEHIND {
            out.push(kind | len);
        } else {
            out.extend_from_slice(&[kind | LENGTH_BEHIND, len]);
        }
    } else if let Ok(len) = u16::try_from(len) {
        out.push(kind | (LENGTH_BEHIND + 1));
        out.extend_from_slice(&len.to_be_bytes());
    } else if let Ok(len) = u32::try_from(len) {
        out.push(kind | (LENGTH_BEHIND + 2));
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(kind | (LENGTH_BEHIND + 3));
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// Encodes `value` behind what `out` has.
pub(crate) fn encode(value: &Value<'_>, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    encode_with(value, &mut Encoder::new(out)).ok();
}

fn encode_with<W: Write>(
    value: &Value<'_>,
    to: &mut Encoder<W>,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    match value {
        Value::Null => to.null()?,
        Value::Bool(value) => to.bool(*value)?,
        Value::Int(value) => to.i64(*value)?,
        Value::Float(value) => to.f64(*value)?,
        Value::Text(text) => to.str(text)?,
        Value::Blob(bytes) => to.bytes(bytes)?,
        Value::Time(time) => to.tag(Tag::from(IanaTag::Timestamp))?.i64(time.get())?,
        Value::List(items) => {
            to.array(items.len() as u64)?;
            for item in items {
                encode_with(item, to)?;
            }
            to
        }
        Value::Map(members) => {
            to.map(members.len() as u64)?;
            for (name, member) in members {
                to.str(name)?;
                encode_with(member, to)?;
            }
            to
        }
    };
    Ok(())
}
