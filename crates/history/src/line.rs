//! Events as JSON lines (docs/history.md). A line is one flat struct, which
//! refuses fields that don't exist; turning it into an [`Event`] refuses
//! fields that are not there. Strings are borrowed from the line where JSON
//! allows it: histories are long.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::event::{Assignment, Committed, Event, Record, TopicPartition, What};

/// Why a line is no event.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not JSON, or not the fields of an event.
    #[error("not an event: {0}")]
    Json(#[from] serde_json::Error),
    /// An event that needs a field which is not there.
    #[error("this kind of event needs \"{0}\"")]
    Missing(&'static str),
}

/// A string that borrows, also inside of other types (a plain `Cow` doesn't).
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// `["orders#1", 0]`
#[derive(Serialize, Deserialize)]
struct At<'a>(#[serde(borrow)] Text<'a>, i32);

/// `["orders#1", 0, 17]`, or null for the offset.
#[derive(Serialize, Deserialize)]
struct AtOffset<'a>(#[serde(borrow)] Text<'a>, i32, Option<i64>);

/// `["orders#1", 0, 17, "a1"]`
#[derive(Serialize, Deserialize)]
struct Read<'a>(#[serde(borrow)] Text<'a>, i32, i64, #[serde(borrow)] Text<'a>);

/// The `event` of a line.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Send,
    Sent,
    Poll,
    Polled,
    Assigned,
    Subscribed,
    Rebalanced,
    Seek,
    FullReadBegun,
    FullReadEnded,
    Commit,
    Committed,
    FetchCommits,
    CommitsFetched,
    DeleteGroup,
    GroupDeleted,
    ListOffsets,
    OffsetsListed,
    DeleteRecords,
    RecordsDeleted,
    LogStartMoved,
    TopicCreated,
    DeleteTopic,
    TopicDeleted,
    Fail,
    Info,
    ServerKilled,
    ServerStarted,
    Note,
}

/// Every field that some event has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    time: u64,
    #[serde(borrow)]
    process: Text<'a>,
    event: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    topic: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotent: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Read<'a>>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    positions: Option<Vec<AtOffset<'a>>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    logs: Option<Vec<AtOffset<'a>>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    assigned: Option<Vec<AtOffset<'a>>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    revoked: Option<Vec<At<'a>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    group: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    offsets: Option<Vec<AtOffset<'a>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_start: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Text<'a>>,
    /// Of a note, or why an operation failed.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
}

/// What the order of files needs of a line, read without the rest.
#[derive(Deserialize)]
pub(crate) struct Peek {
    pub(crate) time: u64,
    event: Name,
}

impl Peek {
    pub(crate) fn line(line: &[u8]) -> Result<Self, FormatError> {
        Ok(serde_json::from_slice(line)?)
    }

    /// Whether it begins an operation.
    pub(crate) fn is_invocation(&self) -> bool {
        matches!(
            self.event,
            Name::Send
                | Name::Poll
                | Name::Commit
                | Name::FetchCommits
                | Name::DeleteGroup
                | Name::ListOffsets
                | Name::DeleteRecords
                | Name::DeleteTopic
        )
    }
}

/// Reads one line, without or with its line end.
///
/// # Errors
/// What the line lacks to be an event.
pub fn read_line(line: &[u8]) -> Result<Event<'_>, FormatError> {
    let line: Line<'_> = serde_json::from_slice(line)?;
    let time = line.time;
    let process = line.process.0.clone();
    Ok(Event { time, process, what: line.what()? })
}

/// Writes one event as a line, with its line end.
///
/// # Errors
/// Those of the writer.
pub fn write_line(event: &Event<'_>, to: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *to, &Line::of(event))?;
    to.write_all(b"\n")
}

/// A field that the event can't do without.
fn need<T>(field: Option<T>, name: &'static str) -> Result<T, FormatError> {
    field.ok_or(FormatError::Missing(name))
}

