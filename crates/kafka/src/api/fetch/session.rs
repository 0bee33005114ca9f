//! The partitions that one consumer fetches, and which of them may have
//! something to say.
//!
//! Invariant: a partition is in `ready` unless it is known to have nothing new
//! since it was last looked at, and it is watched from before that look; so a
//! fetch costs what changed, not what the session holds (KIP-227). A fetch
//! without a session uses the same type for once. Called by the handler.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use millrace_broker::{Broker, Offsets, Partition, Watch};
use millrace_types::{PartitionId, TopicId};

use crate::codec;
use crate::codec::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};

/// A topic as the client names it: by name before version 13, then by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label {
    pub(super) name: Option<Arc<str>>,
    pub(super) id: TopicId,
}

impl Label {
    fn new(name: &str, id: TopicId, by_id: bool) -> Self {
        if by_id {
            return Self { name: None, id };
        }
        // Copied: a slice would hold the whole receive buffer.
        Self { name: Some(name.into()), id: TopicId::default() }
    }
}

/// Where a partition stands between two looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing new is known of it.
    Quiet,
    /// In `ready`.
    Ready,
    /// In `again`: looked at in this fetch, and to be looked at in the next.
    Again,
}

/// One partition of a session.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) topic: Label,
    pub(super) partition: i32,
    /// Unknown or deleted where absent.
    pub(super) found: Option<Arc<Partition>>,
    pub(super) offset: i64,
    pub(super) bytes_max: usize,
    /// The leader epoch that the client knows; negative for none.
    pub(super) leader_epoch: i32,
    /// The epoch of the last record that the client has; negative for none.
    pub(super) fetched_epoch: i32,
    /// High watermark and log start as the client was last told them; nothing
    /// if it must be told in any case.
    pub(super) told: Option<Offsets>,
    /// Index of its answer in the present fetch.
    pub(super) answer: Option<usize>,
    place: Place,
}

/// The partitions of one session.
#[derive(Debug, Default)]
pub(super) struct Session {
    members: Vec<Option<Member>>,
    free: Vec<u32>,
    tokens: HashMap<Label, HashMap<i32, u32>>,
    len: usize,
    ready: VecDeque<u32>,
    again: Vec<u32>,
    watch: Option<Watch>,
}

