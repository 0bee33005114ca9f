//! What clients were told, and the checks of each answer against it as it
//! comes: a wrong answer is found where it is given.
//!
//! The same observations make the history that the checker of
//! `millrace-history` judges at the end; what is checked here besides is what
//! a history cannot say (which deletions are justified).

mod commits;
mod repairs;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use millrace_history::{Assignment, Checker, Event, Options, What};
use millrace_types::{Offset, TopicId, TopicPartition};
use parking_lot::Mutex;

pub(crate) use value::{Value, log, records};

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

/// Something that a server which keeps its promises does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it, named as the checker of histories names it.
    pub check: &'static str,
    /// When, in the run's time.
    pub at_us: u64,
    /// What exactly.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, us) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        write!(f, "{} at {seconds}.{us:06}: {}", self.check, self.what)
    }
}

/// A check that failed, and how.
type Found = (&'static str, String);

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
    violations: Vec<Violation>,
    history: Vec<Event<'static>>,
    ops: u64,
    /// The operation by which each value is sent.
    sends: BTreeMap<Value, u64>,
    refused_to_start: bool,
    own_given_up: bool,
    /// The wall clock has jumped: nobody knows how old a record is.
    jumped: bool,
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
#[derive(Clone, Default)]
struct Page {
    /// What somebody was told to stand at an offset.
    known: BTreeMap<i64, Value>,
    /// Those of them that were acknowledged.
    acked: BTreeSet<i64>,
    places: BTreeMap<Value, i64>,
    /// When each was sent, in milliseconds of the run's time.
    sent: BTreeMap<Value, u64>,
    /// Bytes of batches that were acknowledged, by base offset, and of all
    /// that were sent and not acknowledged.
    bytes: BTreeMap<i64, u64>,
    bytes_unknown: u64,
    /// Largest end of the log that anybody was told.
    end: i64,
    /// Largest log start that anybody was told.
    start: i64,
    /// Largest offset below which anybody asked for deletion.
    cut_asked: i64,
    /// Offsets that repairs gave up.
    given_up: Vec<(i64, i64)>,
    keeps: Keeps,
}

/// What retention leaves of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keeps {
    /// Records that are younger, in milliseconds; `None`: of any age.
    pub(crate) age_ms: Option<u64>,
    /// So many bytes; `None`: any number.
    pub(crate) bytes: Option<u64>,
}

/// A question about a log's bounds that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    at: TopicPartition,
    start: i64,
    end: i64,
    op: u64,
}

/// A group's offsets of one partition, which only go forward.
#[derive(Clone, Default)]
struct Commits {
    /// Largest that was acknowledged, or told to somebody.
    known: Option<i64>,
    /// All that anybody asked for.
    asked: BTreeSet<i64>,
}

impl Book {
    pub(crate) fn new(world: World, promise: Promise) -> Self {
        Self { world, promise, pages: Arc::default() }
    }

    /// Where the server's own records were given up, or ends of partitions, what
    /// was deleted or committed may be back, and retries may be new.
    pub(crate) fn promise(&self) -> Promise {
        match self.pages.lock().own_given_up {
            true => self.promise.max(Promise::NothingWrong),
            false => self.promise,
        }
    }

    /// A book of its own that goes on from what is known now: for who is told
    /// of a copy of the log.
    pub(crate) fn fork(&self) -> Self {
        let pages = self.pages.lock();
        let forked = Pages {
            partitions: pages.partitions.clone(),
            groups: pages.groups.clone(),
            own_given_up: pages.own_given_up,
            ..Pages::default()
        };
        Self { world: self.world.clone(), promise: self.promise, pages: Arc::new(forked.into()) }
    }

    /// With what `now` has of the time since the fork: whatever was sent, asked
    /// for and deleted may be in the copy, and need not.
    pub(crate) fn with_what_was_sent(self, now: &Self) -> Self {
        {
            let (mut pages, now) = (self.pages.lock(), now.pages.lock());
            pages.delete_asked.clone_from(&now.delete_asked);
            pages.deleted.clone_from(&now.deleted);
            pages.jumped = now.jumped;
            for (at, page) in &mut pages.partitions {
                let Some(now) = now.partitions.get(at) else { continue };
                page.sent.clone_from(&now.sent);
                page.bytes.clone_from(&now.bytes);
                (page.bytes_unknown, page.cut_asked) = (now.bytes_unknown, now.cut_asked);
            }
            for (of, commits) in &mut pages.groups {
                let Some(now) = now.groups.get(of) else { continue };
                commits.asked.clone_from(&now.asked);
            }
        }
        self
    }

