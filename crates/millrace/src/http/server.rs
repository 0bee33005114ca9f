//! The HTTP server: HTTP/1.1 and HTTP/2, with prior knowledge or by what TLS
//! agreed on, on one socket.
//!
//! Invariant: what a connection can take is bounded before it is accepted:
//! their number (over all addresses, and from before a TLS handshake), the size
//! of headers, the requests at once on one, and the time in which nothing
//! moves. Bodies are bounded by who reads them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::{BoxError, Router};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use millrace_broker::metrics::{Counter, Front, Gauge, Metrics};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Way;
use super::again::polled_again;
use super::patience::{Answers, IDLE, Patient};
use super::portions::{Portions, Requests};

/// Connections at once; more wait in the socket's queue.
const CONNECTIONS_MAX: usize = 4096;
/// Requests at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 128;
/// Bytes of a request's headers.
const HEADERS_BYTES_MAX: u32 = 64 << 10;
/// Headers of a request come within this time, in which hyper counts the time
/// that a connection is kept for its next request. SDKs keep theirs for 90
/// seconds; to close one under a request costs a retry. One that is silent costs
/// no less, and may be so for as long.
const HEADERS_TIME: Duration = IDLE;
/// A TLS handshake is over within this time.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Bytes that a client of HTTP/2 may send before they are read: of one request
/// (a small multiple of a packet keeps uploads going), and of all.
const WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// A quiet connection of HTTP/2 is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIME: Duration = Duration::from_secs(20);
/// What is in flight at a stop has this long.
const STOP_TIME: Duration = Duration::from_secs(5);
/// After an error of `accept` that is not a client's (no file is free).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all addresses share.
#[derive(Clone)]
pub(crate) struct Server {
    /// The routes for connections of this machine, and for others in the clear
    /// and by TLS.
    near: Router,
    far: Router,
    far_by_tls: Router,
    tls: Option<TlsAcceptor>,
    builder: Arc<Builder<Requests>>,
    room: Arc<Semaphore>,
    opened: Arc<Counter>,
    open: Arc<Gauge>,
}

impl Server {
    /// Serves what `routers` has for each way that a connection can come, and
    /// TLS by `tls`.
    pub(crate) fn new(
        routers: impl Fn(Way) -> Router,
        tls: Option<TlsAcceptor>,
        metrics: &Metrics,
    ) -> Self {
        let front = Front { front: "http" };
        Self {
            near: routers(Way::Loopback),
            far: routers(Way::Open),
            far_by_tls: routers(Way::Tls),
            tls,
            builder: Arc::new(builder()),
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            opened: metrics.connections_opened.with(&front),
            open: metrics.connections.with(&front),
        }
    }

    /// Serves connections until `stopped` resolves, then lets requests finish.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        tls: bool,
        stopped: impl Future<Output = ()>,
    ) {
        let graceful = GracefulShutdown::new();
        let mut stopped = std::pin::pin!(stopped);
        let server = Arc::new(self);
        loop {
            let (socket, held) = tokio::select! {
                biased;
                () = &mut stopped => break,
                accepted = accept(&listener, &server.room) => accepted,
            };
            server.opened.increment();
            server.open.add(1);
            let (server, watcher) = (Arc::clone(&server), graceful.watcher());
            tokio::spawn(async move {
                server.converse(socket, tls, watcher).await;
                server.open.add(-1);
                drop(held);
            });
        }
        drop(listener);
        if timeout(STOP_TIME, graceful.shutdown()).await.is_err() {
            tracing::debug!("HTTP requests in flight were cut off");
        }
    }

    /// Serves one connection to its end.
    async fn converse(&self, socket: TcpStream, tls: bool, watcher: Watcher) {
        let near = is_loopback(&socket);
        // Around the socket itself: TLS keeps some of what is written.
        let answers = Answers::default();
        let stream = Patient::new(socket, answers.clone());
        let router = match tls {
            _ if near => &self.near,
            true => &self.far_by_tls,
            false => &self.far,
        };
        let ended = match self.tls.as_ref().filter(|_| tls) {
            None => self.answer(stream, answers, router, watcher).await,
            Some(acceptor) => match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.answer(stream, answers, router, watcher).await,
                Ok(Err(error)) => Err(error.into()),
                Err(elapsed) => Err(elapsed.into()),
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }

    async fn answer<S>(
        &self,
        stream: S,
        answers: Answers,
        router: &Router,
        watcher: Watcher,
    ) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let routes = TowerToHyperService::new(router.clone());
        let service = service_fn(move |request| {
            let (answer, owed) = (routes.call(request), answers.owe());
            async move {
                let answer = answer.await?.map(Portions::new);
                drop(owed);
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        polled_again(watcher.watch(connection.into_owned())).await
    }
}

/// Whether a connection came to an address that only this machine has.
fn is_loopback(socket: &TcpStream) -> bool {
    socket.local_addr().is_ok_and(|at| at.ip().to_canonical().is_loopback())
}

fn builder() -> Builder<Requests> {
    let mut builder = Builder::new(Requests);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIME)
        .max_buf_size(usize::try_from(HEADERS_BYTES_MAX).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME);
    builder
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let held = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                // Answers are written whole: nothing is to be gathered.
                socket.set_nodelay(true).ok();
                return (socket, held);
            }
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
