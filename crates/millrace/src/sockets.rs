//! Everything that is listened on, bound before anything is served.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::settings::{BoundHttp, BoundKafka, HostPort, HttpListen, Settings};

/// An address that can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} (setting {setting}): {why}; choose another with {flag}")]
pub(crate) struct BindError {
    setting: &'static str,
    flag: &'static str,
    address: HostPort,
    why: io::Error,
}

/// Bound sockets with their addresses.
pub(crate) struct Sockets {
    pub(crate) kafka: Vec<(TcpListener, BoundKafka)>,
    pub(crate) http: Vec<(TcpListener, BoundHttp)>,
}

impl Sockets {
    /// Binds all addresses of the settings.
    ///
    /// # Errors
    /// The first that can't be had.
    pub(crate) async fn bind(settings: &Settings) -> Result<Self, BindError> {
        let mut kafka = Vec::new();
        for listen in &settings.own.kafka_listen.0 {
            let (socket, address) = bind("kafka_listen", "--kafka-listen", &listen.bind).await?;
            kafka.push((socket, listen.bound(address)));
        }
        let mut http = Vec::new();
        for HttpListen { tls, bind: at } in &settings.own.http_listen.0 {
            let (socket, address) = bind("http_listen", "--http-listen", at).await?;
            http.push((socket, BoundHttp { tls: *tls, address }));
        }
        Ok(Self { kafka, http })
    }

    /// The addresses for Kafka clients.
    pub(crate) fn kafka_bound(&self) -> Vec<BoundKafka> {
        self.kafka.iter().map(|(_, bound)| bound.clone()).collect()
    }

    /// The addresses for HTTP.
    pub(crate) fn http_bound(&self) -> Vec<BoundHttp> {
        self.http.iter().map(|(_, bound)| *bound).collect()
    }
}

async fn bind(
    setting: &'static str,
    flag: &'static str,
    address: &HostPort,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |why| BindError { setting, flag, address: address.clone(), why };
    let socket = TcpListener::bind((address.host.as_str(), address.port)).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    Ok((socket, bound))
}
