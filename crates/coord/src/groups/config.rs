//! The settings that groups follow.

/// How long a member that has never completed a join may wait for it,
/// whatever its session timeout: it can't heartbeat yet, and clients that gave
/// up and retried would otherwise stay as ghosts for the whole rebalance.
pub(crate) const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1000;

/// Settings of the group coordinator, with Kafka's names, units and defaults;
/// the last two are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    /// `group.min.session.timeout.ms`: shortest session that a member may ask
    /// for. Default 6000.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`: longest session that a member may ask
    /// for. Default 1800000.
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for
    /// more members before its first assignment. Default 3000.
    pub initial_rebalance_delay_ms: u32,
    /// `group.max.size`: most members of one group. Default `i32::MAX`.
    pub group_size_max: usize,
    /// `offsets.retention.minutes`, in milliseconds: how long offsets are kept
    /// once nobody uses them. Default 10080 minutes.
    pub offsets_retention_ms: i64,
    /// `offset.metadata.max.bytes`: longest text beside a committed offset,
    /// counted as Kafka does, in UTF-16 units. Default 4096.
    pub offset_metadata_max: usize,
    /// Most groups in memory; a request that would make one more is told that
    /// the coordinator is not available. Default 1000000.
    pub groups_max: usize,
    /// Most member ids given out and not used yet, over all groups; beyond it
    /// a join is told that the group is full. Default 100000.
    pub pending_members_max: usize,
}

impl Default for GroupsConfig {
    fn default() -> Self {
        Self {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            group_size_max: usize::try_from(i32::MAX).unwrap_or(usize::MAX),
            offsets_retention_ms: 10_080 * 60 * 1000,
            offset_metadata_max: 4096,
            groups_max: 1_000_000,
            pending_members_max: 100_000,
        }
    }
}
