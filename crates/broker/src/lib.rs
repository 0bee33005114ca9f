//! The protocol-free core that the fronts call: topics, appends, reads,
//! groups.
//!
//! One [`Broker`] is one incarnation: everything in its memory lives and dies
//! with its log. The [`Supervisor`] opens the next one when a write fails.
//!
//! Invariants:
//! - Nothing here names a protocol's request types; a second front needs no
//!   change here.
//! - What a method returns about records is durable, but for [`Appended`],
//!   which is once [`Broker::durable`] says so.

pub mod config;
pub mod groups;
pub mod metrics;

mod append;
mod attributes;
mod backup;
mod broker;
mod error;
mod figures;
mod health;
mod lag;
mod read;
mod reconfigure;
mod records;
mod reroute;
mod reshard;
mod retention;
mod supervisor;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod topic;
mod topics;
mod validate;

pub use append::{AppendOptions, Appended, Appends};
pub use attributes::{Attribute, ChangeError};
pub use broker::{Broker, Settings, Watcher as Watch};
pub use error::{
    AppendError, CreatePartitionsError, CreateTopicError, DeleteRecordsError, DeleteTopicError,
    ReadError, SetConfigError,
};
pub use health::{HANGS_AFTER, Health};
pub use millrace_coord::ranges;
pub use millrace_log::batch::{BatchError, Compression};
pub use millrace_log::compression::{Codec, DecompressError};
pub use millrace_log::partition::{AdmitError, ProducerState as ProducerInfo};
pub use millrace_log::records::RecordError;
pub use millrace_store::backup::{BackupError, BackupFigures, BackupProgress};
pub use millrace_store::catalog::ConfigScope;
pub use millrace_store::disk::Space;
pub use millrace_store::engine::{
    Ended, EngineOptions, Flush, IoCall, Offsets, OnCorruption, Progress, Progressed, Step,
};
pub use read::{Isolation, OffsetAndTime, Read, ReadOptions};
pub use reconfigure::{ConfigChange, Configured};
pub use records::{BatchBuilder, RecordHeader, RecordsLimit, RecordsRead, StoredRecord};
pub use reroute::hash_of_key;
pub use reshard::ReshardTopicError;
pub use supervisor::{Drivers, StartError, Supervisor};
pub use topic::{Partition, Topic};
pub use topics::NewTopic;
pub use validate::Validate;
