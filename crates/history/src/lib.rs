//! Histories: what clients of a log did and saw, for every front, for
//! simulated and for real runs. After Jepsen's workload for Kafka.
//!
//! It knows no other crate: a history is plain events ([`Event`]), one JSON
//! object a line ([`read_line`], [`write_line`]; docs/history.md).

mod event;
mod line;

pub use event::{Assignment, Committed, Event, Record, TopicPartition, What};
pub use line::{FormatError, read_line, write_line};
