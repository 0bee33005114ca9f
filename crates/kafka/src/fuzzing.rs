//! What the fuzz targets of `crates/fuzz` reach of this crate and nobody else
//! does: the framing and a whole connection, over any stream. No release has
//! it.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection;
use crate::context::Context;
use crate::memory::Pool;

/// Takes the requests of `stream` one by one until it ends or is refused;
/// header and body of each.
pub async fn receive<S: AsyncRead + Unpin>(
    mut stream: S,
    memory: Pool,
    bytes_max: usize,
) -> Vec<Bytes> {
    let mut receive = connection::Receive::new(memory, bytes_max);
    let mut requests = Vec::new();
    while let Ok(Some(frame)) = poll_fn(|task| receive.poll_frame(task, &mut stream)).await {
        requests.push(frame.payload);
    }
    requests
}

/// Serves one connection until it ends; why it did.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, context: Arc<Context>) -> String {
    connection::serve(stream, context, Box::pin(std::future::pending())).await.to_string()
}
