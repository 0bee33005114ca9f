//! What the log says about groups: the state that records are applied to.
//!
//! Invariant: it is a function of the records applied, in their order, and of
//! nothing else. So a checkpoint taken from it stands for exactly those
//! records, and readers of offsets are shown only what a crash can't take back.
//! No group stands here without metadata and without offsets.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use millrace_types::{PartitionId, TopicId, TopicPartition, canary};

use super::{
    ids::GroupId,
    record::{CommittedOffset, GroupMetadata, GroupRecord},
};

/// Most offsets of one record of a snapshot: bounds the record's size.
const SNAPSHOT_OFFSETS_MAX: usize = 1024;

/// One group, as the log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DurableGroup {
    /// Absent where the group only ever committed offsets.
    pub(crate) metadata: Option<GroupMetadata>,
    /// The committed offsets.
    pub(crate) offsets: BTreeMap<TopicPartition, CommittedOffset>,
}

impl DurableGroup {
    fn is_void(&self) -> bool {
        self.metadata.is_none() && self.offsets.is_empty()
    }
}

/// All groups, as the log has them. Recovery applies the newest checkpoint's
/// records and those of the log behind it, and gives the result to
/// [`Groups::start`](super::Groups::start).
///
/// A clone is cheap: groups are shared, and copied when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurableGroups {
    groups: BTreeMap<GroupId, Arc<DurableGroup>>,
}

impl DurableGroups {
    pub(crate) fn get(&self, group: &str) -> Option<&DurableGroup> {
        self.groups.get(group).map(Arc::as_ref)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&GroupId, &DurableGroup)> {
        self.groups.iter().map(|(id, group)| (id, group.as_ref()))
    }

    /// The number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Takes over one durable record. Records come in the order of the log.
    pub fn apply(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Group { group, metadata } => {
                self.change(group, |state| state.metadata = Some(metadata));
            }
            GroupRecord::GroupDeleted { group } => {
                self.groups.remove(&group);
            }
            GroupRecord::OffsetsCommitted { group, offsets } => {
                self.change(group, |state| state.offsets.extend(offsets));
            }
            GroupRecord::OffsetsDeleted { group, partitions } => {
                self.change(group, |state| {
                    for partition in partitions {
                        state.offsets.remove(&partition);
                    }
                });
            }
            GroupRecord::TopicDeleted { topic } => self.drop_topic(topic),
        }
    }

    fn change(&mut self, group: GroupId, change: impl FnOnce(&mut DurableGroup)) {
        match self.groups.entry(group) {
            btree_map::Entry::Occupied(mut entry) => {
                let state = Arc::make_mut(entry.get_mut());
                change(state);
                if state.is_void() {
                    entry.remove();
                }
            }
            btree_map::Entry::Vacant(entry) => {
                let mut state = DurableGroup::default();
                change(&mut state);
                if !state.is_void() {
                    entry.insert(Arc::new(state));
                }
            }
        }
    }

    fn drop_topic(&mut self, topic: TopicId) {
        if canary!(DeletedOffsetsStay) {
            return;
        }
        let partitions = TopicPartition::new(topic, PartitionId(i32::MIN))
            ..=TopicPartition::new(topic, PartitionId(i32::MAX));
        self.groups.retain(|_, group| {
            if group.offsets.range(partitions.clone()).next().is_some() {
                let state = Arc::make_mut(group);
                state.offsets.retain(|partition, _| partition.topic != topic);
            }
            !group.is_void()
        });
    }

    /// The state as the records that restore it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { groups: self.groups.clone().into_iter(), offsets: None }
    }
}

/// The whole durable state at one moment, as the records that restore it.
/// Owns what it needs: groups go on changing while it is read. Records are
/// made one at a time.
#[derive(Debug)]
pub struct Snapshot {
    groups: btree_map::IntoIter<GroupId, Arc<DurableGroup>>,
    /// The group whose offsets come next, and the last partition given.
    offsets: Option<(GroupId, Arc<DurableGroup>, Option<TopicPartition>)>,
}

impl Snapshot {
    /// The next record of offsets of the group that is under way.
    fn next_offsets(&mut self) -> Option<GroupRecord> {
        let (group, state, last) = self.offsets.as_mut()?;
        let after = last.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let offsets: Vec<_> = state
            .offsets
            .range((after, std::ops::Bound::Unbounded))
            .take(SNAPSHOT_OFFSETS_MAX)
            .map(|(partition, committed)| (*partition, committed.clone()))
            .collect();
        let Some((partition, _)) = offsets.last() else {
            self.offsets = None;
            return None;
        };
        *last = Some(*partition);
        Some(GroupRecord::OffsetsCommitted { group: group.clone(), offsets })
    }
}

impl Iterator for Snapshot {
    type Item = GroupRecord;

    fn next(&mut self) -> Option<GroupRecord> {
        loop {
            if let Some(record) = self.next_offsets() {
                return Some(record);
            }
            let (group, state) = self.groups.next()?;
            let metadata = state.metadata.clone();
            self.offsets = Some((group.clone(), state, None));
            if let Some(metadata) = metadata {
                return Some(GroupRecord::Group { group, metadata });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::{Offset, Timestamp};

    fn committed(group: &str, topic: u8, partitions: std::ops::Range<i32>) -> GroupRecord {
        let offset = CommittedOffset {
            offset: Offset(7),
            leader_epoch: None,
            metadata: "".into(),
            commit_time: Timestamp(1),
            expire_time: None,
        };
        let offsets = partitions
            .map(|p| (TopicPartition::new(TopicId([topic; 16]), PartitionId(p)), offset.clone()))
            .collect();
        GroupRecord::OffsetsCommitted { group: group.into(), offsets }
    }

    #[test]
    fn a_deleted_topic_leaves_every_group() {
        let mut state = DurableGroups::default();
        state.apply(committed("a", 1, 0..3));
        state.apply(committed("a", 2, 0..3));
        state.apply(committed("b", 1, 0..3));
        state.apply(GroupRecord::TopicDeleted { topic: TopicId([1; 16]) });
        assert_eq!(state.get("a").map(|group| group.offsets.len()), Some(3));
        assert_eq!(state.get("b"), None, "a group of which nothing is left");
    }

    #[test]
    fn a_snapshot_is_of_its_moment_and_in_bounded_records() {
        let mut state = DurableGroups::default();
        state.apply(committed("a", 1, 0..3000));
        let before = state.clone();
        let snapshot = state.snapshot();
        state.apply(GroupRecord::GroupDeleted { group: "a".into() });
        let records: Vec<_> = snapshot.collect();
        assert_eq!(records.len(), 3);
        let mut restored = DurableGroups::default();
        records.into_iter().for_each(|record| restored.apply(record));
        assert_eq!(restored, before);
    }
}
