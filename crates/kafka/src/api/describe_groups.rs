//! DescribeGroups (15): groups with their members and assignments.

use millrace_broker::groups::{DescribedGroup as Group, DescribedMember};

use crate::api::Refusal;
use crate::codec::describe_groups_request::DescribeGroupsRequestData;
use crate::codec::describe_groups_response::{
    DescribeGroupsResponseData, DescribedGroup, DescribedGroupMember,
};
use crate::codec::{ErrorCode, KafkaString, wire_str};
use crate::context::Call;
use crate::operations;

/// First version that asks for the operations that the client may do.
const OPERATIONS: i16 = 3;
/// First version in which a group that is not there is an error (KIP-1043).
const NOT_FOUND: i16 = 6;
/// What Kafka calls the state of a group that is not there.
const DEAD: &str = "Dead";

/// Describes each group that is asked for.
pub(super) fn handle(
    call: &Call,
    request: DescribeGroupsRequestData,
) -> Result<DescribeGroupsResponseData, Refusal> {
    let operations = call.version >= OPERATIONS && request.include_authorized_operations;
    let mut groups = Vec::with_capacity(request.groups.len());
    for id in request.groups {
        let mut answer = match call.broker().groups().describe(id.as_str())? {
            Some(group) => described(group),
            None => missing(&id, call.version),
        };
        if operations && answer.error_code == ErrorCode::None.code() {
            answer.authorized_operations = operations::GROUP;
        }
        groups.push(answer.with_group_id(id));
    }
    Ok(DescribeGroupsResponseData::default().with_groups(groups))
}

fn described(group: Group) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_state(wire_str(group.state.as_str()))
        .with_protocol_type(wire_str(group.protocol_type.as_deref().unwrap_or_default()))
        .with_protocol_data(wire_str(group.protocol_name.as_deref().unwrap_or_default()))
        .with_members(group.members.into_iter().map(member).collect())
}

fn member(member: DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(wire_str(member.member.as_str()))
        .with_group_instance_id(member.instance.map(|id| wire_str(id.as_str())))
        .with_client_id(wire_str(&member.client_id))
        .with_client_host(wire_str(&member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}

fn missing(id: &KafkaString, version: i16) -> DescribedGroup {
    let answer = DescribedGroup::default().with_group_state(wire_str(DEAD));
    if version < NOT_FOUND {
        return answer;
    }
    answer
        .with_error_code(ErrorCode::GroupIdNotFound.code())
        .with_error_message(Some(wire_str(&format!("Group {id} not found."))))
}
