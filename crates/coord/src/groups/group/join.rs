//! Joins: who is taken in, under which id, and whether that needs a rebalance.

use super::{
    super::{
        config::NEW_MEMBER_JOIN_TIMEOUT_MS,
        effects::{Replacement, Reply, Then},
        error::{MembershipError, Refusal},
        ids::{InstanceId, MemberId, Token},
        member::Member,
        record::GroupRecord,
        request::JoinRequest,
        timers::{Timer, TimerKey},
    },
    Group, GroupState, Scope,
};

impl Group {
    pub(crate) fn join(&mut self, request: &JoinRequest, token: Token, scope: &mut Scope<'_>) {
        if !self.has_room_for(&request.member, scope.config.group_size_max) {
            self.remove(&request.member, scope);
            let error = MembershipError::GroupMaxSizeReached;
            scope.refuse_join(token, MemberId::unknown(), error);
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            let error = MembershipError::InconsistentGroupProtocol;
            scope.refuse_join(token, request.member.clone(), error);
        } else if request.member.is_empty() {
            self.join_unknown(request, token, scope);
        } else if self.pending_joins.contains_key(&request.member) {
            self.join_pending(request, token, scope);
        } else {
            self.join_known(request, token, scope);
        }
    }

    /// Whether `group.max.size` leaves a place for the member.
    fn has_room_for(&self, member: &MemberId, size_max: usize) -> bool {
        match self.state {
            GroupState::Empty => true,
            // Members that wait already keep their place. Those that wait are
            // counted, not all members: where the limit was lowered, the last
            // ones to join again lose theirs.
            GroupState::PreparingRebalance => {
                self.members.get(member).is_some_and(|member| member.joining.is_some())
                    || self.joins_waiting < size_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(member) || self.members.len() < size_max
            }
        }
    }

    fn join_unknown(&mut self, request: &JoinRequest, token: Token, scope: &mut Scope<'_>) {
        let name = request.instance.as_ref().map_or(&*request.client_id, InstanceId::as_str);
        let id = MemberId::from(format!("{name}-{}", request.member_uuid));
        if let Some(instance) = &request.instance {
            match self.instances.get(instance).cloned() {
                Some(current) => self.replace(request, instance, &current, id, token, scope),
                None => self.take_in(request, id, token, scope),
            }
        } else if request.require_known_member_id {
            self.expect(request, id, token, scope);
        } else {
            self.take_in(request, id, token, scope);
        }
    }

    /// Gives an id to a member, which is to come back with it (KIP-394): those
    /// who time out and try again would otherwise pile up as members.
    fn expect(&mut self, request: &JoinRequest, id: MemberId, token: Token, scope: &mut Scope<'_>) {
        if *scope.pending_members >= scope.config.pending_members_max {
            let error = MembershipError::GroupMaxSizeReached;
            return scope.refuse_join(token, MemberId::unknown(), error);
        }
        let mut timer = Timer::default();
        let timeout_ms = u64::try_from(request.session_timeout_ms).unwrap_or(0);
        let key = TimerKey::Member(id.clone());
        scope.timers.arm(&mut timer, &self.id, key, scope.now.monotonic_ms, timeout_ms);
        self.pending_joins.insert(id.clone(), timer);
        *scope.pending_members += 1;
        scope.refuse_join(token, id, MembershipError::MemberIdRequired);
    }

    fn join_pending(&mut self, request: &JoinRequest, token: Token, scope: &mut Scope<'_>) {
        // Ids of static members never wait to be used.
        if request.instance.is_some() {
            let error = MembershipError::UnknownMemberId;
            return scope.refuse_join(token, request.member.clone(), error);
        }
        self.remove_pending(&request.member, scope);
        self.take_in(request, request.member.clone(), token, scope);
    }

