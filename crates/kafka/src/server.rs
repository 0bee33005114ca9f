//! Accepts connections on one listener and serves each in a task of its own.
//!
//! Invariant: a connection belongs to the incarnation of the broker that was
//! current when it was accepted; a panic in one ends that one alone. Called by
//! the binary, once a listener.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use millrace_broker::Broker;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::connection::{self, End, ReceiveError};
use crate::context::{Context, Front, Listener};

/// Gives the current incarnation of the broker.
pub type Brokers = Arc<dyn Fn() -> Arc<Broker> + Send + Sync>;

/// Pause after a failed accept: without file descriptors it fails at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that there are, over all listeners.
#[derive(Debug)]
pub(crate) struct Connections {
    free: Arc<Semaphore>,
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
    per_address_max: usize,
}

impl Connections {
    pub(crate) fn new(max: usize, per_address_max: usize) -> Self {
        let free = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self { free, by_address: Mutex::default(), per_address_max }
    }
}

/// One connection's share of the limits, given back when dropped.
struct Place {
    front: Arc<Front>,
    address: IpAddr,
    _slot: OwnedSemaphorePermit,
}

impl Place {
    fn take(front: &Arc<Front>, address: IpAddr, slot: OwnedSemaphorePermit) -> Option<Self> {
        let connections = &front.connections;
        let mut by_address = connections.by_address.lock();
        let count = by_address.entry(address).or_default();
        if *count >= connections.per_address_max {
            return None;
        }
        *count += 1;
        front.metrics.opened();
        Some(Self { front: Arc::clone(front), address, _slot: slot })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.front.metrics.closed();
        let mut by_address = self.front.connections.by_address.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// Serves `socket` until `shutdown` resolves, then lets every connection finish
/// what it has begun, for the drain time-out at most.
pub async fn serve(
    socket: TcpListener,
    listener: Listener,
    brokers: Brokers,
    front: Arc<Front>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let listener = Arc::new(listener);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = tasks.join_next() => log_panic(ended),
            accepted = accept(&socket, &front) => match accepted {
                Ok((stream, peer, slot)) => {
                    let Some(place) = Place::take(&front, peer.ip(), slot) else {
                        front.metrics.refused("max.connections.per.ip");
                        continue;
                    };
                    let context = Arc::new(Context {
                        broker: brokers(),
                        front: Arc::clone(&front),
                        listener: Arc::clone(&listener),
                        peer: peer.ip(),
                        held_up: AtomicBool::new(false),
                    });
                    tasks.spawn(serve_socket(stream, context, stopping.clone(), place));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed; is there a free file descriptor?");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(socket);
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
}

/// Waits for a place first: beyond `max.connections` clients stay in the
/// listen queue, as with Kafka.
async fn accept(
    socket: &TcpListener,
    front: &Front,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(&front.connections.free).acquire_owned();
    let slot = slot.await.map_err(io::Error::other)?;
    let (stream, peer) = socket.accept().await?;
    Ok((stream, peer, slot))
}

async fn serve_socket(
    stream: TcpStream,
    context: Arc<Context>,
    mut stopping: watch::Receiver<bool>,
    _place: Place,
) {
    // Keep-alive, as Kafka: a half-open socket whose request waits is not idle.
    let options =
        stream.set_nodelay(true).and_then(|()| socket2::SockRef::from(&stream).set_keepalive(true));
    if let Err(error) = options {
        tracing::debug!(%error, "cannot set the options of a socket");
    }
    let peer = context.peer;
    let (front, broker) = (Arc::clone(&context.front), Arc::clone(&context.broker));
    let stop = Box::pin(async move {
        if stopping.wait_for(|stop| *stop).await.is_err() {
            std::future::pending().await
        }
    });
    let end = connection::serve(stream, context, stop).await;
    if let Some(reason) = refusal(&end) {
        front.metrics.refused(reason);
    }
    if matches!(end, End::BrokerEnded) {
        front.sessions.forget(&broker);
    }
    tracing::debug!(%peer, reason = %end, "connection closed");
}

/// The metric's label, for an end that is the client's doing.
fn refusal(end: &End) -> Option<&'static str> {
    Some(match end {
        End::SlowReader(_) => "slow reader",
        End::SlowWriter(_) => "slow writer",
        End::Header(_) | End::Refused { .. } => "malformed",
        End::Receive(error) => match error {
            ReceiveError::Io(_) => return None,
            ReceiveError::Truncated => "truncated",
            ReceiveError::Length { .. } => "length",
            ReceiveError::UnknownApi(_) => "unknown API",
            ReceiveError::UnsupportedVersion { .. } => "unsupported version",
        },
        End::Closed | End::Idle(_) | End::Stopped | End::BrokerEnded | End::Io(_) => return None,
    })
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a request handler panicked; its connection was closed");
    }
}

#[cfg(test)]
mod tests;
