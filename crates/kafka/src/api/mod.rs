//! The table of APIs that are served, and one file for the handler of each.
//!
//! Invariant: [`TABLE`] is the only list of what is served. ApiVersions answers
//! are made from it, the connection dispatches by it, and a test compares it
//! with Kafka's. It is sorted by key.
//!
//! # Adding an API
//! 1. Name its two messages in `codec.rs`, and where the response says errors.
//! 2. Write `api/<name>.rs` with one of the functions below.
//! 3. Add `mod <name>;` and a row to [`TABLE`] here.
//!
//! A handler has one of five forms, told by the row's macro:
//!
//! | row | function in the file | for |
//! |---|---|---|
//! | `now!(name)` | `fn handle(call: &Call, request: XRequestData) -> Result<XResponseData, Refusal>` | answers from memory |
//! | `answer!(name)` | `async fn handle(call: &Call, request: …) -> Result<…, Refusal>` | waits, and later requests of the connection with it |
//! | `wait!(name)` | `async fn start(call: &Call, request: …) -> Result<impl Future<Output = Result<XResponseData, Refusal>> + Send + 'static, Refusal>` | begins in order, then waits while later requests go on (JoinGroup) |
//! | `wait!(name, Keeping)` | as `wait!` | keeps parts of the request for its answer (OffsetCommit) |
//! | `raw!(name)` | `async fn start(call: Call, body: Bytes) -> Result<Started, Refusal>` | decodes and encodes by itself (Produce, Fetch) |
//!
//! What is awaited in `handle` and `start` runs strictly one request after the
//! other, in the order of the connection; what `start` *returns* runs beside
//! later requests. Responses leave in request order in any case. A future is
//! dropped at any `await` when the connection closes, and the one returned by
//! `start` must not keep any of the request, whose memory is given back when
//! `start` ends; with `Keeping` it is when the response is there. A handler never answers an error by [`Refusal`] that the response has
//! a field for: a refusal closes the connection.

mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod assignment;
mod compaction;
mod config_changes;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod resource;
mod sync_group;
mod unregister_broker;
mod update_features;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use millrace_types::Lsn;

pub(crate) use self::api_versions::unsupported as unsupported_api_versions;
pub use self::fetch::Sessions;
use crate::codec::{ApiKey, CodecError, Decode};
use crate::context::Call;
use crate::memory::Use;
use crate::response::Response;
use crate::wire::Malformed;

/// A request that gets no response: its connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request does not parse, or its response cannot be said.
    #[error("malformed: {0}")]
    Codec(#[from] CodecError),
    /// The incarnation of the broker is over; another may know the outcome.
    #[error("the broker's incarnation ended")]
    Ended,
    /// As [`Self::Codec`], where a request is read by hand.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Kafka closes the connection here too.
    #[error("{0}")]
    Close(&'static str),
}

impl From<millrace_broker::Ended> for Refusal {
    fn from(_: millrace_broker::Ended) -> Self {
        Self::Ended
    }
}

/// A response to come.
pub type Pending = BoxFuture<'static, Result<Response, Refusal>>;

/// How far a request is after the part that runs in order.
pub enum Started {
    /// Answered.
    Done(Response),
    /// Answered as soon as the log is durable up to here.
    Durable(Lsn, Response),
    /// Waits for something else while later requests are processed.
    Waiting(Pending),
    /// As [`Self::Waiting`], and the request's memory is kept until then: for
    /// what the log alone is waited for.
    Keeping(Pending),
    /// Gets no response (Produce with acks=0).
    Silent,
}

/// The part of a handler that runs in order.
pub type Start = fn(Call, Bytes) -> BoxFuture<'static, Result<Started, Refusal>>;

/// One row of the table.
pub struct Api {
    /// The key.
    pub key: ApiKey,
    name: &'static str,
    /// Oldest version served.
    pub min: i16,
    /// Newest version served.
    pub max: i16,
    /// Oldest version told by ApiVersions, where that is not `min`.
    pub advertised_min: i16,
    /// Whether a second request of this API waits until the connection's first
    /// one is answered. Fetch: a session knows one request at a time.
    pub exclusive: bool,
    /// Largest request in bytes, if below `socket.request.max.bytes`.
    pub bytes_max: usize,
    /// Memory that a request may take at worst, as a multiple of its length:
    /// when it is decoded (an array of empty elements, measured by
    /// `tests/hostile.rs`), or for its answer.
    pub amplification: usize,
    /// What its memory is for.
    pub memory_use: Use,
    /// The handler.
    pub start: Start,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}-{}", self.key, self.min, self.max)
    }
}

