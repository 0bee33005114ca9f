//! Heartbeat (12): a member shows that it is alive, and hears whether it is to
//! join again.

use millrace_broker::groups::HeartbeatRequest;

use crate::api::Refusal;
use crate::codec::ErrorCode;
use crate::codec::heartbeat_request::HeartbeatRequestData;
use crate::codec::heartbeat_response::HeartbeatResponseData;
use crate::context::Call;
use crate::errors;

/// Renews the member's session.
pub(super) fn handle(
    call: &Call,
    request: HeartbeatRequestData,
) -> Result<HeartbeatResponseData, Refusal> {
    let result = call.broker().groups().heartbeat(&HeartbeatRequest {
        group: request.group_id.as_str().into(),
        member: request.member_id.as_str().into(),
        instance: request.group_instance_id.as_ref().map(|id| id.as_str().into()),
        generation: request.generation_id,
    })?;
    let code = result.err().map_or(ErrorCode::None, errors::membership);
    Ok(HeartbeatResponseData::default().with_error_code(code.code()))
}
