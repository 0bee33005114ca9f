//! Deadlines of one connection: idle, slow to send, slow to take.
//!
//! Invariant: one timer, armed for the earliest deadline and moved only when
//! an earlier one appears, so that a request costs no timer. Called by
//! [`super::Connection`] alone.

use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::End;
use super::receive::Receive;
use super::send::Send;
use crate::settings::{RECEIVE_BYTES_MIN, RECEIVE_TIMEOUT_CONTENDED, SEND_BYTES_MIN, Settings};

/// A buffer unused for so long is given back.
const BUFFER_IDLE: Duration = Duration::from_secs(10);

/// Bytes moved since they were last asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// What the deadlines are counted from.
pub(crate) struct Clock {
    received: u64,
    sent: u64,
    /// When something was last received or in flight.
    active_at: Instant,
    /// When the frame that is half there began or last grew by
    /// [`RECEIVE_BYTES_MIN`].
    receiving_since: Option<(Instant, u64)>,
    /// Frames taken when `receiving_since` was set.
    frames: u64,
    /// When the client last took [`SEND_BYTES_MIN`], or all there was.
    sending_since: Option<(Instant, u64)>,
    /// When the buffer was last used, if it could be given back.
    buffer_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            received: 0,
            sent: 0,
            active_at: Instant::now(),
            receiving_since: None,
            frames: 0,
            sending_since: None,
            buffer_since: None,
            timer: None,
        }
    }

    /// Notes what has moved. `busy`: a request is unanswered; `staged`: one
    /// waits to be begun, and nothing is received meanwhile.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        receive: &Receive,
        send: &Send,
        (busy, staged): (bool, bool),
    ) -> Traffic {
        let traffic = Traffic {
            received: receive.received().saturating_sub(self.received),
            sent: send.sent().saturating_sub(self.sent),
        };
        (self.received, self.sent) = (receive.received(), send.sent());
        let fresh = traffic.received > 0;
        if busy || staged || fresh || send.bytes() > 0 {
            self.active_at = now;
        }
        // A client is not to blame while it is we who let it wait.
        let blamed = receive.is_amid_frame() && !receive.awaits_memory() && !staged;
        let another = std::mem::replace(&mut self.frames, receive.frames()) != receive.frames();
        self.receiving_since = blamed.then(|| {
            let slow = |since: &(Instant, u64)| {
                !another && moved_less(since.1, self.received, RECEIVE_BYTES_MIN)
            };
            self.receiving_since.filter(slow).unwrap_or((now, self.received))
        });
        self.sending_since = (send.bytes() > 0).then(|| {
            let slow = |since: &(Instant, u64)| moved_less(since.1, self.sent, SEND_BYTES_MIN);
            self.sending_since.filter(slow).unwrap_or((now, self.sent))
        });
        self.buffer_since =
            receive.can_shrink().then(|| self.buffer_since.filter(|_| !fresh).unwrap_or(now));
        traffic
    }

    /// Why the connection must be closed, if it must. `contended`: others wait
    /// for memory.
    pub(crate) fn overdue(
        &self,
        now: Instant,
        settings: &Settings,
        contended: bool,
    ) -> Option<End> {
        if self.sending_since.is_some_and(|(since, _)| now >= since + settings.send_timeout) {
            return Some(End::SlowReader(settings.send_timeout));
        }
        let timeout = if contended { RECEIVE_TIMEOUT_CONTENDED } else { settings.receive_timeout };
        if self.receiving_since.is_some_and(|(since, _)| now >= since + timeout) {
            return Some(End::SlowWriter(timeout));
        }
        let idle = now >= self.active_at + settings.connections_max_idle;
        idle.then_some(End::Idle(settings.connections_max_idle))
    }

    /// Whether the receive buffer was unused for long enough to give it back.
    pub(crate) fn buffer_is_idle(&self, now: Instant) -> bool {
        self.buffer_since.is_some_and(|since| now >= since + BUFFER_IDLE)
    }

    /// The earliest deadline after `now`.
    pub(crate) fn next(&self, now: Instant, settings: &Settings) -> Instant {
        let sending = self.sending_since.map(|(since, _)| since + settings.send_timeout);
        // Looked at now and then: others may begin to wait at any time.
        let receiving = self.receiving_since.map(|(since, _)| {
            let soon = (since + RECEIVE_TIMEOUT_CONTENDED).max(now + RECEIVE_TIMEOUT_CONTENDED / 2);
            soon.min(since + settings.receive_timeout)
        });
        let buffer = self.buffer_since.map(|since| since + BUFFER_IDLE);
        let idle = self.active_at + settings.connections_max_idle;
        [sending, receiving, buffer].into_iter().flatten().fold(idle, Instant::min)
    }

    /// Sleeps until `next` or earlier.
    pub(crate) fn poll_until(&mut self, task: &mut Task<'_>, next: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        if next < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(next);
        }
        timer.as_mut().poll(task)
    }
}

/// Whether a count of bytes moved by less than `least`.
fn moved_less(before: u64, now: u64, least: usize) -> bool {
    now.saturating_sub(before) < u64::try_from(least).unwrap_or(u64::MAX)
}
