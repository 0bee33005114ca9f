//! Kafka's code for each error of the broker: the only place that maps them.
//!
//! Every function answers `Err(Refusal::Ended)` when the incarnation is over:
//! such a request is never answered, since the next incarnation may know
//! better what became of it.

use std::borrow::Cow;

use millrace_broker::{AppendError, BatchError, CreateTopicError, DeleteRecordsError, ReadError};
use millrace_types::LeaderEpoch;

use crate::api::Refusal;
use crate::codec::ErrorCode;

/// An error as a response says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Kafka's code.
    pub code: ErrorCode,
    /// For a person; not every response has a field for it.
    pub message: Option<Cow<'static, str>>,
}

impl Failure {
    /// An error whose code says all.
    #[must_use]
    pub const fn new(code: ErrorCode) -> Self {
        Self { code, message: None }
    }

    /// An error with its reason.
    pub fn because(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: Some(message.into()) }
    }
}

/// Produce, of one partition.
pub(crate) fn append(error: &AppendError) -> Result<Failure, Refusal> {
    let code = match error {
        AppendError::Batch(BatchError::Magic(_)) => ErrorCode::InvalidRecord,
        AppendError::Batch(_) => ErrorCode::CorruptMessage,
        AppendError::Compression => ErrorCode::UnsupportedCompressionType,
        AppendError::Transactional => ErrorCode::TransactionalIdAuthorizationFailed,
        AppendError::TopicDeleted => ErrorCode::UnknownTopicOrPartition,
        AppendError::Ended => return Err(Refusal::Ended),
    };
    Ok(Failure::because(code, error.to_string()))
}

/// DeleteRecords.
pub(crate) fn delete_records(error: &DeleteRecordsError) -> Result<ErrorCode, Refusal> {
    Ok(match error {
        DeleteRecordsError::OutOfRange => ErrorCode::OffsetOutOfRange,
        DeleteRecordsError::Deleted => ErrorCode::UnknownTopicOrPartition,
        DeleteRecordsError::Unavailable => ErrorCode::KafkaStorageError,
        DeleteRecordsError::Ended => return Err(Refusal::Ended),
    })
}

/// Fetch and ListOffsets, of one partition.
pub(crate) fn read(error: &ReadError) -> Result<ErrorCode, Refusal> {
    Ok(match error {
        ReadError::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt => ErrorCode::CorruptMessage,
        ReadError::Deleted => ErrorCode::UnknownTopicOrPartition,
        ReadError::Unavailable => ErrorCode::KafkaStorageError,
        ReadError::Ended => return Err(Refusal::Ended),
    })
}

/// What is wrong with the leader epoch that a client knows (negative: none).
pub(crate) fn epoch(known: i32, now: LeaderEpoch) -> Option<ErrorCode> {
    match known {
        ..0 => None,
        known if known < now.get() => Some(ErrorCode::FencedLeaderEpoch),
        known if known > now.get() => Some(ErrorCode::UnknownLeaderEpoch),
        _ => None,
    }
}

/// Metadata, of a topic that was to be created on demand. What may pass is an
/// error after which clients ask again.
pub(crate) fn auto_create(error: &CreateTopicError) -> Result<ErrorCode, Refusal> {
    Ok(match error {
        CreateTopicError::Exists => ErrorCode::LeaderNotAvailable,
        CreateTopicError::Collides { .. } => ErrorCode::InvalidTopicException,
        CreateTopicError::InvalidPartitions => ErrorCode::InvalidPartitions,
        CreateTopicError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        CreateTopicError::Unavailable => ErrorCode::LeaderNotAvailable,
        CreateTopicError::Ended => return Err(Refusal::Ended),
    })
}
