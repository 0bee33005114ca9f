//! What the engine itself must remember: log starts and tombstones of topics,
//! as records of the hidden partition [`TopicId::META`].
//!
//! ```text
//! log start   1u8 | topic 16 | partition i32 | offset i64
//! tombstone   2u8 | topic 16
//! ```
//! Little-endian, as everywhere in stored state.

use millrace_types::{Offset, PartitionId, TopicId, TopicPartition};

/// One durable fact about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaRecord {
    /// Nothing below this offset can be read any more.
    LogStart(TopicPartition, Offset),
    /// The topic is deleted; its bytes may go.
    Tombstone(TopicId),
}

impl MetaRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(29);
        match self {
            Self::LogStart(id, offset) => {
                bytes.push(1);
                bytes.extend_from_slice(&id.topic.0);
                bytes.extend_from_slice(&id.partition.get().to_le_bytes());
                bytes.extend_from_slice(&offset.get().to_le_bytes());
            }
            Self::Tombstone(topic) => {
                bytes.push(2);
                bytes.extend_from_slice(&topic.0);
            }
        }
        bytes
    }

    /// `None` for bytes of another shape: a newer version's record.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (topic, rest) = rest.split_first_chunk::<16>()?;
        let topic = TopicId(*topic);
        match kind {
            1 => {
                let (partition, rest) = rest.split_first_chunk::<4>()?;
                let (offset, rest) = rest.split_first_chunk::<8>()?;
                let partition = PartitionId(i32::from_le_bytes(*partition));
                let offset = Offset(i64::from_le_bytes(*offset));
                let id = TopicPartition::new(topic, partition);
                rest.is_empty().then_some(Self::LogStart(id, offset))
            }
            2 => rest.is_empty().then_some(Self::Tombstone(topic)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding() {
        let id = TopicPartition::new(TopicId([7; 16]), PartitionId(3));
        for record in
            [MetaRecord::LogStart(id, Offset(1 << 40)), MetaRecord::Tombstone(TopicId([9; 16]))]
        {
            let bytes = record.encode();
            assert_eq!(MetaRecord::decode(&bytes), Some(record));
            assert_eq!(MetaRecord::decode(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(MetaRecord::decode(&[]), None);
        assert_eq!(MetaRecord::decode(&[9; 40]), None);
    }
}
