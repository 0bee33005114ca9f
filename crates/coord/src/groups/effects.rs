//! What has to be done after a call: replies to send, records to append.
//!
//! Records are made durable by the caller. It appends each [`Persist`] as one
//! unit, in the order in which they were given out, and hands it back once, in
//! the same order: to [`Groups::durable`](super::Groups::durable) when the
//! records are, or to [`Groups::refused`](super::Groups::refused) if they were
//! not appended at all. A failed append of unknown outcome has no answer here:
//! the caller drops the whole state and starts again from the log.

use bytes::Bytes;
use std::sync::Arc;

use super::{
    error::{
        CommitError, DeleteError, GroupSubscribedToTopic, MembershipError, OffsetMetadataTooLarge,
        Refusal,
    },
    ids::{GroupId, InstanceId, MemberId, Token},
    record::GroupRecord,
    request::Protocol,
};

/// All that follows from one call.
#[derive(Debug, Default)]
#[must_use = "waiting requests get their replies, and records their durability, from the caller"]
pub struct Effects {
    /// To be sent now.
    pub replies: Vec<(Token, Reply)>,
    /// To be appended, in this order, before those of any later call.
    pub persist: Vec<Persist>,
    /// What an operator may want to read in the log or count.
    pub events: Vec<Event>,
}

impl Effects {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.persist.is_empty() && self.events.is_empty()
    }

    pub(crate) fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }

    pub(crate) fn persist(&mut self, records: Vec<GroupRecord>, then: Then) {
        self.persist.push(Persist { records, then });
    }
}

/// Records to be made durable as one unit, and what waits for it.
#[derive(Debug)]
#[must_use = "requests wait for these records"]
pub struct Persist {
    pub(crate) records: Vec<GroupRecord>,
    pub(crate) then: Then,
}

impl Persist {
    /// The records to append, in order.
    #[must_use]
    pub fn records(&self) -> &[GroupRecord] {
        &self.records
    }
}

/// What happens once records are durable, or were refused.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nobody waits.
    Nothing,
    /// A request gets the reply that was prepared.
    Answer { token: Token, reply: Reply },
    /// The group is given the assignment of these records.
    Assign { group: GroupId, birth: u64, generation: i32 },
    /// A static member that was replaced without a rebalance hears of it.
    Replaced(Box<Replacement>),
}

/// A static member that took over from its former self in a stable group.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) group: GroupId,
    pub(crate) birth: u64,
    pub(crate) generation: i32,
    pub(crate) instance: InstanceId,
    pub(crate) member: MemberId,
    pub(crate) token: Token,
    pub(crate) supports_skipping_assignment: bool,
    /// Who led before, by the id that it had then.
    pub(crate) former_leader: Option<MemberId>,
    /// What the member was before, for the case that it can't be stored.
    pub(crate) former: FormerMember,
}

/// What a replaced member loses.
#[derive(Debug)]
pub(crate) struct FormerMember {
    pub(crate) member: MemberId,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
}

/// The reply to a request that may have waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a join.
    Join(Result<Joined, JoinRefused>),
    /// To a sync.
    Sync(Result<Synced, MembershipError>),
    /// To a commit: one result for each of its offsets, in their order.
    Commit(Result<Vec<Result<(), OffsetMetadataTooLarge>>, CommitError>),
    /// To a deletion of offsets: one result for each topic, in their order.
    DeleteOffsets(Result<Vec<Result<(), GroupSubscribedToTopic>>, DeleteError>),
    /// To a deletion of groups: one result for each, in their order.
    DeleteGroups(Vec<Result<(), DeleteError>>),
}

impl Reply {
    /// What to answer instead, where nothing could be stored.
    pub(crate) fn refused(self, refusal: Refusal) -> Self {
        match self {
            Self::Join(Ok(joined)) => {
                Self::Join(Err(JoinRefused { member: joined.member, error: refusal.into() }))
            }
            Self::Join(Err(refused)) => Self::Join(Err(refused)),
            Self::Sync(_) => Self::Sync(Err(refusal.into())),
            Self::Commit(_) => Self::Commit(Err(refusal.into())),
            Self::DeleteOffsets(_) => Self::DeleteOffsets(Err(refusal.into())),
            Self::DeleteGroups(results) => {
                let refused = |result: Result<(), _>| result.and(Err(refusal.into()));
                Self::DeleteGroups(results.into_iter().map(refused).collect())
            }
        }
    }
}

/// A member takes part in a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The member's id.
    pub member: MemberId,
    /// The generation.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that the group agreed on.
    pub protocol_name: Option<Arc<str>>,
    /// The member that assigns.
    pub leader: Option<MemberId>,
    /// For the leader: whether it is not to assign, since the present
    /// assignment stands.
    pub skip_assignment: bool,
    /// For the leader: all members. Empty for the others.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<InstanceId>,
    /// What it said for the group's protocol.
    pub metadata: Bytes,
}

/// A member does not take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// The id that the reply names: with `MemberIdRequired` the one to join
    /// with, else the one of the request, or none.
    pub member: MemberId,
    /// Why.
    pub error: MembershipError,
}

/// What a member is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The group's protocol.
    pub protocol_name: Option<Arc<str>>,
    /// What the leader assigned; opaque here.
    pub assignment: Bytes,
}

/// What happened to a group, for the log and for counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Members have to join again.
    RebalanceStarted {
        /// The group.
        group: GroupId,
        /// The generation that ends.
        generation: i32,
        /// Why, in words.
        reason: String,
    },
    /// Every member joined; the leader is to assign.
    GenerationStarted {
        /// The group.
        group: GroupId,
        /// The generation that begins.
        generation: i32,
        /// The number of its members.
        members: usize,
    },
    /// The members got their assignments.
    RebalanceCompleted {
        /// The group.
        group: GroupId,
        /// The generation.
        generation: i32,
    },
    /// A member was silent for too long, or did not join or sync in time.
    MemberFailed {
        /// The group.
        group: GroupId,
        /// The member.
        member: MemberId,
    },
    /// The last member is gone.
    Emptied {
        /// The group.
        group: GroupId,
        /// The generation that has no members.
        generation: i32,
    },
    /// Offsets of the group expired.
    OffsetsExpired {
        /// The group.
        group: GroupId,
        /// How many.
        offsets: usize,
    },
    /// The group expired, was deleted, or was never used.
    Removed {
        /// The group.
        group: GroupId,
    },
}
