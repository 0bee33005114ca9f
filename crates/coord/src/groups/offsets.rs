//! Committed offsets: commit, read, delete, expire.
//!
//! Invariant: what is read is durable. What is decided about offsets that may
//! be changing just now (records in flight) is decided so that no newer commit
//! is lost: expiry waits, and a deletion, which an administrator asked for
//! after that commit was accepted, covers it.

use std::{collections::BTreeSet, ops::Bound};

use millrace_types::{Timestamp, TopicId, TopicName, TopicPartition, canary};

use super::{
    CommitError, CommitRequest, CommittedOffset, DeleteError, DeleteOffsetsRequest, Effects, Event,
    GroupId, GroupRecord, GroupState, GroupSubscribedToTopic, Groups, Now, OffsetCommit,
    OffsetMetadataTooLarge, Reply, Token,
    effects::Then,
    group::{AgesFrom, Group},
};

/// Most offsets of one record: bounds the record's size.
const RECORD_OFFSETS_MAX: usize = 1024;

impl Groups {
    /// Commits offsets. The reply comes when they are durable.
    pub fn commit(&mut self, request: CommitRequest, token: Token, now: Now) -> Effects {
        let mut effects = Effects::default();
        let id = request.group.clone();
        match self.admit_commit(&request, now, &mut effects) {
            Err(error) => effects.reply(token, Reply::Commit(Err(error))),
            Ok(()) => self.store_commit(request, token, now, &mut effects),
        }
        self.drop_if_void(&id, now, &mut effects);
        effects
    }

    fn admit_commit(
        &mut self,
        request: &CommitRequest,
        now: Now,
        effects: &mut Effects,
    ) -> Result<(), CommitError> {
        let id = &request.group;
        if !self.live.contains_key(id) {
            // A group of nobody that keeps offsets comes to be by committing.
            if request.generation >= 0 {
                return Err(CommitError::GroupIdNotFound);
            }
            if self.live.len() >= self.config.groups_max {
                return Err(CommitError::CoordinatorNotAvailable);
            }
            self.ensure_live(id, now);
        }
        self.with(id, now, effects, |group, scope| group.check_commit(request, scope))
            .unwrap_or(Err(CommitError::GroupIdNotFound))
    }

    fn store_commit(
        &mut self,
        request: CommitRequest,
        token: Token,
        now: Now,
        effects: &mut Effects,
    ) {
        let longest = self.config.offset_metadata_max;
        let expire_time = request.retention_ms.map(|retention_ms| now.wall.plus_ms(retention_ms));
        let mut results = Vec::with_capacity(request.offsets.len());
        let mut offsets = Vec::with_capacity(request.offsets.len());
        for commit in request.offsets {
            if is_longer(&commit.metadata, longest) {
                results.push(Err(OffsetMetadataTooLarge));
            } else {
                results.push(Ok(()));
                offsets.push(committed(commit, now.wall, expire_time));
            }
        }
        let reply = Reply::Commit(Ok(results));
        if offsets.is_empty() {
            return effects.reply(token, reply);
        }
        let record =
            |offsets: &[(TopicPartition, CommittedOffset)]| GroupRecord::OffsetsCommitted {
                group: request.group.clone(),
                offsets: offsets.to_vec(),
            };
        let records = offsets.chunks(RECORD_OFFSETS_MAX).map(record).collect();
        if canary!(OffsetFetchedEarly) {
            let records: &Vec<GroupRecord> = &records;
            records.iter().for_each(|record| self.durable.apply(record.clone()));
        }
        if canary!(CommitAckedEarly) {
            effects.reply(token, reply);
            return self.persist(records, Then::Nothing, effects);
        }
        self.persist(records, Then::Answer { token, reply }, effects);
    }

    /// Whether records of the group are given out and not back yet: what is
    /// read of its offsets is then older than what was promised.
    #[must_use]
    pub fn is_in_flight(&self, group: &str) -> bool {
        self.in_flight.contains_key(group)
    }

    /// A group's committed offset of one partition.
    #[must_use]
    pub fn committed(&self, group: &str, partition: TopicPartition) -> Option<&CommittedOffset> {
        self.durable.get(group)?.offsets.get(&partition)
    }

    /// All committed offsets of a group, sorted by topic id and partition.
    pub fn all_committed(
        &self,
        group: &str,
    ) -> impl Iterator<Item = (TopicPartition, &CommittedOffset)> {
        let offsets = self.durable.get(group).map(|group| &group.offsets);
        offsets.into_iter().flatten().map(|(partition, committed)| (*partition, committed))
    }

    /// The groups that have stored anything, by name.
    pub fn stored(&self) -> impl Iterator<Item = &GroupId> {
        self.durable.iter().map(|(id, _)| id)
    }

