//! Consumer groups of the classic protocol, and committed offsets.
//!
//! [`Groups`] behaves as Kafka 4.3's group coordinator does towards classic
//! groups: rebalances (KIP-62), static members (KIP-345, KIP-814), required
//! member ids (KIP-394), removal of several members at once (KIP-571),
//! retention of offsets (KIP-211), groups that only commit offsets.
//!
//! # How it is driven
//!
//! Every call is given the time ([`Now`]), and a [`Token`] where its answer may
//! have to wait, and returns [`Effects`]: replies to send and records to
//! append. [`Groups::tick`] is to be called when [`Groups::next_deadline`] has
//! come. Records come back through [`Groups::durable`] once they are durable,
//! in the order in which they were given out, or through [`Groups::refused`]
//! where they were not even appended.
//!
//! # What is durable when
//!
//! Two states stand side by side. The *live* groups ([`group`]) move at once:
//! a member that leaves is gone. The *durable* groups ([`durable`]) are what
//! the log says, and move when a record has become durable. Committed offsets
//! exist in the second only, so that nobody reads one that a crash takes back,
//! and a checkpoint is a snapshot of the second. A commit, a deletion, and the
//! assignment of a generation are answered when durable; everything else is
//! answered at once. After a crash a group stands where its last assignment
//! put it, or is empty, and its members are given one session to show up.
//!
//! Unlike Kafka, a group that nobody has completed a generation of leaves no
//! record, and is forgotten when its last pending member is.
//!
//! # What bounds memory
//!
//! Groups: `groups_max`. Members of a group: `group.max.size`. Ids given out
//! but not used: `pending_members_max`. What one member says: the front's
//! limit on the size of a request. Offsets: what clients commit, for as long
//! as `offsets.retention.minutes` says; each takes about 150 bytes, and
//! metadata up to `offset.metadata.max.bytes`. Records that wait for the log
//! are bounded by whoever appends them.

mod admin;
mod config;
mod durable;
mod effects;
mod error;
mod group;
mod ids;
mod member;
mod offsets;
mod record;
mod request;
mod subscription;
mod timers;

use std::collections::BTreeMap;

pub use self::{
    admin::{DescribedGroup, DescribedMember, ListedGroup},
    config::GroupsConfig,
    durable::{DurableGroups, Snapshot},
    effects::{Effects, Event, JoinRefused, Joined, JoinedMember, Persist, Reply, Synced},
    error::{
        CommitError, DeleteError, GroupSubscribedToTopic, MembershipError, OffsetMetadataTooLarge,
        Refusal,
    },
    group::GroupState,
    ids::{GroupId, InstanceId, MemberId, Token},
    record::{CommittedOffset, GroupMetadata, GroupRecord, MemberMetadata, RecordError},
    request::{
        CommitRequest, DeleteOffsetsRequest, DeleteTopicOffsets, HeartbeatRequest, JoinRequest,
        LeavingMember, Now, OffsetCommit, Protocol, SyncRequest,
    },
};
use self::{
    effects::Then,
    group::{Group, Scope},
    timers::{Fired, Timers},
};

/// All groups of one coordinator.
#[derive(Debug)]
pub struct Groups {
    config: GroupsConfig,
    /// What is in force now.
    live: BTreeMap<GroupId, Group>,
    /// What the log says.
    durable: DurableGroups,
    timers: Timers,
    /// How many records of each group are given out and not back yet: where
    /// there are any, the durable state is older than what was promised.
    in_flight: BTreeMap<GroupId, usize>,
    pending_members: usize,
    births: u64,
}

impl Groups {
    /// Brings the groups to life that recovery found. Their members' sessions
    /// start now.
    pub fn start(config: GroupsConfig, durable: DurableGroups, now: Now) -> (Self, Effects) {
        let mut groups = Self {
            config,
            live: BTreeMap::new(),
            durable,
            timers: Timers::default(),
            in_flight: BTreeMap::new(),
            pending_members: 0,
            births: 0,
        };
        let mut effects = Effects::default();
        let found: Vec<GroupId> = groups.durable.iter().map(|(id, _)| id.clone()).collect();
        for id in found {
            groups.revive(&id, now, &mut effects);
        }
        (groups, effects)
    }

    /// The settings in force.
    #[must_use]
    pub const fn config(&self) -> &GroupsConfig {
        &self.config
    }

    /// Changes the settings: from the next request on.
    pub fn set_config(&mut self, config: GroupsConfig) {
        self.config = config;
    }

    /// What the log says about groups: checkpoints are made of its
    /// [`snapshot`](DurableGroups::snapshot).
    #[must_use]
    pub const fn durable_groups(&self) -> &DurableGroups {
        &self.durable
    }

