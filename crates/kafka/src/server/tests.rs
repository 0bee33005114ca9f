use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::codec::ApiKey;
use crate::codec::metadata_request::MetadataRequestData;
use crate::codec::metadata_response::MetadataResponseData;
use crate::settings::Settings;
use crate::testing::{Setup, request_frame, response_body};

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    setup: Setup,
}

async fn server(settings: Settings) -> Server {
    let setup = Setup::with(settings).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener { name: "OUTSIDE".into(), host: "kafka.example".into(), port: 19092 };
    let broker = Arc::clone(&setup.broker);
    let brokers: Brokers = Arc::new(move || Arc::clone(&broker));
    let (stop, stopped) = oneshot::channel();
    let front = Arc::clone(&setup.front);
    let task = tokio::spawn(serve(socket, listener, brokers, front, async {
        drop(stopped.await);
    }));
    Server { address, stop, task, setup }
}

/// The brokers that Metadata tells of.
async fn metadata(stream: &mut TcpStream) -> Option<MetadataResponseData> {
    let request = MetadataRequestData::default().with_topics(None);
    stream.write_all(&request_frame(ApiKey::Metadata, 12, 3, &request)).await.ok()?;
    let len = stream.read_u32().await.ok()?;
    let mut frame = vec![0; usize::try_from(len).unwrap()];
    stream.read_exact(&mut frame).await.ok()?;
    Some(response_body(&mut frame.into(), ApiKey::Metadata, 12, 3))
}

#[tokio::test]
async fn clients_are_told_the_address_of_the_listener_they_came_in_by() {
    let server = server(Settings::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let brokers = metadata(&mut stream).await.unwrap().brokers;
    let told: Vec<_> = brokers.iter().map(|b| (b.node_id, b.host.as_str(), b.port)).collect();
    assert_eq!(told, [(server.setup.broker.node_id(), "kafka.example", 19092)]);
}

#[tokio::test]
async fn beyond_max_connections_clients_wait_for_a_place() {
    let server = server(Settings { max_connections: 1, ..Settings::default() }).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    assert!(metadata(&mut first).await.is_some());
    let mut second = TcpStream::connect(server.address).await.unwrap();
    let served = tokio::spawn(async move { metadata(&mut second).await.is_some() });
    assert!(metadata(&mut first).await.is_some());
    assert!(!served.is_finished());
    drop(first);
    assert!(served.await.unwrap());
}

#[tokio::test]
async fn beyond_max_connections_per_ip_clients_are_closed() {
    let server = server(Settings { max_connections_per_ip: 1, ..Settings::default() }).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    assert!(metadata(&mut first).await.is_some());
    let mut second = TcpStream::connect(server.address).await.unwrap();
    assert!(metadata(&mut second).await.is_none());
    assert!(metadata(&mut first).await.is_some());
}

#[tokio::test]
async fn a_stopped_server_ends_its_connections_and_returns() {
    let server = server(Settings::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert!(metadata(&mut stream).await.is_some());
    drop(server.stop);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    // That nobody listens any more can't be tried: another test may have the port by now.
    server.task.await.unwrap();
}
