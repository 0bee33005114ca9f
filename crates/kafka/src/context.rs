//! What handlers are given: the broker, the shared state of the front, and the
//! listener and peer of the connection.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use millrace_broker::Broker;
use millrace_broker::metrics::Metrics;

use crate::api::{Api, Sessions};
use crate::codec::{self, CodecError, Encode, KafkaString, Outcome};
use crate::memory::Pool;
use crate::metrics::FrontMetrics;
use crate::notice::Notices;
use crate::response::Response;
use crate::server::Connections;
use crate::settings::Settings;

/// What all connections of this front share. One a process; it outlives the
/// incarnations of the broker.
#[derive(Debug)]
pub struct Front {
    /// The front's settings.
    pub settings: Settings,
    /// Connections, against their limits.
    pub(crate) connections: Connections,
    /// Fetch sessions.
    pub sessions: Sessions,
    /// Memory of requests.
    pub memory: Pool,
    /// Counts and times.
    pub metrics: Arc<FrontMetrics>,
    /// Log lines about what a response has no field for.
    pub notices: Notices,
}

impl Front {
    /// A front with no connection.
    #[must_use]
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        let memory = Pool::new(settings.queued_max_request_bytes, &metrics);
        let metrics = Arc::new(FrontMetrics::new(metrics));
        let connections =
            Connections::new(settings.max_connections, settings.max_connections_per_ip);
        let sessions =
            Sessions::new(settings.fetch_sessions_max, settings.fetch_session_partitions_max);
        Arc::new(Self {
            settings,
            connections,
            sessions,
            memory,
            metrics,
            notices: Notices::default(),
        })
    }
}

/// A listener as its clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, such as `PLAINTEXT`.
    pub name: String,
    /// Host that clients are told to connect to.
    pub host: String,
    /// Port that clients are told to connect to.
    pub port: u16,
}

/// One connection, as its handlers see it.
#[derive(Debug)]
pub struct Context {
    /// The incarnation that this connection lives and dies with.
    pub broker: Arc<Broker>,
    /// What all connections share.
    pub front: Arc<Front>,
    /// The listener that the client came in by; its address is what Metadata
    /// and FindCoordinator answer.
    pub listener: Arc<Listener>,
    /// Who connected; shown by DescribeGroups.
    pub peer: IpAddr,
    /// Whether a request was received that can't begin for those that wait.
    pub held_up: AtomicBool,
}

impl Context {
    /// Says whether a request of this connection can't begin for those that
    /// wait. The connection polls them after it.
    pub(crate) fn set_held_up(&self, held_up: bool) {
        self.held_up.store(held_up, Ordering::Relaxed);
    }

    /// Whether a request can't begin for those that wait: who may answer early
    /// does so then.
    pub(crate) fn is_held_up(&self) -> bool {
        self.held_up.load(Ordering::Relaxed)
    }

    /// Resolves when a request is held up. It leaves no waker, since the
    /// connection polls what waits whenever it has found one to be.
    pub(crate) async fn held_up(&self) {
        poll_fn(|_| if self.is_held_up() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// One request: its header and its connection.
#[derive(Clone, Debug)]
pub struct Call {
    /// The connection.
    pub context: Arc<Context>,
    /// The row of the table.
    pub api: &'static Api,
    /// The version of the request and of its response.
    pub version: i16,
    /// Sent back with the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<KafkaString>,
}

impl Call {
    /// The broker of this connection.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.context.broker
    }

    /// What the client calls itself, or nothing.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.client_id.as_ref().map_or("", KafkaString::as_str)
    }

    /// The frame that answers this request with `body`.
    ///
    /// # Errors
    /// The body cannot be said at this version.
    pub fn respond(&self, body: &(impl Encode + Outcome)) -> Result<Response, CodecError> {
        codec::encode_response(self.api.key as i16, self.version, self.correlation_id, body)
    }
}