    /// Groups and partitions of which an offset is known.
    pub(crate) fn commits_known(&self) -> Vec<(String, TopicPartition)> {
        let pages = self.pages.lock();
        let known = pages.groups.iter().filter(|(_, commits)| commits.known.is_some());
        known.map(|(of, _)| of.clone()).collect()
    }

    /// Something is wrong.
    pub(crate) fn violation(&self, check: &'static str, what: String) {
        self.world.note(format_args!("VIOLATION: {check}: {what}"));
        let at_us = self.world.now_us();
        self.pages.lock().violations.push(Violation { check, at_us, what });
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.pages.lock().violations.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.pages.lock().counts
    }

    pub(crate) fn lost(&self) {
        self.pages.lock().counts.lost += 1;
    }

    /// Writes down what somebody did or saw; the number of a new operation.
    pub(crate) fn tell(&self, who: &str, what: impl FnOnce(u64) -> What<'static>) -> u64 {
        let mut pages = self.pages.lock();
        pages.ops += 1;
        let op = pages.ops;
        let (time, process) = (self.world.now_us() * 1000, who.to_owned().into());
        pages.history.push(Event { time, process, what: what(op) });
        op
    }

    /// What the checker of histories finds in all that was written down.
    pub(crate) fn check_history(&self) {
        let history = std::mem::take(&mut self.pages.lock().history);
        let mut checker = Checker::new(Options { dense: true, ..Options::default() });
        for event in &history {
            if let Err(error) = checker.event(event) {
                return self.violation("history", format!("{event:?}: {error}"));
            }
        }
        for anomaly in checker.finish().anomalies {
            self.violation(anomaly.kind(), format!("{}: {anomaly}", anomaly.log()));
        }
    }

    fn check_promised(&self, found: Vec<Found>) {
        if self.promise() < Promise::NothingWrong {
            self.check(found);
        }
    }

    fn check(&self, found: Vec<Found>) {
        found.into_iter().for_each(|(check, what)| self.violation(check, what));
    }

    pub(crate) fn topic_made(
        &self,
        who: &str,
        name: &'static str,
        id: TopicId,
        partitions: i32,
        keeps: Keeps,
    ) {
        let topic = id.to_string().into();
        self.tell(who, |_| What::TopicCreated { topic, name: name.into() });
        let again = {
            let mut pages = self.pages.lock();
            pages.counts.topics += 1;
            for number in 0..partitions {
                let at = TopicPartition::new(id, millrace_types::PartitionId(number));
                pages.partitions.entry(at).or_default().keeps = keeps;
            }
            pages.deleted.contains(&id)
        };
        if again {
            self.violation(
                "deleted-topic-visible",
                format!("a new topic has the id {id} of a deleted one"),
            );
        }
    }

    pub(crate) fn topic_deleted(&self, who: &str, op: u64, id: TopicId) {
        self.tell(who, |_| What::TopicDeleted { op });
        self.pages.lock().deleted.insert(id);
    }

    /// A partition is gone. Only one of a topic that somebody asked to delete
    /// may be.
    pub(crate) fn maybe_deleted(&self, at: TopicPartition) {
        let asked = self.pages.lock().delete_asked.contains(&at.topic);
        if !asked {
            self.violation("topic-lost", format!("{at} is gone, and nobody deleted it"));
        }
    }

