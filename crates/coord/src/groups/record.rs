//! What groups keep durably: records, and their bytes.
//!
//! Applied in order to an empty state, the records of the log restore every
//! group and every committed offset; a checkpoint is a shorter sequence of the
//! same records. Whoever reads them back checks every length before memory is
//! taken, so that rotten or hostile bytes are an error and nothing else.
//!
//! # Bytes
//!
//! ```text
//! byte 0   version: 1
//! byte 1   kind
//! ...      by kind
//! ```
//!
//! | kind | content |
//! |---|---|
//! | 1 group | text group, `int` generation, `?text` protocol type, `?text` protocol name, `?text` leader, `?int` time of the state, `list` of members: text member id, `?text` instance id, text client id, text client host, `int` rebalance timeout, `int` session timeout, `bytes` subscription, `bytes` assignment |
//! | 2 group deleted | text group |
//! | 3 offsets committed | text group, `list` of topics: 16 bytes topic id, `list` of partitions: `int` partition, `int` offset, `?int` leader epoch, text metadata, `int` commit time, `?int` expiry time |
//! | 4 offsets deleted | text group, `list` of topics: 16 bytes topic id, `list` of partitions: `int` |
//! | 5 topic deleted | 16 bytes topic id |
//!
//! `int` is a zigzag LEB128 number of up to 64 bits; `list` and the lengths of
//! text (UTF-8) and `bytes` are LEB128 counts; `?` is a byte 0 (absent) or 1,
//! then the value. Times are milliseconds since 1970; timeouts milliseconds.

mod codec;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use millrace_types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

use super::ids::{GroupId, InstanceId, MemberId};

/// One durable change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// The group's members and their assignments are these: a sync completed,
    /// a static member was replaced, or (without members) the group became
    /// empty.
    Group {
        /// The group.
        group: GroupId,
        /// All of its metadata.
        metadata: GroupMetadata,
    },
    /// The group and its offsets are gone.
    GroupDeleted {
        /// The group.
        group: GroupId,
    },
    /// These offsets were committed.
    OffsetsCommitted {
        /// The group.
        group: GroupId,
        /// Of several for one partition the last one counts.
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    },
    /// These partitions have no committed offset any more.
    OffsetsDeleted {
        /// The group.
        group: GroupId,
        /// The partitions.
        partitions: Vec<TopicPartition>,
    },
    /// No group has an offset for any partition of the topic any more.
    TopicDeleted {
        /// The topic.
        topic: TopicId,
    },
}

/// A group as it outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Counts the assignments of the group.
    pub generation: i32,
    /// What kind of members it has ("consumer", "connect"); `None` where
    /// nobody ever joined.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol (assignor) that its members agreed on.
    pub protocol_name: Option<Arc<str>>,
    /// The member that assigns.
    pub leader: Option<MemberId>,
    /// Since when the group is in its state; retention counts from it.
    pub state_since: Option<Timestamp>,
    /// The members, each id and each instance id once.
    pub members: Vec<MemberMetadata>,
}

/// A member as it outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// The member.
    pub member: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<InstanceId>,
    /// The client's name for itself.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub client_host: Arc<str>,
    /// How long it may take to join again.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// Its metadata for the group's protocol.
    pub subscription: Bytes,
    /// What the leader assigned to it.
    pub assignment: Bytes,
}

/// A committed offset and what was said with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: Offset,
    /// Leader epoch of the last record read, if the client told.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Any text of the client's.
    pub metadata: Box<str>,
    /// When it was committed.
    pub commit_time: Timestamp,
    /// When it expires, where the commit said so (OffsetCommit before 5).
    pub expire_time: Option<Timestamp>,
}

/// Why bytes are not a record of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record ends before its content does.
    #[error("the group record is cut short")]
    Truncated,
    /// Bytes follow the record's content.
    #[error("the group record has {0} bytes too many")]
    Trailing(usize),
    /// Written by a newer program, or not a record at all.
    #[error("group record version {0} is unknown; a newer Millrace wrote it")]
    Version(u8),
    /// Not a kind of this version.
    #[error("group record kind {0} is unknown")]
    Kind(u8),
    /// A value that its field can't have.
    #[error("the group record's {0} is invalid")]
    Invalid(&'static str),
}

impl GroupRecord {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// Where `bytes` are not exactly one record that [`GroupRecord::encode`]
    /// could have written. Memory taken is proportional to `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        codec::decode(bytes)
    }

    /// The group that the record is about, if it is about one.
    #[must_use]
    pub fn group(&self) -> Option<&GroupId> {
        match self {
            Self::Group { group, .. }
            | Self::GroupDeleted { group }
            | Self::OffsetsCommitted { group, .. }
            | Self::OffsetsDeleted { group, .. } => Some(group),
            Self::TopicDeleted { .. } => None,
        }
    }
}
