//! One live group: its members and the state machine that they move.
//!
//! This is what is in force now; what of it outlives the process is in
//! [`durable`](super::durable). The states and their transitions are those of
//! Kafka's classic groups:
//!
//! ```text
//!             first join                everyone joined
//!   Empty ---------------> Preparing ------------------> Completing
//!     ^                    Rebalance <------------------ Rebalance
//!     |                      |   ^     join, leave, lost     |
//!     +----------------------+   |                           | the assignment
//!        everyone is gone        +-------- Stable <----------+ is durable
//! ```
//!
//! Invariants: a static instance belongs to one member; there is a leader
//! exactly while there are members, and it is one of them; whoever leaves the
//! maps here has no armed timer and no waiting request.

mod join;
mod rebalance;
mod sync;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use millrace_types::Timestamp;

use super::{
    config::GroupsConfig,
    effects::{Effects, FormerMember, JoinRefused, Joined, Reply},
    error::{IdentityError, MembershipError},
    ids::{GroupId, InstanceId, MemberId, Token},
    member::{Member, owned_protocols},
    record::{GroupMetadata, MemberMetadata},
    request::{JoinRequest, Now, Protocol},
    subscription,
    timers::{Timer, TimerKey, Timers},
};

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// No members; perhaps offsets.
    Empty,
    /// Waiting for every member to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment to be made and stored.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
}

impl GroupState {
    /// Kafka's name of the state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a group's operations need of the rest.
pub(crate) struct Scope<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a GroupsConfig,
    pub(crate) timers: &'a mut Timers,
    pub(crate) effects: &'a mut Effects,
    /// Pending members of all groups.
    pub(crate) pending_members: &'a mut usize,
}

impl Scope<'_> {
    fn refuse_join(&mut self, token: Token, member: MemberId, error: MembershipError) {
        self.effects.reply(token, Reply::Join(Err(JoinRefused { member, error })));
    }

    fn refuse_sync(&mut self, token: Token, error: MembershipError) {
        self.effects.reply(token, Reply::Sync(Err(error)));
    }
}

/// Why the join timer runs.
#[derive(Debug)]
enum JoinPhase {
    /// The group was empty: time is given for more members to come, in steps,
    /// as long as they do.
    Initial { delay_ms: u64, remaining_ms: u64 },
    /// Members are given their rebalance timeout to join again.
    Rebalance,
}

/// From when offsets of a group age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgesFrom {
    /// From their own commit.
    Commit,
    /// From when the group lost its last member.
    Emptied(Timestamp),
}

#[derive(Debug)]
pub(crate) struct Group {
    id: GroupId,
    /// Tells this life of the group from one before a deletion.
    birth: u64,
    state: GroupState,
    previous: GroupState,
    /// Since when it is in its state; unknown for groups that only ever
    /// committed offsets.
    state_since: Option<Timestamp>,
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol_name: Option<Arc<str>>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    instances: BTreeMap<InstanceId, MemberId>,
    /// Ids given out to members that have not joined with them yet.
    pending_joins: BTreeMap<MemberId, Timer>,
    /// Members that have not synced in this generation.
    pending_syncs: BTreeSet<MemberId>,
    /// How many members know each protocol.
    supported: BTreeMap<Arc<str>, usize>,
    /// How many members' joins wait.
    joins_waiting: usize,
    /// Topics that the members of this generation read; `None` where unknown.
    subscribed: Option<BTreeSet<Box<str>>>,
    /// Whether a member came during this step of the initial delay.
    member_added: bool,
    /// Whether this generation's assignment is on its way to the log.
    storing_assignment: bool,
    join_phase: JoinPhase,
    join_timer: Timer,
    sync_timer: Timer,
}

impl Group {
    /// A group that nobody has joined yet.
    pub(crate) fn new(id: GroupId, birth: u64, since: Option<Timestamp>) -> Self {
        Self {
            id,
            birth,
            state: GroupState::Empty,
            previous: GroupState::Empty,
            state_since: since,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending_joins: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            supported: BTreeMap::new(),
            joins_waiting: 0,
            subscribed: None,
            member_added: false,
            storing_assignment: false,
            join_phase: JoinPhase::Rebalance,
            join_timer: Timer::default(),
            sync_timer: Timer::default(),
        }
    }

