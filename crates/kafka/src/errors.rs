//! Kafka's code for each error of the broker: the only place that maps them.
//!
//! Every function answers `Err(Refusal::Ended)` when the incarnation is over:
//! such a request is never answered, since the next incarnation may know
//! better what became of it.

use millrace_broker::groups::{CommitError, DeleteError, MembershipError};
use millrace_broker::{
    AdmitError, AppendError, BatchError, CreatePartitionsError, CreateTopicError, DecompressError,
    DeleteRecordsError, DeleteTopicError, ReadError, RecordError, SetConfigError,
};
use millrace_types::LeaderEpoch;

use crate::api::Refusal;
use crate::codec::ErrorCode;
use crate::failure::Failure;

/// Produce, of one partition.
pub(crate) fn append(error: &AppendError) -> Result<Failure, Refusal> {
    let code = match error {
        AppendError::Batch(error) => batch(error),
        AppendError::Compression => ErrorCode::UnsupportedCompressionType,
        AppendError::Transactional => ErrorCode::TransactionalIdAuthorizationFailed,
        AppendError::Timestamp { .. } => ErrorCode::InvalidTimestamp,
        // Clients split such a batch, and send smaller ones.
        AppendError::TooLarge { .. }
        | AppendError::Records(RecordError::Decompress(DecompressError::TooLarge { .. })) => {
            ErrorCode::MessageTooLarge
        }
        AppendError::WithoutKey { .. } | AppendError::Records(_) => ErrorCode::InvalidRecord,
        AppendError::Sequence(AdmitError::OutOfOrderSequence { .. }) => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        AppendError::Sequence(AdmitError::InvalidProducerEpoch { .. }) => {
            ErrorCode::InvalidProducerEpoch
        }
        AppendError::Sequence(AdmitError::OffsetOverflow) => ErrorCode::InvalidRecord,
        AppendError::Sealed | AppendError::Sequence(AdmitError::Sealed) => {
            ErrorCode::NotLeaderOrFollower
        }
        // Of the errors that every client retries, the one that says "not now".
        AppendError::ProducersFull => ErrorCode::NotEnoughReplicas,
        AppendError::StorageFull | AppendError::EndUnproven(_) => ErrorCode::KafkaStorageError,
        AppendError::TopicDeleted => ErrorCode::UnknownTopicOrPartition,
        AppendError::Ended => return Err(Refusal::Ended),
    };
    Ok(Failure::because(code, error.to_string()))
}

/// What may have happened on the way is CORRUPT_MESSAGE, after which clients
/// send the batch again; what the producer made wrong is INVALID_RECORD.
fn batch(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Truncated { .. } | BatchError::Length { .. } | BatchError::Crc { .. } => {
            ErrorCode::CorruptMessage
        }
        BatchError::UnknownCompression(_) => ErrorCode::UnsupportedCompressionType,
        _ => ErrorCode::InvalidRecord,
    }
}

/// DeleteRecords.
pub(crate) fn delete_records(error: &DeleteRecordsError) -> Result<ErrorCode, Refusal> {
    Ok(match error {
        DeleteRecordsError::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
        DeleteRecordsError::Deleted => ErrorCode::UnknownTopicOrPartition,
        DeleteRecordsError::Unavailable => ErrorCode::KafkaStorageError,
        DeleteRecordsError::Ended => return Err(Refusal::Ended),
    })
}

/// Fetch and ListOffsets, of one partition.
pub(crate) fn read(error: &ReadError) -> Result<ErrorCode, Refusal> {
    Ok(match error {
        ReadError::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt(_) => ErrorCode::CorruptMessage,
        ReadError::Deleted => ErrorCode::UnknownTopicOrPartition,
        ReadError::NoMemory | ReadError::Unavailable => ErrorCode::KafkaStorageError,
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
        CreateTopicError::Exists(_) => ErrorCode::LeaderNotAvailable,
        CreateTopicError::Collides { .. } => ErrorCode::InvalidTopicException,
        CreateTopicError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
        CreateTopicError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        CreateTopicError::Unavailable(_) => ErrorCode::LeaderNotAvailable,
        CreateTopicError::Ended => return Err(Refusal::Ended),
    })
}

