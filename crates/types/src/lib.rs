//! Names and numbers that every other crate speaks: ids, offsets and times as
//! newtypes whose arithmetic is checked, and the coarse kinds of error.
//!
//! Invariant: a value of these types is valid by construction, so that code
//! behind a front never checks it again. This crate knows nothing of any
//! other crate here.

#[cfg(feature = "canary")]
pub mod canary;
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

/// Whether this planted bug is planted: never, in a build without the feature
/// `canary`.
#[cfg(not(feature = "canary"))]
#[macro_export]
macro_rules! canary {
    ($name:ident) => {
        false
    };
}

/// Whether this planted bug is planted.
#[cfg(feature = "canary")]
#[macro_export]
macro_rules! canary {
    ($name:ident) => {
        $crate::canary::is_planted($crate::canary::Canary::$name)
    };
}
