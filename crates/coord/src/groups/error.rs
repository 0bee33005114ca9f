//! What groups refuse, and why: one enum per family of operations, one variant
//! per error code of the Kafka protocol.

/// Why records were not appended. Said by the caller to
/// [`Groups::refused`](super::Groups::refused).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not now: the disk is full, the server is stopping.
    Unavailable,
    /// The records are larger than one append may be.
    TooLarge,
}

/// Why a join, sync, heartbeat or leave failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// `INVALID_GROUP_ID`
    #[error("the group id is empty; set group.id")]
    InvalidGroupId,
    /// `INVALID_SESSION_TIMEOUT`
    #[error(
        "the session timeout lies outside of group.min.session.timeout.ms and \
         group.max.session.timeout.ms"
    )]
    InvalidSessionTimeout,
    /// `MEMBER_ID_REQUIRED`
    #[error("join again with the member id of this reply")]
    MemberIdRequired,
    /// `GROUP_MAX_SIZE_REACHED`
    #[error("the group has group.max.size members")]
    GroupMaxSizeReached,
    /// `INCONSISTENT_GROUP_PROTOCOL`
    #[error("the member's protocol type or protocols don't fit those of the group's members")]
    InconsistentGroupProtocol,
    /// `UNKNOWN_MEMBER_ID`
    #[error("the group has no such member; join again without a member id")]
    UnknownMemberId,
    /// `FENCED_INSTANCE_ID`
    #[error("another member took over this group instance id")]
    FencedInstanceId,
    /// `ILLEGAL_GENERATION`
    #[error("the generation is not the group's present one; join again")]
    IllegalGeneration,
    /// `REBALANCE_IN_PROGRESS`
    #[error("the group is rebalancing; join again")]
    RebalanceInProgress,
    /// `COORDINATOR_NOT_AVAILABLE`
    #[error("the group's state can't be stored now; try again")]
    CoordinatorNotAvailable,
    /// `UNKNOWN_SERVER_ERROR`, as Kafka says where the members' metadata
    /// outgrows one append.
    #[error("the group's metadata is too large to be stored; use smaller assignments")]
    TooLarge,
}

/// Why a commit of offsets failed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// `GROUP_ID_NOT_FOUND`; before version 9 of OffsetCommit
    /// `ILLEGAL_GENERATION`.
    #[error("there is no such group; join it first")]
    GroupIdNotFound,
    /// `UNKNOWN_MEMBER_ID`
    #[error("the group has no such member; join again")]
    UnknownMemberId,
    /// `FENCED_INSTANCE_ID`
    #[error("another member took over this group instance id")]
    FencedInstanceId,
    /// `ILLEGAL_GENERATION`
    #[error("the generation is not the group's present one; join again")]
    IllegalGeneration,
    /// `REBALANCE_IN_PROGRESS`
    #[error("the group is rebalancing; join again")]
    RebalanceInProgress,
    /// `COORDINATOR_NOT_AVAILABLE`
    #[error("offsets can't be stored now; try again")]
    CoordinatorNotAvailable,
    /// `UNKNOWN_SERVER_ERROR`
    #[error("the commit is too large to be stored; commit fewer partitions at a time")]
    TooLarge,
}

/// `OFFSET_METADATA_TOO_LARGE`: why one partition of a commit failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the offset's metadata is longer than offset.metadata.max.bytes")]
pub struct OffsetMetadataTooLarge;

/// Why a group, or some of its offsets, could not be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// `INVALID_GROUP_ID`
    #[error("the group id is empty")]
    InvalidGroupId,
    /// `GROUP_ID_NOT_FOUND`
    #[error("there is no such group")]
    GroupIdNotFound,
    /// `NON_EMPTY_GROUP`
    #[error("the group has members; stop them first")]
    NonEmptyGroup,
    /// `COORDINATOR_NOT_AVAILABLE`
    #[error("the deletion can't be stored now; try again")]
    CoordinatorNotAvailable,
    /// `UNKNOWN_SERVER_ERROR`
    #[error("the deletion is too large to be stored; delete fewer at a time")]
    TooLarge,
}

/// `GROUP_SUBSCRIBED_TO_TOPIC`: why one topic's offsets were not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group is subscribed to the topic; stop its members first")]
pub struct GroupSubscribedToTopic;

/// Who a request claims to be, checked against the group: the part that all
/// families share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityError {
    UnknownMemberId,
    FencedInstanceId,
}

impl From<IdentityError> for MembershipError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::UnknownMemberId => Self::UnknownMemberId,
            IdentityError::FencedInstanceId => Self::FencedInstanceId,
        }
    }
}

impl From<IdentityError> for CommitError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::UnknownMemberId => Self::UnknownMemberId,
            IdentityError::FencedInstanceId => Self::FencedInstanceId,
        }
    }
}

impl From<Refusal> for MembershipError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable => Self::CoordinatorNotAvailable,
            Refusal::TooLarge => Self::TooLarge,
        }
    }
}

impl From<Refusal> for CommitError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable => Self::CoordinatorNotAvailable,
            Refusal::TooLarge => Self::TooLarge,
        }
    }
}

impl From<Refusal> for DeleteError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable => Self::CoordinatorNotAvailable,
            Refusal::TooLarge => Self::TooLarge,
        }
    }
}
