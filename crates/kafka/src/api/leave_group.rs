//! LeaveGroup (13): members leave, or an administrator removes them (KIP-571).

use millrace_broker::groups::{LeavingMember, MembershipError};

use crate::api::Refusal;
use crate::codec::leave_group_request::{LeaveGroupRequestData, MemberIdentity};
use crate::codec::leave_group_response::{LeaveGroupResponseData, MemberResponse};
use crate::codec::{ErrorCode, KafkaString};
use crate::context::Call;
use crate::errors;

/// First version that names several members.
const BATCHED: i16 = 3;

/// Removes the members, each with its own result.
pub(super) fn handle(
    call: &Call,
    request: LeaveGroupRequestData,
) -> Result<LeaveGroupResponseData, Refusal> {
    let members = if call.version >= BATCHED {
        request.members
    } else {
        vec![MemberIdentity::default().with_member_id(request.member_id)]
    };
    let leaving: Vec<LeavingMember> = members.iter().map(leaving).collect();
    let group = request.group_id.as_str().into();
    let response = LeaveGroupResponseData::default();
    match call.broker().groups().leave(&group, &leaving)? {
        Err(error) => Ok(response.with_error_code(errors::membership(error).code())),
        Ok(results) if call.version >= BATCHED => {
            let members = members.into_iter().zip(results);
            Ok(response
                .with_members(members.map(|(member, result)| left(member, result)).collect()))
        }
        Ok(results) => {
            let first = results.into_iter().find_map(Result::err);
            Ok(response.with_error_code(code(first).code()))
        }
    }
}

fn leaving(member: &MemberIdentity) -> LeavingMember {
    let text = |text: &KafkaString| text.as_str().into();
    LeavingMember {
        member: member.member_id.as_str().into(),
        instance: member.group_instance_id.as_ref().map(|id| id.as_str().into()),
        reason: member.reason.as_ref().map(text),
    }
}

fn left(member: MemberIdentity, result: Result<(), MembershipError>) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(member.member_id)
        .with_group_instance_id(member.group_instance_id)
        .with_error_code(code(result.err()).code())
}

fn code(error: Option<MembershipError>) -> ErrorCode {
    error.map_or(ErrorCode::None, errors::membership)
}
