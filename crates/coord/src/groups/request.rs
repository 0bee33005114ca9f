//! What members and administrators ask, in no protocol's types.

use std::sync::Arc;

use bytes::Bytes;
use millrace_types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicPartition};
use uuid::Uuid;

use super::ids::{GroupId, InstanceId, MemberId};

/// The present moment, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds by a clock that never goes back; sessions and rebalances
    /// count by it.
    pub monotonic_ms: u64,
    /// The wall clock; commit times and retention count by it.
    pub wall: Timestamp,
}

/// One way of assigning that a member knows, with what it tells the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// For example the name of an assignor.
    pub name: Arc<str>,
    /// Opaque here, but for the topics of consumers.
    pub metadata: Bytes,
}

/// A member joins, or joins again.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The group.
    pub group: GroupId,
    /// The member's id; empty where it has none.
    pub member: MemberId,
    /// The member's instance id, if it is static.
    pub instance: Option<InstanceId>,
    /// The client's name for itself.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub client_host: Arc<str>,
    /// What kind of member it is ("consumer", "connect").
    pub protocol_type: Arc<str>,
    /// What it can be assigned by, the preferred first. Where a name stands
    /// twice the first one counts.
    pub protocols: Vec<Protocol>,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long it may take to join again, in milliseconds; the session
    /// timeout where the request has no such field.
    pub rebalance_timeout_ms: i32,
    /// Whether a member without an id is given one and told to come again
    /// with it (KIP-394; JoinGroup from version 4).
    pub require_known_member_id: bool,
    /// Whether the client knows `skip_assignment` (KIP-814; JoinGroup from
    /// version 9).
    pub supports_skipping_assignment: bool,
    /// The random part of the id of a member that has none.
    pub member_uuid: Uuid,
    /// Why the member joins, in its own words (KIP-800); for the log.
    pub reason: Option<Arc<str>>,
}

/// A member asks for its assignment; the leader brings everyone's.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<InstanceId>,
    /// The generation that it joined.
    pub generation: i32,
    /// The group's protocol type as it knows it (SyncGroup from version 5).
    pub protocol_type: Option<Arc<str>>,
    /// The group's protocol as it knows it (SyncGroup from version 5).
    pub protocol_name: Option<Arc<str>>,
    /// From the leader: what each member is to do.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// Who somebody claims to be.
#[derive(Clone, Debug)]
pub struct HeartbeatRequest {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<InstanceId>,
    /// The generation that it takes part in.
    pub generation: i32,
}

/// One of those who leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// The member; empty where an administrator removes a static member by its
    /// instance id.
    pub member: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<InstanceId>,
    /// Why, in its own words; for the log.
    pub reason: Option<Arc<str>>,
}

/// Offsets to be committed.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// The group; may be empty.
    pub group: GroupId,
    /// The member; empty from those who are in no group.
    pub member: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<InstanceId>,
    /// The generation that it takes part in; -1 from those who are in no
    /// group.
    pub generation: i32,
    /// How long the offsets are to be kept, in milliseconds, where the request
    /// says so (OffsetCommit 2 to 4).
    pub retention_ms: Option<i64>,
    /// The offsets.
    pub offsets: Vec<OffsetCommit>,
}

/// One offset to be committed.
#[derive(Clone, Debug)]
pub struct OffsetCommit {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The next record to read.
    pub offset: Offset,
    /// Leader epoch of the last record read, if known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Any text.
    pub metadata: Box<str>,
}

/// Offsets to be deleted.
#[derive(Clone, Debug)]
pub struct DeleteOffsetsRequest {
    /// The group.
    pub group: GroupId,
    /// The partitions, by topic.
    pub topics: Vec<DeleteTopicOffsets>,
}

/// Offsets of one topic to be deleted.
#[derive(Clone, Debug)]
pub struct DeleteTopicOffsets {
    /// The topic.
    pub topic: TopicId,
    /// Its name, to be looked up in the members' subscriptions.
    pub name: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<PartitionId>,
}
