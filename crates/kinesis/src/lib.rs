//! The Kinesis front: AWS's Kinesis Data Streams over HTTP, on the same log as
//! every other protocol. A stream is a topic, shard N its partition N.
//!
//! ```text
//! request -> auth -> http (bounded body, encoding) -> model (types, constraints)
//!         -> actions/* (one file each) -> broker core -> answer
//! PutRecords' plain bodies: http -> puts -> actions/put_records
//! ```
//!
//! Invariants:
//! - Nothing here survives a restart, or could be needed by another front:
//!   what AWS keeps of a stream is an attribute of its topic ([`stream`]),
//!   and tokens carry what they stand for ([`token`]).
//! - An answer to a put leaves after the flush that covers it; what is read
//!   is durable and committed.
//! - Memory for a request is taken from a pool before its body is read.

mod actions;
mod arn;
mod auth;
mod call;
mod date;
mod error;
mod event_stream;
mod front;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod input;
mod keys;
mod limits;
mod model;
mod puts;
mod resource;
mod sequence;
mod shards;
mod stream;
mod subscriptions;
#[cfg(test)]
mod testing;
mod token;
mod value;

pub use auth::{Credentials, Secret};
pub use front::{Brokers, Front, Settings, StartError};
pub use http::Body;

/// The version of AWS's API that is served, as AWS names it.
pub const API_VERSION: &str = "2013-12-02";
