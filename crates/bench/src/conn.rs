//! One connection that never blocks: frames in, vectored writes out.
//!
//! Invariant: a whole frame lies in one piece of memory that is used again for
//! the next. Called by `producer` and `reader`, each with its own protocol.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use crate::poller::Poller;

/// Bytes that a connection can receive before a longer frame makes it grow.
const INBOX_BYTES: usize = 64 * 1024;
/// Longer frames are not Kafka's.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Pieces of one write.
pub(crate) const PIECES_MAX: usize = 64;

/// A connection, open or about to be.
#[derive(Debug)]
pub(crate) struct Conn {
    socket: TcpStream,
    token: u64,
    inbox: Vec<u8>,
    filled: usize,
    open: bool,
    watches_room: bool,
}

impl Conn {
    /// Begins to connect; [`Self::opened`] tells when it is.
    pub(crate) fn begin(poller: &Poller, address: SocketAddr, token: u64) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            // EINPROGRESS has no kind of its own on every platform.
            Err(error) if error.raw_os_error() == Some(115) => {}
            Err(error) => return Err(error),
        }
        let socket = TcpStream::from(socket);
        poller.add(&socket, token, true)?;
        let inbox = vec![0; INBOX_BYTES];
        Ok(Self { socket, token, inbox, filled: 0, open: false, watches_room: true })
    }

    /// Whether requests can be written.
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    /// There is room to write: the connection is open, or failed to.
    pub(crate) fn opened(&mut self, poller: &Poller) -> io::Result<()> {
        if !self.open {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            self.open = true;
        }
        self.watch_room(poller, false)
    }

    fn watch_room(&mut self, poller: &Poller, watch: bool) -> io::Result<()> {
        if self.watches_room != watch {
            poller.change(&self.socket, self.token, watch)?;
            self.watches_room = watch;
        }
        Ok(())
    }

    /// Writes pieces as far as there is room; how many bytes went out.
    pub(crate) fn write(&mut self, poller: &Poller, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match self.socket.write_vectored(pieces) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.watch_room(poller, written < whole)?;
        Ok(written)
    }

    /// Receives what there is and hands out each whole frame, without its
    /// length.
    pub(crate) fn receive<E: From<io::Error>>(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let room = self.inbox.get_mut(self.filled..).unwrap_or_default();
            let asked = room.len();
            let got = match self.socket.read(room) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.filled += got;
            self.frames(&mut each)?;
            // A read that was not filled took all that there was.
            if got < asked {
                return Ok(());
            }
        }
    }

    fn frames<E: From<io::Error>>(
        &mut self,
        each: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = self.inbox.get(..self.filled).unwrap_or_default();
        let mut needed = 0;
        while let Some((len, after)) = rest.split_first_chunk() {
            let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(usize::MAX);
            if len > FRAME_BYTES_MAX {
                let what = "what listens there does not speak Kafka's protocol";
                return Err(io::Error::new(ErrorKind::InvalidData, what).into());
            }
            let Some((frame, after)) = after.split_at_checked(len) else {
                needed = len + 4;
                break;
            };
            each(frame)?;
            rest = after;
        }
        let left = rest.len();
        self.inbox.copy_within(self.filled - left..self.filled, 0);
        self.filled = left;
        if needed > self.inbox.len() {
            self.inbox.resize(needed, 0);
        }
        Ok(())
    }
}
