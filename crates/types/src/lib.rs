//! Names and numbers that every other crate speaks: ids, offsets and times as
//! newtypes whose arithmetic is checked, and the coarse kinds of error.
//!
//! Invariant: a value of these types is valid by construction, so that code
//! behind a front never checks it again. This crate knows nothing of any
//! other crate here.

mod ids;
mod kind;
mod numbers;
mod topic_name;

pub use ids::{FileId, Incarnation, Lsn, TopicId, TopicPartition};
pub use kind::ErrorKind;
pub use numbers::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp,
};
pub use topic_name::{InvalidTopicName, TopicName};
