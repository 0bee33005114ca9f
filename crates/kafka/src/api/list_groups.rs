//! ListGroups (16): all groups, or those in some states or of some types.

use millrace_broker::groups::ListedGroup as Group;

use crate::api::Refusal;
use crate::codec::list_groups_request::ListGroupsRequestData;
use crate::codec::list_groups_response::{ListGroupsResponseData, ListedGroup};
use crate::codec::{KafkaString, wire_str};
use crate::context::Call;

/// The only type of group that there is yet.
const CLASSIC: &str = "classic";

/// Lists the groups that the request asks for.
pub(super) fn handle(
    call: &Call,
    request: ListGroupsRequestData,
) -> Result<ListGroupsResponseData, Refusal> {
    let asks_for = |filter: &[KafkaString], value: &str| {
        filter.is_empty()
            || filter.iter().any(|one| one.as_str().trim().eq_ignore_ascii_case(value))
    };
    let groups = if asks_for(&request.types_filter, CLASSIC) {
        call.broker().groups().list()?
    } else {
        Vec::new()
    };
    let wanted =
        groups.iter().filter(|group| asks_for(&request.states_filter, group.state.as_str()));
    Ok(ListGroupsResponseData::default().with_groups(wanted.map(listed).collect()))
}

fn listed(group: &Group) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(wire_str(group.group.as_str()))
        .with_protocol_type(wire_str(group.protocol_type.as_deref().unwrap_or_default()))
        .with_group_state(wire_str(group.state.as_str()))
        .with_group_type(wire_str(CLASSIC))
}
