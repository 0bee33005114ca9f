//! `/readyz`: whether clients are served, and if not what the server does
//! instead and how far it is.
//!
//! Invariant: the answer is made from memory and waits for nothing, since it
//! is asked when something hangs.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_broker::{Health, IoCall, Progress, Progressed};
use millrace_store::env::Env;
use serde_json::{Value, json};

/// How far the server is in its life.
pub(crate) struct Readiness {
    stage: AtomicU8,
    env: Arc<dyn Env>,
    /// Of the start.
    progress: Arc<Progress>,
    /// How the broker is, once it is there.
    health: OnceLock<Box<dyn Fn() -> Health + Send + Sync>>,
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

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Ready,
    Recovering(Progressed),
    Hanging(IoCall, Duration),
    Stopping,
}

impl Readiness {
    /// A server that has yet to recover, and tells `progress` how far it is.
    pub(crate) fn new(env: Arc<dyn Env>, progress: Arc<Progress>) -> Self {
        let stage = AtomicU8::new(Stage::Recovering as u8);
        Self { stage, env, progress, health: OnceLock::new() }
    }

    /// Serves clients from now on, for as long as the broker is in `health`.
    pub(crate) fn serve_while(&self, health: impl Fn() -> Health + Send + Sync + 'static) {
        // Set once a process.
        self.health.set(Box::new(health)).ok();
        self.set(Stage::Serving);
    }

    /// Moves to `stage`.
    pub(crate) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Whether clients are served.
    pub(crate) fn is_ready(&self) -> bool {
        self.state() == State::Ready
    }

    fn state(&self) -> State {
        let stages = [Stage::Recovering, Stage::Serving, Stage::Stopping];
        let now = self.stage.load(Ordering::Relaxed);
        match stages.into_iter().find(|stage| *stage as u8 == now) {
            Some(Stage::Serving) => match self.health.get().map(|health| health()) {
                Some(Health::Recovering(progress)) => State::Recovering(progress),
                Some(Health::Hanging { call, lasted }) => State::Hanging(call, lasted),
                Some(Health::Serving) | None => State::Ready,
            },
            Some(Stage::Recovering) => State::Recovering(self.progress.look(self.env.monotonic())),
            Some(Stage::Stopping) | None => State::Stopping,
        }
    }

    /// The answer to a request with these headers: text for people, JSON for
    /// who asks for it.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        let state = self.state();
        let status = match state {
            State::Ready => StatusCode::OK,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
        if accepted.is_some_and(|accepted| accepted.contains("application/json")) {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, state.json().to_string()).into_response()
        } else {
            (status, state.text()).into_response()
        }
    }
}

impl State {
    fn text(self) -> String {
        match self {
            Self::Ready => "ready\n".to_owned(),
            Self::Stopping => "stopping\n".to_owned(),
            Self::Hanging(call, lasted) => format!(
                "hanging: {} of the log has not returned for {:.1} s; nothing is acknowledged until it does\n",
                named(call),
                lasted.as_secs_f64()
            ),
            Self::Recovering(progress) => {
                let Progressed { step, files, files_read, bytes, bytes_read, took } = progress;
                let mut text = format!("recovering: {}", step.text());
                if files > 0 {
                    text.push_str(&format!(", {files_read} of {files} files"));
                }
                if bytes > 0 {
                    let mb = |bytes: u64| bytes.div_ceil(1_000_000);
                    text.push_str(&format!(", {} of {} MB read", mb(bytes_read), mb(bytes)));
                }
                text.push_str(&format!(", {:.1} s\n", took.as_secs_f64()));
                text
            }
        }
    }

    fn json(self) -> Value {
        match self {
            Self::Ready => json!({ "ready": true, "state": "serving" }),
            Self::Stopping => json!({ "ready": false, "state": "stopping" }),
            Self::Hanging(call, lasted) => json!({
                "ready": false,
                "state": "hanging",
                "doing": named(call),
                "seconds": seconds(lasted),
            }),
            Self::Recovering(progress) => json!({
                "ready": false,
                "state": "recovering",
                "doing": progress.step.text(),
                "files": progress.files,
                "files_read": progress.files_read,
                "bytes": progress.bytes,
                "bytes_read": progress.bytes_read,
                "seconds": seconds(progress.took),
            }),
        }
    }
}

fn named(call: IoCall) -> &'static str {
    match call {
        IoCall::Write => "a write",
        IoCall::Flush => "a flush",
    }
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use millrace_broker::Step;

    use super::*;
    use crate::env::TokioEnv;

    async fn asked(readiness: &Readiness, accept: &str) -> (u16, String) {
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
        let answer = readiness.answer(&headers);
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    const TEXT: &str = "*/*";
    const JSON: &str = "application/json";

    #[tokio::test(start_paused = true)]
    async fn a_start_says_what_it_does() {
        let env: Arc<dyn Env> = Arc::new(TokioEnv::new());
        let progress = Arc::new(Progress::default());
        let readiness = Readiness::new(Arc::clone(&env), Arc::clone(&progress));
        progress.begin(Step::Checkpoint, env.monotonic());
        tokio::time::advance(Duration::from_millis(2_100)).await;
        let expected = "recovering: reading the checkpoint, 2.1 s\n";
        assert_eq!(asked(&readiness, TEXT).await, (503, expected.to_owned()));
        let told: Value = serde_json::from_str(&asked(&readiness, JSON).await.1).unwrap();
        assert_eq!(told["ready"], false);
        assert_eq!(told["seconds"], 2.1);
        assert!(!readiness.is_ready());
    }

    #[test]
    fn how_far_a_start_is_is_told_in_files_and_bytes() {
        let state = State::Recovering(Progressed {
            step: Step::Log,
            files: 7,
            files_read: 3,
            bytes: 410_000_000,
            bytes_read: 119_200_000,
            took: Duration::from_millis(2_100),
        });
        let expected = "recovering: reading the log, 3 of 7 files, 120 of 410 MB read, 2.1 s\n";
        assert_eq!(state.text(), expected);
    }

    #[tokio::test]
    async fn ready_is_who_serves_and_does_not_hang() {
        let readiness = Readiness::new(Arc::new(TokioEnv::new()), Arc::default());
        let health = Arc::new(Mutex::new(Health::Serving));
        let seen = Arc::clone(&health);
        readiness.serve_while(move || *seen.lock().unwrap());
        assert_eq!(asked(&readiness, TEXT).await, (200, "ready\n".to_owned()));
        let lasted = Duration::from_millis(7_240);
        *health.lock().unwrap() = Health::Hanging { call: IoCall::Flush, lasted };
        let (status, said) = asked(&readiness, TEXT).await;
        assert_eq!(status, 503);
        assert!(
            said.starts_with("hanging: a flush of the log has not returned for 7.2 s"),
            "{said}"
        );
        let (_, said) = asked(&readiness, JSON).await;
        let told: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&told["state"], &told["seconds"]), (&"hanging".into(), &7.24.into()));
        *health.lock().unwrap() = Health::Serving;
        assert!(readiness.is_ready());
        readiness.set(Stage::Stopping);
        assert_eq!(asked(&readiness, TEXT).await, (503, "stopping\n".to_owned()));
    }
}