/// CreateTopics, for the topic `name`.
pub(crate) fn create_topic(name: &str, error: &CreateTopicError) -> Result<Failure, Refusal> {
    Ok(match error {
        CreateTopicError::Exists(_) => Failure::because(
            ErrorCode::TopicAlreadyExists,
            format!("Topic '{name}' already exists."),
        ),
        CreateTopicError::Collides { with } => Failure::because(
            ErrorCode::InvalidTopicException,
            format!("Topic '{name}' collides with existing topic: {with}"),
        ),
        CreateTopicError::InvalidPartitions(_) => {
            Failure::because(ErrorCode::InvalidPartitions, error.to_string())
        }
        CreateTopicError::InvalidConfig(error) => Failure::invalid_config(error),
        CreateTopicError::Unavailable(_) => unavailable(error),
        CreateTopicError::Ended => return Err(Refusal::Ended),
    })
}

/// DeleteTopics.
pub(crate) fn delete_topic(error: &DeleteTopicError) -> Result<Failure, Refusal> {
    Ok(match error {
        DeleteTopicError::NotFound => Failure::unknown_topic(),
        DeleteTopicError::Unavailable(_) => unavailable(error),
        DeleteTopicError::Ended => return Err(Refusal::Ended),
    })
}

/// CreatePartitions.
pub(crate) fn create_partitions(error: &CreatePartitionsError) -> Result<Failure, Refusal> {
    Ok(match error {
        CreatePartitionsError::NotFound => Failure::unknown_topic(),
        CreatePartitionsError::Invalid(_) => {
            Failure::because(ErrorCode::InvalidPartitions, error.to_string())
        }
        CreatePartitionsError::Unavailable(_) => unavailable(error),
        CreatePartitionsError::Ended => return Err(Refusal::Ended),
    })
}

/// AlterConfigs and IncrementalAlterConfigs.
pub(crate) fn set_config(error: &SetConfigError) -> Result<Failure, Refusal> {
    Ok(match error {
        SetConfigError::NotFound => Failure::unknown_topic(),
        SetConfigError::Invalid(error) => Failure::invalid_config(error),
        SetConfigError::Unavailable(_) => unavailable(error),
        SetConfigError::Ended => return Err(Refusal::Ended),
    })
}

/// The catalog or the log takes no change now. Clients retry this code.
fn unavailable(error: &impl ToString) -> Failure {
    Failure::because(ErrorCode::KafkaStorageError, error.to_string())
}

/// JoinGroup, SyncGroup, Heartbeat and LeaveGroup.
pub(crate) const fn membership(error: MembershipError) -> ErrorCode {
    match error {
        MembershipError::InvalidGroupId => ErrorCode::InvalidGroupId,
        MembershipError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        MembershipError::MemberIdRequired => ErrorCode::MemberIdRequired,
        MembershipError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        MembershipError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        MembershipError::UnknownMemberId => ErrorCode::UnknownMemberId,
        MembershipError::FencedInstanceId => ErrorCode::FencedInstanceId,
        MembershipError::IllegalGeneration => ErrorCode::IllegalGeneration,
        MembershipError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        MembershipError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        MembershipError::TooLarge => ErrorCode::UnknownServerError,
    }
}

/// OffsetCommit, of the whole request.
pub(crate) const fn commit(error: CommitError, version: i16) -> ErrorCode {
    match error {
        // Older clients know no missing groups, only old generations.
        CommitError::GroupIdNotFound if version < 9 => ErrorCode::IllegalGeneration,
        CommitError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        CommitError::UnknownMemberId => ErrorCode::UnknownMemberId,
        CommitError::FencedInstanceId => ErrorCode::FencedInstanceId,
        CommitError::IllegalGeneration => ErrorCode::IllegalGeneration,
        CommitError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        CommitError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        CommitError::TooLarge => ErrorCode::UnknownServerError,
    }
}

/// OffsetDelete and DeleteGroups.
pub(crate) const fn delete_group(error: DeleteError) -> ErrorCode {
    match error {
        DeleteError::InvalidGroupId => ErrorCode::InvalidGroupId,
        DeleteError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        DeleteError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        DeleteError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        DeleteError::TooLarge => ErrorCode::UnknownServerError,
    }
}
