//! The checker: takes events in order, keeps what later verdicts need, and
//! judges at once what can be judged at once. `verdicts` is the rest.
//!
//! Memory is linear in values and offsets (about 100 bytes a record), time
//! nearly so.

mod coordination;
mod readers;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::event::{Assignment, Event, TopicPartition, What};
use crate::groups::Groups;
use crate::log::{Log, No};
use crate::names::{Id, NONE, Names};
use crate::report::{Anomaly, Counts, EventNo, Findings, LogName, Placed, Report};

/// Offsets above make no history.
const OFFSET_MAX: i64 = i64::MAX / 2;

/// What kind of history is checked.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Every offset from a log's start to its end holds a record: no
    /// transactions, no compaction.
    pub dense: bool,
    /// How many anomalies of each kind the report holds. All are counted.
    pub kept_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { dense: false, kept_max: 20 }
    }
}

/// Why events make no history.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A process began two operations of one number.
    #[error("process {process} begins operation {op} a second time")]
    OpTwice {
        /// The process.
        process: String,
        /// The operation.
        op: u64,
    },
    /// A completion of nothing, or of something else.
    #[error("process {process} completes operation {op}, which is not such an operation under way")]
    OpUnknown {
        /// The process.
        process: String,
        /// The operation.
        op: u64,
    },
    /// Values must be unique.
    #[error("value {0} is sent a second time")]
    ValueTwice(String),
    /// An offset that no log has.
    #[error("offset {0} is out of range")]
    Offset(i64),
    /// An acknowledged send whose partition neither event names.
    #[error("process {process} completes send {op} without a partition")]
    PartitionUnknown {
        /// The process.
        process: String,
        /// The operation.
        op: u64,
    },
    /// A full read that did not begin.
    #[error("process {0} ends a full read that it did not begin, or from which it jumped")]
    FullReadUnknown(String),
    /// Events are numbered by 32 bits.
    #[error("more events than can be counted")]
    TooLong,
}

/// A value: who sent it, what became of it. 40 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    /// Where it was first seen.
    pub(crate) offset: Option<i64>,
    /// The highest offset known in its log when it was sent.
    pub(crate) floor: Option<i64>,
    pub(crate) log: Id,
    pub(crate) sent: No,
    /// The acknowledgement, or the failure if it is `failed`.
    pub(crate) ended: No,
    pub(crate) read: No,
    pub(crate) failed: bool,
    pub(crate) idempotent: bool,
}

const UNSENT: Value = Value {
    offset: None,
    floor: None,
    log: NONE,
    sent: NONE,
    ended: NONE,
    read: NONE,
    failed: false,
    idempotent: false,
};

/// An operation under way.
#[derive(Debug)]
enum Op {
    Send { value: Id, topic: Id, partition: Option<i32> },
    Poll,
    Commit { group: Id, offsets: Vec<(Id, Option<i64>)> },
    FetchCommits { group: Id },
    ListOffsets { log: Id, start: Option<(i64, No)>, end: Option<(i64, No)> },
    DeleteRecords { log: Id },
    DeleteTopic { topic: Id },
}

/// Where a reader stands in a log.
#[derive(Clone, Copy, Debug)]
struct Position {
    next: Option<i64>,
    /// The poll that brought it there, or the assignment.
    from: No,
    /// What it gets was asked for after this event.
    since: No,
    full_read: Option<No>,
}

/// Offsets that a reader left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    pub(crate) process: Id,
    pub(crate) log: Id,
    pub(crate) expected: i64,
    pub(crate) got: i64,
    pub(crate) from: No,
    pub(crate) to: No,
    pub(crate) full_read: Option<No>,
    /// The full read ended here.
    pub(crate) is_end: bool,
}

/// Checks one history, event by event.
#[derive(Debug)]
pub struct Checker {
    pub(crate) options: Options,
    pub(crate) counts: Counts,
    pub(crate) findings: Findings,
    /// Processes, topics and groups.
    pub(crate) names: Names,
    pub(crate) value_names: Names,
    pub(crate) values: Vec<Value>,
    log_ids: HashMap<(Id, i32), Id>,
    pub(crate) logs: Vec<Log>,
    /// Labels of topics: what clients call them.
    pub(crate) called: HashMap<Id, Id>,
    deleted: HashMap<Id, No>,
    processes: HashSet<Id>,
    ops: HashMap<(Id, u64), (No, Op)>,
    readers: HashMap<Id, BTreeMap<Id, Position>>,
    pub(crate) jumps: Vec<Jump>,
    groups: Groups,
    /// Commits on which their client gave up, until the server is killed.
    unknown_commits: Vec<(Id, No, Vec<Id>)>,
    /// Conflicts that are reported: (log, offset, value).
    reported: HashSet<(Id, i64, Id)>,
}

