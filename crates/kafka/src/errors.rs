//! Kafka's code for each error of the broker: the only place that maps them.
//!
//! Every function answers `Err(Refusal::Ended)` when the incarnation is over:
//! such a request is never answered, since the next incarnation may know
//! better what became of it.

use millrace_broker::DeleteRecordsError;

use crate::api::Refusal;
use crate::codec::ErrorCode;

/// DeleteRecords.
pub(crate) fn delete_records(error: &DeleteRecordsError) -> Result<ErrorCode, Refusal> {
    Ok(match error {
        DeleteRecordsError::OutOfRange => ErrorCode::OffsetOutOfRange,
        DeleteRecordsError::Deleted => ErrorCode::UnknownTopicOrPartition,
        DeleteRecordsError::Unavailable => ErrorCode::KafkaStorageError,
        DeleteRecordsError::Ended => return Err(Refusal::Ended),
    })
}