    /// A member joins. The reply comes when every member has, or at once.
    pub fn join(&mut self, request: &JoinRequest, token: Token, now: Now) -> Effects {
        let mut effects = Effects::default();
        match self.admit_join(request) {
            Err(error) => {
                let refused = JoinRefused { member: request.member.clone(), error };
                effects.reply(token, Reply::Join(Err(refused)));
            }
            Ok(()) => {
                let id = &request.group;
                self.ensure_live(id, now);
                self.with(id, now, &mut effects, |group, scope| group.join(request, token, scope));
                self.drop_if_void(id, now, &mut effects);
            }
        }
        effects
    }

    fn admit_join(&self, request: &JoinRequest) -> Result<(), MembershipError> {
        let sessions = self.config.session_timeout_min_ms..=self.config.session_timeout_max_ms;
        if request.group.is_empty() {
            Err(MembershipError::InvalidGroupId)
        } else if !sessions.contains(&request.session_timeout_ms) {
            Err(MembershipError::InvalidSessionTimeout)
        } else if self.live.contains_key(&request.group) {
            Ok(())
        } else if !request.member.is_empty() {
            Err(MembershipError::UnknownMemberId)
        } else if self.live.len() >= self.config.groups_max {
            Err(MembershipError::CoordinatorNotAvailable)
        } else {
            Ok(())
        }
    }

    /// A member asks for its assignment. The reply comes when the leader's
    /// assignment is durable, or at once.
    pub fn sync(&mut self, request: &SyncRequest, token: Token, now: Now) -> Effects {
        let mut effects = Effects::default();
        let id = &request.group;
        let refused = if id.is_empty() {
            Some(MembershipError::InvalidGroupId)
        } else {
            let known =
                self.with(id, now, &mut effects, |group, scope| group.sync(request, token, scope));
            known.is_none().then_some(MembershipError::UnknownMemberId)
        };
        if let Some(error) = refused {
            effects.reply(token, Reply::Sync(Err(error)));
        }
        self.drop_if_void(id, now, &mut effects);
        effects
    }

