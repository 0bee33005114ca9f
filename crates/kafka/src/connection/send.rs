//! Writes response frames to a socket.
//!
//! Invariant: pieces leave in the order in which they were pushed, several by
//! one system call; records are written from the log's own memory. Called by
//! [`super::Connection`] alone.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::trace::Trace;
use crate::api::Api;
use crate::response::Response;

/// Pieces given to one system call.
const PIECES_MAX: usize = 128;

/// Send side of one connection.
#[derive(Default)]
pub(crate) struct Send {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    sent: u64,
    /// Responses that are not written whole, and where each ends.
    unwritten: VecDeque<(u64, Written)>,
}

/// A response, once it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) api: &'static Api,
    pub(crate) version: i16,
    /// The code of its first error; 0 for none.
    pub(crate) error: i16,
    pub(crate) trace: Trace,
    pub(crate) bytes: usize,
}

impl Send {
    /// Queues a frame, to be told of when it is written.
    pub(crate) fn push(&mut self, response: Response, written: Written) {
        self.bytes = self.bytes.saturating_add(response.len());
        let end = self.sent.saturating_add(u64::try_from(self.bytes).unwrap_or(u64::MAX));
        self.unwritten.push_back((end, written));
        self.pieces.extend(response.into_pieces().filter(|piece| !piece.is_empty()));
    }

    /// The next response that is written whole.
    pub(crate) fn take_written(&mut self) -> Option<Written> {
        self.unwritten.pop_front_if(|(end, _)| *end <= self.sent).map(|(_, written)| written)
    }

    /// Bytes that wait for the socket.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Writes until nothing is left; pending when the socket takes no more.
    pub(crate) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        task: &mut Task<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.bytes > 0 {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(task, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Pin::new(stream).poll_flush(task)
    }

    fn advance(&mut self, written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        self.sent = self.sent.saturating_add(u64::try_from(written).unwrap_or(0));
        let mut left = written;
        while let Some(piece) = self.pieces.front_mut() {
            if left < piece.len() {
                piece.advance(left);
                break;
            }
            left -= piece.len();
            self.pieces.pop_front();
        }
    }
}
