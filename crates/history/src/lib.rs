//! The history checker: what clients of a log did and saw, and whether a log
//! that keeps its promises could have answered so. After Jepsen's workload
//! for Kafka; one checker for every front, for simulated and for real runs.
//!
//! It knows no other crate: a history is plain events ([`Event`]), one JSON
//! object a line ([`read_line`], [`write_line`]; docs/history.md).
//! [`Checker`] takes them in order, [`Merge`] puts files in order.

mod checker;
mod event;
mod groups;
mod line;
mod log;
mod merge;
mod names;
mod report;
mod verdicts;

pub use checker::{Checker, Malformed, Options};
pub use event::{Assignment, Committed, Event, Record, TopicPartition, What};
pub use line::{FormatError, read_line, write_line};
pub use merge::{Merge, Place, ReadError};
pub use report::{Anomaly, Counts, EventNo, LogName, Placed, Report, Step};
