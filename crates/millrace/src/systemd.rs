//! What systemd is told (`Type=notify`): when clients are served, and when the
//! server stops. Without systemd nothing happens.
//!
//! The protocol is sd_notify(3): lines in a datagram to the socket that the
//! variable `NOTIFY_SOCKET` names.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A point in the server's life that a service manager waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Clients are served.
    Ready,
    /// The end has begun.
    Stopping,
}

/// Tells it. That nobody listens is no reason to fail: it is logged.
pub(crate) fn notify(moment: Moment) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let text = match moment {
        Moment::Ready => "READY=1\nSTATUS=Serving clients",
        Moment::Stopping => "STOPPING=1\nSTATUS=Finishing what is in flight",
    };
    if let Err(error) = send(path.as_encoded_bytes(), text) {
        tracing::warn!(%error, "can't tell the service manager (NOTIFY_SOCKET)");
    }
}

/// A leading `@` stands for the abstract namespace.
fn send(path: &[u8], text: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("millrace-test-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(&name).unwrap();
        let cases = [
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
            (UnixDatagram::bind_addr(&abstracted).unwrap(), format!("@{name}")),
        ];
        for (socket, path) in cases {
            send(path.as_bytes(), "READY=1").unwrap();
            let mut told = [0; 16];
            let len = socket.recv(&mut told).unwrap();
            assert_eq!(told.get(..len), Some("READY=1".as_bytes()), "{path}");
        }
        assert!(send(b"/nowhere/at/all", "READY=1").is_err());
    }
}
