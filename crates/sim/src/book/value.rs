//! Records as clients send and see them: values that name themselves, so that
//! one which was mixed up with another, or cut, is known.

use std::fmt;

use millrace_history::{Record, TopicPartition as Log};
use millrace_types::TopicPartition;

/// A record's value: who wrote it, and which of theirs it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) writer: u32,
    pub(crate) number: u32,
    /// Whether its writer's retries make no duplicates and keep their order.
    pub(crate) idempotent: bool,
}

const VALUE_BYTES: usize = 9;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.writer, self.number)
    }
}

/// A partition as histories name it.
pub(crate) fn log(at: TopicPartition) -> Log<'static> {
    Log { topic: at.topic.to_string().into(), partition: at.partition.get() }
}

/// Records as histories hold them; those without a known value are told
/// apart by their offsets.
pub(crate) fn records(at: TopicPartition, read: &[(i64, Option<Value>)]) -> Vec<Record<'static>> {
    let value = |value: &Option<Value>, offset: i64| match value {
        Some(value) => value.to_string(),
        None => format!("unknown at {offset}"),
    };
    read.iter()
        .map(|(offset, read)| Record {
            at: log(at),
            offset: *offset,
            value: value(read, *offset).into(),
        })
        .collect()
}

impl Value {
    /// As a record's value of `len` bytes or a few more.
    pub(crate) fn encode(self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.max(VALUE_BYTES));
        bytes.extend_from_slice(&self.writer.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.push(u8::from(self.idempotent));
        let filler = self.filler();
        bytes.resize(len.max(VALUE_BYTES), filler);
        bytes
    }

    fn filler(self) -> u8 {
        self.number.wrapping_mul(31).wrapping_add(self.writer).to_le_bytes()[0]
    }

    /// `None` for bytes that no writer ever sent.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, filler) = bytes.split_at_checked(VALUE_BYTES)?;
        let (writer, rest) = head.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let value = Self {
            writer: u32::from_le_bytes(*writer),
            number: u32::from_le_bytes(*number),
            idempotent: rest == [1],
        };
        filler.iter().all(|byte| *byte == value.filler()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_known_by_all_of_their_bytes() {
        let value = Value { writer: 7, number: 12, idempotent: true };
        for len in [0, 9, 10, 300] {
            let mut bytes = value.encode(len);
            assert_eq!(Value::decode(&bytes), Some(value));
            if let Some(last) = bytes.get_mut(VALUE_BYTES..).and_then(|filler| filler.last_mut()) {
                *last ^= 4;
                assert_eq!(Value::decode(&bytes), None);
            }
        }
        assert_eq!(Value::decode(&[1; 8]), None);
    }
}
