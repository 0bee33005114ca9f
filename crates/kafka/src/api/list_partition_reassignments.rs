//! ListPartitionReassignments (46): there are never any.

use super::Refusal;
use crate::codec::list_partition_reassignments_request::ListPartitionReassignmentsRequestData;
use crate::codec::list_partition_reassignments_response::ListPartitionReassignmentsResponseData;
use crate::context::Call;

/// An empty list, also for partitions that don't exist, as in Kafka.
pub(super) fn handle(
    _: &Call,
    _: ListPartitionReassignmentsRequestData,
) -> Result<ListPartitionReassignmentsResponseData, Refusal> {
    Ok(ListPartitionReassignmentsResponseData::default().with_error_message(None))
}