fn assignments(list: Vec<AtOffset<'_>>) -> Vec<Assignment<'_>> {
    let one = |AtOffset(topic, partition, from)| Assignment {
        at: TopicPartition { topic: Text::into(topic), partition },
        from,
    };
    list.into_iter().map(one).collect()
}

fn committed(list: Vec<AtOffset<'_>>) -> Vec<Committed<'_>> {
    let one = |AtOffset(topic, partition, offset)| Committed {
        at: TopicPartition { topic: Text::into(topic), partition },
        offset,
    };
    list.into_iter().map(one).collect()
}

fn records(list: Vec<Read<'_>>) -> Vec<Record<'_>> {
    let one = |Read(topic, partition, offset, value)| Record {
        at: TopicPartition { topic: Text::into(topic), partition },
        offset,
        value: Text::into(value),
    };
    list.into_iter().map(one).collect()
}

impl<'a> Text<'a> {
    fn into(self) -> Cow<'a, str> {
        self.0
    }

    fn of(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }
}

impl<'a> Line<'a> {
    fn what(self) -> Result<What<'a>, FormatError> {
        let op = need(self.op, "op");
        let topic = need(self.topic, "topic").map(Text::into);
        let group = need(self.group, "group").map(Text::into);
        // The log, for events about one.
        let at = |topic: Result<Cow<'a, str>, FormatError>| {
            let partition = need(self.partition, "partition")?;
            Ok::<_, FormatError>(TopicPartition { topic: topic?, partition })
        };
        Ok(match self.event {
            Name::Send => What::Send {
                op: op?,
                topic: topic?,
                partition: self.partition,
                value: need(self.value, "value")?.into(),
                idempotent: need(self.idempotent, "idempotent")?,
            },
            Name::Sent => What::Sent { op: op?, partition: self.partition, offset: self.offset },
            Name::Poll => What::Poll { op: op? },
            Name::Polled => What::Polled {
                op: self.op,
                records: records(need(self.records, "records")?),
                positions: assignments(self.positions.unwrap_or_default()),
            },
            Name::Assigned => What::Assigned { logs: assignments(need(self.logs, "logs")?) },
            Name::Subscribed => What::Subscribed,
            Name::Rebalanced => What::Rebalanced {
                assigned: assignments(self.assigned.unwrap_or_default()),
                revoked: self.revoked.unwrap_or_default().into_iter().map(At::into).collect(),
            },
            Name::Seek => What::Seek { at: at(topic)?, from: self.from },
            Name::FullReadBegun => What::FullReadBegun { at: at(topic)? },
            Name::FullReadEnded => What::FullReadEnded { at: at(topic)? },
            Name::Commit => What::Commit {
                op: op?,
                group: group?,
                offsets: committed(need(self.offsets, "offsets")?),
            },
            Name::Committed => What::Committed { op: op? },
            Name::FetchCommits => What::FetchCommits { op: op?, group: group? },
            Name::CommitsFetched => {
                What::CommitsFetched { op: op?, offsets: committed(need(self.offsets, "offsets")?) }
            }
            Name::DeleteGroup => What::DeleteGroup { op: op?, group: group? },
            Name::GroupDeleted => What::GroupDeleted { op: op? },
            Name::ListOffsets => What::ListOffsets { op: op?, at: at(topic)? },
            Name::OffsetsListed => {
                What::OffsetsListed { op: op?, log_start: self.log_start, end: self.end }
            }
            Name::DeleteRecords => What::DeleteRecords {
                op: op?,
                at: at(topic)?,
                before: need(self.before, "before")?,
            },
            Name::RecordsDeleted => {
                What::RecordsDeleted { op: op?, log_start: need(self.log_start, "log_start")? }
            }
            Name::LogStartMoved => What::LogStartMoved {
                at: at(topic)?,
                log_start: need(self.log_start, "log_start")?,
            },
            Name::TopicCreated => {
                What::TopicCreated { topic: topic?, name: need(self.name, "name")?.into() }
            }
            Name::DeleteTopic => What::DeleteTopic { op: op?, topic: topic? },
            Name::TopicDeleted => What::TopicDeleted { op: op? },
            Name::Fail => What::Fail { op: op? },
            Name::Info => What::Info { op: op? },
            Name::ServerKilled => What::ServerKilled,
            Name::ServerStarted => What::ServerStarted,
            Name::Note => What::Note { text: need(self.text, "text")?.into() },
        })
    }

    /// A line with nothing but what every event has.
    fn bare(event: &'a Event<'_>, name: Name) -> Self {
        Self {
            time: event.time,
            process: Text::of(&event.process),
            event: name,
            op: None,
            topic: None,
            partition: None,
            value: None,
            idempotent: None,
            offset: None,
            records: None,
            positions: None,
            logs: None,
            assigned: None,
            revoked: None,
            from: None,
            group: None,
            offsets: None,
            before: None,
            log_start: None,
            end: None,
            name: None,
            text: None,
        }
    }

    fn of(event: &'a Event<'_>) -> Self {
        let bare = |name| Self::bare(event, name);
        let op = |name, op: u64| Self { op: Some(op), ..Self::bare(event, name) };
        let at = |line: Self, at: &'a TopicPartition<'_>| Self {
            topic: Some(Text::of(&at.topic)),
            partition: Some(at.partition),
            ..line
        };
        match &event.what {
            What::Send { op: number, topic, partition, value, idempotent } => Self {
                topic: Some(Text::of(topic)),
                partition: *partition,
                value: Some(Text::of(value)),
                idempotent: Some(*idempotent),
                ..op(Name::Send, *number)
            },
            What::Sent { op: number, partition, offset } => {
                Self { partition: *partition, offset: *offset, ..op(Name::Sent, *number) }
            }
            What::Poll { op: number } => op(Name::Poll, *number),
            What::Polled { op, records, positions } => Self {
                op: *op,
                records: Some(records.iter().map(Read::of).collect()),
                positions: (!positions.is_empty()).then(|| assigned(positions)),
                ..bare(Name::Polled)
            },
            What::Assigned { logs } => Self { logs: Some(assigned(logs)), ..bare(Name::Assigned) },
            What::Subscribed => bare(Name::Subscribed),
            What::Rebalanced { assigned: given, revoked } => Self {
                assigned: Some(assigned(given)),
                revoked: Some(revoked.iter().map(At::of).collect()),
                ..bare(Name::Rebalanced)
            },
            What::Seek { at: log, from } => Self { from: *from, ..at(bare(Name::Seek), log) },
            What::FullReadBegun { at: log } => at(bare(Name::FullReadBegun), log),
            What::FullReadEnded { at: log } => at(bare(Name::FullReadEnded), log),
            What::Commit { op: number, group, offsets } => Self {
                group: Some(Text::of(group)),
                offsets: Some(commits(offsets)),
                ..op(Name::Commit, *number)
            },
            What::Committed { op: number } => op(Name::Committed, *number),
            What::FetchCommits { op: number, group } => {
                Self { group: Some(Text::of(group)), ..op(Name::FetchCommits, *number) }
            }
            What::CommitsFetched { op: number, offsets } => {
                Self { offsets: Some(commits(offsets)), ..op(Name::CommitsFetched, *number) }
            }
            What::DeleteGroup { op: number, group } => {
                Self { group: Some(Text::of(group)), ..op(Name::DeleteGroup, *number) }
            }
            What::GroupDeleted { op: number } => op(Name::GroupDeleted, *number),
            What::ListOffsets { op: number, at: log } => at(op(Name::ListOffsets, *number), log),
            What::OffsetsListed { op: number, log_start, end } => {
                Self { log_start: *log_start, end: *end, ..op(Name::OffsetsListed, *number) }
            }
            What::DeleteRecords { op: number, at: log, before } => {
                Self { before: Some(*before), ..at(op(Name::DeleteRecords, *number), log) }
            }
            What::RecordsDeleted { op: number, log_start } => {
                Self { log_start: Some(*log_start), ..op(Name::RecordsDeleted, *number) }
            }
            What::LogStartMoved { at: log, log_start } => {
                Self { log_start: Some(*log_start), ..at(bare(Name::LogStartMoved), log) }
            }
            What::TopicCreated { topic, name } => Self {
                topic: Some(Text::of(topic)),
                name: Some(Text::of(name)),
                ..bare(Name::TopicCreated)
            },
            What::DeleteTopic { op: number, topic } => {
                Self { topic: Some(Text::of(topic)), ..op(Name::DeleteTopic, *number) }
            }
            What::TopicDeleted { op: number } => op(Name::TopicDeleted, *number),
            What::Fail { op: number } => op(Name::Fail, *number),
            What::Info { op: number } => op(Name::Info, *number),
            What::ServerKilled => bare(Name::ServerKilled),
            What::ServerStarted => bare(Name::ServerStarted),
            What::Note { text } => Self { text: Some(Text::of(text)), ..bare(Name::Note) },
        }
    }
}

impl<'a> At<'a> {
    fn of(at: &'a TopicPartition<'_>) -> Self {
        At(Text::of(&at.topic), at.partition)
    }

    fn into(self) -> TopicPartition<'a> {
        TopicPartition { topic: self.0.into(), partition: self.1 }
    }
}

impl<'a> Read<'a> {
    fn of(record: &'a Record<'_>) -> Self {
        let Record { at, offset, value } = record;
        Read(Text::of(&at.topic), at.partition, *offset, Text::of(value))
    }
}

fn assigned<'a>(list: &'a [Assignment<'_>]) -> Vec<AtOffset<'a>> {
    list.iter().map(|one| AtOffset(Text::of(&one.at.topic), one.at.partition, one.from)).collect()
}

fn commits<'a>(list: &'a [Committed<'_>]) -> Vec<AtOffset<'a>> {
    list.iter().map(|one| AtOffset(Text::of(&one.at.topic), one.at.partition, one.offset)).collect()
}

#[cfg(test)]
mod tests;