    pub(crate) fn delete_asked(&self, who: &str, id: TopicId) -> u64 {
        self.pages.lock().delete_asked.insert(id);
        self.tell(who, |op| What::DeleteTopic { op, topic: id.to_string().into() })
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
    pub(crate) fn sent(&self, at: TopicPartition, values: &[Value], bytes: u64) {
        let (now, now_ns) = (self.world.now_ms(), self.world.now_us() * 1000);
        let mut pages = self.pages.lock();
        for value in values {
            pages.ops += 1;
            let op = pages.ops;
            pages.sends.insert(*value, op);
            let what = What::Send {
                op,
                topic: at.topic.to_string().into(),
                partition: Some(at.partition.get()),
                value: value.to_string().into(),
                idempotent: value.idempotent,
            };
            let process = format!("producer {}", value.writer).into();
            pages.history.push(Event { time: now_ns, process, what });
        }
        let page = pages.partitions.entry(at).or_default();
        page.sent.extend(values.iter().map(|value| (*value, now)));
        page.bytes_unknown += bytes;
    }

    /// They were acknowledged, with the first of them at `base`.
    pub(crate) fn acked(&self, at: TopicPartition, base: Offset, values: &[Value], bytes: u64) {
        let mut found = Vec::new();
        for (offset, value) in (base.get()..).zip(values) {
            let op = self.pages.lock().sends.get(value).copied().unwrap_or_default();
            let partition = Some(at.partition.get());
            let sent = What::Sent { op, partition, offset: Some(offset) };
            self.tell(&format!("producer {}", value.writer), |_| sent);
        }
        {
            let mut pages = self.pages.lock();
            pages.counts.acked += values.len() as u64;
            let page = pages.partitions.entry(at).or_default();
            page.bytes_unknown = page.bytes_unknown.saturating_sub(bytes);
            page.bytes.insert(base.get(), bytes);
            for (offset, value) in (base.get()..).zip(values) {
                page.acked.insert(offset);
                page.learn(at, offset, *value, "acknowledged", &mut found);
            }
        }
        self.check_promised(found);
    }

    /// A reader begins at this offset, or goes on there.
    pub(crate) fn goes_to(&self, who: &str, at: TopicPartition, from: i64, anew: bool) {
        let from = Some(from);
        self.tell(who, |_| match anew {
            true => What::Assigned { logs: vec![Assignment { at: log(at), from }] },
            false => What::Seek { at: log(at), from },
        });
    }

    /// A reader got these records, and goes on at `next`.
    pub(crate) fn polled(
        &self,
        who: &str,
        op: u64,
        at: TopicPartition,
        read: &[(i64, Option<Value>)],
        next: i64,
    ) {
        let records = records(at, read);
        let positions = vec![Assignment { at: log(at), from: Some(next) }];
        self.tell(who, |_| What::Polled { op: Some(op), records, positions });
    }

    /// A reader got this record.
    pub(crate) fn read(&self, at: TopicPartition, offset: i64, value: Option<Value>) {
        let mut found = Vec::new();
        let sent = {
            let mut pages = self.pages.lock();
            pages.counts.read += 1;
            let page = pages.partitions.entry(at).or_default();
            let sent = value.filter(|value| page.sent.contains_key(value));
            if let Some(value) = sent {
                page.learn(at, offset, value, "read", &mut found);
            }
            sent
        };
        if sent.is_none() {
            self.violation(
                "phantom-record",
                format!("{at} has at {offset} what nobody sent there: {value:?}"),
            );
        }
        self.check_promised(found);
    }

    /// What is known of a log's bounds before a question is asked about them:
    /// the answer may not fall behind it.
    pub(crate) fn asking(&self, who: &str, at: TopicPartition) -> Asking {
        let op = self.tell(who, |op| What::ListOffsets { op, at: log(at) });
        let pages = self.pages.lock();
        let (start, end) = pages.partitions.get(&at).map_or((0, 0), |page| (page.start, page.end));
        Asking { at, start, end, op }
    }

    /// The server said that the log goes from here to there.
    pub(crate) fn bounds_seen(&self, who: &str, asked: Asking, start: Offset, end: Offset) {
        let at = asked.at;
        let (op, log_start, log_end) = (asked.op, Some(start.get()), Some(end.get()));
        self.tell(who, |_| What::OffsetsListed { op, log_start, end: log_end });
        if end.get() < asked.end && self.promise() < Promise::NothingWrong {
            let before = asked.end;
            self.violation("end-went-back", format!("the end of {at} was {before} and is {end}"));
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
        let now = self.world.now_ms();
        let promised = self.promise() < Promise::NothingWrong;
        let mut found = Vec::new();
        {
            let mut pages = self.pages.lock();
            let page = pages.partitions.entry(at).or_default();
            if start.get() < asked.start && promised {
                found.push((
                    "log-start-went-back",
                    format!("the log start of {at} was {} and is {start}", asked.start),
                ));
            }
            if start.get() > page.start.max(page.cut_asked) {
                let jumped = pages.jumped;
                let page = pages.partitions.entry(at).or_default();
                if let Some(why) = page.unjustified(start.get(), now, jumped).filter(|_| promised) {
                    let what = format!("the log start of {at} is {start}: {why}");
                    found.push(("live-records-deleted", what));
                }
            }
            let page = pages.partitions.entry(at).or_default();
            page.start = page.start.max(start.get());
        }
        self.check(found);
    }

    /// The log start that readers were told last.
    pub(crate) fn start_of(&self, at: TopicPartition) -> i64 {
        self.pages.lock().partitions.get(&at).map_or(0, |page| page.start)
    }

    /// Somebody is about to ask for deletion below this offset.
    pub(crate) fn cut_asked(&self, who: &str, at: TopicPartition, before: Offset) -> u64 {
        let before_get = before.get();
        let op = self.tell(who, |op| What::DeleteRecords { op, at: log(at), before: before_get });
        let mut pages = self.pages.lock();
        let page = pages.partitions.entry(at).or_default();
        page.cut_asked = page.cut_asked.max(before.get());
        op
    }

    /// It was done.
    pub(crate) fn cut_done(&self, who: &str, op: u64, asked: Asking, start: Offset) {
        self.tell(who, |_| What::RecordsDeleted { op, log_start: start.get() });
        self.pages.lock().counts.cuts += 1;
        self.start_seen(asked, start);
    }

    pub(crate) fn is_delete_asked(&self, id: TopicId) -> bool {
        self.pages.lock().delete_asked.contains(&id)
    }

    /// Why a batch was not taken.
    pub(crate) fn note_refusal(&self, at: TopicPartition, error: &dyn std::error::Error) {
        self.world.note(format_args!("{at} refuses: {error}"));
    }

    /// The server does not start, with no fault left but those of the past.
    pub(crate) fn start_failed(&self, error: &dyn std::error::Error) {
        self.pages.lock().refused_to_start = true;
        if self.promise == Promise::Everything {
            self.violation("no-start", format!("the server does not start: {error}"));
        }
    }

    /// The wall clock jumps.
    pub(crate) fn clock_jumps(&self) {
        self.pages.lock().jumped = true;
    }

    /// Whether the server refused to serve what is corrupt.
    pub(crate) fn has_refused_to_start(&self) -> bool {
        self.pages.lock().refused_to_start
    }

    /// A reader was given `found` where it asked for `wanted`.
    pub(crate) fn gap(&self, at: TopicPartition, wanted: i64, found: i64) {
        if self.behind_given_up(at, wanted) >= found {
            return;
        }
        if self.promise() < Promise::NothingWrong {
            self.violation("gap", format!("{at} gave offset {found} for {wanted}"));
        }
    }

    /// A reader was told that what it wants is corrupt.
    pub(crate) fn corrupt(&self, at: TopicPartition, offset: i64, error: &str) {
        self.pages.lock().counts.corrupt += 1;
        self.world.note(format_args!("{at} at {offset}: {error}"));
        if self.promise == Promise::Everything {
            self.violation(
                "false-corruption",
                format!("{at} is corrupt at {offset}, and nothing rotted: {error}"),
            );
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
                let given_up = page.behind_given_up(*offset) > *offset;
                if !found.contains_key(offset) && !reported(*offset) && !given_up {
                    let how = if page.acked.contains(offset) { "acknowledged" } else { "read" };
                    wrong.push((
                        "lost-write",
                        format!("{at} lost {value:?} at {offset}, which was {how}"),
                    ));
                }
            }
            if !corrupt.is_empty() && self.promise == Promise::Everything {
                wrong.push((
                    "false-corruption",
                    format!("{at} reports corruption at {corrupt:?}; nothing rotted"),
                ));
            }
            let mut last: BTreeMap<u32, u32> = BTreeMap::new();
            for value in found.values().filter(|value| value.idempotent) {
                let before = last.insert(value.writer, value.number);
                if before.is_some_and(|before| before >= value.number) {
                    wrong.push((
                        "reordered-sends",
                        format!("{at} has {value:?} behind number {before:?}"),
                    ));
                }
            }
        }
        self.check_promised(wrong);
    }
}

impl Pages {
    fn commits(&mut self, group: &str, at: TopicPartition) -> &mut Commits {
        self.groups.entry((group.to_owned(), at)).or_default()
    }
}

impl Page {
    /// Why the log may not start at `start`, if it may not.
    fn unjustified(&self, start: i64, now: u64, jumped: bool) -> Option<String> {
        let by_bytes = self.keeps.bytes.is_some_and(|keep| {
            self.bytes.range(start..).map(|(_, bytes)| bytes).sum::<u64>() + self.bytes_unknown
                >= keep
        });
        if by_bytes {
            return None;
        }
        let Some(age_ms) = self.keeps.age_ms else {
            let asked = self.cut_asked;
            return Some(format!("nobody asked beyond {asked}, and no limit is reached"));
        };
        let young = self.known.range(self.start..start).find(|(_, value)| {
            self.sent.get(value).is_some_and(|sent| now.saturating_sub(*sent) < age_ms)
        });
        let (offset, value) = young.filter(|_| !jumped)?;
        Some(format!("{value:?} at {offset} is younger than {age_ms} ms"))
    }

    fn learn(
        &mut self,
        at: TopicPartition,
        offset: i64,
        value: Value,
        how: &str,
        found: &mut Vec<Found>,
    ) {
        let before = *self.known.entry(offset).or_insert(value);
        if before != value {
            found.push((
                "inconsistent-offset",
                format!("{at} at {offset}: {how} {value:?}, but it was {before:?}"),
            ));
        }
        let place = *self.places.entry(value).or_insert(offset);
        if place != offset {
            found.push(("duplicate", format!("{at} has {value:?} at {offset} and at {place}")));
        }
    }
}
