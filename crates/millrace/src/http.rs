//! What is served over HTTP: to operators `/healthz`, `/readyz` and `/metrics`,
//! and at `/` Kinesis' clients.
//!
//! Invariant: what operators read changes nothing and never waits for the
//! disk: it answers while the server recovers and when its log hangs. Protocols
//! are answered from when the log is open.

mod patience;
pub(crate) mod server;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use millrace_broker::metrics::Metrics;
use millrace_kinesis::Front as Kinesis;

/// How far the server is in its life.
pub(crate) struct Readiness {
    stage: AtomicU8,
    /// Whether the log is being recovered while the process goes on.
    recovering: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

/// A stage of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Reads the log before it serves.
    Recovering = 0,
    /// Serves.
    Serving = 1,
    /// Finishes what is in flight.
    Stopping = 2,
}

impl Readiness {
    /// A server that has yet to recover.
    pub(crate) fn new() -> Self {
        Self { stage: AtomicU8::new(Stage::Recovering as u8), recovering: OnceLock::new() }
    }

    /// Serves clients from now on, but for while `recovering` says so: then the
    /// log failed, and connections are closed until it is open again.
    pub(crate) fn serve_unless(&self, recovering: impl Fn() -> bool + Send + Sync + 'static) {
        // Set once a process.
        self.recovering.set(Box::new(recovering)).ok();
        self.set(Stage::Serving);
    }

    /// Moves to `stage`.
    pub(crate) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        let stages = [Stage::Recovering, Stage::Serving, Stage::Stopping];
        let now = self.stage.load(Ordering::Relaxed);
        match stages.into_iter().find(|stage| *stage as u8 == now) {
            Some(Stage::Serving)
                if self.recovering.get().is_some_and(|recovering| recovering()) =>
            {
                (StatusCode::SERVICE_UNAVAILABLE, "recovering\n")
            }
            Some(Stage::Serving) => (StatusCode::OK, "ready\n"),
            Some(Stage::Recovering) => (StatusCode::SERVICE_UNAVAILABLE, "recovering\n"),
            Some(Stage::Stopping) | None => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    }
}

/// What the handlers read.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    /// There once the log is open.
    pub(crate) kinesis: Arc<OnceLock<Arc<Kinesis>>>,
}

/// The routes.
pub(crate) fn router(view: View) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async |State(view): State<View>| view.readiness.answer()))
        .route("/metrics", get(metrics))
        .route("/", any(kinesis))
        .with_state(view)
}

async fn kinesis(State(view): State<View>, request: Request) -> Response {
    match view.kinesis.get() {
        Some(front) => front.answer(request).await.map(Body::new),
        None => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
    }
}

async fn metrics(State(view): State<View>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], view.metrics.registry().render())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn ready_is_who_serves_and_does_not_recover() {
        let readiness = Readiness::new();
        assert_eq!(readiness.answer(), (StatusCode::SERVICE_UNAVAILABLE, "recovering\n"));
        let failed = Arc::new(AtomicBool::new(false));
        let log = Arc::clone(&failed);
        readiness.serve_unless(move || log.load(Ordering::Relaxed));
        assert_eq!(readiness.answer(), (StatusCode::OK, "ready\n"));
        failed.store(true, Ordering::Relaxed);
        assert_eq!(readiness.answer(), (StatusCode::SERVICE_UNAVAILABLE, "recovering\n"));
        readiness.set(Stage::Stopping);
        assert_eq!(readiness.answer(), (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"));
    }
}
