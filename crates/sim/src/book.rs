//! What clients were told, and the checks of each answer against it as it
//! comes: a wrong answer is found where it is given.
//!
//! The same observations make the history that the checker of
//! `millrace-history` judges at the end; what is checked here besides is what
//! a history cannot say (which deletions are justified).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use millrace_types::{Offset, TopicId, TopicPartition};
use parking_lot::Mutex;

use crate::world::World;

/// What was promised may be broken by the faults of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// All of it holds.
    Everything,
    /// Stored bytes rot: records may be reported as corrupt.
    Detection,
    /// Writes go astray: records may be lost, but never be wrong.
    NothingWrong,
}

/// A record's value: who wrote it, and which of theirs it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) writer: u32,
    pub(crate) number: u32,
    /// Whether its writer's retries make no duplicates and keep their order.
    pub(crate) idempotent: bool,
}

const VALUE_BYTES: usize = 9;

impl Value {
    /// As a record's value of `len` bytes or a few more.
    pub(crate) fn encode(self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.max(VALUE_BYTES));
        bytes.extend_from_slice(&self.writer.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.push(u8::from(self.idempotent));
        let filler = self.filler();
        bytes.resize(len.max(VALUE_BYTES), filler);
        bytes
    }

    fn filler(self) -> u8 {
        self.number.wrapping_mul(31).wrapping_add(self.writer).to_le_bytes()[0]
    }

    /// `None` for bytes that no writer ever sent.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, filler) = bytes.split_at_checked(VALUE_BYTES)?;
        let (writer, rest) = head.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let value = Self {
            writer: u32::from_le_bytes(*writer),
            number: u32::from_le_bytes(*number),
            idempotent: rest == [1],
        };
        filler.iter().all(|byte| *byte == value.filler()).then_some(value)
    }
}

/// What clients know. Clones share it.
#[derive(Clone)]
pub(crate) struct Book {
    world: World,
    promise: Promise,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    partitions: BTreeMap<TopicPartition, Page>,
    groups: BTreeMap<(String, TopicPartition), Commits>,
    /// Topics whose deletion was asked for.
    delete_asked: BTreeSet<TopicId>,
    /// Topics whose deletion was acknowledged.
    deleted: BTreeSet<TopicId>,
    violations: Vec<String>,
    refused_to_start: bool,
    counts: Counts,
}

/// How much was done, so that a run that did nothing is noticed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Records acknowledged.
    pub acked: u64,
    /// Records read.
    pub read: u64,
    /// Offsets committed by groups.
    pub commits: u64,
    /// Log starts moved by request.
    pub cuts: u64,
    /// Topics made.
    pub topics: u64,
    /// Answers that never came.
    pub lost: u64,
    /// Reads that were answered by corruption.
    pub corrupt: u64,
}

/// One partition of one topic.
#[derive(Default)]
struct Page {
    /// What somebody was told to stand at an offset.
    known: BTreeMap<i64, Value>,
    /// Those of them that were acknowledged.
    acked: BTreeSet<i64>,
    places: BTreeMap<Value, i64>,
    sent: BTreeSet<Value>,
    /// Largest end of the log that anybody was told.
    end: i64,
    /// Largest log start that anybody was told.
    start: i64,
    /// Largest offset below which anybody asked for deletion.
    cut_asked: i64,
    /// Retention may delete.
    retention: bool,
}

/// A question about a log's bounds that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    at: TopicPartition,
    start: i64,
    end: i64,
}

#[derive(Default)]
struct Commits {
    acked: Option<i64>,
    /// Asked for since, with an unknown outcome.
    maybe: BTreeSet<i64>,
}

impl Book {
    pub(crate) fn new(world: World, promise: Promise) -> Self {
        Self { world, promise, pages: Arc::default() }
    }

    pub(crate) fn promise(&self) -> Promise {
        self.promise
    }

    /// Something is wrong.
    pub(crate) fn violation(&self, what: String) {
        self.world.note(format_args!("VIOLATION: {what}"));
        let at = self.world.now_us();
        let what = format!("at {}.{:06}: {what}", at / 1_000_000, at % 1_000_000);
        self.pages.lock().violations.push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.pages.lock().violations.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.pages.lock().counts
    }

    pub(crate) fn lost(&self) {
        self.pages.lock().counts.lost += 1;
    }

    fn check_promised(&self, found: Vec<String>) {
        if self.promise < Promise::NothingWrong {
            self.check(found);
        }
    }

    fn check(&self, found: Vec<String>) {
        found.into_iter().for_each(|what| self.violation(what));
    }

    pub(crate) fn topic_made(&self, id: TopicId, partitions: i32, retention: bool) {
        let again = {
            let mut pages = self.pages.lock();
            pages.counts.topics += 1;
            for number in 0..partitions {
                let at = TopicPartition::new(id, millrace_types::PartitionId(number));
                pages.partitions.entry(at).or_default().retention = retention;
            }
            pages.deleted.contains(&id)
        };
        if again {
            self.violation(format!("a new topic has the id {id} of a deleted one"));
        }
    }

