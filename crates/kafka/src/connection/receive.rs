//! Takes request frames from a socket.
//!
//! Invariant: a frame's length is judged from its first four bytes, its API and
//! version from the next four, and its memory is granted by the pool, before
//! its body is received; the body lands where it stays (records are sliced
//! from it). A connection that is idle or sends small requests holds no buffer.
//! Called by [`super::Connection`] alone.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context as Task, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::api::{self, Api};
use crate::codec::{self, ApiKey};
use crate::memory::{Permit, Pool, Use};

/// Length prefix of a frame.
const LENGTH_LEN: usize = 4;
/// Length, API key and version.
const PREFIX_LEN: usize = LENGTH_LEN + codec::API_PREFIX_LEN;
/// Shortest request: key, version and correlation id.
const REQUEST_LEN_MIN: usize = 8;
/// Bytes read beyond the frame that is awaited: enough for small requests that
/// follow it, few enough that moving them to the next buffer costs nothing.
const SLACK: usize = 16 * 1024;
/// Smallest capacity of a buffer that is read into.
const CAPACITY: usize = 32 * 1024;
/// What a connection without a buffer reads into. Requests that fit (those of
/// consumers, mostly) get memory of just their size, and a connection that
/// sends no others holds none while it waits.
const PROBE_LEN: usize = 2 * 1024;
/// Largest buffer that is kept for the next request: to take one of this size
/// from the system anew costs about as much as to receive into it.
const RETAINED_MAX: usize = 4 * 1024 * 1024;

/// Why no further frame is taken from a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the client closed the connection in the middle of a request")]
    Truncated,
    #[error("a request of {len} bytes is shorter than a header or longer than {max}")]
    Length { len: i32, max: usize },
    #[error("API key {0} is not served")]
    UnknownApi(i16),
    #[error("version {version} of {key:?} is not served")]
    UnsupportedVersion { key: ApiKey, version: i16 },
}

/// One whole request.
pub(crate) struct Frame {
    /// The row of its API. Its version may be unserved for ApiVersions alone.
    pub(crate) api: &'static Api,
    /// Header and body.
    pub(crate) payload: Bytes,
    /// Held until the request is decoded and carried out.
    pub(crate) permit: Permit,
    /// When the last of it was received.
    pub(crate) arrived: Instant,
}

/// A frame whose first bytes were accepted.
struct Awaited {
    api: &'static Api,
    /// Bytes of the payload, without the length prefix.
    len: usize,
    permit: Permit,
}

/// Where the next frame stands.
enum Stage {
    Prefix,
    Memory { api: &'static Api, len: usize, permit: BoxFuture<'static, Permit> },
    Body(Awaited),
}

/// Receive side of one connection.
pub(crate) struct Receive {
    /// Whatever was received beyond the frames taken so far. Frames are cut off
    /// it; once they are dropped, its memory is used again.
    buffer: BytesMut,
    /// Bytes of the memory behind `buffer`; 0 where there is none.
    allocated: usize,
    /// For a buffer kept between two requests that is larger than usual.
    retained: Option<Permit>,
    stage: Stage,
    pool: Pool,
    bytes_max: usize,
    /// Length that the next frame is likely to have at most: falls slowly.
    typical: usize,
    received: u64,
    frames: u64,
}

