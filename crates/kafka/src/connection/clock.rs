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
use crate::settings::{SEND_BYTES_MIN, Settings};

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
    /// When the frame that is half there last grew.
    receiving_since: Option<Instant>,
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
        self.receiving_since = (receive.is_amid_frame() && !receive.awaits_memory() && !staged)
            .then(|| self.receiving_since.filter(|_| !fresh).unwrap_or(now));
        self.sending_since = (send.bytes() > 0).then(|| {
            let enough = |since: &(Instant, u64)| {
                let least = u64::try_from(SEND_BYTES_MIN).unwrap_or(u64::MAX);
                self.sent.saturating_sub(since.1) < least
            };
            self.sending_since.filter(enough).unwrap_or((now, self.sent))
        });
        self.buffer_since =
            receive.can_shrink().then(|| self.buffer_since.filter(|_| !fresh).unwrap_or(now));
        traffic
    }

    /// Why the connection must be closed, if it must.
    pub(crate) fn overdue(&self, now: Instant, settings: &Settings) -> Option<End> {
        if self.sending_since.is_some_and(|(since, _)| now >= since + settings.send_timeout) {
            return Some(End::SlowReader(settings.send_timeout));
        }
        if self.receiving_since.is_some_and(|since| now >= since + settings.receive_timeout) {
            return Some(End::SlowWriter(settings.receive_timeout));
        }
        let idle = now >= self.active_at + settings.connections_max_idle;
        idle.then_some(End::Idle(settings.connections_max_idle))
    }

    /// Whether the receive buffer was unused for long enough to give it back.
    pub(crate) fn buffer_is_idle(&self, now: Instant) -> bool {
        self.buffer_since.is_some_and(|since| now >= since + BUFFER_IDLE)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self, settings: &Settings) -> Instant {
        let sending = self.sending_since.map(|(since, _)| since + settings.send_timeout);
        let receiving = self.receiving_since.map(|since| since + settings.receive_timeout);
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
