//! What members do between rebalances: sync, heartbeat, leave, commit.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    super::{
        effects::{Event, Reply, Synced, Then},
        error::{CommitError, MembershipError, Refusal},
        ids::{MemberId, Token},
        record::{GroupMetadata, GroupRecord},
        request::{CommitRequest, HeartbeatRequest, LeavingMember, SyncRequest},
    },
    Group, GroupState, Scope,
    join::repeated,
};

impl Group {
    pub(crate) fn sync(&mut self, request: &SyncRequest, token: Token, scope: &mut Scope<'_>) {
        if let Err(error) = self.check_sync(request) {
            return scope.refuse_sync(token, error);
        }
        match self.state {
            GroupState::CompletingRebalance => self.await_assignment(request, token, scope),
            GroupState::Stable => {
                self.has_synced(&request.member, scope);
                let synced = self.synced(&request.member);
                scope.effects.reply(token, Reply::Sync(Ok(synced)));
            }
            GroupState::PreparingRebalance | GroupState::Empty => {
                scope.refuse_sync(token, MembershipError::RebalanceInProgress);
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), MembershipError> {
        let differs = |theirs: &Option<Arc<str>>, ours: &Option<Arc<str>>| {
            theirs.is_some() && ours.is_some() && theirs != ours
        };
        self.check_identity(&request.member, request.instance.as_ref())?;
        if request.generation != self.generation {
            Err(MembershipError::IllegalGeneration)
        } else if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            Err(MembershipError::InconsistentGroupProtocol)
        } else {
            Ok(())
        }
    }

    fn await_assignment(&mut self, request: &SyncRequest, token: Token, scope: &mut Scope<'_>) {
        self.has_synced(&request.member, scope);
        let Some(member) = self.members.get_mut(&request.member) else { return };
        if let Some(former) = member.syncing.replace(token) {
            scope.refuse_sync(former, MembershipError::RebalanceInProgress);
        }
        // A leader that asks again while its assignment is being stored brings
        // the same one; storing another would leave it open which one counts.
        if !self.is_leader(&request.member) || self.storing_assignment {
            return;
        }
        self.storing_assignment = true;
        let assignments: BTreeMap<&MemberId, &Bytes> =
            request.assignments.iter().map(|(member, bytes)| (member, bytes)).collect();
        let metadata = self.stored(|member| {
            assignments
                .get(&member.id)
                .map(|bytes| Bytes::copy_from_slice(bytes))
                .unwrap_or_default()
        });
        let then =
            Then::Assign { group: self.id.clone(), birth: self.birth, generation: self.generation };
        let record = GroupRecord::Group { group: self.id.clone(), metadata };
        scope.effects.persist(vec![record], then);
    }

    fn has_synced(&mut self, member: &MemberId, scope: &mut Scope<'_>) {
        self.pending_syncs.remove(member);
        if self.pending_syncs.is_empty() {
            self.cancel_sync_timer(scope);
        }
    }

    fn synced(&self, member: &MemberId) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self
                .members
                .get(member)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }

    /// A generation's assignment is durable: it takes effect, unless the group
    /// has moved on.
    pub(crate) fn assignment_stored(&mut self, metadata: &GroupMetadata, scope: &mut Scope<'_>) {
        if !self.awaits_assignment_of(metadata.generation) {
            return;
        }
        self.storing_assignment = false;
        for stored in &metadata.members {
            if let Some(member) = self.members.get_mut(&stored.member) {
                member.assignment = stored.assignment.clone();
            }
        }
        self.end_syncs(|group, member| Ok(group.synced(member)), scope);
        self.enter(GroupState::Stable, scope.now);
        scope.effects.events.push(Event::RebalanceCompleted {
            group: self.id.clone(),
            generation: self.generation,
        });
    }

    /// A generation's assignment can't be stored: another rebalance tries
    /// again.
    pub(crate) fn assignment_refused(
        &mut self,
        generation: i32,
        refusal: Refusal,
        scope: &mut Scope<'_>,
    ) {
        if self.awaits_assignment_of(generation) {
            self.drop_assignment(refusal.into(), scope);
            self.prepare_rebalance("the assignment could not be stored".to_owned(), scope);
        }
    }

    fn awaits_assignment_of(&self, generation: i32) -> bool {
        self.state == GroupState::CompletingRebalance && self.generation == generation
    }

