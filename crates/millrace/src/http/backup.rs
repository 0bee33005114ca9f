//! `POST /admin/backup`: makes a backup, and tells how far it is.
//!
//! The body is `{"dest": "/an/absolute/path"}`; the answer is JSON lines:
//! `{"began":true}` first (what was acknowledged by then is in the backup),
//! `{"progress":{...}}` as it goes on, and `{"done":{...}}` or
//! `{"error":"..."}` last. Invariants: who asks comes from this machine and
//! shows the token of the data directory ([`crate::token`]); who goes away
//! stops the backup.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use millrace_broker::{BackupError, BackupFigures, BackupProgress, Supervisor};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::token::Token;

/// Where it is asked for.
pub(crate) const PATH: &str = "/admin/backup";
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Between two lines of an answer.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What operators' requests need; there once the log is open.
pub(crate) type Operators = Arc<OnceLock<Operator>>;

/// Who answers operators' requests.
pub(crate) struct Operator {
    pub(crate) token: Token,
    pub(crate) supervisor: Arc<Supervisor>,
}

/// What is asked for.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Asked {
    /// An absolute path.
    pub(crate) dest: PathBuf,
}

/// One line of the answer.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// What was acknowledged before this line is in the backup.
    Began(bool),
    /// How far it is.
    Progress(Figures),
    /// It is whole.
    Done(Figures),
    /// It was not made.
    Error(String),
}

/// Figures of a backup.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    pub(crate) files_total: u64,
    pub(crate) files: u64,
    pub(crate) bytes_total: u64,
    pub(crate) bytes: u64,
    pub(crate) linked: u64,
}

impl From<BackupFigures> for Figures {
    fn from(figures: BackupFigures) -> Self {
        let BackupFigures { files_total, files, bytes_total, bytes, linked } = figures;
        Self { files_total, files, bytes_total, bytes, linked }
    }
}

/// Answers one request.
pub(super) async fn answer(operators: &Operators, request: Request) -> Response {
    let refuse = |status, why: &'static str| (status, why).into_response();
    let Some(operator) = operators.get() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the log is not open yet\n");
    };
    let shown = request.headers().get(header::AUTHORIZATION);
    if !shown.is_some_and(|shown| operator.token.is_shown(shown.as_bytes())) {
        let why = "the token of the data directory is not the one that was sent: read the file \
                   admin.token in it\n";
        return refuse(StatusCode::FORBIDDEN, why);
    }
    let Ok(body) = to_bytes(request.into_body(), BODY_BYTES_MAX).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long\n");
    };
    let asked = match serde_json::from_slice::<Asked>(&body) {
        Ok(asked) if asked.dest.is_absolute() => asked,
        _ => {
            let why = "the body is to be {\"dest\": PATH}, an absolute path\n";
            return refuse(StatusCode::BAD_REQUEST, why);
        }
    };
    let (lines, told) = mpsc::channel(4);
    tokio::spawn(make(Arc::clone(&operator.supervisor), asked.dest, lines));
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::new(Lines(told))).into_response()
}

/// Makes a backup, and tells of it until nobody listens.
async fn make(supervisor: Arc<Supervisor>, dest: PathBuf, lines: mpsc::Sender<Bytes>) {
    let progress = Arc::new(BackupProgress::default());
    if !tell(&lines, &Line::Began(true)).await {
        return;
    }
    tracing::info!(dest = %dest.display(), "a backup begins");
    let broker = supervisor.current();
    let mut work = std::pin::pin!(broker.back_up(dest.clone(), Arc::clone(&progress)));
    let mut tick = interval(TELL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let made = loop {
        tokio::select! {
            made = &mut work => break made,
            _ = tick.tick() => {
                if !tell(&lines, &Line::Progress(progress.figures().into())).await {
                    progress.stop();
                }
            }
        }
    };
    let last = match made {
        Ok(figures) => {
            tracing::info!(dest = %dest.display(), files = figures.files, bytes = figures.bytes,
                linked = figures.linked, "a backup was made");
            Line::Done(figures.into())
        }
        Err(error) => {
            let error = format!("{error}{}", left_over(&error, &dest));
            tracing::warn!(dest = %dest.display(), error, "a backup was not made");
            Line::Error(error)
        }
    };
    tell(&lines, &last).await;
}

/// What a backup that failed has left.
fn left_over(error: &BackupError, dest: &Path) -> String {
    let refused = matches!(error, BackupError::Busy)
        || matches!(error, BackupError::Target(error)
            if error.kind() == millrace_types::ErrorKind::Conflict);
    // Not ours, whatever is there.
    if refused {
        return String::new();
    }
    match std::fs::read_dir(dest).map(Iterator::count) {
        Err(_) => String::new(),
        Ok(0) => format!("; nothing of it is left in {}", dest.display()),
        Ok(files) => {
            format!("; {files} files of it are left in {}: remove them", dest.display())
        }
    }
}

/// Whether somebody hears it.
async fn tell(lines: &mpsc::Sender<Bytes>, line: &Line) -> bool {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    lines.send(text.into()).await.is_ok()
}

/// A body of lines that come one after the other.
struct Lines(mpsc::Receiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
