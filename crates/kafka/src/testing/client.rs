//! A client for tests: speaks to a connection over memory, with the codec the
//! other way round.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use millrace_broker::Broker;
use millrace_broker::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use crate::codec::{ApiKey, Decode, Encode, is_flexible};
use crate::connection::{self, End};
use crate::context::{Context, Front, Listener};
use crate::settings::Settings;

/// A front and a broker.
pub(crate) struct Setup {
    pub(crate) front: Arc<Front>,
    pub(crate) broker: Arc<Broker>,
    /// What the front counts into.
    pub(crate) metrics: Arc<Metrics>,
}

impl Setup {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        // The records of tests are from 2023.
        Self::of(settings, Broker::in_memory_with(&[("log.retention.ms", "-1")]))
    }

    pub(crate) fn of(settings: Settings, broker: Arc<Broker>) -> Self {
        let metrics = Arc::new(Metrics::new());
        Self { front: Front::new(settings, Arc::clone(&metrics)), broker, metrics }
    }

    pub(crate) fn context(&self) -> Arc<Context> {
        let listener =
            Listener { name: "PLAINTEXT".into(), host: "broker.example".into(), port: 9092 };
        Arc::new(Context {
            broker: Arc::clone(&self.broker),
            front: Arc::clone(&self.front),
            listener: Arc::new(listener),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            held_up: Default::default(),
        })
    }

    /// A connection whose socket holds `buffer` bytes either way.
    pub(crate) fn connect(&self, buffer: usize) -> Client {
        let (near, far) = tokio::io::duplex(buffer);
        let stop = Box::pin(std::future::pending());
        let end = tokio::spawn(connection::serve(far, self.context(), stop));
        Client { stream: near, end, correlation: 0 }
    }
}

/// A client's side of one connection.
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    pub(crate) end: JoinHandle<End>,
    correlation: i32,
}

impl Client {
    /// Sends a request and reads its response.
    pub(crate) async fn call<T: Decode>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &impl Encode,
    ) -> T {
        let correlation = self.send(key, version, request).await;
        self.receive(key, version, correlation).await
    }

    /// Sends a request; its correlation id.
    pub(crate) async fn send(&mut self, key: ApiKey, version: i16, request: &impl Encode) -> i32 {
        self.correlation += 1;
        let frame = request_frame(key, version, self.correlation, request);
        self.stream.write_all(&frame).await.unwrap();
        self.correlation
    }

    pub(crate) async fn receive<T: Decode>(
        &mut self,
        key: ApiKey,
        version: i16,
        correlation: i32,
    ) -> T {
        let mut frame = self.frame().await.expect("the connection ended");
        response_body(&mut frame, key, version, correlation)
    }

    /// The payload of the next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let len = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut frame).await.unwrap();
        Some(frame.into())
    }

    /// Why the connection ended; what it still sent is dropped.
    pub(crate) async fn end(mut self) -> End {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        self.end.await.unwrap()
    }
}

/// A request frame, length included.
pub(crate) fn request_frame(
    key: ApiKey,
    version: i16,
    correlation: i32,
    request: &impl Encode,
) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i16(key as i16);
    out.put_i16(version);
    out.put_i32(correlation);
    out.put_i16(4);
    out.put_slice(b"test");
    if is_flexible(key as i16, version) {
        out.put_u8(0);
    }
    request.encode(&mut out, version).unwrap();
    crate::codec::finish_length(&mut out, 0);
    out.freeze()
}

/// Decodes a response after its length.
pub(crate) fn response_body<T: Decode>(
    frame: &mut Bytes,
    key: ApiKey,
    version: i16,
    correlation: i32,
) -> T {
    use bytes::Buf;
    assert_eq!(frame.get_i32(), correlation);
    if is_flexible(key as i16, version) && key != ApiKey::ApiVersions {
        assert_eq!(frame.get_u8(), 0, "tagged fields of the response header");
    }
    let body = T::decode(frame, version).unwrap();
    assert!(frame.is_empty(), "{} bytes follow the response", frame.len());
    body
}

/// An uncompressed record batch of one record per value, as a producer sends it.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut records = BytesMut::new();
    for (delta, value) in (0_i8..).zip(values) {
        let mut record = BytesMut::new();
        record.put_i8(0); // attributes
        record.put_i8(0); // timestamp delta
        record.put_i8(delta * 2);
        record.put_i8(1); // key: null
        record.put_i8(i8::try_from(value.len()).unwrap() * 2);
        record.put_slice(value.as_bytes());
        record.put_i8(0); // headers
        records.put_i8(i8::try_from(record.len()).unwrap() * 2);
        records.put_slice(&record);
    }
    let count = i32::try_from(values.len()).unwrap();
    let mut body = BytesMut::new();
    body.put_i16(0); // attributes
    body.put_i32(count - 1);
    body.put_i64(1_700_000_000_000);
    body.put_i64(1_700_000_000_000);
    body.put_i64(-1);
    body.put_i16(-1);
    body.put_i32(-1);
    body.put_i32(count);
    body.put_slice(&records);
    let mut out = BytesMut::new();
    out.put_i64(0);
    out.put_i32(i32::try_from(body.len()).unwrap() + 9);
    out.put_i32(-1);
    out.put_i8(2);
    out.put_u32(crc32c::crc32c(&body));
    out.put_slice(&body);
    out.freeze()
}