    /// The topics that any group has offsets of.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<TopicId> {
        let partitions = self.durable.iter().flat_map(|(_, group)| group.offsets.keys());
        partitions.map(|partition| partition.topic).collect()
    }

    /// Deletes offsets that no member uses. The reply comes when that is
    /// durable.
    pub fn delete_offsets(
        &mut self,
        request: &DeleteOffsetsRequest,
        token: Token,
        now: Now,
    ) -> Effects {
        let mut effects = Effects::default();
        let id = &request.group;
        let admitted = self.admit_delete_offsets(id).map(|group| self.deletable(group, request));
        let (results, partitions) = match admitted {
            Ok((results, partitions)) => (Ok(results), partitions),
            Err(error) => (Err(error), Vec::new()),
        };
        let reply = Reply::DeleteOffsets(results);
        if partitions.is_empty() {
            effects.reply(token, reply);
        } else {
            let record = GroupRecord::OffsetsDeleted { group: id.clone(), partitions };
            self.persist(vec![record], Then::Answer { token, reply }, &mut effects);
        }
        self.drop_if_void(id, now, &mut effects);
        effects
    }

    fn admit_delete_offsets(&self, id: &GroupId) -> Result<&Group, DeleteError> {
        if id.is_empty() {
            return Err(DeleteError::InvalidGroupId);
        }
        let group = self.live.get(id).ok_or(DeleteError::GroupIdNotFound)?;
        // Only of consumers is it known what they read.
        if group.state() != GroupState::Empty && !group.is_of_consumers() {
            return Err(DeleteError::NonEmptyGroup);
        }
        Ok(group)
    }

    /// Which of the offsets may go, by topic, and which of those there are.
    fn deletable(
        &self,
        group: &Group,
        request: &DeleteOffsetsRequest,
    ) -> (Vec<Result<(), GroupSubscribedToTopic>>, Vec<TopicPartition>) {
        let id = &request.group;
        let is_changing = self.in_flight.contains_key(id);
        let mut results = Vec::with_capacity(request.topics.len());
        let mut partitions = Vec::new();
        for topic in &request.topics {
            if group.is_subscribed(&topic.name) {
                results.push(Err(GroupSubscribedToTopic));
                continue;
            }
            results.push(Ok(()));
            let of_topic = topic.partitions.iter().map(|p| TopicPartition::new(topic.topic, *p));
            partitions.extend(of_topic.filter(|partition| {
                is_changing || self.committed(id.as_str(), *partition).is_some()
            }));
        }
        (results, partitions)
    }

    /// The topic is gone for ever: so are all offsets for it.
    pub fn topic_deleted(&mut self, topic: TopicId) -> Effects {
        let mut effects = Effects::default();
        self.persist(vec![GroupRecord::TopicDeleted { topic }], Then::Nothing, &mut effects);
        effects
    }

    /// Drops what is older than `offsets.retention.minutes`: offsets, and
    /// groups of which none are left. To be called every
    /// `offsets.retention.check.interval.ms`, in turns, since it looks at every
    /// offset: each call goes on behind the group `after` and looks at
    /// `groups_max` (≥1) of them. Returns the group to go on behind; `None`
    /// after the last one.
    ///
    /// `topic_name` finds the name of a topic that exists: offsets of topics
    /// that members subscribe to don't expire.
    pub fn expire(
        &mut self,
        now: Now,
        after: Option<&GroupId>,
        groups_max: usize,
        topic_name: impl Fn(TopicId) -> Option<TopicName>,
    ) -> (Effects, Option<GroupId>) {
        let mut effects = Effects::default();
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.live.range::<GroupId, _>((behind, Bound::Unbounded));
        let ids: Vec<GroupId> = rest.map(|(id, _)| id.clone()).take(groups_max).collect();
        let last = ids.last().filter(|_| ids.len() == groups_max).cloned();
        for id in ids {
            if !self.in_flight.contains_key(&id) {
                self.expire_group(&id, now, &topic_name, &mut effects);
            }
        }
        (effects, last)
    }

    fn expire_group(
        &mut self,
        id: &GroupId,
        now: Now,
        topic_name: &impl Fn(TopicId) -> Option<TopicName>,
        effects: &mut Effects,
    ) {
        let Some(group) = self.live.get(id) else { return };
        let stored = self.durable.get(id.as_str());
        let expired = match (group.offsets_age_from(), stored) {
            (Some(ages_from), Some(stored)) => {
                let is_over = |(partition, committed): &(&TopicPartition, &CommittedOffset)| {
                    self.is_over(committed, ages_from, now.wall)
                        && !topic_name(partition.topic)
                            .is_some_and(|name| group.is_subscribed(name.as_str()))
                };
                let over = stored.offsets.iter().filter(is_over);
                over.map(|(partition, _)| *partition).collect()
            }
            _ => Vec::new(),
        };
        let all_expired = stored.is_none_or(|stored| stored.offsets.len() == expired.len());
        let offsets = expired.len();
        if all_expired && group.is_empty() && !group.has_pending_members() {
            let record = GroupRecord::GroupDeleted { group: id.clone() };
            self.persist(vec![record], Then::Nothing, effects);
            self.retire(id, now, effects);
        } else if offsets > 0 {
            let record = GroupRecord::OffsetsDeleted { group: id.clone(), partitions: expired };
            self.persist(vec![record], Then::Nothing, effects);
        }
        if offsets > 0 {
            effects.events.push(Event::OffsetsExpired { group: id.clone(), offsets });
        }
    }

    fn is_over(&self, committed: &CommittedOffset, ages_from: AgesFrom, wall: Timestamp) -> bool {
        if let Some(expire_time) = committed.expire_time {
            return wall >= expire_time;
        }
        let since = match ages_from {
            AgesFrom::Commit => committed.commit_time,
            AgesFrom::Emptied(since) => since,
        };
        wall.get().saturating_sub(since.get()) >= self.config.offsets_retention_ms
    }
}

fn committed(
    commit: OffsetCommit,
    commit_time: Timestamp,
    expire_time: Option<Timestamp>,
) -> (TopicPartition, CommittedOffset) {
    let OffsetCommit { partition, offset, leader_epoch, metadata } = commit;
    (partition, CommittedOffset { offset, leader_epoch, metadata, commit_time, expire_time })
}

/// Whether `text` has more than `units_max` UTF-16 units, as Java counts.
fn is_longer(text: &str, units_max: usize) -> bool {
    text.len() > units_max && text.encode_utf16().count() > units_max
}