    pub(crate) fn topic_deleted(&self, id: TopicId) {
        self.pages.lock().deleted.insert(id);
    }

    /// A partition is gone. Only one of a topic that somebody asked to delete
    /// may be.
    pub(crate) fn maybe_deleted(&self, at: TopicPartition) {
        let asked = self.pages.lock().delete_asked.contains(&at.topic);
        if !asked {
            self.violation(format!("{at} is gone, and nobody deleted it"));
        }
    }

    pub(crate) fn delete_asked(&self, id: TopicId) {
        self.pages.lock().delete_asked.insert(id);
    }

    pub(crate) fn deleted_topics(&self) -> BTreeSet<TopicId> {
        self.pages.lock().deleted.clone()
    }

    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        self.pages.lock().partitions.keys().copied().collect()
    }

    pub(crate) fn is_deleted(&self, id: TopicId) -> bool {
        self.pages.lock().deleted.contains(&id)
    }

    /// These records are about to be sent.
    pub(crate) fn sent(&self, at: TopicPartition, values: &[Value]) {
        self.pages.lock().partitions.entry(at).or_default().sent.extend(values);
    }

    /// They were acknowledged, with the first of them at `base`.
    pub(crate) fn acked(&self, at: TopicPartition, base: Offset, values: &[Value]) {
        let mut found = Vec::new();
        {
            let mut pages = self.pages.lock();
            pages.counts.acked += values.len() as u64;
            let page = pages.partitions.entry(at).or_default();
            for (offset, value) in (base.get()..).zip(values) {
                page.acked.insert(offset);
                page.learn(at, offset, *value, "acknowledged", &mut found);
            }
        }
        self.check_promised(found);
    }

    /// A reader got this record.
    pub(crate) fn read(&self, at: TopicPartition, offset: i64, value: Option<Value>) {
        let mut found = Vec::new();
        let sent = {
            let mut pages = self.pages.lock();
            pages.counts.read += 1;
            let page = pages.partitions.entry(at).or_default();
            let sent = value.filter(|value| page.sent.contains(value));
            if let Some(value) = sent {
                page.learn(at, offset, value, "read", &mut found);
            }
            sent
        };
        if sent.is_none() {
            self.violation(format!("{at} has at {offset} what nobody sent there: {value:?}"));
        }
        self.check_promised(found);
    }

    /// What is known of a log's bounds before a question is asked about them:
    /// the answer may not fall behind it.
    pub(crate) fn asking(&self, at: TopicPartition) -> Asking {
        let pages = self.pages.lock();
        let (start, end) = pages.partitions.get(&at).map_or((0, 0), |page| (page.start, page.end));
        Asking { at, start, end }
    }

    /// The server said that the log goes from here to there.
    pub(crate) fn bounds_seen(&self, asked: Asking, start: Offset, end: Offset) {
        let at = asked.at;
        if end.get() < asked.end && self.promise < Promise::NothingWrong {
            let before = asked.end;
            self.violation(format!("the end of {at} was {before} and is {end}"));
        }
        {
            let mut pages = self.pages.lock();
            let page = pages.partitions.entry(at).or_default();
            page.end = page.end.max(end.get());
        }
        self.start_seen(asked, start);
    }

    /// The server said that the log starts here.
    pub(crate) fn start_seen(&self, asked: Asking, start: Offset) {
        let at = asked.at;
        let mut found = Vec::new();
        {
            let mut pages = self.pages.lock();
            let page = pages.partitions.entry(at).or_default();
            if start.get() < asked.start && self.promise < Promise::NothingWrong {
                found.push(format!("the log start of {at} was {} and is {start}", asked.start));
            }
            page.start = page.start.max(start.get());
            if start.get() > page.cut_asked && !page.retention {
                let asked = page.cut_asked;
                found
                    .push(format!("the log start of {at} is {start}, nobody asked beyond {asked}"));
            }
        }
        self.check(found);
    }

    /// The log start that readers were told last.
    pub(crate) fn start_of(&self, at: TopicPartition) -> i64 {
        self.pages.lock().partitions.get(&at).map_or(0, |page| page.start)
    }

    /// Somebody is about to ask for deletion below this offset.
    pub(crate) fn cut_asked(&self, at: TopicPartition, before: Offset) {
        let mut pages = self.pages.lock();
        let page = pages.partitions.entry(at).or_default();
        page.cut_asked = page.cut_asked.max(before.get());
    }

    /// It was done.
    pub(crate) fn cut_done(&self, asked: Asking, start: Offset) {
        self.pages.lock().counts.cuts += 1;
        self.start_seen(asked, start);
    }

    pub(crate) fn commit_asked(&self, group: &str, at: TopicPartition, offset: i64) {
        let mut pages = self.pages.lock();
        pages.groups.entry((group.to_owned(), at)).or_default().maybe.insert(offset);
    }

    pub(crate) fn commit_acked(&self, group: &str, at: TopicPartition, offset: i64) {
        let mut pages = self.pages.lock();
        pages.counts.commits += 1;
        let commits = pages.groups.entry((group.to_owned(), at)).or_default();
        commits.acked = Some(offset);
        commits.maybe.clear();
    }

    /// A group's offset as the server tells it, after all commits were
    /// answered or given up.
    pub(crate) fn commit_seen(&self, group: &str, at: TopicPartition, offset: Option<i64>) {
        let mut pages = self.pages.lock();
        let commits = pages.groups.entry((group.to_owned(), at)).or_default();
        let legal =
            offset == commits.acked || offset.is_some_and(|offset| commits.maybe.contains(&offset));
        let (acked, maybe) = (commits.acked, commits.maybe.clone());
        if legal {
            commits.acked = offset;
            // One that was applied later than another stays so; those before it
            // cannot come any more.
            commits.maybe.retain(|maybe| Some(*maybe) > offset);
        }
        drop(pages);
        if !legal && self.promise < Promise::NothingWrong {
            self.violation(format!(
                "group {group} has {offset:?} for {at}; it had committed {acked:?}, perhaps {maybe:?}"
            ));
        }
    }

    /// Why a batch was not taken.
    pub(crate) fn note_refusal(&self, at: TopicPartition, error: &dyn std::error::Error) {
        self.world.note(format_args!("{at} refuses: {error}"));
    }

    /// The server does not start, with no fault left but those of the past.
    pub(crate) fn start_failed(&self, error: &dyn std::error::Error) {
        self.pages.lock().refused_to_start = true;
        if self.promise == Promise::Everything {
            self.violation(format!("the server does not start: {error}"));
        }
    }

    /// Whether the server refused to serve what is corrupt.
    pub(crate) fn has_refused_to_start(&self) -> bool {
        self.pages.lock().refused_to_start
    }

    /// A reader was given `found` where it asked for `wanted`.
    pub(crate) fn gap(&self, at: TopicPartition, wanted: i64, found: i64) {
        if self.promise < Promise::NothingWrong {
            self.violation(format!("{at} gave offset {found} for {wanted}"));
        }
    }

    /// A reader was told that what it wants is corrupt.
    pub(crate) fn corrupt(&self, at: TopicPartition, offset: i64, error: &str) {
        self.pages.lock().counts.corrupt += 1;
        self.world.note(format_args!("{at} at {offset}: {error}"));
        if self.promise == Promise::Everything {
            self.violation(format!("{at} is corrupt at {offset}, and nothing rotted: {error}"));
        }
    }

    /// The end of what readers may be promised.
    pub(crate) fn end_of(&self, at: TopicPartition) -> i64 {
        let pages = self.pages.lock();
        let Some(page) = pages.partitions.get(&at) else { return 0 };
        let known = page.known.last_key_value().map_or(0, |(offset, _)| offset + 1);
        page.end.max(known)
    }

    /// What was known of a partition must be in `found`, the whole of what it
    /// has between `start` and its end. `corrupt`: reported ranges.
    pub(crate) fn check_all(
        &self,
        at: TopicPartition,
        start: i64,
        found: &BTreeMap<i64, Value>,
        corrupt: &[(i64, i64)],
    ) {
        let mut wrong = Vec::new();
        {
            let pages = self.pages.lock();
            let Some(page) = pages.partitions.get(&at) else { return };
            let reported =
                |offset: i64| corrupt.iter().any(|(first, end)| (*first..*end).contains(&offset));
            for (offset, value) in page.known.range(start..) {
                if !found.contains_key(offset) && !reported(*offset) {
                    let how = if page.acked.contains(offset) { "acknowledged" } else { "read" };
                    wrong.push(format!("{at} lost {value:?} at {offset}, which was {how}"));
                }
            }
            if !corrupt.is_empty() && self.promise == Promise::Everything {
                wrong.push(format!("{at} reports corruption at {corrupt:?}; nothing rotted"));
            }
            let mut last: BTreeMap<u32, u32> = BTreeMap::new();
            for value in found.values().filter(|value| value.idempotent) {
                let before = last.insert(value.writer, value.number);
                if before.is_some_and(|before| before >= value.number) {
                    wrong.push(format!("{at} has {value:?} behind number {before:?}"));
                }
            }
        }
        self.check_promised(wrong);
    }
}

impl Page {
    fn learn(
        &mut self,
        at: TopicPartition,
        offset: i64,
        value: Value,
        how: &str,
        found: &mut Vec<String>,
    ) {
        let before = *self.known.entry(offset).or_insert(value);
        if before != value {
            found.push(format!("{at} at {offset}: {how} {value:?}, but it was {before:?}"));
        }
        let place = *self.places.entry(value).or_insert(offset);
        if place != offset {
            found.push(format!("{at} has {value:?} at {offset} and at {place}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_known_by_all_of_their_bytes() {
        let value = Value { writer: 7, number: 12, idempotent: true };
        for len in [0, 9, 10, 300] {
            let mut bytes = value.encode(len);
            assert_eq!(Value::decode(&bytes), Some(value));
            if let Some(last) = bytes.get_mut(VALUE_BYTES..).and_then(|filler| filler.last_mut()) {
                *last ^= 4;
                assert_eq!(Value::decode(&bytes), None);
            }
        }
        assert_eq!(Value::decode(&[1; 8]), None);
    }
}