    fn take_in(
        &mut self,
        request: &JoinRequest,
        id: MemberId,
        token: Token,
        scope: &mut Scope<'_>,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if self.state == GroupState::PreparingRebalance && self.previous == GroupState::Empty {
            self.member_added = true;
        }
        let mut member = Member::new(id.clone(), request);
        member.joining = Some(token);
        self.add(member);
        self.arm_session(&id, NEW_MEMBER_JOIN_TIMEOUT_MS, scope);
        let reason = reason(&format!("new member {id}"), request);
        self.rebalance_or_complete_join(reason, scope);
    }

    fn join_known(&mut self, request: &JoinRequest, token: Token, scope: &mut Scope<'_>) {
        let id = &request.member;
        if let Err(error) = self.check_identity(id, request.instance.as_ref()) {
            return scope.refuse_join(token, id.clone(), error.into());
        }
        let changed = self.members.get(id).is_none_or(|member| !member.said(&request.protocols));
        let why = match self.state {
            GroupState::PreparingRebalance => "rejoining member",
            // The reply to the same join was lost, or a follower looks again:
            // what stands is what it gets.
            GroupState::CompletingRebalance if !changed => {
                return self.tell_joined(id, token, scope);
            }
            GroupState::Stable if !changed && !self.is_leader(id) => {
                return self.tell_joined(id, token, scope);
            }
            GroupState::CompletingRebalance | GroupState::Stable if changed => "new metadata of",
            // The leader joins again when something else than members changed,
            // such as the number of partitions.
            GroupState::CompletingRebalance | GroupState::Stable => "rejoining leader",
            GroupState::Empty => {
                return scope.refuse_join(token, id.clone(), MembershipError::UnknownMemberId);
            }
        };
        let reason = reason(&format!("{why} {id}"), request);
        self.update(id, request, token, scope);
        self.rebalance_or_complete_join(reason, scope);
    }

    fn tell_joined(&self, id: &MemberId, token: Token, scope: &mut Scope<'_>) {
        scope.effects.reply(token, Reply::Join(Ok(self.joined(id))));
    }

    /// A static member comes back without its id: it was restarted. It takes
    /// over from what it was, and in a stable group nobody else is disturbed.
    fn replace(
        &mut self,
        request: &JoinRequest,
        instance: &InstanceId,
        current: &MemberId,
        id: MemberId,
        token: Token,
        scope: &mut Scope<'_>,
    ) {
        let former_leader = self.leader.clone();
        let Some(former) = self.rename(instance, current, &id, scope) else { return };
        self.update(&id, request, token, scope);
        self.renew_session(&id, scope);
        match self.state {
            GroupState::Stable if self.protocol_name == self.select_protocol() => {
                let replacement = Replacement {
                    group: self.id.clone(),
                    birth: self.birth,
                    generation: self.generation,
                    instance: instance.clone(),
                    member: id,
                    token,
                    supports_skipping_assignment: request.supports_skipping_assignment,
                    former_leader,
                    former,
                };
                let metadata = self.stored(|member| member.assignment.clone());
                let record = GroupRecord::Group { group: self.id.clone(), metadata };
                scope.effects.persist(vec![record], Then::Replaced(Box::new(replacement)));
            }
            GroupState::Stable => {
                let why = format!("static member {id} changes the group's protocol");
                self.rebalance_or_complete_join(reason(&why, request), scope);
            }
            // The leader may be assigning to the old id just now: the new one
            // would get nothing.
            GroupState::CompletingRebalance => {
                let why = format!("static member {id} replaces {current}");
                self.prepare_rebalance(reason(&why, request), scope);
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(scope),
            GroupState::Empty => {}
        }
    }

    /// The replaced member's new id is durable. Where a rebalance began
    /// meanwhile its join counts for that, and is answered when that ends.
    pub(crate) fn replacement_stored(&mut self, replacement: &Replacement, scope: &mut Scope<'_>) {
        if !self.take_replacement(replacement) {
            return;
        }
        let id = &replacement.member;
        let mut joined = self.joined(id);
        if replacement.supports_skipping_assignment {
            joined.skip_assignment = self.is_leader(id);
        } else {
            // Named leader, an older client would assign, and nobody would
            // hear of it: it is told of the leader that it was.
            joined.leader.clone_from(&replacement.former_leader);
            joined.members.clear();
        }
        scope.effects.reply(replacement.token, Reply::Join(Ok(joined)));
        self.renew_session(id, scope);
    }

    /// The replaced member's new id can't be stored: it is what it was.
    pub(crate) fn replacement_refused(
        &mut self,
        replacement: Replacement,
        refusal: Refusal,
        scope: &mut Scope<'_>,
    ) {
        if !self.take_replacement(&replacement) {
            return;
        }
        let Replacement { instance, member, token, former, .. } = replacement;
        scope.refuse_join(token, MemberId::unknown(), refusal.into());
        self.rename(&instance, &member, &former.member, scope);
        self.replace_protocols(&former.member, former.protocols);
        if let Some(restored) = self.members.get_mut(&former.member) {
            restored.client_id = former.client_id;
            restored.client_host = former.client_host;
            restored.session_timeout_ms = former.session_timeout_ms;
            restored.rebalance_timeout_ms = former.rebalance_timeout_ms;
        }
        self.renew_session(&former.member, scope);
    }

    /// Whether the join of a replacement still waits for nothing but the log;
    /// from here on it doesn't.
    fn take_replacement(&mut self, replacement: &Replacement) -> bool {
        if self.state != GroupState::Stable || self.generation != replacement.generation {
            return false;
        }
        let member = self.members.get_mut(&replacement.member);
        let waits = member
            .and_then(|member| member.joining.take_if(|token| *token == replacement.token))
            .is_some();
        self.joins_waiting -= usize::from(waits);
        waits
    }
}

/// Longest reason of a client's that is repeated, in characters: as much as
/// Kafka's clients send.
const REASON_MAX: usize = 255;

/// Our reason for a rebalance, and the client's.
fn reason(ours: &str, request: &JoinRequest) -> String {
    match repeated(request.reason.as_deref()) {
        Some(theirs) => format!("{ours}; client reason: {theirs}"),
        None => ours.to_owned(),
    }
}

/// As much of a client's reason as is repeated, if it gave one.
pub(super) fn repeated(reason: Option<&str>) -> Option<String> {
    let reason = reason.filter(|reason| !reason.is_empty())?;
    Some(reason.chars().take(REASON_MAX).collect())
}
