use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;

/// A server that echoes bodies; its address, and what stops it.
async fn echo() -> (std::net::SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = |_| Router::new().route("/", post(async |body: String| body));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    (at, stop, tokio::spawn(serve(listener, router, Arc::default(), stopped)))
}

#[tokio::test]
async fn http_1_and_2_are_served_on_one_port() {
    let (at, stop, served) = echo().await;
    let mut one = TcpStream::connect(at).await.unwrap();
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                    2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
    one.write_all(request).await.unwrap();
    let mut answer = vec![0; 15];
    one.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    let mut two = TcpStream::connect(at).await.unwrap();
    // The preface and empty settings; the server's settings come first.
    two.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    two.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "a frame of settings");
    drop((one, two));
    stop.send(()).unwrap();
    served.await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_the_server() {
    let (at, stop, served) = echo().await;
    let mut idle = TcpStream::connect(at).await.unwrap();
    idle.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    stop.send(()).unwrap();
    served.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(at).await.is_err());
}
