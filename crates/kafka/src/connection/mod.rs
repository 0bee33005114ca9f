//! One connection: a single task that receives requests, carries them out and
//! sends their responses.
//!
//! Invariant: everything that a client can make grow is bounded: requests in
//! flight, bytes received ([`receive`], by the shared pool), bytes of responses
//! that wait for the socket. A connection ends unanswered when the broker's
//! incarnation does. Called by [`crate::server`].

mod clock;
mod queue;
mod receive;
mod send;
mod trace;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use self::clock::Clock;
pub(crate) use self::clock::Traffic;
use self::queue::{Queue, Refused};
use self::receive::Frame;
pub(crate) use self::receive::{Receive, ReceiveError};
use self::send::Send;
pub(crate) use self::send::Written;
pub(crate) use self::trace::Trace;
use crate::api::{self, Api, Refusal};
use crate::codec::{self, CodecError, KafkaString};
use crate::context::{Call, Context};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("closed by the client")]
    Closed,
    #[error("no request for {} s", .0.as_secs())]
    Idle(Duration),
    #[error("the server stops")]
    Stopped,
    #[error("the client took no responses for {} s", .0.as_secs())]
    SlowReader(Duration),
    #[error("a request stopped arriving for {} s", .0.as_secs())]
    SlowWriter(Duration),
    #[error("the broker's incarnation ended")]
    BrokerEnded,
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("request header: {0}")]
    Header(#[from] CodecError),
    #[error("{api:?}: {refusal}")]
    Refused { api: &'static Api, refusal: Refusal },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves one connection until it ends, and says why it did. `stop` resolves
/// when the server stops: what has begun is then finished, within the drain
/// time-out.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    context: Arc<Context>,
    stop: BoxFuture<'static, ()>,
) -> End {
    let broker = Arc::clone(&context.broker);
    let mut connection = Connection::new(stream, context);
    let mut stop = Some(stop);
    let mut ended = Box::pin(async move { broker.ended().await });
    poll_fn(|task| {
        if ended.as_mut().poll(task).is_ready() {
            return Poll::Ready(End::BrokerEnded);
        }
        if let Some(signal) = &mut stop
            && signal.as_mut().poll(task).is_ready()
        {
            stop = None;
            connection.stop();
        }
        connection.poll(task)
    })
    .await
}

/// Whether further requests are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// The client will send no more; what it sent is answered.
    Finished,
    /// The server stops; ends at this time at the latest.
    Stopping(Instant),
}

