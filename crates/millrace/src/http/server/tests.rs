use std::path::Path;

use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::http::tls::{acceptor, tests::made};

/// A server that echoes bodies, by TLS if it is given files for that; its
/// address, and what stops it.
async fn echo(
    tls: Option<TlsAcceptor>,
) -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let routers = |_| Router::new().route("/", post(async |body: String| body));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let by_tls = tls.is_some();
    let server = Server::new(routers, tls, &Metrics::new());
    (at, stop, tokio::spawn(server.serve(listener, by_tls, stopped)))
}

/// A client that trusts the certificate in this file and offers one protocol.
fn connector(cert: &Path, protocol: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// The beginning of HTTP/2: the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn tls_agrees_on_http_1_or_2() {
    let Some((_dir, cert, key)) = made() else { return };
    let (at, stop, served) = echo(Some(acceptor(&cert, &key).unwrap())).await;
    let connect = async |protocol| {
        let socket = TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        connector(&cert, protocol).connect(name, socket).await
    };
    let mut two = connect("h2").await.unwrap();
    assert_eq!(two.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    two.write_all(PREFACE).await.unwrap();
    let mut frame = [0; 9];
    two.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "a frame of settings");
    let mut one = connect("http/1.1").await.unwrap();
    one.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    let mut answer = vec![0; 15];
    one.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    assert!(connect("smtp").await.is_err());
    drop((one, two));
    stop.send(()).unwrap();
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stalls_is_cut_and_counts_until_then() {
    let Some((_dir, cert, key)) = made() else { return };
    let metrics = Metrics::new();
    let tls = Some(acceptor(&cert, &key).unwrap());
    let server = Server::new(|_| Router::new(), tls, &metrics);
    let room = Arc::clone(&server.room);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = tokio::spawn(server.serve(listener, true, std::future::pending()));
    let begun = tokio::time::Instant::now();
    let mut silent = TcpStream::connect(at).await.unwrap();
    let mut end = Vec::new();
    silent.read_to_end(&mut end).await.unwrap();
    assert!(end.is_empty() && begun.elapsed() >= HANDSHAKE_TIME);
    while room.available_permits() < CONNECTIONS_MAX - 1 {
        tokio::task::yield_now().await;
    }
    let text = metrics.registry().render();
    assert!(text.contains("front_connections_total{front=\"http\"} 1"), "{text}");
    serving.abort();
}

#[tokio::test]
async fn plain_http_at_a_tls_address_is_no_request() {
    let Some((_dir, cert, key)) = made() else { return };
    let (at, stop, served) = echo(Some(acceptor(&cert, &key).unwrap())).await;
    let mut plain = TcpStream::connect(at).await.unwrap();
    plain.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"));
    stop.send(()).unwrap();
    served.await.unwrap();
}

#[tokio::test]
async fn http_1_and_2_are_served_on_one_port() {
    let (at, stop, served) = echo(None).await;
    let mut one = TcpStream::connect(at).await.unwrap();
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                    2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
    one.write_all(request).await.unwrap();
    let mut answer = vec![0; 15];
    one.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    let mut two = TcpStream::connect(at).await.unwrap();
    two.write_all(PREFACE).await.unwrap();
    let mut frame = [0; 9];
    two.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "a frame of settings");
    drop((one, two));
    stop.send(()).unwrap();
    served.await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_the_server() {
    let (at, stop, served) = echo(None).await;
    let mut idle = TcpStream::connect(at).await.unwrap();
    idle.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    stop.send(()).unwrap();
    served.await.unwrap();
    // That nobody listens any more can't be tried: another test may have the port by now.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";

/// A connection to a server of `route`, with room for `room` bytes in either
/// direction.
fn connected(route: axum::routing::MethodRouter, room: usize) -> tokio::io::DuplexStream {
    let (client, stream) = tokio::io::duplex(room);
    let server = Server::new(|_| Router::new(), None, &Metrics::new());
    let answers = Answers::default();
    let stream = Patient::new(stream, answers.clone());
    tokio::spawn(async move {
        let router = Router::new().route("/", route);
        let graceful = GracefulShutdown::new();
        server.answer(stream, answers, &router, graceful.watcher()).await.ok();
    });
    client
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_however_long_it_takes() {
    let slow = post(async |body: String| {
        tokio::time::sleep(20 * IDLE).await;
        body
    });
    let mut client = connected(slow, 1024);
    client.write_all(REQUEST).await.unwrap();
    let mut answer = vec![0; 15];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_answer_waits_for_its_client() {
    let mut client = connected(post(async || "x".repeat(4096)), 64);
    client.write_all(REQUEST).await.unwrap();
    // Less than what a client may take for some bytes.
    tokio::time::sleep(Duration::from_secs(50)).await;
    let mut read = Vec::new();
    while !read.ends_with(&[b'x'; 4096]) {
        assert!(client.read_buf(&mut read).await.unwrap() > 0, "{} bytes", read.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_as_long_as_clients_keep_theirs() {
    let mut client = connected(post(async |body: String| body), 1024);
    for _ in 0..3 {
        client.write_all(REQUEST).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\nhi") {
            assert!(client.read_buf(&mut read).await.unwrap() > 0);
        }
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
}
