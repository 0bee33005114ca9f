//! JoinGroup (11): a member takes part in a group. Waits until every member
//! has joined.

use millrace_broker::groups::{JoinRefused, JoinRequest, Joined, JoinedMember, Protocol};

use crate::api::Refusal;
use crate::codec::join_group_request::JoinGroupRequestData;
use crate::codec::join_group_response::{JoinGroupResponseData, JoinGroupResponseMember};
use crate::codec::{ErrorCode, wire_str};
use crate::context::Call;
use crate::errors;

/// First version with a rebalance timeout of its own.
const REBALANCE_TIMEOUT: i16 = 1;
/// First version whose clients join again with the id that they are given
/// (KIP-394).
const MEMBER_ID_REQUIRED: i16 = 4;
/// First version in which a reply may say that there is no protocol.
const NULL_PROTOCOL: i16 = 7;
/// First version whose leaders know that the assignment may stand (KIP-814).
const SKIP_ASSIGNMENT: i16 = 9;

/// Joins at once, and answers when the group is complete.
pub(super) async fn start(
    call: &Call,
    request: JoinGroupRequestData,
) -> Result<impl Future<Output = Result<JoinGroupResponseData, Refusal>> + Send + 'static, Refusal>
{
    let version = call.version;
    let joining = call.broker().groups().join(join_request(call, &request));
    Ok(async move {
        let response = match joining.await? {
            Ok(joined) => accepted(joined),
            Err(refused) => self::refused(&refused),
        };
        Ok(said_at(response, version))
    })
}

fn join_request(call: &Call, request: &JoinGroupRequestData) -> JoinRequest {
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.as_str().into(),
        metadata: protocol.metadata.clone(),
    });
    JoinRequest {
        group: request.group_id.as_str().into(),
        member: request.member_id.as_str().into(),
        instance: request.group_instance_id.as_ref().map(|id| id.as_str().into()),
        client_id: call.client_id().into(),
        // As Java prints an address without a name.
        client_host: format!("/{}", call.context.peer).into(),
        protocol_type: request.protocol_type.as_str().into(),
        protocols: protocols.collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if call.version >= REBALANCE_TIMEOUT {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        require_known_member_id: call.version >= MEMBER_ID_REQUIRED,
        supports_skipping_assignment: call.version >= SKIP_ASSIGNMENT,
        member_uuid: Default::default(),
        reason: request.reason.as_ref().map(|reason| reason.as_str().into()),
    }
}

fn accepted(joined: Joined) -> JoinGroupResponseData {
    let member = |member: JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(wire_str(member.member.as_str()))
            .with_group_instance_id(member.instance.map(|id| wire_str(id.as_str())))
            .with_metadata(member.metadata)
    };
    JoinGroupResponseData::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.as_deref().map(wire_str))
        .with_protocol_name(joined.protocol_name.as_deref().map(wire_str))
        .with_leader(wire_str(joined.leader.as_ref().map_or("", |leader| leader.as_str())))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(wire_str(joined.member.as_str()))
        .with_members(joined.members.into_iter().map(member).collect())
}

fn refused(refused: &JoinRefused) -> JoinGroupResponseData {
    let code: ErrorCode = errors::membership(refused.error);
    JoinGroupResponseData::default()
        .with_error_code(code.code())
        .with_member_id(wire_str(refused.member.as_str()))
}

fn said_at(mut response: JoinGroupResponseData, version: i16) -> JoinGroupResponseData {
    if version < NULL_PROTOCOL && response.protocol_name.is_none() {
        response.protocol_name = Some(wire_str(""));
    }
    response
}

#[cfg(test)]
mod tests;
