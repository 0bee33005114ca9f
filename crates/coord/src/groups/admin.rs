//! What administrators ask: which groups there are, what they do, and that
//! they be gone.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    DeleteError, Effects, GroupId, GroupRecord, GroupState, Groups, InstanceId, MemberId, Now,
    Reply, Token, effects::Then,
};

/// One of the groups, in a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group: GroupId,
    /// What kind of members it has; `None` where it only keeps offsets.
    pub protocol_type: Option<Arc<str>>,
    /// Where it stands.
    pub state: GroupState,
}

/// A group in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Where it stands.
    pub state: GroupState,
    /// What kind of members it has.
    pub protocol_type: Option<Arc<str>>,
    /// What its members agreed on; told of stable groups only.
    pub protocol_name: Option<Arc<str>>,
    /// The present generation.
    pub generation: i32,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// The member.
    pub member: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<InstanceId>,
    /// The client's name for itself.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub client_host: Arc<str>,
    /// What it said for the group's protocol; told of stable groups only.
    pub metadata: Bytes,
    /// What the leader assigned to it.
    pub assignment: Bytes,
}

impl Groups {
    /// All groups, sorted by name.
    pub fn list(&self) -> impl Iterator<Item = ListedGroup> {
        self.live.iter().map(|(id, group)| ListedGroup {
            group: id.clone(),
            protocol_type: group.protocol_type().cloned(),
            state: group.state(),
        })
    }

    /// The number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// One group in full; `None` where there is no such group.
    #[must_use]
    pub fn describe(&self, group: &str) -> Option<DescribedGroup> {
        let group = self.live.get(group)?;
        let is_stable = group.state() == GroupState::Stable;
        let protocol_name = group.protocol_name().filter(|_| is_stable);
        let members = group.members().map(|member| DescribedMember {
            member: member.id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(protocol_name.map(|name| &**name)),
            assignment: member.assignment.clone(),
        });
        Some(DescribedGroup {
            state: group.state(),
            protocol_type: group.protocol_type().cloned(),
            protocol_name: protocol_name.cloned(),
            generation: group.generation(),
            members: members.collect(),
        })
    }

    /// Deletes groups without members, and their offsets. The reply comes when
    /// that is durable.
    pub fn delete_groups(&mut self, groups: &[GroupId], token: Token, now: Now) -> Effects {
        let mut effects = Effects::default();
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(groups.len());
        for id in groups {
            let result = self.admit_delete(id);
            if result.is_ok() {
                self.retire(id, now, &mut effects);
                records.push(GroupRecord::GroupDeleted { group: id.clone() });
            }
            results.push(result);
        }
        let reply = Reply::DeleteGroups(results);
        if records.is_empty() {
            effects.reply(token, reply);
        } else {
            self.persist(records, Then::Answer { token, reply }, &mut effects);
        }
        effects
    }

    fn admit_delete(&self, id: &GroupId) -> Result<(), DeleteError> {
        let group = self.live.get(id).ok_or(DeleteError::GroupIdNotFound)?;
        if group.is_empty() { Ok(()) } else { Err(DeleteError::NonEmptyGroup) }
    }
}
