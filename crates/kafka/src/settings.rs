//! Settings of the Kafka front. Those that Kafka has keep its names (dots as
//! underscores), units and defaults.

use std::time::Duration;

use millrace_broker::config::BrokerConfig;

/// What the front needs to know before it accepts the first connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `socket.request.max.bytes`: largest request, in bytes.
    pub socket_request_max_bytes: usize,
    /// `connections.max.idle.ms`: a connection without a request for so long
    /// is closed.
    pub connections_max_idle: Duration,
    /// `max.connections`: further clients wait in the listen queue.
    pub max_connections: usize,
    /// `max.connections.per.ip`: further connections of an address are closed.
    pub max_connections_per_ip: usize,
    /// `queued.max.request.bytes`: memory of requests being received or
    /// decoded, over all connections, in bytes. Kafka's default is "no limit";
    /// ours is bounded.
    pub queued_max_request_bytes: usize,
    /// Requests of one connection that may be unanswered before its socket is
    /// no longer read.
    pub in_flight_requests_max: usize,
    /// Bytes of responses of one connection that may wait for the socket
    /// before its next request is begun.
    pub response_bytes_max: usize,
    /// A client that takes less than [`SEND_BYTES_MIN`] of what waits for it in
    /// this time is cut off.
    pub send_timeout: Duration,
    /// A request that has begun to arrive must be whole, or [`RECEIVE_BYTES_MIN`]
    /// longer, after this time; after [`RECEIVE_TIMEOUT_CONTENDED`] already
    /// while others wait for the memory that it holds.
    pub receive_timeout: Duration,
    /// How long a connection may finish what it has begun when the server
    /// stops.
    pub drain_timeout: Duration,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: usize,
    /// Partitions of all fetch sessions together. A session that would exceed
    /// them is not kept: its client sends whole requests.
    pub fetch_session_partitions_max: usize,
    /// `fetch.max.bytes` of the broker: largest Fetch response, in bytes.
    pub fetch_max_bytes: usize,
}

/// Idle time of a connection that is never closed for it: 30 years.
const IDLE_NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// See [`Settings::receive_timeout`].
pub const RECEIVE_BYTES_MIN: usize = 16 * 1024;
/// See [`Settings::receive_timeout`].
pub const RECEIVE_TIMEOUT_CONTENDED: Duration = Duration::from_secs(2);
/// See [`Settings::send_timeout`].
pub const SEND_BYTES_MIN: usize = 16 * 1024;

impl Settings {
    /// What Kafka's settings of the broker say, with our own at their defaults.
    #[must_use]
    pub fn new(config: &BrokerConfig) -> Self {
        let idle = config.connections_max_idle_ms.map(Duration::from_millis);
        Self {
            socket_request_max_bytes: config.request_bytes_max,
            connections_max_idle: idle.unwrap_or(IDLE_NEVER),
            max_connections: config.connections_max,
            max_connections_per_ip: config.connections_per_ip_max,
            fetch_sessions_max: config.fetch_sessions_max,
            fetch_max_bytes: config.fetch_bytes_max,
            ..Self::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket_request_max_bytes: 100 * 1024 * 1024,
            connections_max_idle: Duration::from_secs(600),
            max_connections: usize::MAX,
            max_connections_per_ip: usize::MAX,
            queued_max_request_bytes: 640 * 1024 * 1024,
            in_flight_requests_max: 64,
            response_bytes_max: 64 * 1024 * 1024,
            send_timeout: Duration::from_secs(30),
            receive_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(2),
            fetch_sessions_max: 1000,
            fetch_session_partitions_max: 2_000_000,
            fetch_max_bytes: 55 * 1024 * 1024,
        }
    }
}
