//! What a check found: anomalies with the events that show them, and counts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The number of an event in the (merged) history, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EventNo(pub u32);

/// A log, as the history names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LogName {
    /// The topic's label.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// A value at an offset, and the event that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The offset.
    pub offset: i64,
    /// The value.
    pub value: String,
    /// The acknowledgement or the poll.
    pub event: EventNo,
}

/// A reader's way from one offset to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The reader.
    pub process: String,
    /// The offset that it would read next.
    pub expected: i64,
    /// The offset that it read (or went on from) instead.
    pub got: i64,
    /// Where it stood: the poll before, or the assignment.
    pub from: EventNo,
    /// The poll that jumped.
    pub to: EventNo,
}

/// Something that a log that keeps its promises does not show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant says what its evidence means")]
pub enum Anomaly {
    /// Acknowledged, never read, and a reader went past its offset.
    LostWrite { log: LogName, write: Placed, reader: Step },
    /// Acknowledged, and never read although a full read began afterwards
    /// and ended below it.
    Unseen { log: LogName, offset: Option<i64>, value: String, acked: EventNo, full_read: EventNo },
    /// Read, and absent in a full read that began afterwards.
    Vanished { log: LogName, read: Placed, full_read: EventNo, reader: Step },
    /// One value of an idempotent producer at two offsets.
    Duplicate { log: LogName, first: Placed, second: Placed },
    /// Two values at one offset.
    InconsistentOffset { log: LogName, first: Placed, second: Placed },
    /// The later of two sends got the lower offset: of one producer, or of
    /// two of which the first was known before the second was invoked.
    ReorderedSends { log: LogName, earlier: Placed, later: Placed, sent: EventNo },
    /// A reader without a reason to jump left out records that others read.
    PollSkip { log: LogName, reader: Step, skipped: Vec<Placed> },
    /// The same within one poll.
    InternalPollSkip { log: LogName, reader: Step, skipped: Vec<Placed> },
    /// A reader without a reason to jump went back.
    NonmonotonicPoll { log: LogName, reader: Step },
    /// The same within one poll.
    InternalNonmonotonicPoll { log: LogName, reader: Step },
    /// Offsets that a reader passed and where nothing is known to be, though
    /// this history's logs are dense.
    Gap { log: LogName, reader: Step },
    /// Read, though its send certainly failed.
    FailedWriteVisible { log: LogName, read: Placed, failed: EventNo },
    /// Read, and sent by nobody, or only later.
    PhantomRecord { log: LogName, read: Placed },
    /// Read in another log than the one to which it was sent.
    MisplacedRecord { log: LogName, read: Placed, sent_to: LogName, sent: EventNo },
    /// Sent to an earlier topic of this name, read in a later one.
    ReappearedRecord { log: LogName, read: Placed, sent_to: LogName, sent: EventNo },
    /// Read by who began after the topic's deletion was acknowledged.
    DeletedTopicVisible { log: LogName, read: Placed, deleted: EventNo },
    /// Read by who began after the log's start was known to be above it.
    DeletedRecordVisible { log: LogName, read: Placed, log_start: i64, moved: EventNo },
    /// A group's offset below what was acknowledged and not overwritten.
    CommitWentBack {
        log: LogName,
        group: String,
        fetched: Option<i64>,
        committed: i64,
        acked: EventNo,
        fetch: EventNo,
    },
    /// A group's offset that nobody committed.
    PhantomCommit { log: LogName, group: String, fetched: i64, fetch: EventNo },
    /// A group's offset that was committed to an earlier topic of this name.
    ReappearedCommit {
        log: LogName,
        group: String,
        fetched: i64,
        committed_to: LogName,
        committed: EventNo,
        fetch: EventNo,
    },
    /// The log's end was below what was known before it was asked for.
    EndWentBack { log: LogName, end: i64, known: i64, known_by: EventNo, listed: EventNo },
    /// The log's start was below what was known before it was asked for.
    LogStartWentBack {
        log: LogName,
        log_start: i64,
        known: i64,
        known_by: EventNo,
        listed: EventNo,
    },
}

