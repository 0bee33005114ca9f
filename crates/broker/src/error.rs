//! What can go wrong in each operation of the broker.
//!
//! Each variant says what the caller can do; a front maps them to its codes
//! in one file. `Ended` is never answered: the next incarnation may know
//! better.

use millrace_log::records::RecordError;
use millrace_log::{batch::BatchError, compression::DecompressError, partition::AdmitError};
use millrace_store::engine;
use millrace_types::{Offset, Timestamp, TopicPartition};

use crate::{Offsets, config::ConfigError};

/// Why a batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The batch is malformed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The request's version does not allow the batch's codec.
    #[error("the batch is compressed in a way that this version of the request does not allow")]
    Compression,
    /// Timestamps lie too far from now.
    #[error(
        "the batch's timestamp {timestamp} is out of the range {earliest} to {latest} that the topic accepts"
    )]
    Timestamp {
        /// The first of them.
        timestamp: Timestamp,
        /// The earliest that is accepted now.
        earliest: Timestamp,
        /// The latest that is accepted now.
        latest: Timestamp,
        /// Which records of the batch, from 0, ascending, the first 10,000;
        /// none where only the header was looked at.
        records: Vec<i32>,
    },
    /// The batch is larger than `max.message.bytes`.
    #[error("the batch has {bytes} bytes, more than the topic's max.message.bytes of {limit}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// The topic's limit.
        limit: usize,
    },
    /// A compacted topic keeps records by their key.
    #[error("{} records have no key, which a compacted topic asks for", .records.len())]
    WithoutKey {
        /// Which records of the batch, from 0, ascending; the first 10,000.
        records: Vec<i32>,
    },
    /// The records were decoded, and are not what the header says.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// The partition takes no more; those that took over do.
    #[error("the partition is sealed")]
    Sealed,
    /// The producer's sequence or epoch does not fit.
    #[error(transparent)]
    Sequence(AdmitError),
    /// Transactions are not served yet.
    #[error("Millrace does not serve transactions yet")]
    Transactional,
    /// No room to remember another producer.
    #[error("as many producers are active as producers_max allows; retry, or raise it")]
    ProducersFull,
    /// The disk is full.
    #[error("the disk of the data directory is full; produce resumes when space is free")]
    StorageFull,
    /// The partition's end is unknown after corruption.
    #[error(
        "the end of partition {0} cannot be proven after corruption; restore its log file from a backup"
    )]
    EndUnproven(TopicPartition),
    /// The topic is deleted.
    #[error("the topic is deleted")]
    TopicDeleted,
    /// The incarnation is over.
    #[error("the broker's incarnation ended")]
    Ended,
}

impl AppendError {
    /// What is wrong, as the label of a metric.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TooLarge { .. }
            | Self::Records(RecordError::Decompress(DecompressError::TooLarge { .. })) => {
                "too large"
            }
            Self::Batch(_) | Self::WithoutKey { .. } | Self::Records(_) => "malformed",
            Self::Compression => "compression",
            Self::Timestamp { .. } => "timestamp",
            Self::Sealed => "sealed",
            Self::Sequence(_) => "sequence",
            Self::Transactional => "transactional",
            Self::ProducersFull => "producers_max",
            Self::StorageFull => "storage full",
            Self::EndUnproven(_) => "end unproven",
            Self::TopicDeleted => "topic deleted",
            Self::Ended => "incarnation ended",
        }
    }
}

impl From<engine::AppendError> for AppendError {
    fn from(error: engine::AppendError) -> Self {
        match error {
            engine::AppendError::Admit(AdmitError::Sealed) => Self::Sealed,
            engine::AppendError::Admit(error) => Self::Sequence(error),
            engine::AppendError::ProducersFull => Self::ProducersFull,
            engine::AppendError::StorageFull => Self::StorageFull,
            engine::AppendError::EndUnproven(id) => Self::EndUnproven(id),
            engine::AppendError::Deleted => Self::TopicDeleted,
            engine::AppendError::Ended(_) => Self::Ended,
        }
    }
}

/// Why records could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The offset is not between log start and high watermark.
    #[error("the offset is out of range")]
    OutOfRange(Offsets),
    /// The stored bytes fail their checksum.
    #[error("{0}")]
    Corrupt(String),
    /// The topic is deleted.
    #[error("the topic is deleted")]
    Deleted,
    /// The incarnation is over.
    #[error("the broker's incarnation ended")]
    Ended,
    /// Slower readers hold all memory for reading, and did for as long as one
    /// waits.
    #[error("no memory is free for reading; slower readers hold it; try again")]
    NoMemory,
    /// The disk failed to read; try again.
    #[error("the records cannot be read now; try again")]
    Unavailable,
}

/// Why records could not be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    /// The offset lies beyond the high watermark.
    #[error("the offset is beyond the high watermark {0}")]
    OutOfRange(Offset),
    /// The topic is deleted.
    #[error("the topic is deleted")]
    Deleted,
    /// Not now: the disk is full to the last block.
    #[error("the disk of the data directory is full")]
    Unavailable,
    /// The incarnation is over.
    #[error("the broker's incarnation ended")]
    Ended,
}

/// Why a topic was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    /// A topic of this name exists.
    #[error("topic '{0}' already exists")]
    Exists(String),
    /// A topic's name differs in `.` and `_` only.
    #[error(
        "topic name collides with existing topic '{with}' in metrics: '.' and '_' are the same there"
    )]
    Collides {
        /// The topic that exists.
        with: String,
    },
    /// Not between 1 and the limit.
    #[error("the number of partitions must be from 1 to {0}")]
    InvalidPartitions(u32),
    /// A setting is wrong.
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    /// The catalog cannot be written now.
    #[error("{0}")]
    Unavailable(String),
    /// The incarnation is over.
    #[error("the broker's incarnation ended")]
    Ended,
}

/// Why a topic was not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    /// No topic has this id.
    #[error("the topic does not exist")]
    NotFound,
    /// The log or the catalog cannot be written now.
    #[error("{0}")]
    Unavailable(String),
    /// The incarnation is over.
    #[error("the broker's incarnation ended")]
    Ended,
}

/// Why partitions were not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreatePartitionsError {
    /// No topic has this id.
    #[error("the topic does not exist")]
    NotFound,
    /// The number is not larger than the present one, or beyond the limit.
    #[error("{0}")]
    Invalid(String),
    /// The catalog cannot be written now.
    #[error("{0}")]
    Unavailable(String),
    /// The incarnation is over.
    #[error("the broker's incarnation ended")]
    Ended,
}

/// Why settings were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetConfigError {
    /// No topic has this id.
    #[error("the topic does not exist")]
    NotFound,
    /// A setting is wrong.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// The catalog cannot be written now.
    #[error("{0}")]
    Unavailable(String),
    /// The incarnation is over.
    #[error("the broker's incarnation ended")]
    Ended,
}
