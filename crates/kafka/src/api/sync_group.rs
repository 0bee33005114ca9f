//! SyncGroup (14): a member asks what it is to do; the leader tells what
//! everyone is to do. Waits until that is durable.

use bytes::Bytes;
use millrace_broker::groups::SyncRequest;

use crate::api::Refusal;
use crate::codec::sync_group_request::SyncGroupRequestData;
use crate::codec::sync_group_response::SyncGroupResponseData;
use crate::codec::{ErrorCode, wire_str};
use crate::context::Call;
use crate::errors;

/// First version that must say which protocol the member believes in.
const PROTOCOL_SAID: i16 = 5;

/// Hands in what the leader assigned, and answers what the member gets.
pub(super) async fn start(
    call: &Call,
    request: SyncGroupRequestData,
) -> Result<impl Future<Output = Result<SyncGroupResponseData, Refusal>> + Send + 'static, Refusal>
{
    let says = request.protocol_type.is_some() && request.protocol_name.is_some();
    let syncing = if call.version >= PROTOCOL_SAID && !says {
        None
    } else {
        Some(call.broker().groups().sync(&sync_request(&request)))
    };
    Ok(async move {
        let Some(syncing) = syncing else {
            return Ok(failed(ErrorCode::InconsistentGroupProtocol));
        };
        Ok(match syncing.await? {
            Ok(synced) => SyncGroupResponseData::default()
                .with_protocol_type(synced.protocol_type.as_deref().map(wire_str))
                .with_protocol_name(synced.protocol_name.as_deref().map(wire_str))
                .with_assignment(synced.assignment),
            Err(error) => failed(errors::membership(error)),
        })
    })
}

fn sync_request(request: &SyncGroupRequestData) -> SyncRequest {
    // Copied: the group keeps it, and a slice would keep the receive buffer.
    let assignments = request
        .assignments
        .iter()
        .map(|of| (of.member_id.as_str().into(), Bytes::copy_from_slice(&of.assignment)));
    SyncRequest {
        group: request.group_id.as_str().into(),
        member: request.member_id.as_str().into(),
        instance: request.group_instance_id.as_ref().map(|id| id.as_str().into()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(|name| name.as_str().into()),
        protocol_name: request.protocol_name.as_ref().map(|name| name.as_str().into()),
        assignments: assignments.collect(),
    }
}

fn failed(code: ErrorCode) -> SyncGroupResponseData {
    SyncGroupResponseData::default().with_error_code(code.code())
}
