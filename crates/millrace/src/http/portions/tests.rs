//! A client of HTTP/2 in bytes: those that libraries have always read.

use std::convert::Infallible;

use axum::Router;
use axum::routing::get;
use futures_util::stream;
use http_body_util::BodyExt as _;
use millrace_broker::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::http::server::Server;

/// Lives as long as an answer.
type Life = Arc<()>;

fn endless(life: Life) -> Body {
    let frames = stream::repeat_with(move || {
        let _life = &life;
        Ok::<_, Infallible>(Bytes::from(vec![b'x'; 100_000]))
    });
    Body::from_stream(frames)
}

/// A server of endless and of large answers.
async fn server(life: &Life) -> std::net::SocketAddr {
    let life = Arc::clone(life);
    let routers = move |_| {
        let life = Arc::clone(&life);
        Router::new()
            .route("/", get(async move || endless(life)))
            .route("/large", get(async || vec![b'y'; 300_000]))
            .route("/small", get(async || "small"))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = Server::new(routers, None, &Metrics::new());
    tokio::spawn(server.serve(listener, false, std::future::pending()));
    at
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;

struct Client(TcpStream);

impl Client {
    async fn connect(at: std::net::SocketAddr) -> Self {
        let mut socket = TcpStream::connect(at).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut client = Self(socket);
        client.send(SETTINGS, 0, 0, &[]).await;
        // Room for all streams together, so that each has only its own bound.
        client.send(WINDOW, 0, 0, &(1u32 << 30).to_be_bytes()).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// GET, by entries of HPACK's static table and a literal path.
    async fn get(&mut self, stream: u32, path: &str) {
        let mut head = vec![0x82, 0x86, 0x01, 0x01, b'h', 0x04, u8::try_from(path.len()).unwrap()];
        head.extend(path.as_bytes());
        self.send(HEADERS, 0x5, stream, &head).await;
    }

    /// The next frame but for those of the connection: kind, end, stream and
    /// payload.
    async fn next(&mut self) -> (u8, bool, u32, Vec<u8>) {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let len = usize::from(head[1]) << 8 | usize::from(head[2]) | usize::from(head[0]) << 16;
            let mut payload = vec![0; len];
            self.0.read_exact(&mut payload).await.unwrap();
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4]) {
                (PING, 0) => self.send(PING, 1, 0, &payload).await,
                (SETTINGS, 0) => self.send(SETTINGS, 1, 0, &[]).await,
                (SETTINGS | PING | WINDOW, _) => {}
                (kind, flags) => return (kind, flags & 1 == 1, stream, payload),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_cut_and_the_connection_lives() {
    let life = Life::default();
    let mut client = Client::connect(server(&life).await).await;
    client.get(1, "/small").await;
    while client.next().await.0 != DATA {}
    let idle = Arc::strong_count(&life);
    let begun = Instant::now();
    client.get(3, "/").await;
    let mut received = 0;
    let reason = loop {
        match client.next().await {
            (DATA, end, 3, payload) => {
                assert!(!end);
                received += payload.len();
            }
            (RESET, _, 3, payload) => break payload,
            (kind, ..) => assert_eq!(kind, HEADERS),
        }
    };
    assert_eq!(reason, [0, 0, 0, 8], "cancelled");
    assert_eq!(received, 65_535, "the window of the stream, which was never opened");
    assert!(begun.elapsed() >= STALL && begun.elapsed() < STALL * 2);
    assert_eq!(Arc::strong_count(&life), idle, "what the answer held is given back");
    client.get(5, "/small").await;
    while client.next().await.0 != DATA {}
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_all_of_it() {
    let mut client = Client::connect(server(&Life::default()).await).await;
    client.get(1, "/large").await;
    let mut received = 0;
    loop {
        match client.next().await {
            (DATA, end, 1, payload) => {
                received += payload.len();
                if end {
                    break;
                }
                if received % 65_535 == 0 {
                    tokio::time::sleep(STALL / 2).await;
                    client.send(WINDOW, 0, 1, &65_535u32.to_be_bytes()).await;
                }
            }
            (kind, ..) => assert_eq!(kind, HEADERS),
        }
    }
    assert_eq!(received, 300_000);
}

#[tokio::test]
async fn large_bodies_come_in_portions_and_small_ones_as_they_are() {
    let large = Portions::new(Body::from(vec![1; 150_000]));
    assert_eq!(large.size_hint().exact(), Some(150_000));
    let mut sizes = Vec::new();
    let mut large = std::pin::pin!(large);
    while let Some(frame) = large.as_mut().frame().await {
        sizes.push(frame.unwrap().into_data().unwrap().len());
        assert!(!large.is_end_stream(), "it ends once the last portion is taken");
    }
    assert_eq!(sizes, [PORTION, PORTION, 150_000 - 2 * PORTION]);
    let mut small = Portions::new(Body::from("small"));
    assert_eq!(small.frame().await.unwrap().unwrap().into_data().unwrap(), "small");
    assert!(small.is_end_stream());
}