    /// A group as the log has it: stable with its members, whose sessions
    /// start now, or empty.
    pub(crate) fn restored(
        id: GroupId,
        birth: u64,
        stored: &GroupMetadata,
        scope: &mut Scope<'_>,
    ) -> Self {
        let mut group = Self::new(id, birth, stored.state_since);
        group.generation = stored.generation;
        group.protocol_type.clone_from(&stored.protocol_type);
        group.protocol_name.clone_from(&stored.protocol_name);
        if let Some(protocol_name) = &stored.protocol_name {
            for member in &stored.members {
                group.add(Member::restored(member, protocol_name));
            }
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
            let leader = stored.leader.clone().filter(|id| group.members.contains_key(id));
            group.leader = leader.or(group.leader);
        }
        group.subscribed = group.subscribed_topics();
        for member in group.member_ids() {
            group.renew_session(&member, scope);
        }
        let size_max = scope.config.group_size_max;
        if group.members.len() > size_max {
            let reason =
                format!("{} members where group.max.size is {size_max}", group.members.len());
            group.prepare_rebalance(reason, scope);
        }
        group
    }

    pub(crate) const fn birth(&self) -> u64 {
        self.birth
    }

    pub(crate) const fn state(&self) -> GroupState {
        self.state
    }

    pub(crate) const fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) const fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    pub(crate) const fn protocol_name(&self) -> Option<&Arc<str>> {
        self.protocol_name.as_ref()
    }

    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state == GroupState::Empty
    }

    pub(crate) fn has_pending_members(&self) -> bool {
        !self.pending_joins.is_empty()
    }

    /// Whether the group has no member, and none to come.
    pub(crate) fn is_unused(&self) -> bool {
        self.is_empty() && self.pending_joins.is_empty()
    }

    /// Whether its members are consumers, whose subscriptions can be read.
    pub(crate) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(subscription::CONSUMER)
    }

    /// Whether a member may read `topic`. Where subscriptions can't be read,
    /// consumers may read anything.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// From when its offsets age (KIP-211); `None` while they don't.
    pub(crate) fn offsets_age_from(&self) -> Option<AgesFrom> {
        match (&self.protocol_type, self.state) {
            (None, _) => Some(AgesFrom::Commit),
            (Some(_), GroupState::Empty) => {
                Some(self.state_since.map_or(AgesFrom::Commit, AgesFrom::Emptied))
            }
            (Some(_), GroupState::Stable)
                if self.is_of_consumers() && self.subscribed.is_some() =>
            {
                Some(AgesFrom::Commit)
            }
            (Some(_), _) => None,
        }
    }

    /// Checks that a request comes from who is now known by its ids.
    pub(crate) fn check_identity(
        &self,
        member: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), IdentityError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(IdentityError::UnknownMemberId),
                Some(current) if current != member => return Err(IdentityError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(IdentityError::UnknownMemberId) }
    }

    /// The group as it is to be stored, with these assignments.
    fn stored(&self, assignment: impl Fn(&Member) -> Bytes) -> GroupMetadata {
        let protocol_name = self.protocol_name.as_deref();
        let member = |member: &Member| member.stored(protocol_name, assignment(member));
        let members: Vec<MemberMetadata> = self.members.values().map(member).collect();
        GroupMetadata {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members,
        }
    }

    fn enter(&mut self, state: GroupState, now: Now) {
        use GroupState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        let allowed = match state {
            PreparingRebalance => matches!(self.state, Empty | CompletingRebalance | Stable),
            CompletingRebalance | Empty => self.state == PreparingRebalance,
            Stable => self.state == CompletingRebalance,
        };
        assert!(allowed, "group {} can't go from {} to {state}", self.id, self.state);
        self.previous = self.state;
        self.state = state;
        self.state_since = Some(now.wall);
    }

    fn member_ids(&self) -> Vec<MemberId> {
        self.members.keys().cloned().collect()
    }

    fn is_leader(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// Whether everybody is here, and nobody is on the way.
    fn has_everyone_joined(&self) -> bool {
        self.members.len() == self.joins_waiting && self.pending_joins.is_empty()
    }

    /// The longest time that a member may take to join again.
    fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        u64::try_from(longest.unwrap_or(0)).unwrap_or(0)
    }

    /// Whether a member of this kind fits the others.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let known_to_all =
            |name: &Arc<str>| self.supported.get(name).copied().unwrap_or(0) == self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| known_to_all(&protocol.name))
    }

    fn add(&mut self, member: Member) {
        if let Some(instance) = &member.instance {
            let former = self.instances.insert(instance.clone(), member.id.clone());
            assert!(former.is_none(), "instance {instance} of {} has two members", self.id);
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.count_protocols(&member.protocols);
        self.joins_waiting += usize::from(member.joining.is_some());
        self.members.insert(member.id.clone(), member);
    }

    /// Removes a member, and ends whatever of it waits: it may join anew.
    fn remove(&mut self, id: &MemberId, scope: &mut Scope<'_>) {
        self.remove_pending(id, scope);
        self.pending_syncs.remove(id);
        let Some(mut member) = self.members.remove(id) else { return };
        scope.timers.cancel(&mut member.session, &self.id, TimerKey::Member(id.clone()));
        self.uncount_protocols(&member.protocols);
        self.joins_waiting -= usize::from(member.joining.is_some());
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        let error = MembershipError::UnknownMemberId;
        let refused = Reply::Join(Err(JoinRefused { member: MemberId::unknown(), error }));
        scope.effects.replies.extend(member.end_waiting(refused, Reply::Sync(Err(error))));
    }

    fn remove_pending(&mut self, id: &MemberId, scope: &mut Scope<'_>) -> bool {
        let Some(mut timer) = self.pending_joins.remove(id) else { return false };
        scope.timers.cancel(&mut timer, &self.id, TimerKey::Member(id.clone()));
        *scope.pending_members -= 1;
        true
    }

    /// Lets a static member go on under a new id. Whoever still waits under
    /// the old one is fenced.
    fn rename(
        &mut self,
        instance: &InstanceId,
        old: &MemberId,
        new: &MemberId,
        scope: &mut Scope<'_>,
    ) -> Option<FormerMember> {
        let mut member = self.members.remove(old)?;
        scope.timers.cancel(&mut member.session, &self.id, TimerKey::Member(old.clone()));
        self.joins_waiting -= usize::from(member.joining.is_some());
        let error = MembershipError::FencedInstanceId;
        let refused = Reply::Join(Err(JoinRefused { member: old.clone(), error }));
        scope.effects.replies.extend(member.end_waiting(refused, Reply::Sync(Err(error))));

        let former = FormerMember {
            member: old.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            protocols: member.protocols.clone(),
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
        };
        member.id = new.clone();
        member.is_new = false;
        self.instances.insert(instance.clone(), new.clone());
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.pending_syncs.remove(old) {
            self.pending_syncs.insert(new.clone());
        }
        self.members.insert(new.clone(), member);
        Some(former)
    }

    /// Takes over what a known member says in a new join, which waits from now
    /// on. A join of it that still waited is ended: clients send a second one
    /// only after giving the first one up.
    fn update(
        &mut self,
        id: &MemberId,
        request: &JoinRequest,
        token: Token,
        scope: &mut Scope<'_>,
    ) {
        self.replace_protocols(id, owned_protocols(&request.protocols));
        let Some(member) = self.members.get_mut(id) else { return };
        member.client_id = request.client_id.clone();
        member.client_host = request.client_host.clone();
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        match member.joining.replace(token) {
            None => self.joins_waiting += 1,
            Some(former) => {
                scope.refuse_join(former, id.clone(), MembershipError::RebalanceInProgress);
            }
        }
    }

    fn replace_protocols(&mut self, id: &MemberId, protocols: Vec<Protocol>) {
        self.count_protocols(&protocols);
        let Some(member) = self.members.get_mut(id) else { return };
        let former = std::mem::replace(&mut member.protocols, protocols);
        self.uncount_protocols(&former);
    }

    fn count_protocols(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            *self.supported.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
    }

    /// Makes sure that the leader is one of those who joined: the first of
    /// them, unless the present one did. `false` if nobody did.
    fn elect_leader(&mut self) -> bool {
        let joined = |member: &Member| member.joining.is_some();
        let current = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        if current.is_some_and(joined) {
            return true;
        }
        let elected = self.members.values().find(|member| joined(member));
        let found = elected.is_some();
        if let Some(member) = elected {
            self.leader = Some(member.id.clone());
        }
        found
    }

    /// The protocol that most members prefer among those that all of them
    /// know; among equals the one that the leader prefers. `None` without
    /// members.
    fn select_protocol(&self) -> Option<Arc<str>> {
        let known_to_all = |protocol: &&Protocol| {
            self.supported.get(&protocol.name).copied() == Some(self.members.len())
        };
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(known_to_all) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let leader = self.members.get(self.leader.as_ref()?)?;
        let candidates = leader.protocols.iter().filter(known_to_all);
        let votes_of = |protocol: &Protocol| votes.get(&*protocol.name).copied().unwrap_or(0);
        let best =
            candidates.reduce(
                |best, protocol| {
                    if votes_of(protocol) > votes_of(best) { protocol } else { best }
                },
            );
        best.map(|protocol| protocol.name.clone())
    }

    /// All topics that the members subscribe to; `None` where they are not
    /// consumers, or one of them can't be read.
    fn subscribed_topics(&self) -> Option<BTreeSet<Box<str>>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol_name = self.protocol_name.as_deref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(Some(protocol_name));
            all.extend(subscription::topics(&metadata)?.into_iter().map(Box::from));
        }
        Some(all)
    }

    /// The reply to a member's join in the present generation.
    fn joined(&self, member: &MemberId) -> Joined {
        let protocol_name = self.protocol_name.as_deref();
        let members = if self.is_leader(member) {
            self.members.values().map(|member| member.joined(protocol_name)).collect()
        } else {
            Vec::new()
        };
        Joined {
            member: member.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            skip_assignment: false,
            members,
        }
    }

    /// Starts a member's session anew.
    pub(crate) fn renew_session(&mut self, id: &MemberId, scope: &mut Scope<'_>) {
        if let Some(member) = self.members.get(id) {
            let timeout_ms = u64::try_from(member.session_timeout_ms).unwrap_or(0);
            self.arm_session(id, timeout_ms, scope);
        }
    }

    fn arm_session(&mut self, id: &MemberId, timeout_ms: u64, scope: &mut Scope<'_>) {
        if let Some(member) = self.members.get_mut(id) {
            let key = TimerKey::Member(id.clone());
            let now = scope.now.monotonic_ms;
            scope.timers.arm(&mut member.session, &self.id, key, now, timeout_ms);
        }
    }

    fn arm_join_timer(&mut self, phase: JoinPhase, delay_ms: u64, scope: &mut Scope<'_>) {
        self.join_phase = phase;
        let now = scope.now.monotonic_ms;
        scope.timers.arm(&mut self.join_timer, &self.id, TimerKey::Join, now, delay_ms);
    }

    fn arm_sync_timer(&mut self, scope: &mut Scope<'_>) {
        let delay_ms = self.rebalance_timeout_ms();
        let now = scope.now.monotonic_ms;
        scope.timers.arm(&mut self.sync_timer, &self.id, TimerKey::Sync, now, delay_ms);
    }

    fn cancel_sync_timer(&mut self, scope: &mut Scope<'_>) {
        scope.timers.cancel(&mut self.sync_timer, &self.id, TimerKey::Sync);
    }

    /// The timer that `key` stands for, while there is one.
    pub(crate) fn timer(&mut self, key: &TimerKey) -> Option<&mut Timer> {
        match key {
            TimerKey::Join => Some(&mut self.join_timer),
            TimerKey::Sync => Some(&mut self.sync_timer),
            TimerKey::Member(id) => match self.members.get_mut(id) {
                Some(member) => Some(&mut member.session),
                None => self.pending_joins.get_mut(id),
            },
        }
    }

    /// Cancels every timer of a group without members, before it is dropped.
    pub(crate) fn retire(mut self, scope: &mut Scope<'_>) {
        assert!(self.members.is_empty(), "group {} is dropped with members", self.id);
        let pending: Vec<MemberId> = self.pending_joins.keys().cloned().collect();
        for member in pending {
            self.remove_pending(&member, scope);
        }
        self.cancel_sync_timer(scope);
        scope.timers.cancel(&mut self.join_timer, &self.id, TimerKey::Join);
    }
}
