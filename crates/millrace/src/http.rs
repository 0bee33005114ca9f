//! What an operator reads over HTTP: `/healthz`, `/readyz`, `/metrics`.
//!
//! Invariant: nothing here changes anything, and nothing waits for the disk:
//! it answers while the server recovers and when its log hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use millrace_broker::metrics::Metrics;

/// How far the server is in its life.
#[derive(Debug)]
pub(crate) struct Readiness(AtomicU8);

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
        Self(AtomicU8::new(Stage::Recovering as u8))
    }

    /// Moves to `stage`.
    pub(crate) fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        let stages = [Stage::Recovering, Stage::Serving, Stage::Stopping];
        let now = self.0.load(Ordering::Relaxed);
        match stages.into_iter().find(|stage| *stage as u8 == now) {
            Some(Stage::Serving) => (StatusCode::OK, "ready\n"),
            Some(Stage::Recovering) => (StatusCode::SERVICE_UNAVAILABLE, "recovering\n"),
            Some(Stage::Stopping) | None => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    }
}

/// What the handlers read.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
}

/// The routes.
pub(crate) fn router(view: View) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async |State(view): State<View>| view.readiness.answer()))
        .route("/metrics", get(metrics))
        .with_state(view)
}

async fn metrics(State(view): State<View>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], view.metrics.registry().render())
}