struct Connection<S> {
    stream: S,
    context: Arc<Context>,
    receive: Receive,
    /// What the client called itself last, in memory of its own.
    client_id: Option<KafkaString>,
    /// A request that may not begin yet.
    staged: Option<Frame>,
    /// It was received just now.
    is_fresh: bool,
    queue: Queue,
    send: Send,
    input: Input,
    clock: Clock,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, context: Arc<Context>) -> Self {
        let front = &context.front;
        let receive = Receive::new(front.memory.clone(), front.settings.socket_request_max_bytes);
        let queue = Queue::new(Arc::clone(&context.broker), Arc::clone(&front.metrics));
        Self {
            stream,
            context,
            receive,
            client_id: None,
            staged: None,
            is_fresh: false,
            queue,
            send: Send::default(),
            input: Input::Open,
            clock: Clock::new(),
        }
    }

    fn stop(&mut self) {
        if !matches!(self.input, Input::Stopping(_)) {
            let timeout = self.context.front.settings.drain_timeout;
            self.input = Input::Stopping(Instant::now() + timeout);
            self.staged = None;
        }
    }

    fn poll(&mut self, task: &mut Task<'_>) -> Poll<End> {
        match self.poll_work(task) {
            Ok(()) => self.poll_clock(task),
            Err(end) => Poll::Ready(end),
        }
    }

    /// Does all that can be done now. Returns when everything waits.
    fn poll_work(&mut self, task: &mut Task<'_>) -> Result<(), End> {
        loop {
            let mut moved = self.begin_staged()?;
            let waits = self.staged.is_some() && !self.queue.is_starting();
            self.context.set_held_up(waits);
            moved |= self.poll_queue(task)?;
            // Requests received together are answered together.
            let more = self.input == Input::Open && self.receive.has_frame();
            if moved || more && self.poll_receive(task)? {
                continue;
            }
            let unsent = self.send.bytes();
            if let Poll::Ready(flushed) = self.send.poll_flush(task, &mut self.stream) {
                flushed?;
            }
            while let Some(written) = self.send.take_written() {
                let client = self.client_id.as_ref().map_or("", KafkaString::as_str);
                self.context.front.metrics.written(&written, &self.context, client);
            }
            // Room for the staged request may be there now, and nobody else
            // would wake this task for it.
            if self.staged.is_some() && self.send.bytes() < unsent {
                continue;
            }
            if self.input != Input::Open {
                self.finish()?;
                return Ok(());
            }
            if !self.poll_receive(task)? {
                return Ok(());
            }
        }
    }

    fn poll_queue(&mut self, task: &mut Task<'_>) -> Result<bool, End> {
        match self.queue.poll(task, &mut self.send) {
            Ok(moved) => Ok(moved),
            Err(Refused { refusal: Refusal::Ended, .. }) => Err(End::BrokerEnded),
            Err(Refused { api, refusal }) => Err(End::Refused { api, refusal }),
        }
    }

    /// Begins the staged request if it may, and goes on to the next one as
    /// long as they are there whole.
    fn begin_staged(&mut self) -> Result<bool, End> {
        let settings = &self.context.front.settings;
        let room = self.queue.len() < settings.in_flight_requests_max
            && self.send.bytes() + self.queue.bytes() < settings.response_bytes_max;
        let Some(frame) = self.staged.take_if(|frame| room && self.queue.admits(frame.api)) else {
            self.is_fresh = false;
            return Ok(false);
        };
        let Frame { api, mut payload, permit, arrived } = frame;
        let begun = if self.is_fresh { arrived } else { std::time::Instant::now() };
        let trace = Trace::begun(arrived, begun, payload.len());
        let header = codec::read_header(&mut payload)?;
        let version = header.api_version;
        if !api.accepts(version) {
            // The receiver lets ApiVersions alone through.
            let response = api::unsupported_api_versions(header.correlation_id)?;
            self.queue.answered(api, version, response, trace);
            return Ok(true);
        }
        let call = Call {
            context: Arc::clone(&self.context),
            api,
            version,
            correlation_id: header.correlation_id,
            client_id: self.own_client_id(header.client_id),
        };
        self.queue.begin(api, version, (api.start)(call, payload), permit, trace);
        Ok(true)
    }

    /// The client id in memory of its own: a slice of the request would hold the
    /// whole receive buffer for as long as the request waits.
    fn own_client_id(&mut self, id: Option<KafkaString>) -> Option<KafkaString> {
        if self.client_id != id {
            self.client_id = id.map(|id| codec::wire_str(id.as_str()));
        }
        self.client_id.clone()
    }

    /// Whether a request was received.
    fn poll_receive(&mut self, task: &mut Task<'_>) -> Result<bool, End> {
        if self.staged.is_some() {
            return Ok(false);
        }
        match self.receive.poll_frame(task, &mut self.stream) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(Some(frame))) => {
                self.staged = Some(frame);
                self.is_fresh = true;
                Ok(true)
            }
            Poll::Ready(Ok(None)) => {
                self.input = Input::Finished;
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Ends once nothing is left to be answered.
    fn finish(&mut self) -> Result<(), End> {
        if self.staged.is_some() || self.queue.is_starting() {
            return Ok(());
        }
        if self.input == Input::Finished {
            // Nobody listens for events any more.
            self.queue.forget_waiting();
        }
        if self.queue.len() > 0 || self.send.bytes() > 0 {
            return Ok(());
        }
        Err(if self.input == Input::Finished { End::Closed } else { End::Stopped })
    }

    /// Looks at the deadlines, and sleeps until the next one.
    fn poll_clock(&mut self, task: &mut Task<'_>) -> Poll<End> {
        loop {
            let now = Instant::now();
            let front = &self.context.front;
            let busy = (self.queue.len() > 0, self.staged.is_some());
            let traffic = self.clock.observe(now, &self.receive, &self.send, busy);
            front.metrics.traffic(traffic);
            if let Input::Stopping(deadline) = self.input
                && now >= deadline
            {
                return Poll::Ready(End::Stopped);
            }
            if let Some(end) = self.clock.overdue(now, &front.settings, front.memory.is_contended())
            {
                return Poll::Ready(end);
            }
            if self.clock.buffer_is_idle(now) {
                self.receive.shrink();
                self.clock.observe(now, &self.receive, &self.send, busy);
            }
            let mut next = self.clock.next(now, &front.settings);
            if let Input::Stopping(deadline) = self.input {
                next = next.min(deadline);
            }
            if self.clock.poll_until(task, next).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests;