impl Session {
    /// Partitions in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn member(&mut self, token: u32) -> Option<&mut Member> {
        self.members.get_mut(usize::try_from(token).ok()?)?.as_mut()
    }

    /// Adds partitions, and replaces what was known of those that are in.
    pub(super) fn update(&mut self, topics: &[FetchTopic], by_id: bool) {
        for topic in topics {
            let label = Label::new(topic.topic.as_str(), codec::topic_id(topic.topic_id), by_id);
            for wanted in &topic.partitions {
                let known = self.tokens.get(&label).and_then(|of| of.get(&wanted.partition));
                let token = match known.copied() {
                    Some(token) => token,
                    None => self.add(label.clone(), wanted.partition),
                };
                if let Some(member) = self.member(token) {
                    member.set(wanted);
                }
                self.mark(token);
            }
        }
    }

    /// Takes partitions out.
    pub(super) fn forget(&mut self, topics: &[ForgottenTopic], by_id: bool) {
        for topic in topics {
            let label = Label::new(topic.topic.as_str(), codec::topic_id(topic.topic_id), by_id);
            let Some(of) = self.tokens.get_mut(&label) else { continue };
            let gone: Vec<u32> = topic.partitions.iter().filter_map(|p| of.remove(p)).collect();
            if of.is_empty() {
                self.tokens.remove(&label);
            }
            for token in gone {
                self.remove(token);
            }
        }
    }

    fn add(&mut self, topic: Label, partition: i32) -> u32 {
        let member = Member {
            topic: topic.clone(),
            partition,
            found: None,
            offset: 0,
            bytes_max: 0,
            leader_epoch: -1,
            fetched_epoch: -1,
            told: None,
            answer: None,
            place: Place::Quiet,
        };
        let token = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            u32::try_from(self.members.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = usize::try_from(token).ok().and_then(|at| self.members.get_mut(at)) {
            *slot = Some(member);
        }
        self.tokens.entry(topic).or_default().insert(partition, token);
        self.len += 1;
        token
    }

    fn remove(&mut self, token: u32) {
        let slot = usize::try_from(token).ok().and_then(|at| self.members.get_mut(at));
        let Some(member) = slot.and_then(Option::take) else { return };
        if let Some(watch) = &mut self.watch {
            watch.remove(token);
        }
        // A token still queued must not come to stand for another partition.
        if member.place == Place::Ready {
            self.ready.retain(|queued| *queued != token);
        }
        self.len -= 1;
        self.free.push(token);
    }

    /// Notes that a partition may have something new.
    pub(super) fn mark(&mut self, token: u32) {
        let Some(member) = self.member(token) else { return };
        if member.place != Place::Ready {
            member.place = Place::Ready;
            self.ready.push_back(token);
        }
    }

    /// The next partition to look at; it is quiet until said otherwise.
    pub(super) fn next(&mut self) -> Option<u32> {
        let token = self.ready.pop_front()?;
        if let Some(member) = self.member(token) {
            member.place = Place::Quiet;
        }
        Some(token)
    }

    /// Has the partition looked at in the next fetch, after all others.
    pub(super) fn again(&mut self, token: u32) {
        if let Some(member) = self.member(token)
            && member.place == Place::Quiet
        {
            member.place = Place::Again;
            self.again.push(token);
        }
    }

    /// Ends a fetch: what was to be looked at again is ready for the next.
    pub(super) fn settle(&mut self) {
        for token in std::mem::take(&mut self.again) {
            if self.member(token).is_some_and(|member| member.place == Place::Again) {
                self.mark(token);
            }
        }
    }

    /// Marks what changed since the last time.
    pub(super) fn mark_changed(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.take_changed().into_iter().for_each(|token| self.mark(token));
        }
    }

    /// Begins to watch if that was not done yet, in which case everything must
    /// be looked at once more. Whether it was so.
    pub(super) fn watch(&mut self, broker: &Broker) -> bool {
        if self.watch.is_some() {
            return false;
        }
        let mut watch = broker.watch();
        let tokens = 0..u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        for token in tokens.clone() {
            if let Some(found) = self.member(token).and_then(|member| member.found.as_ref()) {
                watch.add(found, token);
            }
        }
        self.watch = Some(watch);
        tokens.for_each(|token| self.mark(token));
        true
    }

    /// Waits until a watched partition changes, and marks it.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => {
                let changed = watch.changed().await;
                changed.into_iter().for_each(|token| self.mark(token));
            }
            None => std::future::pending().await,
        }
    }

    /// The partition that a token stands for, looked up by the client's name
    /// for it where it was not known or has been deleted.
    pub(super) fn find(&mut self, token: u32, broker: &Broker) -> Option<Arc<Partition>> {
        let member = self.member(token)?;
        if let Some(found) = member.found.as_ref().filter(|found| !found.is_deleted()) {
            return Some(Arc::clone(found));
        }
        let topic = match &member.topic.name {
            Some(name) => broker.topic(name),
            None => broker.topic_by_id(member.topic.id),
        };
        let found = topic.and_then(|topic| topic.partition(PartitionId(member.partition)));
        let before = std::mem::replace(&mut member.found, found.clone());
        if let Some(watch) = &mut self.watch {
            if before.is_some() {
                watch.remove(token);
            }
            if let Some(found) = &found {
                watch.add(found, token);
            }
        }
        found
    }

    /// Whether no partition is known to the broker.
    pub(super) fn is_unknown(&self) -> bool {
        !self.members.iter().flatten().any(|member| member.found.is_some())
    }
}

impl Member {
    fn set(&mut self, wanted: &FetchPartition) {
        self.offset = wanted.fetch_offset;
        self.bytes_max = usize::try_from(wanted.partition_max_bytes).unwrap_or(0);
        self.leader_epoch = wanted.current_leader_epoch;
        self.fetched_epoch = wanted.last_fetched_epoch;
    }
}