impl Anomaly {
    /// Its kind, as in the JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LostWrite { .. } => "lost-write",
            Self::Unseen { .. } => "unseen",
            Self::Vanished { .. } => "vanished",
            Self::Duplicate { .. } => "duplicate",
            Self::InconsistentOffset { .. } => "inconsistent-offset",
            Self::ReorderedSends { .. } => "reordered-sends",
            Self::PollSkip { .. } => "poll-skip",
            Self::InternalPollSkip { .. } => "internal-poll-skip",
            Self::NonmonotonicPoll { .. } => "nonmonotonic-poll",
            Self::InternalNonmonotonicPoll { .. } => "internal-nonmonotonic-poll",
            Self::Gap { .. } => "gap",
            Self::FailedWriteVisible { .. } => "failed-write-visible",
            Self::PhantomRecord { .. } => "phantom-record",
            Self::MisplacedRecord { .. } => "misplaced-record",
            Self::ReappearedRecord { .. } => "reappeared-record",
            Self::DeletedTopicVisible { .. } => "deleted-topic-visible",
            Self::DeletedRecordVisible { .. } => "deleted-record-visible",
            Self::CommitWentBack { .. } => "commit-went-back",
            Self::PhantomCommit { .. } => "phantom-commit",
            Self::ReappearedCommit { .. } => "reappeared-commit",
            Self::EndWentBack { .. } => "end-went-back",
            Self::LogStartWentBack { .. } => "log-start-went-back",
        }
    }

    /// Where.
    #[must_use]
    pub fn log(&self) -> &LogName {
        match self {
            Self::LostWrite { log, .. }
            | Self::Unseen { log, .. }
            | Self::Vanished { log, .. }
            | Self::Duplicate { log, .. }
            | Self::InconsistentOffset { log, .. }
            | Self::ReorderedSends { log, .. }
            | Self::PollSkip { log, .. }
            | Self::InternalPollSkip { log, .. }
            | Self::NonmonotonicPoll { log, .. }
            | Self::InternalNonmonotonicPoll { log, .. }
            | Self::Gap { log, .. }
            | Self::FailedWriteVisible { log, .. }
            | Self::PhantomRecord { log, .. }
            | Self::MisplacedRecord { log, .. }
            | Self::ReappearedRecord { log, .. }
            | Self::DeletedTopicVisible { log, .. }
            | Self::DeletedRecordVisible { log, .. }
            | Self::CommitWentBack { log, .. }
            | Self::PhantomCommit { log, .. }
            | Self::ReappearedCommit { log, .. }
            | Self::EndWentBack { log, .. }
            | Self::LogStartWentBack { log, .. } => log,
        }
    }

    /// The events that show it, in the history's order.
    #[must_use]
    pub fn events(&self) -> Vec<EventNo> {
        let mut events = match self {
            Self::LostWrite { write, reader, .. } => vec![write.event, reader.from, reader.to],
            Self::Unseen { acked, full_read, .. } => vec![*acked, *full_read],
            Self::Vanished { read, full_read, reader, .. } => {
                vec![read.event, *full_read, reader.from, reader.to]
            }
            Self::Duplicate { first, second, .. }
            | Self::InconsistentOffset { first, second, .. } => vec![first.event, second.event],
            Self::ReorderedSends { earlier, later, sent, .. } => {
                vec![earlier.event, *sent, later.event]
            }
            Self::PollSkip { reader, skipped, .. }
            | Self::InternalPollSkip { reader, skipped, .. } => {
                let steps = [reader.from, reader.to].into_iter();
                steps.chain(skipped.iter().map(|placed| placed.event)).collect()
            }
            Self::NonmonotonicPoll { reader, .. }
            | Self::InternalNonmonotonicPoll { reader, .. }
            | Self::Gap { reader, .. } => vec![reader.from, reader.to],
            Self::FailedWriteVisible { read, failed, .. } => vec![*failed, read.event],
            Self::PhantomRecord { read, .. } => vec![read.event],
            Self::MisplacedRecord { read, sent, .. }
            | Self::ReappearedRecord { read, sent, .. } => vec![*sent, read.event],
            Self::DeletedTopicVisible { read, deleted, .. } => vec![*deleted, read.event],
            Self::DeletedRecordVisible { read, moved, .. } => vec![*moved, read.event],
            Self::CommitWentBack { acked, fetch, .. } => vec![*acked, *fetch],
            Self::PhantomCommit { fetch, .. } => vec![*fetch],
            Self::ReappearedCommit { committed, fetch, .. } => vec![*committed, *fetch],
            Self::EndWentBack { known_by, listed, .. }
            | Self::LogStartWentBack { known_by, listed, .. } => vec![*known_by, *listed],
        };
        events.sort_unstable();
        events.dedup();
        events
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.value, self.offset)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} expected {} and got {}", self.process, self.expected, self.got)
    }
}

