//! The table of APIs that are served, and one file for the handler of each.
//!
//! Invariant: [`TABLE`] is the only list of what is served. ApiVersions answers
//! are made from it, the connection dispatches by it, and a test compares it
//! with Kafka's. It is sorted by key.
//!
//! # Adding an API
//! 1. Name its two messages in `codec.rs`.
//! 2. Write `api/<name>.rs` with one of the functions below.
//! 3. Add `mod <name>;` and a row to [`TABLE`] here.
//!
//! A handler has one of four forms, told by the row's macro:
//!
//! | row | function in the file | for |
//! |---|---|---|
//! | `now!(name)` | `fn handle(call: &Call, request: XRequestData) -> Result<XResponseData, Refusal>` | answers from memory |
//! | `answer!(name)` | `async fn handle(call: &Call, request: …) -> Result<…, Refusal>` | waits, and later requests of the connection with it |
//! | `wait!(name)` | `async fn start(call: &Call, request: …) -> Result<impl Future<Output = Result<XResponseData, Refusal>> + Send + 'static, Refusal>` | begins in order, then waits while later requests go on (JoinGroup) |
//! | `raw!(name)` | `async fn start(call: Call, body: Bytes) -> Result<Started, Refusal>` | decodes and encodes by itself (Produce, Fetch) |
//!
//! What is awaited in `handle` and `start` runs strictly one request after the
//! other, in the order of the connection; what `start` *returns* runs beside
//! later requests. Responses leave in request order in any case. A future is
//! dropped at any `await` when the connection closes, and the one returned by
//! `start` must not keep the request: its memory is given back when `start`
//! ends. A handler never answers an error by [`Refusal`] that the response has
//! a field for: a refusal closes the connection.

mod api_versions;
mod delete_records;
mod init_producer_id;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use millrace_types::Lsn;

use crate::codec::{ApiKey, CodecError, Decode};
use crate::context::Call;
use crate::response::Response;

/// A request that gets no response: its connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request does not parse, or its response cannot be said.
    #[error("malformed: {0}")]
    Codec(#[from] CodecError),
    /// The incarnation of the broker is over; another may know the outcome.
    #[error("the broker's incarnation ended")]
    Ended,
    /// Kafka closes the connection here too.
    #[error("{0}")]
    Close(&'static str),
}

/// How far a request is after the part that runs in order.
pub enum Started {
    /// Answered.
    Done(Response),
    /// Answered as soon as the log is durable up to here.
    Durable(Lsn, Response),
    /// Waits for something else while later requests are processed.
    Waiting(BoxFuture<'static, Result<Response, Refusal>>),
    /// Gets no response (Produce with acks=0).
    Silent,
}

/// The part of a handler that runs in order.
pub type Start = fn(Call, Bytes) -> BoxFuture<'static, Result<Started, Refusal>>;

/// One row of the table.
pub struct Api {
    /// The key.
    pub key: ApiKey,
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
    /// Memory that decoding may take at worst, as a multiple of the request's
    /// length (an array of empty elements: measured by `tests/hostile.rs`).
    pub amplification: usize,
    /// The handler.
    pub start: Start,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}-{}", self.key, self.min, self.max)
    }
}

/// Largest request of an API that carries no records.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// See [`Api::amplification`].
const AMPLIFICATION: usize = 64;

impl Api {
    const fn new(key: ApiKey, min: i16, max: i16, start: Start) -> Self {
        Self {
            key,
            min,
            max,
            advertised_min: min,
            exclusive: false,
            bytes_max: BYTES_MAX,
            amplification: AMPLIFICATION,
            start,
        }
    }

    /// Whether this version is served.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// Memory to account for a request of `len` bytes, while it is received and
    /// decoded.
    #[must_use]
    pub fn memory(&self, len: usize) -> usize {
        len.saturating_mul(self.amplification)
    }
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
#[allow(unused_macros, reason = "used by the group APIs")]
macro_rules! wait {
    ($module:ident) => {
        |call, body| {
            Box::pin(async move {
                let request = decode(&call, body)?;
                let pending = $module::start(&call, request).await?;
                Ok(Started::Waiting(Box::pin(async move {
                    let response = pending.await?;
                    Ok(call.respond(&response)?)
                })))
            })
        }
    };
}

/// A row whose handler does everything by itself.
#[allow(unused_macros, reason = "used by Produce and Fetch")]
macro_rules! raw {
    ($module:ident) => {
        |call, body| Box::pin($module::start(call, body))
    };
}

/// Every API that is served, by key.
pub static TABLE: &[Api] = &[
    Api::new(ApiKey::ApiVersions, 0, 4, now!(api_versions)),
    Api::new(ApiKey::DeleteRecords, 0, 2, answer!(delete_records)),
    Api::new(ApiKey::InitProducerId, 0, 5, now!(init_producer_id)),
];

/// The row of an API.
#[must_use]
pub fn find(key: i16) -> Option<&'static Api> {
    let row = TABLE.binary_search_by_key(&key, |api| api.key as i16).ok()?;
    TABLE.get(row)
}

#[cfg(test)]
mod tests;
