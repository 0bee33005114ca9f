//! HTTP around an action: reading the body within bounds, and writing answers
//! and errors with their headers.
//!
//! Invariant: no byte of a body is kept before its memory is taken from the
//! pool, and memory goes back when the answer has been written. A body that
//! stops coming ends its request.

use std::convert::Infallible;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use millrace_broker::metrics::{self, Counter, Metrics, Time};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Code, Error};
use crate::event_stream;
use crate::model::Encoding;
use crate::value::{Chunks, Encoded, Value, cbor, json};

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Largest body of a request, decompressed: the 10 MiB of data that PutRecords
/// takes are 14 in base64, and 500 keys come on top.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;
/// A body has so long, and more by its size: who sends slower than this many
/// bytes a second holds memory for too long.
const BODY_TIME: Duration = Duration::from_secs(10);
const BODY_BYTES_PER_SECOND_MIN: u64 = 256 << 10;
/// Bytes of one permit: the semaphore counts in 32 bits.
const UNIT: usize = 1024;

/// Memory for the bodies of all requests and answers.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    /// Of the whole pool.
    units: usize,
    waits: Arc<Counter>,
    wait_time: Arc<Time>,
}

impl Memory {
    /// A pool of so many bytes, named so in the metrics.
    pub(crate) fn new(bytes: usize, name: &'static str, metrics: &Metrics) -> Self {
        let units = (bytes / UNIT).min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(units));
        let pool = metrics::Pool { pool: name };
        let count = |units: usize| u64::try_from(units.saturating_mul(UNIT)).unwrap_or(u64::MAX);
        metrics.memory_limit.with(&pool).set(count(units));
        let (used, left) = (metrics.memory_used.with(&pool), Arc::clone(&free));
        metrics.registry().before_scrapes(move || {
            used.set(count(units.saturating_sub(left.available_permits())));
        });
        let waits = metrics.memory_waits.with(&pool);
        Self { free, units, waits, wait_time: metrics.memory_wait_time.with(&pool) }
    }

    /// Takes `bytes`, if nobody waits for them or holds them.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.free).try_acquire_many_owned(units).ok()
    }

    /// Takes `bytes`; waits while others hold them.
    pub(crate) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        if let Some(taken) = self.try_take(bytes) {
            return Ok(taken);
        }
        self.waits.increment();
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let asked = Instant::now();
        let taken = Arc::clone(&self.free).acquire_many_owned(units).await;
        self.wait_time.add(asked.elapsed());
        taken.map_err(|_| Error::internal("The server is stopping."))
    }

    /// Whether more than half of it is free.
    pub(crate) fn is_plentiful(&self) -> bool {
        self.free.available_permits() > self.units / 2
    }

    /// Gives back what `held` has beyond `bytes`.
    pub(crate) fn keep(
        mut held: OwnedSemaphorePermit,
        bytes: usize,
    ) -> Option<OwnedSemaphorePermit> {
        held.split(bytes.div_ceil(UNIT).min(held.num_permits()))
    }
}

/// What a body is, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    /// One of the two encodings of version 1.1.
    Known(Encoding),
    /// Anything else: AWS answers in XML.
    Unknown,
}

/// The encoding that the request's Content-Type names.
pub(crate) fn content_type(headers: &HeaderMap) -> ContentType {
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let named = named.split(';').next().unwrap_or_default().trim();
    if named.eq_ignore_ascii_case("application/x-amz-json-1.1") {
        ContentType::Known(Encoding::Json)
    } else if named.eq_ignore_ascii_case("application/x-amz-cbor-1.1") {
        ContentType::Known(Encoding::Cbor)
    } else {
        ContentType::Unknown
    }
}

/// A body with the memory that it takes.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    pub(crate) memory: OwnedSemaphorePermit,
    /// How long it waited for that.
    pub(crate) waited: Duration,
    /// Whether the bytes are compressed.
    gzip: bool,
}

impl ReadBody {
    /// Decompresses it, if it is compressed.
    pub(crate) fn unpacked(self) -> Result<Self, BodyError> {
        let bytes = if self.gzip { decompress(&self.bytes)? } else { self.bytes };
        Ok(Self { bytes, gzip: false, ..self })
    }
}

/// Why a body was not read.
pub(crate) enum BodyError {
    /// It is larger than [`BODY_BYTES_MAX`].
    TooLarge,
    /// The client sends too slowly, or went away.
    Gone,
    /// It is not compressed as it says.
    Malformed,
    /// No memory can be had.
    Stopping(Error),
}

/// Reads a body whole, as it comes.
pub(crate) async fn read_body<B>(
    headers: &HeaderMap,
    body: B,
    memory: &Memory,
) -> Result<ReadBody, BodyError>
where
    B: HttpBody<Data = Bytes>,
{
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let said = said.or_else(|| body.size_hint().exact()?.try_into().ok());
    if said.is_some_and(|len: usize| len > BODY_BYTES_MAX) {
        return Err(BodyError::TooLarge);
    }
    let gzip = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity" | b"amz-1.0") => false,
        Some(named) if named.eq_ignore_ascii_case(b"gzip") => true,
        Some(_) => return Err(BodyError::Malformed),
    };
    // Of a length that is not known the most is taken: to take more on the way
    // could leave two requests that wait for each other.
    let most = if gzip { BODY_BYTES_MAX } else { said.unwrap_or(BODY_BYTES_MAX) };
    let asked = Instant::now();
    let memory = memory.take(most).await.map_err(BodyError::Stopping)?;
    let waited = asked.elapsed();
    let by_size = u64::try_from(most).unwrap_or(u64::MAX) / BODY_BYTES_PER_SECOND_MIN;
    let time = BODY_TIME + Duration::from_secs(by_size);
    let collected = tokio::time::timeout(time, collect(body, most)).await;
    let bytes = collected.map_err(|_| BodyError::Gone)??;
    Ok(ReadBody { bytes, memory, waited, gzip })
}

