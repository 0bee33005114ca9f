//! What arrives from Kafka's clients: frames, requests, a whole connection.

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use millrace_broker::{Supervisor, metrics::Metrics, testing::MemDisk};
use millrace_kafka::{
    Context, Front, Listener, Pool, Settings,
    api::{self, Api},
    codec::{self, ApiKey, DECODERS, DecodeAndDrop, RECODERS, Recode},
    fuzzing,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    runtime::Runtime,
};

use crate::memory::bounded;

mod samples;

pub use samples::{connection_seeds, framing_seeds, request_seeds};

/// Largest request that is taken here.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Memory of all requests. A request of most APIs is charged 128 times its
/// length.
const MEMORY: usize = 64 << 20;
/// How long a connection may wait for what only time brings (a Fetch for
/// records, a JoinGroup for other members) before its client goes away.
const PATIENCE: Duration = Duration::from_millis(20);

/// A client's bytes, in pieces.
struct Pieces<'a> {
    rest: &'a [u8],
    len: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let len = self.len.min(self.rest.len()).min(buffer.remaining());
        let (piece, rest) = self.rest.split_at(len);
        buffer.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

/// Length prefixes: the first byte says how many bytes arrive at once.
pub fn framing(bytes: &[u8]) {
    let Some((len, bytes)) = bytes.split_first() else { return };
    let pool = Pool::new(MEMORY, &Metrics::new());
    let stream = Pieces { rest: bytes, len: usize::from(*len) + 1 };
    // Buffers for what has arrived, and room for what was announced.
    let max = 4 * bytes.len() + 2 * REQUEST_BYTES_MAX + (1 << 16);
    let receive = fuzzing::receive(stream, pool.clone(), REQUEST_BYTES_MAX);
    let Some(requests) = bounded(max, || receive.now_or_never()) else {
        panic!("waits for memory, and nobody holds any")
    };
    assert_eq!(pool.used(), 0);
    let mut rest = bytes;
    for request in requests {
        let (len, behind) = rest.split_first_chunk().unwrap();
        let (payload, behind) = behind.split_at(u32::from_be_bytes(*len) as usize);
        assert_eq!(request, payload);
        let (key, version) = codec::peek_api(&request).unwrap();
        let api = api::find(key).unwrap();
        assert!(api.accepts(version) || api.key == ApiKey::ApiVersions);
        assert!(request.len() <= api.bytes_max);
        rest = behind;
    }
}

/// The module of an API's requests: `list_offsets_request` of ListOffsets.
fn module(api: &Api) -> String {
    let mut module = String::new();
    for letter in api.name().chars() {
        if letter.is_uppercase() && !module.is_empty() {
            module.push('_');
        }
        module.extend(letter.to_lowercase());
    }
    module.push_str("_request");
    module
}

fn codec_of(api: &Api) -> (DecodeAndDrop, Recode) {
    let module = module(api);
    let decode = DECODERS.iter().find(|(name, _)| *name == module).unwrap().1;
    let recode = RECODERS.iter().find(|(name, _)| *name == module).unwrap().1;
    (decode, recode)
}

/// One request without its length, of the API and version that it names.
pub fn request(bytes: &[u8]) {
    let Some((key, version)) = codec::peek_api(bytes) else { return };
    let Some(api) = api::find(key) else { return };
    let mut body = Bytes::copy_from_slice(bytes);
    // Tagged fields of the header are kept: as much as they take, each.
    let Ok(header) = bounded(64 * bytes.len() + 1024, || codec::read_header(&mut body)) else {
        return;
    };
    assert_eq!((header.api_key, header.api_version), (key, version));
    if !(api.min..=api.max).contains(&version) {
        return;
    }
    let (decode, recode) = codec_of(api);
    if api.key == ApiKey::Produce {
        // Decoded by hand, with a connection around it: see [`connection`].
    } else if bounded(api.memory(bytes.len()), || decode(&mut body.clone(), version)).is_err() {
        return;
    }
    let mut again = BytesMut::new();
    if recode(&mut body, &mut again, version).is_err() {
        return;
    }
    let again = again.freeze();
    let mut third = BytesMut::new();
    recode(&mut again.clone(), &mut third, version).unwrap();
    assert_eq!(again, third, "a message has one form once it was read");
}

/// A socket's bytes, of which the first says whether the lengths of requests
/// are put right. One client and a broker of its own.
pub fn connection(bytes: &[u8]) {
    let Some((raw, bytes)) = bytes.split_first() else { return };
    let input = if *raw == 0 { bytes.to_vec() } else { with_lengths(bytes) };
    let settings = [
        ("group.initial.rebalance.delay.ms", "0"),
        ("num.partitions", "2"),
        ("auto.create.topics.enable", "true"),
    ];
    let supervisor = Supervisor::in_memory_on(Arc::new(MemDisk::new(1)), &settings);
    let broker = supervisor.current();
    let settings = Settings {
        socket_request_max_bytes: REQUEST_BYTES_MAX,
        queued_max_request_bytes: MEMORY,
        ..Settings::default()
    };
    let front = Front::new(settings, Arc::new(Metrics::new()));
    let listener = Listener { name: "PLAINTEXT".into(), host: "broker.example".into(), port: 9092 };
    let context = Context {
        broker: Arc::clone(&broker),
        front: Arc::clone(&front),
        listener: Arc::new(listener),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        held_up: Default::default(),
    };
    let mut answers = Vec::new();
    let ended = RUNTIME.block_on(converse(&input, Arc::new(context), &mut answers));
    check_answers(&input, &answers, ended);
    assert_eq!(front.memory.used(), 0, "memory of requests is lost");
    assert!(broker.ended().now_or_never().is_none(), "a client ended the log");
    drop(broker);
    RUNTIME.block_on(supervisor.shutdown());
}

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());

/// Sends all of `input` and takes what comes; whether the connection ended by
/// itself.
async fn converse(input: &[u8], context: Arc<Context>, answers: &mut Vec<u8>) -> bool {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (mut from, mut to) = tokio::io::split(near);
    let send = async {
        // The server may close at any byte.
        let sent = to.write_all(input).await;
        sent.and(to.shutdown().await)
    };
    let talk = async {
        tokio::join!(send, from.read_to_end(answers), fuzzing::serve(far, context)).1.is_ok()
    };
    tokio::time::timeout(PATIENCE, talk).await.unwrap_or(false)
}

/// Whole frames, whose correlation ids are those of requests in their order.
fn check_answers(input: &[u8], answers: &[u8], ended: bool) {
    let mut asked = frames(input).filter_map(|frame| frame.get(4..8).map(<[u8]>::to_vec));
    let mut taken = 0;
    for answer in frames(answers) {
        let id = answer.get(..4).expect("an answer without a correlation id");
        assert!(asked.any(|asked| asked == id), "answers {id:?}, which was not asked here");
        taken += 4 + answer.len();
    }
    assert!(taken == answers.len() || !ended, "the last answer is cut off");
}

/// The whole frames at the start of `bytes`, without their lengths.
fn frames(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (len, behind) = rest.split_first_chunk()?;
        let (frame, behind) = behind.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        rest = behind;
        Some(frame)
    })
}

/// The same with every length that reaches beyond the end cut to it.
fn with_lengths(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((len, behind)) = rest.split_first_chunk() {
        let len = (u32::from_be_bytes(*len) as usize).min(behind.len());
        let (frame, behind) = behind.split_at(len);
        out.extend((len as u32).to_be_bytes());
        out.extend(frame);
        rest = behind;
    }
    out
}
