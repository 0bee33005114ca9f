//! The HTTP server: HTTP/1.1 and HTTP/2 with prior knowledge on one socket.
//!
//! Invariant: what a connection can take is bounded before it is accepted:
//! their number, the size of headers, the requests at once on one, and the time
//! in which nothing moves. Bodies are bounded by who reads them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use millrace_broker::metrics::{Front, Metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Way;
use super::patience::Patient;

/// Connections at once; more wait in the socket's queue.
const CONNECTIONS_MAX: usize = 4096;
/// Requests at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 128;
/// Bytes of a request's headers.
const HEADERS_BYTES_MAX: u32 = 64 << 10;
/// Headers of a request come within this time.
const HEADERS_TIME: Duration = Duration::from_secs(30);
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

/// Serves connections until `stopped` resolves, then lets requests finish.
/// `routers` has the routes for each way that a connection can come.
pub(crate) async fn serve(
    listener: TcpListener,
    routers: impl Fn(Way) -> Router,
    metrics: Arc<Metrics>,
    stopped: impl Future<Output = ()>,
) {
    let front = Front { front: "http" };
    let opened = metrics.connections_opened.with(&front);
    let open = metrics.connections.with(&front);
    let (near, far) = (routers(Way::Loopback), routers(Way::Open));
    let graceful = GracefulShutdown::new();
    let builder = Arc::new(builder());
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let (socket, held) = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let router = if is_loopback(&socket) { &near } else { &far };
        let service = TowerToHyperService::new(router.clone());
        let io = TokioIo::new(Patient::new(socket));
        let connection = builder.serve_connection(io, service).into_owned();
        let connection = graceful.watch(connection);
        opened.increment();
        open.add(1);
        let open = Arc::clone(&open);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
            open.add(-1);
            drop(held);
        });
    }
    drop(listener);
    if timeout(STOP_TIME, graceful.shutdown()).await.is_err() {
        tracing::debug!("HTTP requests in flight were cut off");
    }
}

/// Whether a connection came to an address that only this machine has.
fn is_loopback(socket: &TcpStream) -> bool {
    socket.local_addr().is_ok_and(|at| at.ip().to_canonical().is_loopback())
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
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
