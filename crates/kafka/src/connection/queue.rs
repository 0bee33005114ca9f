//! The unanswered requests of one connection, in request order.
//!
//! Invariant: a request is begun only after the part of the one before it that
//! must run in order has ended (a batch is appended before the next request is
//! looked at); what is left of both then waits side by side; responses leave
//! in request order. Called by [`super::Connection`] alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use futures_util::future::BoxFuture;
use millrace_broker::Broker;
use millrace_types::Lsn;

use super::send::{Send, Written};
use super::trace::{Awaited, Trace};
use crate::api::{Api, Pending, Refusal, Started};
use crate::memory::Permit;
use crate::metrics::FrontMetrics;
use crate::response::Response;

#[cfg(test)]
mod tests;

enum State {
    /// In the part that runs in order; only the newest request can be here.
    Starting { future: BoxFuture<'static, Result<Started, Refusal>>, memory: Option<Permit> },
    Waiting {
        pending: Pending,
        /// Kept for what waits for the log alone.
        memory: Option<Permit>,
    },
    /// Answered by this once the log is durable up to there. Only the oldest
    /// request waits actively, since the log becomes durable in order.
    Durable(Lsn, Response),
    /// `None`: gets no response.
    Ready(Option<Response>),
}

struct Request {
    state: State,
    api: &'static Api,
    version: i16,
    trace: Trace,
}

impl Request {
    /// Notes where it has come to.
    fn note(&mut self) {
        match &self.state {
            State::Starting { .. } => {}
            State::Waiting { memory: None, .. } => self.trace.awaits(Awaited::Event),
            State::Waiting { memory: Some(_), .. } | State::Durable(..) => {
                self.trace.awaits(Awaited::Log);
            }
            State::Ready(_) => self.trace.is_answered(),
        }
    }
}

impl State {
    /// Moves on; whether it did.
    fn poll(&mut self, task: &mut Task<'_>) -> Result<bool, Refusal> {
        *self = match self {
            Self::Starting { future, memory } => match future.as_mut().poll(task) {
                Poll::Pending => return Ok(false),
                Poll::Ready(started) => match started? {
                    Started::Done(response) => Self::Ready(Some(response)),
                    Started::Durable(lsn, response) => Self::Durable(lsn, response),
                    Started::Silent => Self::Ready(None),
                    Started::Waiting(pending) => Self::wait(pending, None, task)?,
                    Started::Keeping(pending) => Self::wait(pending, memory.take(), task)?,
                },
            },
            Self::Waiting { pending, .. } => match pending.as_mut().poll(task) {
                Poll::Pending => return Ok(false),
                Poll::Ready(response) => Self::Ready(Some(response?)),
            },
            Self::Durable(..) | Self::Ready(_) => return Ok(false),
        };
        Ok(true)
    }

    /// Polls at once, so that what is awaited has this task's waker.
    fn wait(
        mut pending: Pending,
        memory: Option<Permit>,
        task: &mut Task<'_>,
    ) -> Result<Self, Refusal> {
        Ok(match pending.as_mut().poll(task) {
            Poll::Ready(response) => Self::Ready(Some(response?)),
            Poll::Pending => Self::Waiting { pending, memory },
        })
    }

    /// Bytes of the response, where there is one already.
    fn bytes(&self) -> usize {
        match self {
            Self::Durable(_, response) | Self::Ready(Some(response)) => response.len(),
            _ => 0,
        }
    }
}

/// A request that is not answered: its connection is to be closed.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) api: &'static Api,
    pub(crate) refusal: Refusal,
}

/// The unanswered requests of one connection.
pub(crate) struct Queue {
    requests: VecDeque<Request>,
    broker: Arc<Broker>,
    metrics: Arc<FrontMetrics>,
    durable: Option<BoxFuture<'static, bool>>,
}

impl Queue {
    pub(crate) fn new(broker: Arc<Broker>, metrics: Arc<FrontMetrics>) -> Self {
        Self { requests: VecDeque::new(), broker, metrics, durable: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of responses that wait for those before them.
    pub(crate) fn bytes(&self) -> usize {
        self.requests.iter().map(|request| request.state.bytes()).sum()
    }

    /// Whether the newest request still runs in order.
    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.requests.back(), Some(Request { state: State::Starting { .. }, .. }))
    }

    /// Whether a request of this API may be begun.
    pub(crate) fn admits(&self, api: &Api) -> bool {
        let same = |request: &Request| request.api.key == api.key;
        !self.is_starting() && (!api.exclusive || !self.requests.iter().any(same))
    }

    /// Appends a request; `future` is polled by [`Self::poll`].
    pub(crate) fn begin(
        &mut self,
        api: &'static Api,
        version: i16,
        future: BoxFuture<'static, Result<Started, Refusal>>,
        permit: Permit,
        trace: Trace,
    ) {
        let state = State::Starting { future, memory: Some(permit) };
        self.requests.push_back(Request { state, api, version, trace });
    }

    /// Appends a request that is answered already.
    pub(crate) fn answered(
        &mut self,
        api: &'static Api,
        version: i16,
        response: Response,
        mut trace: Trace,
    ) {
        trace.is_answered();
        let state = State::Ready(Some(response));
        self.requests.push_back(Request { state, api, version, trace });
    }

    /// Forgets the oldest request that waits for an event, and all after it:
    /// the connection is about to close, and what comes before can be answered.
    pub(crate) fn forget_waiting(&mut self) {
        let waiting = |request: &Request| matches!(request.state, State::Waiting { .. });
        if let Some(first) = self.requests.iter().position(waiting) {
            self.requests.truncate(first);
        }
    }

    /// Moves every request on and responses that are due to `send`. Whether
    /// anything moved.
    pub(crate) fn poll(&mut self, task: &mut Task<'_>, send: &mut Send) -> Result<bool, Refused> {
        let mut moved = false;
        for request in &mut self.requests {
            let api = request.api;
            if request.state.poll(task).map_err(|refusal| Refused { api, refusal })? {
                request.note();
                moved = true;
            }
        }
        while self.poll_oldest(task)? {
            moved = true;
            if let Some(Request { state: State::Ready(response), api, version, trace }) =
                self.requests.pop_front()
            {
                let error = response.as_ref().map_or(0, Response::error_code);
                self.metrics.answered(api, version, error, &trace);
                if let Some(response) = response {
                    let bytes = response.len();
                    send.push(response, Written { api, version, error, trace, bytes });
                }
            }
        }
        Ok(moved)
    }

    /// Whether the oldest request is ready.
    fn poll_oldest(&mut self, task: &mut Task<'_>) -> Result<bool, Refused> {
        let Some(oldest) = self.requests.front_mut() else { return Ok(false) };
        if let State::Durable(lsn, response) = &mut oldest.state {
            let durable = self.durable.get_or_insert_with(|| {
                let (broker, lsn) = (Arc::clone(&self.broker), *lsn);
                Box::pin(async move { broker.durable(lsn).await.is_ok() })
            });
            let Poll::Ready(durable) = durable.as_mut().poll(task) else { return Ok(false) };
            self.durable = None;
            if !durable {
                return Err(Refused { api: oldest.api, refusal: Refusal::Ended });
            }
            oldest.state = State::Ready(Some(std::mem::take(response)));
            oldest.trace.is_answered();
        }
        Ok(matches!(oldest.state, State::Ready(_)))
    }
}
