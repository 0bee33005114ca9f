//! Rebalances: gathering the members, the next generation, and what happens
//! to those who don't come.

use super::{
    super::{
        effects::{Event, Reply, Then},
        error::MembershipError,
        ids::MemberId,
        record::GroupRecord,
        timers::TimerKey,
    },
    Group, GroupState, JoinPhase, Scope,
};

impl Group {
    /// Something of the members changed: a rebalance starts, or the one that
    /// runs may be done with waiting.
    pub(super) fn rebalance_or_complete_join(&mut self, reason: String, scope: &mut Scope<'_>) {
        if self.state == GroupState::PreparingRebalance {
            self.maybe_complete_join(scope);
        } else {
            self.prepare_rebalance(reason, scope);
        }
    }

    /// Ends the wait for members if everyone is here. The first rebalance of a
    /// group that was empty always takes its initial delay.
    pub(super) fn maybe_complete_join(&mut self, scope: &mut Scope<'_>) {
        if self.state == GroupState::PreparingRebalance
            && self.previous != GroupState::Empty
            && self.has_everyone_joined()
        {
            self.complete_join(scope);
        }
    }

    pub(super) fn prepare_rebalance(&mut self, reason: String, scope: &mut Scope<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.drop_assignment(MembershipError::RebalanceInProgress, scope);
        }
        self.pending_syncs.clear();
        self.storing_assignment = false;
        self.cancel_sync_timer(scope);

        let is_initial = self.state == GroupState::Empty;
        self.enter(GroupState::PreparingRebalance, scope.now);
        scope.effects.events.push(Event::RebalanceStarted {
            group: self.id.clone(),
            generation: self.generation,
            reason,
        });
        if is_initial {
            let delay_ms = u64::from(scope.config.initial_rebalance_delay_ms);
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.member_added = false;
            self.arm_join_timer(JoinPhase::Initial { delay_ms, remaining_ms }, delay_ms, scope);
        } else if self.has_everyone_joined() {
            self.complete_join(scope);
        } else {
            let delay_ms = self.rebalance_timeout_ms();
            self.arm_join_timer(JoinPhase::Rebalance, delay_ms, scope);
        }
    }

    /// Ends the wait for members: those that didn't come and lose their place
    /// by it are out, and the others begin the next generation.
    fn complete_join(&mut self, scope: &mut Scope<'_>) {
        scope.timers.cancel(&mut self.join_timer, &self.id, TimerKey::Join);
        for id in self.lost_by_absence(scope.config.group_size_max) {
            self.fail(&id, scope);
        }
        if self.members.is_empty() {
            return self.become_empty(scope);
        }
        if !self.elect_leader() {
            // Only static members are left and none of them came: one of them
            // comes, or their sessions end.
            let delay_ms = self.rebalance_timeout_ms();
            return self.arm_join_timer(JoinPhase::Rebalance, delay_ms, scope);
        }
        self.next_generation();
        self.protocol_name = self.select_protocol();
        self.subscribed = self.subscribed_topics();
        self.enter(GroupState::CompletingRebalance, scope.now);
        scope.effects.events.push(Event::GenerationStarted {
            group: self.id.clone(),
            generation: self.generation,
            members: self.members.len(),
        });
        for id in self.member_ids() {
            self.begin_generation(&id, scope);
        }
        self.arm_sync_timer(scope);
    }

    /// The absent members that don't keep their place: dynamic ones never do,
    /// static ones as far as those that came leave room for them. Kafka keeps
    /// all static ones, and its groups grow over `group.max.size` by that.
    fn lost_by_absence(&self, size_max: usize) -> Vec<MemberId> {
        let mut room = size_max.saturating_sub(self.joins_waiting);
        let mut lost = Vec::new();
        for member in self.members.values().filter(|member| member.joining.is_none()) {
            if member.instance.is_some() && room > 0 {
                room -= 1;
            } else {
                lost.push(member.id.clone());
            }
        }
        lost
    }

    fn begin_generation(&mut self, id: &MemberId, scope: &mut Scope<'_>) {
        let joined = self.joined(id);
        let Some(member) = self.members.get_mut(id) else { return };
        member.is_new = false;
        if let Some(token) = member.joining.take() {
            self.joins_waiting -= 1;
            scope.effects.reply(token, Reply::Join(Ok(joined)));
        }
        self.pending_syncs.insert(id.clone());
        self.renew_session(id, scope);
    }

    /// The generations go on while nobody is there, so that whoever held one
    /// is told that it is over.
    fn become_empty(&mut self, scope: &mut Scope<'_>) {
        self.next_generation();
        self.protocol_name = None;
        self.subscribed = self.subscribed_topics();
        self.enter(GroupState::Empty, scope.now);
        scope
            .effects
            .events
            .push(Event::Emptied { group: self.id.clone(), generation: self.generation });
        let metadata = self.stored(|member| member.assignment.clone());
        let record = GroupRecord::Group { group: self.id.clone(), metadata };
        scope.effects.persist(vec![record], Then::Nothing);
    }

    fn next_generation(&mut self) {
        self.pending_syncs.clear();
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    /// A timer of the group is due.
    pub(crate) fn fire(&mut self, key: &TimerKey, scope: &mut Scope<'_>) {
        match key {
            TimerKey::Join => self.join_time_is_over(scope),
            TimerKey::Sync => self.sync_time_is_over(scope),
            TimerKey::Member(id) => self.session_is_over(id, scope),
        }
    }

    fn join_time_is_over(&mut self, scope: &mut Scope<'_>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        match self.join_phase {
            JoinPhase::Initial { delay_ms, remaining_ms }
                if self.member_added && remaining_ms > 0 =>
            {
                self.member_added = false;
                let next_ms = u64::from(scope.config.initial_rebalance_delay_ms).min(remaining_ms);
                let remaining_ms = remaining_ms.saturating_sub(delay_ms);
                let phase = JoinPhase::Initial { delay_ms: next_ms, remaining_ms };
                self.arm_join_timer(phase, next_ms, scope);
            }
            JoinPhase::Initial { .. } | JoinPhase::Rebalance => self.complete_join(scope),
        }
    }

    /// Members that joined and did not ask for their assignment are out.
    fn sync_time_is_over(&mut self, scope: &mut Scope<'_>) {
        let lost = std::mem::take(&mut self.pending_syncs);
        if lost.is_empty() {
            return;
        }
        for id in &lost {
            self.fail(id, scope);
        }
        self.prepare_rebalance(format!("{} members did not sync in time", lost.len()), scope);
    }

    fn session_is_over(&mut self, id: &MemberId, scope: &mut Scope<'_>) {
        if self.remove_pending(id, scope) {
            self.maybe_complete_join(scope);
        } else if self.members.get(id).is_some_and(|member| !member.is_waiting()) {
            self.fail(id, scope);
            self.member_is_gone(format!("the session of member {id} timed out"), scope);
        }
    }

    /// Goes on without a member that was just removed.
    fn member_is_gone(&mut self, reason: String, scope: &mut Scope<'_>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance(reason, scope);
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(scope),
            GroupState::Empty => {}
        }
    }

    fn fail(&mut self, id: &MemberId, scope: &mut Scope<'_>) {
        let event = Event::MemberFailed { group: self.id.clone(), member: id.clone() };
        scope.effects.events.push(event);
        self.remove(id, scope);
    }
}