    /// A member shows that it is alive.
    ///
    /// # Errors
    /// `RebalanceInProgress` tells it to join again; the others that it is not
    /// a member of this generation.
    pub fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        now: Now,
    ) -> Result<(), MembershipError> {
        if request.group.is_empty() {
            return Err(MembershipError::InvalidGroupId);
        }
        let mut effects = Effects::default();
        let result = self.with(&request.group, now, &mut effects, |group, scope| {
            group.heartbeat(request, scope)
        });
        debug_assert!(effects.is_empty(), "a heartbeat changes nothing but a deadline");
        result.unwrap_or(Err(MembershipError::UnknownMemberId))
    }

    /// Members leave, or are removed. One result for each, in their order.
    ///
    /// # Errors
    /// Only for a group id that none can have.
    pub fn leave(
        &mut self,
        group: &GroupId,
        members: &[LeavingMember],
        now: Now,
    ) -> (Result<Vec<Result<(), MembershipError>>, MembershipError>, Effects) {
        let mut effects = Effects::default();
        if group.is_empty() {
            return (Err(MembershipError::InvalidGroupId), effects);
        }
        let results = self
            .with(group, now, &mut effects, |group, scope| group.leave(members, scope))
            .unwrap_or_else(|| vec![Err(MembershipError::UnknownMemberId); members.len()]);
        self.drop_if_void(group, now, &mut effects);
        (Ok(results), effects)
    }

    /// When [`Groups::tick`] may have something to do, in monotonic
    /// milliseconds. May be early, never late.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.next()
    }

    /// Does what has come due.
    pub fn tick(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        while let Some((id, key)) = self.timers.pop(now.monotonic_ms) {
            self.with(&id, now, &mut effects, |group, scope| {
                let Some(timer) = group.timer(&key) else { return };
                let fired = scope.timers.fire(timer, &id, key.clone(), now.monotonic_ms);
                if fired == Fired::Yes {
                    group.fire(&key, scope);
                }
            });
            self.drop_if_void(&id, now, &mut effects);
        }
        effects
    }

    /// The records are durable: they count, and who waited is answered.
    pub fn durable(&mut self, persist: Persist, now: Now) -> Effects {
        let Persist { records, then } = persist;
        let mut effects = Effects::default();
        match then {
            Then::Nothing => {}
            Then::Answer { token, reply } => effects.reply(token, reply),
            Then::Assign { group, birth, .. } => {
                if let Some(GroupRecord::Group { metadata, .. }) = records.first() {
                    self.with_life(&group, birth, now, &mut effects, |group, scope| {
                        group.assignment_stored(metadata, scope);
                    });
                }
            }
            Then::Replaced(replacement) => {
                let (id, birth) = (&replacement.group, replacement.birth);
                self.with_life(id, birth, now, &mut effects, |group, scope| {
                    group.replacement_stored(&replacement, scope);
                });
            }
        }
        for record in records {
            let group = record.group().cloned();
            self.durable.apply(record);
            if let Some(group) = group {
                self.came_back(&group);
                self.drop_if_void(&group, now, &mut effects);
            }
        }
        effects
    }

    /// The records were not appended, and never will be: who waited is told
    /// so, and what they were to change is as before.
    pub fn refused(&mut self, persist: Persist, refusal: Refusal, now: Now) -> Effects {
        let Persist { records, then } = persist;
        let mut effects = Effects::default();
        match then {
            Then::Nothing => {}
            Then::Answer { token, reply } => effects.reply(token, reply.refused(refusal)),
            Then::Assign { group, birth, generation } => {
                self.with_life(&group, birth, now, &mut effects, |group, scope| {
                    group.assignment_refused(generation, refusal, scope);
                });
            }
            Then::Replaced(replacement) => {
                let (id, birth) = (replacement.group.clone(), replacement.birth);
                self.with_life(&id, birth, now, &mut effects, |group, scope| {
                    group.replacement_refused(*replacement, refusal, scope);
                });
            }
        }
        for record in &records {
            let Some(group) = record.group() else { continue };
            self.came_back(group);
            if matches!(record, GroupRecord::GroupDeleted { .. }) {
                self.revive(group, now, &mut effects);
            }
            self.drop_if_void(group, now, &mut effects);
        }
        effects
    }

    /// Makes a group live as the log has it, unless it lives already.
    fn revive(&mut self, id: &GroupId, now: Now, effects: &mut Effects) {
        if self.live.contains_key(id) {
            return;
        }
        let Some(stored) = self.durable.get(id.as_str()) else { return };
        let metadata = stored.metadata.clone();
        self.births += 1;
        let birth = self.births;
        let mut scope = Scope {
            now,
            config: &self.config,
            timers: &mut self.timers,
            effects,
            pending_members: &mut self.pending_members,
        };
        let group = match metadata {
            Some(metadata) => Group::restored(id.clone(), birth, &metadata, &mut scope),
            None => Group::new(id.clone(), birth, None),
        };
        self.live.insert(id.clone(), group);
    }

    /// Makes a new group, if there is none.
    fn ensure_live(&mut self, id: &GroupId, now: Now) {
        if !self.live.contains_key(id) {
            self.births += 1;
            let group = Group::new(id.clone(), self.births, Some(now.wall));
            self.live.insert(id.clone(), group);
        }
    }

    fn with<R>(
        &mut self,
        id: &GroupId,
        now: Now,
        effects: &mut Effects,
        act: impl FnOnce(&mut Group, &mut Scope<'_>) -> R,
    ) -> Option<R> {
        let group = self.live.get_mut(id)?;
        let given_out = effects.persist.len();
        let mut scope = Scope {
            now,
            config: &self.config,
            timers: &mut self.timers,
            effects,
            pending_members: &mut self.pending_members,
        };
        let result = act(group, &mut scope);
        for persist in effects.persist.iter().skip(given_out) {
            went_out(&mut self.in_flight, persist);
        }
        Some(result)
    }

    /// As [`Groups::with`], for what was begun in one life of a group and must
    /// not go on in the next.
    fn with_life(
        &mut self,
        id: &GroupId,
        birth: u64,
        now: Now,
        effects: &mut Effects,
        act: impl FnOnce(&mut Group, &mut Scope<'_>),
    ) {
        self.with(id, now, effects, |group, scope| {
            if group.birth() == birth {
                act(group, scope);
            }
        });
    }

    /// Gives out records that no one group makes.
    fn persist(&mut self, records: Vec<GroupRecord>, then: Then, effects: &mut Effects) {
        let persist = Persist { records, then };
        went_out(&mut self.in_flight, &persist);
        effects.persist.push(persist);
    }

    fn came_back(&mut self, id: &GroupId) {
        if let Some(count) = self.in_flight.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(id);
            }
        }
    }

    /// Forgets a group of which the log knows nothing and that nobody uses.
    fn drop_if_void(&mut self, id: &GroupId, now: Now, effects: &mut Effects) {
        let is_void = self.durable.get(id.as_str()).is_none()
            && !self.in_flight.contains_key(id)
            && self.live.get(id).is_some_and(Group::is_unused);
        if is_void {
            self.retire(id, now, effects);
        }
    }

    /// Ends the life of a group without members.
    fn retire(&mut self, id: &GroupId, now: Now, effects: &mut Effects) {
        let Some(group) = self.live.remove(id) else { return };
        let mut scope = Scope {
            now,
            config: &self.config,
            timers: &mut self.timers,
            effects,
            pending_members: &mut self.pending_members,
        };
        group.retire(&mut scope);
        effects.events.push(Event::Removed { group: id.clone() });
    }
}

/// Counts records that are on their way to the log.
fn went_out(in_flight: &mut BTreeMap<GroupId, usize>, persist: &Persist) {
    for group in persist.records.iter().filter_map(GroupRecord::group) {
        *in_flight.entry(group.clone()).or_default() += 1;
    }
}