/// Largest request of an API that carries no records.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Length of a request from which what the codec reserves grows no more.
const RESERVED_LEN: usize = 2048;
/// See [`Api::amplification`].
const AMPLIFICATION: usize = 128;

impl Api {
    const fn new(key: ApiKey, name: &'static str, min: i16, max: i16, start: Start) -> Self {
        Self {
            key,
            name,
            min,
            max,
            advertised_min: min,
            exclusive: false,
            bytes_max: BYTES_MAX,
            amplification: AMPLIFICATION,
            memory_use: Use::Other,
            start,
        }
    }

    /// Tells of versions that are answered with UNSUPPORTED_VERSION.
    const fn advertised_from(mut self, version: i16) -> Self {
        self.advertised_min = version;
        self
    }

    /// Runs once at a time on a connection.
    const fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Its requests are as long as the server allows, and decoded in place.
    const fn carrying_records(mut self) -> Self {
        self.bytes_max = usize::MAX;
        self.amplification = 1;
        self.memory_use = Use::Records;
        self
    }

    /// Takes more memory for its length than others.
    const fn costing(mut self, amplification: usize) -> Self {
        self.amplification = amplification;
        self
    }

    /// Whether the handler is given requests of this version: those served,
    /// and those that it answers with UNSUPPORTED_VERSION.
    #[must_use]
    pub fn accepts(&self, version: i16) -> bool {
        (self.advertised_min..=self.max).contains(&version)
    }

    /// Its name as Kafka spells it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Memory to account for a request of `len` bytes, while it is received and
    /// decoded: arrays of empty elements, and what the codec reserves for an
    /// array (up to 1,024 elements) before it finds them missing.
    #[must_use]
    pub fn memory(&self, len: usize) -> usize {
        let reserved = len.min(RESERVED_LEN).saturating_mul(self.amplification);
        len.saturating_mul(self.amplification).saturating_add(reserved)
    }
}

/// The data directory, as clients know it.
fn log_dir(call: &Call) -> String {
    call.broker().config().data_dir().to_owned()
}

fn decode<T: Decode>(call: &Call, mut body: Bytes) -> Result<T, Refusal> {
    Ok(T::decode(&mut body, call.version)?)
}

/// A row whose handler answers at once.
macro_rules! now {
    ($module:ident) => {
        |call, body| {
            Box::pin(async move {
                let request = decode(&call, body)?;
                let response = $module::handle(&call, request)?;
                Ok(Started::Done(call.respond(&response)?))
            })
        }
    };
}

/// A row whose handler waits, and later requests of the connection with it.
macro_rules! answer {
    ($module:ident) => {
        |call, body| {
            Box::pin(async move {
                let request = decode(&call, body)?;
                let response = $module::handle(&call, request).await?;
                Ok(Started::Done(call.respond(&response)?))
            })
        }
    };
}

/// A row whose handler begins in order and then waits beside later requests.
macro_rules! wait {
    ($module:ident) => {
        wait!($module, Waiting)
    };
    ($module:ident, $how:ident) => {
        |call, body| {
            Box::pin(async move {
                let request = decode(&call, body)?;
                let pending = $module::start(&call, request).await?;
                Ok(Started::$how(Box::pin(async move {
                    let response = pending.await?;
                    Ok(call.respond(&response)?)
                })))
            })
        }
    };
}