impl Receive {
    pub(crate) fn new(pool: Pool, bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            allocated: 0,
            retained: None,
            stage: Stage::Prefix,
            pool,
            bytes_max,
            typical: 0,
            received: 0,
            frames: 0,
        }
    }

    /// Whether a frame has begun to arrive, or waits for memory.
    pub(crate) fn is_amid_frame(&self) -> bool {
        !self.buffer.is_empty() || !matches!(self.stage, Stage::Prefix)
    }

    /// Whether the next request is there whole.
    pub(crate) fn has_frame(&self) -> bool {
        let len = self.claimed_len().and_then(|len| usize::try_from(len).ok());
        len.is_some_and(|len| self.buffer.len() - LENGTH_LEN >= len)
    }

    /// The length that the next frame claims, as soon as that is there.
    fn claimed_len(&self) -> Option<i32> {
        self.buffer.first_chunk().map(|prefix| i32::from_be_bytes(*prefix))
    }

    /// Whether the frame that has begun waits for memory rather than for the
    /// client.
    pub(crate) fn awaits_memory(&self) -> bool {
        matches!(self.stage, Stage::Memory { .. })
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Requests taken so far.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Gives the buffer back if nothing stands in it.
    pub(crate) fn shrink(&mut self) {
        if self.can_shrink() {
            self.buffer = BytesMut::new();
            (self.allocated, self.retained, self.typical) = (0, None, 0);
        }
    }

    /// Whether there is a buffer to give back.
    pub(crate) fn can_shrink(&self) -> bool {
        self.allocated > 0 && !self.is_amid_frame()
    }

    /// The next request; `None` when the client has closed its side.
    pub(crate) fn poll_frame<S: AsyncRead + Unpin>(
        &mut self,
        task: &mut Task<'_>,
        stream: &mut S,
    ) -> Poll<Result<Option<Frame>, ReceiveError>> {
        loop {
            match &mut self.stage {
                Stage::Prefix if self.buffer.len() >= PREFIX_LEN => {
                    self.stage = self.judge()?;
                }
                Stage::Prefix => {
                    self.judge_len()?;
                    if ready!(self.poll_read(task, stream, PREFIX_LEN))? == 0 {
                        return Poll::Ready(self.end());
                    }
                }
                Stage::Memory { api, len, permit } => {
                    let permit = ready!(permit.as_mut().poll(task));
                    self.stage = Stage::Body(Awaited { api, len: *len, permit });
                }
                Stage::Body(awaited) if self.buffer.len() >= LENGTH_LEN + awaited.len => {
                    return Poll::Ready(Ok(self.take()));
                }
                Stage::Body(awaited) => {
                    let whole = LENGTH_LEN + awaited.len;
                    if ready!(self.poll_read(task, stream, whole))? == 0 {
                        return Poll::Ready(Err(ReceiveError::Truncated));
                    }
                }
            }
        }
    }

    /// The length of the frame that begins, if that can be a request's; 0 as
    /// long as it is not there.
    fn judge_len(&self) -> Result<usize, ReceiveError> {
        let Some(claimed) = self.claimed_len() else { return Ok(0) };
        let len = usize::try_from(claimed).unwrap_or(0);
        if (REQUEST_LEN_MIN..=self.bytes_max).contains(&len) {
            return Ok(len);
        }
        Err(ReceiveError::Length { len: claimed, max: self.bytes_max })
    }

    /// What the first bytes of a frame allow.
    fn judge(&self) -> Result<Stage, ReceiveError> {
        let len = self.judge_len()?;
        let prefix = self.buffer.get(LENGTH_LEN..).unwrap_or_default();
        let (key, version) = codec::peek_api(prefix).unwrap_or_default();
        let api = api::find(key).ok_or(ReceiveError::UnknownApi(key))?;
        // Any version of ApiVersions is answered (KIP-511).
        if !api.accepts(version) && api.key != ApiKey::ApiVersions {
            return Err(ReceiveError::UnsupportedVersion { key: api.key, version });
        }
        let memory = api.memory(len);
        if len > api.bytes_max || !self.pool.fits(memory) {
            let max = api.bytes_max.min(self.pool.limit() / api.amplification.max(1));
            return Err(ReceiveError::Length { len: self.claimed_len().unwrap_or_default(), max });
        }
        let of = api.memory_use;
        Ok(match self.pool.try_take(memory, of) {
            Some(permit) => Stage::Body(Awaited { api, len, permit }),
            None => {
                let permit = Box::pin(self.pool.clone().take(memory, of));
                Stage::Memory { api, len, permit }
            }
        })
    }

    /// Cuts the whole frame off the buffer.
    fn take(&mut self) -> Option<Frame> {
        let Stage::Body(Awaited { api, len, permit }) =
            std::mem::replace(&mut self.stage, Stage::Prefix)
        else {
            return None;
        };
        self.typical = self.typical.max(LENGTH_LEN + len) / 2 + (LENGTH_LEN + len) / 2;
        self.typical = self.typical.min(RETAINED_MAX);
        self.frames = self.frames.wrapping_add(1);
        self.buffer.advance(LENGTH_LEN);
        let payload = self.buffer.split_to(len).freeze();
        self.retain();
        Some(Frame { api, payload, permit, arrived: Instant::now() })
    }

    /// Keeps the buffer for the next frame if the pool grants that, and goes on
    /// with a small one if not.
    fn retain(&mut self) {
        self.retained = None;
        if self.typical < PROBE_LEN / 2 && self.buffer.is_empty() {
            (self.buffer, self.allocated) = (BytesMut::new(), 0);
        }
        if self.allocated <= 2 * CAPACITY {
            return;
        }
        if self.allocated <= 2 * RETAINED_MAX {
            self.retained = self.pool.try_take(self.allocated, Use::Records);
        }
        if self.retained.is_none() {
            let mut small = BytesMut::with_capacity(CAPACITY.max(self.buffer.len()));
            small.put_slice(&self.buffer);
            self.allocated = small.capacity();
            self.buffer = small;
        }
    }

    fn end(&self) -> Result<Option<Frame>, ReceiveError> {
        if self.buffer.is_empty() { Ok(None) } else { Err(ReceiveError::Truncated) }
    }

    /// Reads once, as much as there is up to a little beyond `whole` bytes of
    /// buffer. 0 at the end of the stream.
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        task: &mut Task<'_>,
        stream: &mut S,
        whole: usize,
    ) -> Poll<io::Result<usize>> {
        let read = if self.allocated == 0 {
            ready!(self.poll_probe(task, stream))?
        } else {
            let wanted = whole.max(self.typical).saturating_add(SLACK).max(CAPACITY);
            let missing = wanted.saturating_sub(self.buffer.len());
            self.buffer.reserve(missing);
            self.allocated = self.allocated.max(self.buffer.capacity());
            let mut room = (&mut self.buffer).limit(missing);
            // Dropping this future loses nothing: it reads at once or not at all.
            ready!(pin!(stream.read_buf(&mut room)).poll(task))?
        };
        self.received = self.received.saturating_add(u64::try_from(read).unwrap_or(0));
        Poll::Ready(Ok(read))
    }

    /// First read after an idle time, without a buffer of the connection's own.
    fn poll_probe<S: AsyncRead + Unpin>(
        &mut self,
        task: &mut Task<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut memory = [0; PROBE_LEN];
        let mut probe = ReadBuf::new(&mut memory);
        ready!(Pin::new(stream).poll_read(task, &mut probe))?;
        let read = probe.filled();
        if !read.is_empty() {
            self.buffer = BytesMut::with_capacity(read.len());
            self.allocated = self.buffer.capacity();
            self.buffer.put_slice(read);
        }
        Poll::Ready(Ok(read.len()))
    }
}

#[cfg(test)]
mod tests;
