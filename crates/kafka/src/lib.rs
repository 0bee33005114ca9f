//! The Kafka protocol: framing, dispatch, one file per API key.
//!
//! It translates between Kafka's requests and [`millrace_broker::Broker`] and
//! holds no state that another front could need. Entry point: [`serve`].

pub mod api;
pub mod codec;
mod connection;
mod context;
mod errors;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod memory;
mod metrics;
mod notice;
mod operations;
mod response;
mod server;
mod settings;
#[cfg(test)]
mod testing;
mod wire;

pub use context::{Call, Context, Front, Listener};
pub use failure::Failure;
pub use memory::{Permit, Pool};
pub use metrics::FrontMetrics;
pub use notice::Notices;
pub use response::Response;
pub use server::{Brokers, serve};
pub use settings::{RECEIVE_BYTES_MIN, RECEIVE_TIMEOUT_CONTENDED, SEND_BYTES_MIN, Settings};

/// The release of Apache Kafka whose APIs are served, each up to the newest
/// version that it had there.
pub const PROTOCOL_RELEASE: &str = "4.3";