    /// Whoever waits for an assignment doesn't get one.
    pub(super) fn drop_assignment(&mut self, error: MembershipError, scope: &mut Scope<'_>) {
        self.storing_assignment = false;
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.end_syncs(|_, _| Err(error), scope);
    }

    fn end_syncs(
        &mut self,
        reply: impl Fn(&Self, &MemberId) -> Result<Synced, MembershipError>,
        scope: &mut Scope<'_>,
    ) {
        for id in self.member_ids() {
            let waiting = self.members.get_mut(&id).and_then(|member| member.syncing.take());
            if let Some(token) = waiting {
                scope.effects.reply(token, Reply::Sync(reply(self, &id)));
                // Nothing was asked of it while it waited.
                self.renew_session(&id, scope);
            }
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        scope: &mut Scope<'_>,
    ) -> Result<(), MembershipError> {
        self.check_identity(&request.member, request.instance.as_ref())?;
        if request.generation != self.generation {
            return Err(MembershipError::IllegalGeneration);
        }
        match self.state {
            GroupState::Empty => Err(MembershipError::UnknownMemberId),
            GroupState::PreparingRebalance => {
                self.renew_session(&request.member, scope);
                Err(MembershipError::RebalanceInProgress)
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.renew_session(&request.member, scope);
                Ok(())
            }
        }
    }

    pub(crate) fn leave(
        &mut self,
        members: &[LeavingMember],
        scope: &mut Scope<'_>,
    ) -> Vec<Result<(), MembershipError>> {
        let results: Vec<_> = members.iter().map(|member| self.leave_one(member, scope)).collect();
        if let Some(reason) = reason(members, &results) {
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => {
                    self.prepare_rebalance(reason, scope);
                }
                GroupState::PreparingRebalance => self.maybe_complete_join(scope),
                GroupState::Empty => {}
            }
        }
        results
    }

    fn leave_one(
        &mut self,
        leaving: &LeavingMember,
        scope: &mut Scope<'_>,
    ) -> Result<(), MembershipError> {
        let member = if leaving.member.is_empty() {
            // An administrator removes a static member, whatever its id.
            let instance = leaving.instance.as_ref().ok_or(MembershipError::UnknownMemberId)?;
            self.instances.get(instance).cloned().ok_or(MembershipError::UnknownMemberId)?
        } else {
            leaving.member.clone()
        };
        if !self.remove_pending(&member, scope) {
            let instance = leaving.instance.as_ref();
            self.check_identity(&member, instance)?;
            self.remove(&member, scope);
        }
        Ok(())
    }

    /// Whether offsets may be committed by who asks, whose session that renews.
    pub(crate) fn check_commit(
        &mut self,
        request: &CommitRequest,
        scope: &mut Scope<'_>,
    ) -> Result<(), CommitError> {
        // From an administrator, or a consumer that assigns itself.
        if request.generation < 0 && self.is_empty() {
            return Ok(());
        }
        let names_a_member =
            request.generation >= 0 || !request.member.is_empty() || request.instance.is_some();
        if !names_a_member {
            return Err(CommitError::UnknownMemberId);
        }
        self.check_identity(&request.member, request.instance.as_ref())?;
        if request.generation != self.generation {
            return Err(CommitError::IllegalGeneration);
        }
        match self.state {
            // It knows of the generation and has no assignment in it yet.
            GroupState::CompletingRebalance => Err(CommitError::RebalanceInProgress),
            GroupState::Stable | GroupState::PreparingRebalance => {
                self.renew_session(&request.member, scope);
                Ok(())
            }
            GroupState::Empty => Ok(()),
        }
    }
}

/// Most names of members in one reason.
const NAMES_MAX: usize = 10;

/// Who left, in words; `None` if nobody did.
fn reason(members: &[LeavingMember], results: &[Result<(), MembershipError>]) -> Option<String> {
    let left = |(member, result): (&LeavingMember, &Result<(), MembershipError>)| {
        let name = match &member.instance {
            Some(instance) if member.member.is_empty() => instance.as_str(),
            _ => member.member.as_str(),
        };
        result.is_ok().then(|| match repeated(member.reason.as_deref()) {
            Some(why) => format!("{name} ({why})"),
            None => name.to_owned(),
        })
    };
    let names: Vec<String> = members.iter().zip(results).filter_map(left).take(NAMES_MAX).collect();
    (!names.is_empty()).then(|| format!("members left: {}", names.join(", ")))
}