/// A row whose handler does everything by itself.
macro_rules! raw {
    ($module:ident) => {
        |call, body| Box::pin($module::start(call, body))
    };
}

/// One row: key, oldest and newest version, handler.
macro_rules! row {
    ($key:ident, $min:literal, $max:literal, $start:expr) => {
        Api::new(ApiKey::$key, stringify!($key), $min, $max, $start)
    };
}

/// Every API that is served, by key.
pub static TABLE: &[Api] = &[
    row!(Produce, 3, 13, raw!(produce)).advertised_from(0).carrying_records(),
    row!(Fetch, 4, 18, raw!(fetch)).exclusive(),
    row!(ListOffsets, 1, 11, answer!(list_offsets)),
    row!(Metadata, 0, 13, answer!(metadata)),
    row!(OffsetCommit, 2, 10, wait!(offset_commit, Keeping)),
    // Groups without a name: the worst of all to decode.
    row!(OffsetFetch, 1, 10, answer!(offset_fetch)).costing(192),
    row!(FindCoordinator, 0, 6, now!(find_coordinator)),
    row!(JoinGroup, 0, 9, wait!(join_group)),
    row!(Heartbeat, 0, 4, now!(heartbeat)),
    row!(LeaveGroup, 0, 5, now!(leave_group)),
    row!(SyncGroup, 0, 5, wait!(sync_group)),
    row!(DescribeGroups, 0, 6, now!(describe_groups)),
    row!(ListGroups, 0, 5, now!(list_groups)),
    row!(ApiVersions, 0, 4, now!(api_versions)),
    row!(CreateTopics, 2, 7, answer!(create_topics)),
    row!(DeleteTopics, 1, 6, answer!(delete_topics)),
    row!(DeleteRecords, 0, 2, answer!(delete_records)),
    row!(InitProducerId, 0, 5, now!(init_producer_id)),
    row!(OffsetForLeaderEpoch, 2, 4, now!(offset_for_leader_epoch)),
    // Ten settings and their documentation for eight bytes that name a group.
    row!(DescribeConfigs, 1, 4, answer!(describe_configs)).costing(512),
    row!(AlterConfigs, 0, 2, answer!(alter_configs)),
    row!(AlterReplicaLogDirs, 1, 2, now!(alter_replica_log_dirs)),
    row!(DescribeLogDirs, 1, 5, answer!(describe_log_dirs)),
    row!(CreatePartitions, 0, 3, answer!(create_partitions)),
    row!(DeleteGroups, 0, 2, wait!(delete_groups, Keeping)),
    row!(ElectLeaders, 0, 2, now!(elect_leaders)),
    row!(IncrementalAlterConfigs, 0, 1, answer!(incremental_alter_configs)),
    row!(AlterPartitionReassignments, 0, 1, now!(alter_partition_reassignments)),
    row!(ListPartitionReassignments, 0, 0, now!(list_partition_reassignments)),
    row!(OffsetDelete, 0, 0, wait!(offset_delete, Keeping)),
    row!(DescribeQuorum, 0, 2, now!(describe_quorum)),
    row!(UpdateFeatures, 0, 2, now!(update_features)),
    row!(DescribeCluster, 0, 2, now!(describe_cluster)),
    row!(DescribeProducers, 0, 0, now!(describe_producers)),
    row!(UnregisterBroker, 0, 0, now!(unregister_broker)),
    row!(ListConfigResources, 0, 1, now!(list_config_resources)),
    row!(DescribeTopicPartitions, 0, 0, now!(describe_topic_partitions)),
];

/// The row of an API.
#[must_use]
pub fn find(key: i16) -> Option<&'static Api> {
    let row = TABLE.binary_search_by_key(&key, |api| api.key as i16).ok()?;
    TABLE.get(row)
}

#[cfg(test)]
mod tests;