/// Reads a body and keeps nothing: a client that is still sending would not
/// hear why it is refused.
pub(crate) async fn discard<B>(body: B)
where
    B: HttpBody<Data = Bytes>,
{
    let drained = async {
        let mut body = std::pin::pin!(body);
        let mut left = BODY_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(len) else { return };
            left = less;
        }
    };
    // Who sends more, or more slowly, is not heard to the end.
    tokio::time::timeout(BODY_TIME, drained).await.ok();
}

async fn collect<B>(body: B, most: usize) -> Result<Bytes, BodyError>
where
    B: HttpBody<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    loop {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame.map_err(|_| BodyError::Gone)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > most {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && whole.is_empty() {
            // A small body comes in one piece, which needs no copy.
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(most.min(BODY_BYTES_MAX));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn decompress(bytes: &[u8]) -> Result<Bytes, BodyError> {
    let most = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let mut out = Vec::new();
    let mut from = flate2::read::GzDecoder::new(bytes).take(most.saturating_add(1));
    from.read_to_end(&mut out).map_err(|_| BodyError::Malformed)?;
    if out.len() > BODY_BYTES_MAX { Err(BodyError::TooLarge) } else { Ok(out.into()) }
}

/// The ids that every answer carries.
#[derive(Clone, Debug)]
pub(crate) struct RequestId {
    id: String,
    extended: String,
}

/// Makes ids that nobody else has, without asking the system for randomness
/// each time: digests of a secret and a count.
#[derive(Debug)]
pub(crate) struct RequestIds {
    seed: [u8; 16],
    count: AtomicU64,
}

impl RequestIds {
    /// Of 128 random bits.
    pub(crate) fn new(random: impl Fn() -> u64) -> Self {
        let seed = (u128::from(random()) << 64) | u128::from(random());
        Self { seed: seed.to_be_bytes(), count: AtomicU64::new(0) }
    }

    /// The next ones.
    pub(crate) fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let digest = |more: u8| -> [u8; 32] {
            Sha256::new()
                .chain_update(self.seed)
                .chain_update(count)
                .chain_update([more])
                .finalize()
                .into()
        };
        RequestId::of(&digest(0), &digest(1))
    }
}

impl RequestId {
    fn of(id: &[u8; 32], extended: &[u8; 32]) -> Self {
        let half = |at: usize| {
            let bytes = id.get(at..).and_then(|rest| rest.first_chunk::<8>());
            u64::from_be_bytes(bytes.copied().unwrap_or_default())
        };
        let (a, b) = (half(0), half(8));
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0x0fff,
            (b >> 48) & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        );
        let extended = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, extended);
        Self { id, extended }
    }

    fn set(&self, headers: &mut HeaderMap) {
        for (name, value) in [("x-amzn-requestid", &self.id), ("x-amz-id-2", &self.extended)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Encodes a value in the encoding of the request.
pub(crate) fn encode(value: &Value<'_>, encoding: Encoding) -> Encoded {
    let mut out = Vec::with_capacity(value.encoded_len());
    match encoding {
        Encoding::Json => json::encode(value, &mut out),
        Encoding::Cbor => cbor::encode(value, &mut out),
    }
    Encoded::of(out)
}

/// An answer with this body. `held` is given back once it has been written.
pub(crate) fn respond(
    status: StatusCode,
    content_type: Option<&'static str>,
    body: Encoded,
    id: &RequestId,
    held: Option<OwnedSemaphorePermit>,
) -> Response<Body> {
    // What it took to make the answer goes back but for the answer itself.
    let held = held.and_then(|held| Memory::keep(held, body.len()));
    let body = Held { chunks: body.into_chunks(), _held: held };
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    id.set(response.headers_mut());
    response
}

/// An answer of messages.
pub(crate) fn respond_events(body: Body, id: &RequestId) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(event_stream::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    id.set(response.headers_mut());
    response
}

/// The Content-Type of an encoding.
pub(crate) const fn named(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/x-amz-json-1.1",
        Encoding::Cbor => "application/x-amz-cbor-1.1",
    }
}

/// An error, as AWS's clients read it.
pub(crate) fn respond_error(error: &Error, encoding: Encoding, id: &RequestId) -> Response<Body> {
    let body = encode(&error.body(), encoding);
    let mut response = respond(error.code.status(), Some(named(encoding)), body, id, None);
    let kind = HeaderValue::from_static(error.code.name());
    response.headers_mut().insert("x-amzn-errortype", kind);
    response
}

/// An error where no encoding is known: AWS's own XML.
pub(crate) fn respond_xml(code: Code, message: Option<&str>, id: &RequestId) -> Response<Body> {
    let name = code.name();
    let (status, body) = match message {
        None => (StatusCode::NOT_FOUND, format!("<{name}/>\n")),
        Some(message) => {
            let body = format!("<{name}>\n  <Message>{message}</Message>\n</{name}>\n");
            (StatusCode::FORBIDDEN, body)
        }
    };
    respond(status, None, Encoded::of(body.into_bytes()), id, None)
}

/// A body with memory that is given back when it has been sent.
struct Held {
    chunks: Chunks,
    _held: Option<OwnedSemaphorePermit>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.chunks.next().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.chunks.left()).unwrap_or(u64::MAX))
    }
}