impl Checker {
    /// A history without events.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            counts: Counts::default(),
            findings: Findings::new(options.kept_max),
            names: Names::default(),
            value_names: Names::default(),
            values: Vec::new(),
            log_ids: HashMap::new(),
            logs: Vec::new(),
            called: HashMap::new(),
            deleted: HashMap::new(),
            processes: HashSet::new(),
            ops: HashMap::new(),
            readers: HashMap::new(),
            jumps: Vec::new(),
            groups: Groups::default(),
            unknown_commits: Vec::new(),
            reported: HashSet::new(),
        }
    }

    /// The next event.
    ///
    /// # Errors
    /// What makes it impossible as the next event of a history.
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), Malformed> {
        let no = No::try_from(self.counts.events).map_err(|_| Malformed::TooLong)?;
        if no == NONE {
            return Err(Malformed::TooLong);
        }
        self.counts.events += 1;
        let process = self.names.id(&event.process);
        self.processes.insert(process);
        match &event.what {
            What::Send { op, topic, partition, value, idempotent } => {
                self.send(no, (process, *op), topic, *partition, value, *idempotent)?;
            }
            What::Sent { op, partition, offset } => {
                self.sent(no, (process, *op), *partition, *offset)?;
            }
            What::Poll { op } => self.begin(no, (process, *op), Op::Poll)?,
            What::Polled { op, records, positions } => {
                self.polled(no, process, *op, records, positions)?;
            }
            What::Assigned { logs } => {
                self.readers.insert(process, BTreeMap::new());
                self.assign(no, process, logs)?;
            }
            What::Subscribed => {
                self.readers.insert(process, BTreeMap::new());
            }
            What::Rebalanced { assigned, revoked } => {
                for at in revoked {
                    let log = self.log(at);
                    self.readers.entry(process).or_default().remove(&log);
                }
                self.assign(no, process, assigned)?;
            }
            What::Seek { at, from } => {
                self.assign(no, process, &[Assignment { at: at.clone(), from: *from }])?;
            }
            What::FullReadBegun { at } => self.full_read_begun(no, process, at),
            What::FullReadEnded { at } => self.full_read_ended(no, process, at)?,
            What::Commit { op, group, offsets } => {
                self.commit(no, (process, *op), group, offsets)?;
            }
            What::Committed { op } | What::GroupDeleted { op } => {
                self.committed(no, (process, *op))?;
            }
            What::FetchCommits { op, group } => {
                let group = self.names.id(group);
                self.groups.fetch(group, no);
                self.begin(no, (process, *op), Op::FetchCommits { group })?;
            }
            What::CommitsFetched { op, offsets } => {
                self.commits_fetched(no, (process, *op), offsets)?;
            }
            What::DeleteGroup { op, group } => {
                let group = self.names.id(group);
                let logs = self.groups.logs(group);
                for log in &logs {
                    self.groups.commit(group, *log, None, no);
                }
                let offsets = logs.into_iter().map(|log| (log, None)).collect();
                self.begin(no, (process, *op), Op::Commit { group, offsets })?;
            }
            What::ListOffsets { op, at } => self.list_offsets(no, (process, *op), at)?,
            What::OffsetsListed { op, log_start, end } => {
                self.offsets_listed(no, (process, *op), *log_start, *end)?;
            }
            What::DeleteRecords { op, at, before } => {
                let log = self.log(at);
                if let Some(log) = self.logs.get_mut(log as usize) {
                    log.start_asked(no, offset(*before)?);
                }
                self.begin(no, (process, *op), Op::DeleteRecords { log })?;
            }
            What::RecordsDeleted { op, log_start } => {
                let (_, under_way) = self.end((process, *op))?;
                let Op::DeleteRecords { log } = under_way else {
                    return Err(self.unknown((process, *op)));
                };
                self.start_seen(log, no, no, offset(*log_start)?);
            }
            What::LogStartMoved { at, log_start } => {
                let log = self.log(at);
                self.start_seen(log, no, no, offset(*log_start)?);
            }
            What::TopicCreated { topic, name } => {
                let (topic, name) = (self.names.id(topic), self.names.id(name));
                self.called.insert(topic, name);
            }
            What::DeleteTopic { op, topic } => {
                let topic = self.names.id(topic);
                self.begin(no, (process, *op), Op::DeleteTopic { topic })?;
            }
            What::TopicDeleted { op } => {
                let (_, Op::DeleteTopic { topic }) = self.end((process, *op))? else {
                    return Err(self.unknown((process, *op)));
                };
                self.deleted.insert(topic, no);
            }
            What::Fail { op } => self.failed(no, (process, *op))?,
            What::Info { op } => self.gave_up(no, (process, *op))?,
            What::ServerKilled => self.killed(no),
            What::ServerStarted | What::Note { .. } => {}
        }
        Ok(())
    }

    /// The end of the history: what was under way stays unknown.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.counts.processes = self.processes.len() as u64;
        self.counts.logs = self.logs.len() as u64;
        let ended = self.counts.sends_ok + self.counts.sends_failed;
        self.counts.sends_unknown = self.counts.sends.saturating_sub(ended);
        self.judge();
        self.findings.report(self.counts)
    }

    // --- operations -------------------------------------------------------

    fn begin(&mut self, no: No, key: (Id, u64), op: Op) -> Result<(), Malformed> {
        if self.ops.insert(key, (no, op)).is_some() {
            let process = self.names.text(key.0).to_owned();
            return Err(Malformed::OpTwice { process, op: key.1 });
        }
        Ok(())
    }

    fn end(&mut self, key: (Id, u64)) -> Result<(No, Op), Malformed> {
        self.ops.remove(&key).ok_or_else(|| self.unknown(key))
    }

    fn unknown(&self, (process, op): (Id, u64)) -> Malformed {
        Malformed::OpUnknown { process: self.names.text(process).to_owned(), op }
    }

    fn failed(&mut self, no: No, key: (Id, u64)) -> Result<(), Malformed> {
        match self.end(key)? {
            (_, Op::Send { value, .. }) => {
                self.counts.sends_failed += 1;
                if let Some(value) = self.values.get_mut(value as usize) {
                    value.failed = true;
                    value.ended = no;
                }
            }
            (invoked, Op::Commit { group, offsets }) => {
                for (log, _) in offsets {
                    self.groups.failed(group, log, invoked);
                }
            }
            (invoked, Op::FetchCommits { group }) => self.groups.fetch_ended(group, invoked),
            _ => {}
        }
        Ok(())
    }

    fn gave_up(&mut self, _no: No, key: (Id, u64)) -> Result<(), Malformed> {
        match self.end(key)? {
            (invoked, Op::Commit { group, offsets }) => {
                let logs = offsets.into_iter().map(|(log, _)| log).collect();
                self.unknown_commits.push((group, invoked, logs));
            }
            (invoked, Op::FetchCommits { group }) => self.groups.fetch_ended(group, invoked),
            _ => {}
        }
        Ok(())
    }

    /// What nobody waits for any more and was not done is never done.
    fn killed(&mut self, no: No) {
        self.counts.server_kills += 1;
        for (group, invoked, logs) in std::mem::take(&mut self.unknown_commits) {
            for log in logs {
                self.groups.settled(group, log, invoked, no);
            }
        }
    }

    // --- producers --------------------------------------------------------

    fn send(
        &mut self,
        no: No,
        key: (Id, u64),
        topic: &str,
        partition: Option<i32>,
        text: &str,
        idempotent: bool,
    ) -> Result<(), Malformed> {
        self.counts.sends += 1;
        let topic = self.names.id(topic);
        let id = self.value(text);
        let log = partition.map(|partition| self.log_of(topic, partition));
        let floor = log.and_then(|log| self.logs.get(log as usize)?.top);
        let before = self.values.get(id as usize).map_or(UNSENT, |value| *value);
        if before.sent != NONE {
            return Err(Malformed::ValueTwice(text.to_owned()));
        }
        if before.read != NONE {
            let read = self.placed(before.offset.unwrap_or(-1), id, before.read);
            let log = self.log_name(before.log);
            self.findings.add(Anomaly::PhantomRecord { log, read });
        }
        if let Some(value) = self.values.get_mut(id as usize) {
            *value = Value { sent: no, log: log.unwrap_or(NONE), floor, idempotent, ..UNSENT };
        }
        if let Some(log) = log {
            self.sent_in_order(log, key.0, id);
        }
        self.begin(no, key, Op::Send { value: id, topic, partition })
    }

    fn sent_in_order(&mut self, log: Id, process: Id, value: Id) {
        if let Some(log) = self.logs.get_mut(log as usize) {
            log.sends.entry(process).or_default().push(value);
        }
    }

    fn sent(
        &mut self,
        no: No,
        key: (Id, u64),
        partition: Option<i32>,
        at: Option<i64>,
    ) -> Result<(), Malformed> {
        let (_, Op::Send { value, topic, partition: asked }) = self.end(key)? else {
            return Err(self.unknown(key));
        };
        let Some(partition) = partition.or(asked) else {
            let process = self.names.text(key.0).to_owned();
            return Err(Malformed::PartitionUnknown { process, op: key.1 });
        };
        self.counts.sends_ok += 1;
        let log = self.log_of(topic, partition);
        if asked.is_none() {
            self.sent_in_order(log, key.0, value);
        }
        if let Some(value) = self.values.get_mut(value as usize) {
            value.ended = no;
            value.log = log;
        }
        match at {
            Some(at) => {
                self.seen_at(no, log, offset(at)?, value, false);
                Ok(())
            }
            None => Ok(()),
        }
    }

    // --- what is where ----------------------------------------------------

    fn value(&mut self, text: &str) -> Id {
        let id = self.value_names.id(text);
        if id as usize == self.values.len() {
            self.values.push(UNSENT);
        }
        id
    }

    fn log(&mut self, at: &TopicPartition<'_>) -> Id {
        let topic = self.names.id(&at.topic);
        self.log_of(topic, at.partition)
    }

    fn log_of(&mut self, topic: Id, partition: i32) -> Id {
        let logs = &mut self.logs;
        *self.log_ids.entry((topic, partition)).or_insert_with(|| {
            logs.push(Log::new(topic, partition));
            Id::try_from(logs.len() - 1).unwrap_or(NONE)
        })
    }

    /// A value at an offset, acknowledged or read.
    fn seen_at(&mut self, no: No, log_id: Id, at: i64, id: Id, read: bool) {
        let Some(log) = self.logs.get_mut(log_id as usize) else { return };
        log.top = log.top.max(Some(at));
        let Some(cell) = log.cells.at(at) else { return };
        let before = *cell;
        if cell.value == NONE {
            cell.value = id;
        }
        let first = if read { &mut cell.read } else { &mut cell.acked };
        *first = no.min(*first);
        if before.value != NONE && before.value != id {
            if self.reported.insert((log_id, at, id)) {
                let first = self.placed(at, before.value, before.known());
                let second = self.placed(at, id, no);
                let log = self.log_name(log_id);
                self.findings.add(Anomaly::InconsistentOffset { log, first, second });
            }
            return;
        }
        let Some(value) = self.values.get_mut(id as usize) else { return };
        match value.offset {
            _ if value.log != log_id => {}
            None => value.offset = Some(at),
            Some(elsewhere) if elsewhere != at && before.value == NONE => {
                if value.idempotent {
                    self.duplicate(no, log_id, elsewhere, at, id);
                } else {
                    self.counts.duplicates_allowed += 1;
                }
            }
            Some(_) => {}
        }
    }

    fn duplicate(&mut self, no: No, log: Id, first: i64, second: i64, value: Id) {
        let known = self.logs.get(log as usize).and_then(|log| log.cells.get(first));
        let known = known.map_or(no, |cell| cell.known());
        let anomaly = Anomaly::Duplicate {
            log: self.log_name(log),
            first: self.placed(first, value, known),
            second: self.placed(second, value, no),
        };
        self.findings.add(anomaly);
    }

    pub(crate) fn log_name(&self, log: Id) -> LogName {
        match self.logs.get(log as usize) {
            Some(log) => {
                LogName { topic: self.names.text(log.topic).to_owned(), partition: log.partition }
            }
            None => LogName { topic: "?".to_owned(), partition: -1 },
        }
    }

    pub(crate) fn placed(&self, offset: i64, value: Id, event: No) -> Placed {
        let value = self.value_names.text(value).to_owned();
        Placed { offset, value, event: EventNo(event) }
    }
}

/// An offset that a log can have.
fn offset(offset: i64) -> Result<i64, Malformed> {
    match (0..=OFFSET_MAX).contains(&offset) {
        true => Ok(offset),
        false => Err(Malformed::Offset(offset)),
    }
}
