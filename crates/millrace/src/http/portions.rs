//! Answers over HTTP/2 in portions, and the end of those that nobody reads.
//!
//! Invariant: a body is asked for more only when its client has room for all
//! that it was given, so that a body, and the memory it holds, lives until its
//! client has taken it but for one portion. A client that takes no portion for a
//! minute loses the request, and keeps its connection: the socket moves, since
//! others of its requests do, so [`super::patience`] sees nothing of it.
//!
//! Bodies tell who polls them by a variable of the task: hyper makes the task,
//! and tells nobody which request it is for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep};

use super::patience::STALL;

/// Bytes of a portion. Smaller answers are sent as they are.
const PORTION: usize = 64 << 10;

tokio::task_local! {
    /// Of the request whose task this is.
    static PROGRESS: Arc<Progress>;
}

/// How far an answer is.
#[derive(Debug, Default)]
struct Progress {
    /// Portions that the connection has taken.
    taken: AtomicU64,
    /// Whether the body has given what it was asked for, and is not asked for
    /// more.
    waits: AtomicBool,
}

/// Runs the requests of HTTP/2 connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requests;

impl<F> Executor<F> for Requests
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(Request {
            future: Box::pin(future),
            progress: Arc::default(),
            taken: 0,
            stall: Box::pin(sleep(STALL)),
        });
    }
}

/// One request of HTTP/2, from its head to the end of its answer.
struct Request<F> {
    future: Pin<Box<F>>,
    progress: Arc<Progress>,
    /// What was taken when the time began.
    taken: u64,
    stall: Pin<Box<Sleep>>,
}

impl<F: Future<Output = ()>> Future for Request<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let (future, progress) = (&mut this.future, &this.progress);
        if PROGRESS.sync_scope(Arc::clone(progress), || future.as_mut().poll(context)).is_ready() {
            return Poll::Ready(());
        }
        let taken = progress.taken.load(Ordering::Relaxed);
        if taken != std::mem::replace(&mut this.taken, taken) {
            this.stall.as_mut().reset(Instant::now() + STALL);
        }
        if !progress.waits.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        ready!(this.stall.as_mut().poll(context));
        tracing::debug!("an answer over HTTP/2 that is not read is cut off");
        // Dropped, it resets its stream.
        Poll::Ready(())
    }
}

/// A body in portions.
pub(super) struct Portions {
    body: Body,
    /// What is left of the body's last frame.
    rest: Bytes,
    /// Whether the end waits until the last portion has been taken.
    large: bool,
}

impl Portions {
    pub(super) fn new(body: Body) -> Self {
        let len = HttpBody::size_hint(&body).exact().map(usize::try_from);
        let large = !matches!(len, Some(Ok(len)) if len <= PORTION);
        Self { body, rest: Bytes::new(), large }
    }

    fn poll_portion(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let portion = self.rest.split_to(self.rest.len().min(PORTION));
        Poll::Ready(Some(Ok(Frame::data(portion))))
    }
}

impl HttpBody for Portions {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = self.get_mut().poll_portion(context);
        // HTTP/1.1 has one task for its connection, and needs none of this.
        let told = PROGRESS.try_with(|progress| {
            progress.taken.fetch_add(1, Ordering::Relaxed);
            progress.waits.store(polled.is_ready(), Ordering::Relaxed);
        });
        told.ok();
        polled
    }

    fn is_end_stream(&self) -> bool {
        !self.large && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = HttpBody::size_hint(&self.body);
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests;
