//! Identities: of topics, partitions, log files and the processes that own them.

use std::fmt;

use crate::PartitionId;

/// Identifies a topic for ever: a topic made again under the same name has
/// another id. All stored state is keyed by it. Displayed as Kafka shows
/// topic ids: base64 for URLs, without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The hidden topic of log starts and topic tombstones.
    pub const META: Self = Self::hidden(1);
    /// The hidden topic of group state and committed offsets.
    pub const GROUPS: Self = Self::hidden(2);

    const fn hidden(number: u8) -> Self {
        let mut id = [0xff; 16];
        id[15] = number;
        Self(id)
    }

    /// Whether this is one of the hidden topics, which no client can name.
    #[must_use]
    pub const fn is_hidden(self) -> bool {
        u128::from_be_bytes(self.0) >> 8 == u128::MAX >> 8
    }

    /// The id in the form of a UUID's 128 bits.
    #[must_use]
    pub const fn as_uuid(self) -> uuid::Uuid {
        uuid::Uuid::from_bytes(self.0)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bits = u128::from_be_bytes(self.0);
        // 128 bits are 21 digits of 6 bits and a last one of 2, padded by 4.
        for digit in 0..22u32 {
            let value = if digit < 21 { bits >> (122 - 6 * digit) } else { bits << 4 };
            let index = usize::try_from(value & 0x3f).unwrap_or(0);
            let symbol = ALPHABET.get(index).copied().unwrap_or(b'A');
            fmt::Write::write_char(f, char::from(symbol))?;
        }
        Ok(())
    }
}

/// One partition of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition within it.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    #[must_use]
    pub const fn new(topic: TopicId, partition: PartitionId) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Declares an unsigned, ever-growing number that names a stored thing.
macro_rules! counter {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// Log sequence number of a frame (a group commit): consecutive over the
    /// whole log. 0 stands before the first frame.
    Lsn
}
counter! {
    /// Names a log file; never used twice in one data directory.
    FileId
}
counter! {
    /// Names one life of a broker process (or of its log, after a failed
    /// write): from 1, never used twice.
    Incarnation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_read_as_in_kafka() {
        assert_eq!(TopicId::default().to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(TopicId([0xff; 16]).to_string(), "_____________________w");
    }

    #[test]
    fn hidden_topics_are_told_apart() {
        assert!(TopicId::META.is_hidden());
        assert!(TopicId::GROUPS.is_hidden());
        assert!(!TopicId::default().is_hidden());
    }
}
