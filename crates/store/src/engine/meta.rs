//! What the engine itself must remember: log starts and tombstones of topics,
//! as records of the hidden partition [`TopicId::META`].
//!
//! ```text
//! log start     1u8 | topic 16 | partition i32 | offset i64
//! tombstone     2u8 | topic 16
//! forgotten     3u8 | topic 16
//! quarantined   4u8 | topic 16 | partition i32 | first i64 | end i64 | file u64 | byte u64
//! end unproven  5u8 | topic 16 | partition i32
//! given up      6u8 | ends u8 | topic 16 | partition i32 | first i64 | end i64 | file u64 | byte u64
//! ```
//! Little-endian, as everywhere in stored state.

use std::collections::BTreeMap;

use millrace_types::{FileId, Lsn, Offset, PartitionId, TopicId, TopicPartition};

use super::partition::Quarantined;

/// Topics whose deletion is durable. Those that nobody asks for any more
/// ("forgotten") have the frame by which their last records had been written:
/// a checkpoint that covers it needs no tombstone.
pub(super) type Tombstones = BTreeMap<TopicId, Option<Lsn>>;

/// One durable fact about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaRecord {
    /// Nothing below this offset can be read any more.
    LogStart(TopicPartition, Offset),
    /// The topic is deleted; its bytes may go.
    Tombstone(TopicId),
    /// The catalog knows that the topic is deleted.
    Forgotten(TopicId),
    /// A range of offsets that cannot be read.
    Quarantined(TopicPartition, Quarantined),
    /// Corruption took the end of the partition.
    EndUnproven(TopicPartition),
    /// Readers pass this range. Where the flag says so the end of the partition
    /// was lost with it: it goes on behind.
    GivenUp(TopicPartition, Quarantined, bool),
}

impl MetaRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(53);
        match self {
            Self::LogStart(id, offset) => {
                bytes.push(1);
                put_partition(*id, &mut bytes);
                bytes.extend_from_slice(&offset.get().to_le_bytes());
            }
            Self::Tombstone(topic) => {
                bytes.push(2);
                bytes.extend_from_slice(&topic.0);
            }
            Self::Forgotten(topic) => {
                bytes.push(3);
                bytes.extend_from_slice(&topic.0);
            }
            Self::Quarantined(id, range) => {
                bytes.push(4);
                put_range(*id, range, &mut bytes);
            }
            Self::EndUnproven(id) => {
                bytes.push(5);
                put_partition(*id, &mut bytes);
            }
            Self::GivenUp(id, range, ends) => {
                bytes.extend_from_slice(&[6, u8::from(*ends)]);
                put_range(*id, range, &mut bytes);
            }
        }
        bytes
    }

    /// `None` for bytes of another shape: a newer version's record.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        let rest = &mut rest;
        let ends = match kind {
            6 => take::<1>(rest)? == [1],
            _ => false,
        };
        let topic = TopicId(take(rest)?);
        let record = match kind {
            1 => Self::LogStart(take_partition(topic, rest)?, take_offset(rest)?),
            2 => Self::Tombstone(topic),
            3 => Self::Forgotten(topic),
            4 => Self::Quarantined(take_partition(topic, rest)?, take_range(rest)?),
            5 => Self::EndUnproven(take_partition(topic, rest)?),
            6 => Self::GivenUp(take_partition(topic, rest)?, take_range(rest)?, ends),
            _ => return None,
        };
        rest.is_empty().then_some(record)
    }
}

fn put_partition(id: TopicPartition, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&id.topic.0);
    bytes.extend_from_slice(&id.partition.get().to_le_bytes());
}

fn put_range(id: TopicPartition, range: &Quarantined, bytes: &mut Vec<u8>) {
    put_partition(id, bytes);
    bytes.extend_from_slice(&range.first.get().to_le_bytes());
    bytes.extend_from_slice(&range.end.get().to_le_bytes());
    bytes.extend_from_slice(&range.file.get().to_le_bytes());
    bytes.extend_from_slice(&range.byte.to_le_bytes());
}

fn take_range(rest: &mut &[u8]) -> Option<Quarantined> {
    let (first, end) = (take_offset(rest)?, take_offset(rest)?);
    let file = FileId(u64::from_le_bytes(take(rest)?));
    let byte = u64::from_le_bytes(take(rest)?);
    Some(Quarantined { first, end, file, byte })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn take_partition(topic: TopicId, rest: &mut &[u8]) -> Option<TopicPartition> {
    Some(TopicPartition::new(topic, PartitionId(i32::from_le_bytes(take(rest)?))))
}

fn take_offset(rest: &mut &[u8]) -> Option<Offset> {
    Some(Offset(i64::from_le_bytes(take(rest)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding() {
        let id = TopicPartition::new(TopicId([7; 16]), PartitionId(3));
        let range =
            Quarantined { first: Offset(3), end: Offset(9), file: FileId(12), byte: 1 << 20 };
        for record in [
            MetaRecord::LogStart(id, Offset(1 << 40)),
            MetaRecord::Tombstone(TopicId([9; 16])),
            MetaRecord::Forgotten(TopicId([9; 16])),
            MetaRecord::Quarantined(id, range),
            MetaRecord::EndUnproven(id),
            MetaRecord::GivenUp(id, range, false),
            MetaRecord::GivenUp(id, range, true),
        ] {
            let bytes = record.encode();
            assert_eq!(MetaRecord::decode(&bytes), Some(record));
            assert_eq!(MetaRecord::decode(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(MetaRecord::decode(&[]), None);
        assert_eq!(MetaRecord::decode(&[9; 40]), None);
    }
}
