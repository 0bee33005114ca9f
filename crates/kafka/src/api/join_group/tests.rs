//! A group's life over the wire: join, sync, heartbeat, describe, leave.

use super::*;
use crate::api::{delete_groups, describe_groups, heartbeat, leave_group, list_groups, sync_group};
use crate::codec::delete_groups_request::DeleteGroupsRequestData;
use crate::codec::describe_groups_request::DescribeGroupsRequestData;
use crate::codec::heartbeat_request::HeartbeatRequestData;
use crate::codec::join_group_request::JoinGroupRequestProtocol;
use crate::codec::leave_group_request::{LeaveGroupRequestData, MemberIdentity};
use crate::codec::list_groups_request::ListGroupsRequestData;
use crate::codec::sync_group_request::{SyncGroupRequestAssignment, SyncGroupRequestData};
use crate::codec::sync_group_response::SyncGroupResponseData;
use crate::codec::{ApiKey, KafkaString};
use crate::testing;
use bytes::Bytes;
use millrace_broker::Broker;
use std::sync::Arc;

fn broker() -> Arc<Broker> {
    Broker::in_memory_with(&[("group.initial.rebalance.delay.ms", "0")])
}

async fn join(broker: &Arc<Broker>, version: i16, member: &KafkaString) -> JoinGroupResponseData {
    let call = testing::call(broker, ApiKey::JoinGroup, version);
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(wire_str("range"))
        .with_metadata(Bytes::from_static(b"subscription"));
    let request = JoinGroupRequestData::default()
        .with_group_id(wire_str("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(member.clone())
        .with_protocol_type(wire_str("consumer"))
        .with_protocols(vec![protocol]);
    let response = start(&call, request).await.unwrap().await.unwrap();
    testing::over_the_wire(&call, &response)
}

async fn sync(
    broker: &Arc<Broker>,
    version: i16,
    joined: &JoinGroupResponseData,
) -> SyncGroupResponseData {
    let call = testing::call(broker, ApiKey::SyncGroup, version);
    let assign = |member: &JoinGroupResponseMember| {
        SyncGroupRequestAssignment::default()
            .with_member_id(member.member_id.clone())
            .with_assignment(Bytes::from_static(b"all"))
    };
    let request = SyncGroupRequestData::default()
        .with_group_id(wire_str("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type((version >= 5).then(|| wire_str("consumer")))
        .with_protocol_name((version >= 5).then(|| wire_str("range")))
        .with_assignments(joined.members.iter().map(assign).collect());
    let response = sync_group::start(&call, request).await.unwrap().await.unwrap();
    testing::over_the_wire(&call, &response)
}

fn beat(broker: &Arc<Broker>, joined: &JoinGroupResponseData) -> ErrorCode {
    let call = testing::call(broker, ApiKey::Heartbeat, 4);
    let request = HeartbeatRequestData::default()
        .with_group_id(wire_str("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    ErrorCode::from(heartbeat::handle(&call, request).unwrap().error_code)
}

fn leave(broker: &Arc<Broker>, version: i16, member: &KafkaString) -> Vec<i16> {
    let call = testing::call(broker, ApiKey::LeaveGroup, version);
    let request = LeaveGroupRequestData::default().with_group_id(wire_str("g"));
    let request = if version >= 3 {
        request.with_members(vec![MemberIdentity::default().with_member_id(member.clone())])
    } else {
        request.with_member_id(member.clone())
    };
    let response = testing::over_the_wire(&call, &leave_group::handle(&call, request).unwrap());
    let codes = response.members.iter().map(|member| member.error_code);
    std::iter::once(response.error_code).chain(codes).collect()
}

/// A member of `g` that has its assignment.
async fn stable(broker: &Arc<Broker>) -> JoinGroupResponseData {
    let joined = join(broker, 3, &wire_str("")).await;
    assert_eq!(sync(broker, 5, &joined).await.assignment, Bytes::from_static(b"all"));
    joined
}

#[tokio::test]
async fn a_member_joins_at_every_version() {
    for version in 0..=9 {
        let broker = broker();
        let first = join(&broker, version, &wire_str("")).await;
        let joined = if version >= MEMBER_ID_REQUIRED {
            assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
            join(&broker, version, &first.member_id).await
        } else {
            first
        };
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(joined.members.len(), 1);
        assert_eq!(joined.protocol_name, Some(wire_str("range")));
        for sync_version in 0..=5 {
            let synced = sync(&broker, sync_version, &joined).await;
            assert_eq!((synced.error_code, &*synced.assignment), (0, &b"all"[..]));
        }
        assert_eq!(beat(&broker, &joined), ErrorCode::None);
    }
}

#[tokio::test]
async fn a_refused_join_can_be_said_at_every_version() {
    let broker = broker();
    for version in 0..=9 {
        let answer = join(&broker, version, &wire_str("nobody")).await;
        assert_eq!(answer.error_code, ErrorCode::UnknownMemberId.code());
        assert_eq!(answer.member_id, wire_str("nobody"));
        assert_eq!(answer.generation_id, -1);
    }
}

#[tokio::test]
async fn a_sync_that_does_not_say_its_protocol_is_refused() {
    let broker = broker();
    let joined = stable(&broker).await;
    let call = testing::call(&broker, ApiKey::SyncGroup, 5);
    let request = SyncGroupRequestData::default()
        .with_group_id(wire_str("g"))
        .with_generation_id(1)
        .with_member_id(joined.member_id);
    let answer = sync_group::start(&call, request).await.unwrap().await.unwrap();
    assert_eq!(answer.error_code, ErrorCode::InconsistentGroupProtocol.code());
}

#[tokio::test]
async fn members_leave_at_every_version() {
    for version in 0..=5 {
        let broker = broker();
        let joined = stable(&broker).await;
        let (done, unknown) = (0, ErrorCode::UnknownMemberId.code());
        let batched = version >= 3;
        let expected = |code| if batched { vec![0, code] } else { vec![code] };
        assert_eq!(leave(&broker, version, &joined.member_id), expected(done));
        assert_eq!(leave(&broker, version, &joined.member_id), expected(unknown));
        assert_eq!(beat(&broker, &joined), ErrorCode::UnknownMemberId);
    }
}

#[tokio::test]
async fn groups_are_described_at_every_version() {
    let broker = broker();
    let joined = stable(&broker).await;
    for version in 0..=6 {
        let call = testing::call(&broker, ApiKey::DescribeGroups, version);
        let request = DescribeGroupsRequestData::default()
            .with_groups(vec![wire_str("g"), wire_str("none")])
            .with_include_authorized_operations(version >= 3);
        let response = describe_groups::handle(&call, request).unwrap();
        let groups = testing::over_the_wire(&call, &response).groups;
        let [group, none] = &groups[..] else { panic!("{groups:?}") };
        assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
        assert_eq!(group.protocol_data, wire_str("range"));
        assert_eq!(group.members[0].member_id, joined.member_id);
        assert_eq!(group.members[0].client_host, wire_str("/127.0.0.1"));
        assert_eq!(group.members[0].member_assignment, Bytes::from_static(b"all"));
        let expected = if version >= 6 { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
        assert_eq!((none.error_code, none.group_state.as_str()), (expected.code(), "Dead"));
    }
}

#[tokio::test]
async fn groups_are_listed_by_state_and_type() {
    let broker = broker();
    stable(&broker).await;
    let list = |version, states: &[&str], types: &[&str]| {
        let call = testing::call(&broker, ApiKey::ListGroups, version);
        let texts = |texts: &[&str]| texts.iter().map(|text| wire_str(text)).collect();
        let request = ListGroupsRequestData::default()
            .with_states_filter(texts(states))
            .with_types_filter(texts(types));
        let response = list_groups::handle(&call, request).unwrap();
        testing::over_the_wire(&call, &response).groups.len()
    };
    for version in 0..=5 {
        assert_eq!(list(version, &[], &[]), 1);
    }
    assert_eq!(list(4, &["stable"], &[]), 1);
    assert_eq!(list(4, &["Empty"], &[]), 0);
    assert_eq!(list(5, &[], &["Classic"]), 1);
    assert_eq!(list(5, &[], &["consumer"]), 0);
}

#[tokio::test]
async fn only_empty_groups_are_deleted() {
    let broker = broker();
    let joined = stable(&broker).await;
    let delete = async |version| {
        let call = testing::call(&broker, ApiKey::DeleteGroups, version);
        let names = vec![wire_str("g"), wire_str("none"), wire_str("g")];
        let request = DeleteGroupsRequestData::default().with_groups_names(names);
        let response = delete_groups::start(&call, request).await.unwrap().await.unwrap();
        let results = testing::over_the_wire(&call, &response).results;
        results.iter().map(|result| ErrorCode::from(result.error_code)).collect::<Vec<_>>()
    };
    let missing = ErrorCode::GroupIdNotFound;
    assert_eq!(delete(0).await, [ErrorCode::NonEmptyGroup, missing]);
    leave(&broker, 5, &joined.member_id);
    assert_eq!(delete(1).await, [ErrorCode::None, missing]);
    assert_eq!(delete(2).await, [missing, missing]);
}
