//! A connection on which something has to move: one whose client neither
//! sends nor reads is given up.
//!
//! Invariant: none is given up while it owes an answer that its client can
//! still take. What was asked may have been done, and clients that don't hear
//! of it send it again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A connection from which and to which nothing moves is closed after this.
pub(super) const IDLE: Duration = Duration::from_secs(300);
/// One that does not read what is written is closed after this.
pub(super) const STALL: Duration = Duration::from_secs(60);

/// The answers that a connection owes.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<AtomicUsize>);

impl Answers {
    /// One more, until what is returned is dropped.
    pub(super) fn owe(&self) -> Owed {
        self.0.fetch_add(1, Ordering::Relaxed);
        Owed(self.clone())
    }

    fn are_owed(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// An answer that is being made.
#[derive(Debug)]
pub(super) struct Owed(Answers);

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that ends with [`io::ErrorKind::TimedOut`] when nothing moves.
pub(super) struct Patient<S> {
    stream: S,
    answers: Answers,
    /// Reset whenever something moves.
    idle: Pin<Box<Sleep>>,
    /// Runs while a write waits.
    stall: Pin<Box<Sleep>>,
    stalled: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, answers: Answers) -> Self {
        let idle = Box::pin(sleep(IDLE));
        Self { stream, answers, idle, stall: Box::pin(sleep(STALL)), stalled: false }
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE);
        self.stalled = false;
    }

    /// What a write that waits returns.
    fn poll_stall<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.stalled {
            self.stalled = true;
            self.stall.as_mut().reset(Instant::now() + STALL);
        }
        ready!(self.stall.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.idle.as_mut().reset(Instant::now() + IDLE);
            return Poll::Ready(read);
        }
        loop {
            ready!(this.idle.as_mut().poll(context));
            if !this.answers.are_owed() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // A client that waits for an answer has nothing to send.
            this.idle.as_mut().reset(Instant::now() + IDLE);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write(context, bytes) {
            this.moved();
            return Poll::Ready(written);
        }
        this.poll_stall(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        if let Poll::Ready(written) = polled {
            this.moved();
            return Poll::Ready(written);
        }
        this.poll_stall(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_sends_nothing_is_given_up() {
        let (_client, server) = duplex(16);
        let begun = Instant::now();
        let error = Patient::new(server, Answers::default()).read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_answer_is_not() {
        let (_client, server) = duplex(16);
        let answers = Answers::default();
        let owed = answers.owe();
        let begun = Instant::now();
        let mut stream = Patient::new(server, answers);
        tokio::time::timeout(10 * IDLE, stream.read_u8()).await.unwrap_err();
        drop(owed);
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() <= 12 * IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_given_up_sooner() {
        let (_client, server) = duplex(16);
        let begun = Instant::now();
        let error = Patient::new(server, Answers::default()).write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= STALL && begun.elapsed() < IDLE);
    }
}
