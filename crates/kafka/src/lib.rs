//! The Kafka protocol: framing, dispatch, one file per API key.
//!
//! It translates between Kafka's requests and [`millrace_broker::Broker`] and
//! holds no state that another front could need. Entry point: `server::serve`.

pub mod api;
pub mod codec;
mod context;
mod errors;
mod notice;
mod response;
mod settings;

pub use context::{Call, Context, Front, Listener};
pub use notice::Notices;
pub use response::Response;
pub use settings::{SEND_BYTES_MIN, Settings};