/// One line, without the kind and the log.
impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostWrite { write, reader, .. } => {
                write!(f, "{write} was acknowledged and read by nobody; {reader}")
            }
            Self::Unseen { offset: Some(offset), value, .. } => {
                write!(f, "{value} at {offset} was acknowledged; a full read ended below it")
            }
            Self::Unseen { offset: None, value, .. } => {
                write!(f, "{value} was acknowledged, at no known offset; a full read lacks it")
            }
            Self::Vanished { read, reader, .. } => {
                write!(f, "{read} was read; in a later full read {reader}")
            }
            Self::Duplicate { first, second, .. } => {
                write!(f, "{first}, and again at {}", second.offset)
            }
            Self::InconsistentOffset { first, second, .. } => {
                write!(f, "{first}, where {} was too", second.value)
            }
            Self::ReorderedSends { earlier, later, .. } => {
                write!(f, "{earlier} came before {later}")
            }
            Self::PollSkip { reader, skipped, .. }
            | Self::InternalPollSkip { reader, skipped, .. } => {
                write!(f, "{reader}, leaving out")?;
                skipped.iter().try_for_each(|placed| write!(f, " {placed}"))
            }
            Self::NonmonotonicPoll { reader, .. }
            | Self::InternalNonmonotonicPoll { reader, .. } => write!(f, "{reader}"),
            Self::Gap { reader, .. } => write!(f, "{reader}, and nothing is known between"),
            Self::FailedWriteVisible { read, .. } => write!(f, "{read} was read, and had failed"),
            Self::PhantomRecord { read, .. } => {
                write!(f, "{read} was read, and sent by nobody before")
            }
            Self::MisplacedRecord { read, sent_to, .. } => {
                write!(f, "{read} was read, and sent to {sent_to}")
            }
            Self::ReappearedRecord { read, sent_to, .. } => {
                write!(f, "{read} was read, and sent to the earlier {sent_to}")
            }
            Self::DeletedTopicVisible { read, .. } => {
                write!(f, "{read} was read after the topic was deleted")
            }
            Self::DeletedRecordVisible { read, log_start, .. } => {
                write!(f, "{read} was read below the log's start, {log_start}")
            }
            Self::CommitWentBack { group, fetched: Some(fetched), committed, .. } => {
                write!(f, "group {group} committed {committed} and has {fetched}")
            }
            Self::CommitWentBack { group, fetched: None, committed, .. } => {
                write!(f, "group {group} committed {committed} and has none")
            }
            Self::PhantomCommit { group, fetched, .. } => {
                write!(f, "group {group} has {fetched}, which it never committed")
            }
            Self::ReappearedCommit { group, fetched, committed_to, .. } => {
                write!(f, "group {group} has {fetched}, committed to the earlier {committed_to}")
            }
            Self::EndWentBack { end, known, .. } => {
                write!(f, "the end is {end}, and was known to be {known} or above")
            }
            Self::LogStartWentBack { log_start, known, .. } => {
                write!(f, "the log's start is {log_start}, and was known to be {known}")
            }
        }
    }
}

/// What a history holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All events.
    pub events: u64,
    /// Processes that did something.
    pub processes: u64,
    /// Logs that were written or read.
    pub logs: u64,
    /// Records that were sent.
    pub sends: u64,
    /// Of them acknowledged.
    pub sends_ok: u64,
    /// Of them certainly not written.
    pub sends_failed: u64,
    /// Of them unknown, completed or not.
    pub sends_unknown: u64,
    /// Polls that returned something.
    pub polls: u64,
    /// Records that readers got.
    pub records_read: u64,
    /// Values among them.
    pub values_read: u64,
    /// Copies that retries of producers without idempotence made.
    pub duplicates_allowed: u64,
    /// Commits of groups that were acknowledged.
    pub commits: u64,
    /// Fetches of groups' offsets.
    pub commit_fetches: u64,
    /// Full reads.
    pub full_reads: u64,
    /// Kills of the server.
    pub server_kills: u64,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the history holds.
    pub counts: Counts,
    /// How many anomalies of each kind there are.
    pub totals: BTreeMap<&'static str, u64>,
    /// The first of each kind, by log and offset.
    pub anomalies: Vec<Anomaly>,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.totals.is_empty()
    }
}

/// Collects anomalies: all are counted, the first of each kind kept.
#[derive(Debug)]
pub(crate) struct Findings {
    kept_max: u64,
    totals: BTreeMap<&'static str, u64>,
    kept: Vec<Anomaly>,
}

impl Findings {
    pub(crate) fn new(kept_max: u64) -> Self {
        Self { kept_max, totals: BTreeMap::new(), kept: Vec::new() }
    }

    pub(crate) fn add(&mut self, anomaly: Anomaly) {
        let total = self.totals.entry(anomaly.kind()).or_default();
        *total += 1;
        if *total <= self.kept_max {
            self.kept.push(anomaly);
        }
    }

    pub(crate) fn report(mut self, counts: Counts) -> Report {
        self.kept
            .sort_by(|a, b| (a.kind(), a.log(), a.events()).cmp(&(b.kind(), b.log(), b.events())));
        Report { counts, totals: self.totals, anomalies: self.kept }
    }
}
