//! What happens in a history. Writers build these (a simulator, tests);
//! `line` gives each its JSON.
//!
//! An operation is an invocation, and a completion with the same `op`. What
//! was invoked and never completed has an unknown outcome, as
//! [`What::Info`] has.

use std::borrow::Cow;

/// One thing that one process did or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Nanoseconds of one monotonic clock for the whole history.
    pub time: u64,
    /// Who: a producer or consumer session, a thread of an admin client.
    /// Single-threaded: its events are in the order in which it did them.
    pub process: Cow<'a, str>,
    /// What.
    pub what: What<'a>,
}

/// A log: one partition of one incarnation of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition<'a> {
    /// The topic's id, or a label that tells a topic from an earlier one of
    /// the same name, such as `orders#2`.
    pub topic: Cow<'a, str>,
    /// The partition's number; a Kinesis shard's index.
    pub partition: i32,
}

/// A record as a reader got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it was read.
    pub at: TopicPartition<'a>,
    /// Its offset.
    pub offset: i64,
    /// Its value, as it was sent.
    pub value: Cow<'a, str>,
}

/// A log given to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// The log.
    pub at: TopicPartition<'a>,
    /// The offset at which it begins to read, where the reader said so.
    /// None: wherever its first record comes from.
    pub from: Option<i64>,
}

/// A group's offset in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<'a> {
    /// The log.
    pub at: TopicPartition<'a>,
    /// The next offset that the group will read; None: it has none.
    pub offset: Option<i64>,
}

/// What happened. An `op` is unique among a process's operations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of docs/history.md, named as the field is")]
pub enum What<'a> {
    /// A record is about to be sent. To be written before the client can
    /// send it. Values are unique in a history.
    Send {
        op: u64,
        topic: Cow<'a, str>,
        /// None where the server chooses; `Sent` then names it.
        partition: Option<i32>,
        value: Cow<'a, str>,
        /// Whether the producer is idempotent: its retries make no
        /// duplicates and keep their order. Others may do both.
        idempotent: bool,
    },
    /// It was acknowledged, at this offset where the client was told one.
    Sent { op: u64, partition: Option<i32>, offset: Option<i64> },

    /// A reader that holds nothing fetched in advance asks the server now.
    /// Readers that may hold some leave it out.
    Poll { op: u64 },
    /// Records that a reader got, in the order in which it got them.
    Polled {
        /// Of its `Poll`, where it wrote one.
        op: Option<u64>,
        records: Vec<Record<'a>>,
        /// Offsets at which the reader will go on, where it knows them.
        positions: Vec<Assignment<'a>>,
    },

    /// The reader's logs are now these and no others.
    Assigned { logs: Vec<Assignment<'a>> },
    /// The reader follows a group or topics: it has no logs until it is
    /// given some.
    Subscribed,
    /// A group gave logs to the reader, took some away.
    Rebalanced { assigned: Vec<Assignment<'a>>, revoked: Vec<TopicPartition<'a>> },
    /// The reader goes to another offset.
    Seek { at: TopicPartition<'a>, from: Option<i64> },

    /// From here to `FullReadEnded` this process reads this log from its
    /// start, without a jump, at least to the end that it has now.
    FullReadBegun { at: TopicPartition<'a> },
    /// It reached that end.
    FullReadEnded { at: TopicPartition<'a> },

    /// A group's offsets are about to be committed.
    Commit { op: u64, group: Cow<'a, str>, offsets: Vec<Committed<'a>> },
    /// They were acknowledged.
    Committed { op: u64 },
    /// A group's offsets are asked for.
    FetchCommits { op: u64, group: Cow<'a, str> },
    /// What the group has, of the logs that were asked about.
    CommitsFetched { op: u64, offsets: Vec<Committed<'a>> },
    /// A group's offsets are about to be deleted, all of them.
    DeleteGroup { op: u64, group: Cow<'a, str> },
    /// They are.
    GroupDeleted { op: u64 },

    /// The log's start and end are asked for.
    ListOffsets { op: u64, at: TopicPartition<'a> },
    /// They were these; what was not asked for is None.
    OffsetsListed { op: u64, log_start: Option<i64>, end: Option<i64> },
    /// Records below an offset are about to be deleted.
    DeleteRecords { op: u64, at: TopicPartition<'a>, before: i64 },
    /// They are, and this is the log's start.
    RecordsDeleted { op: u64, log_start: i64 },
    /// The log's start was seen to be here (retention), by who knows it.
    LogStartMoved { at: TopicPartition<'a>, log_start: i64 },

    /// A topic was made: `topic` is its label, `name` what clients call it.
    TopicCreated { topic: Cow<'a, str>, name: Cow<'a, str> },
    /// A topic is about to be deleted.
    DeleteTopic { op: u64, topic: Cow<'a, str> },
    /// It is.
    TopicDeleted { op: u64 },

    /// The operation certainly had no effect, and will have none.
    Fail { op: u64 },
    /// Nobody knows whether the operation had an effect, or will have.
    Info { op: u64 },

    /// The server was stopped without warning.
    ServerKilled,
    /// The server was started.
    ServerStarted,
    /// Something a reader of the history may want to know.
    Note { text: Cow<'a, str> },
}
