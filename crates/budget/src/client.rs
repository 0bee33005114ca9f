//! The clients, played by the conductor: it sends what belongs together, lets
//! the server work until all is answered, and reads the answers.
//!
//! What happens here is on a thread that is not counted.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use millrace_kafka::codec::{
    ApiKey, CodecError, Decode, Encode, Outcome, error_name, finish_length, is_flexible,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{server::Server, turns::Stuck};

/// Virtual milliseconds between two rounds: the pace of commits never holds
/// one up.
const ROUND_MS: u64 = 10;
/// Virtual milliseconds that a round waits for whoever looks at the clock.
const PATIENCE_MS: u64 = 50;
/// Room in a socket either way, for a whole request or answer.
const SOCKET_BYTES: usize = 1 << 20;
/// What the clients call themselves.
const CLIENT_ID: &str = "budget";

/// Why a request was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Stuck(#[from] Stuck),
    #[error("a connection to the server: {0}")]
    Io(#[from] std::io::Error),
    #[error("a message of {0:?}: {1}")]
    Codec(ApiKey, CodecError),
    #[error("{0:?} was answered with {1}")]
    Refused(ApiKey, &'static str),
    #[error("{api:?} was answered with {got} bytes of records, not {wanted}")]
    Records { api: ApiKey, got: usize, wanted: usize },
    #[error("{0:?} was answered out of order")]
    Order(ApiKey),
    #[error("the server panicked")]
    Over,
}

/// Bytes of records in an answer without an error.
type Check = fn(Bytes, ApiKey, i16) -> Result<usize, ClientError>;

/// A request, and what its answer has to be.
pub(crate) struct Exchange {
    connection: usize,
    api: ApiKey,
    version: i16,
    frame: Bytes,
    correlation: i32,
    check: Check,
    /// Bytes of records that it brings.
    records: usize,
}

impl Exchange {
    /// The same, answered with so many bytes of records.
    pub(crate) fn bringing(self, records: usize) -> Self {
        Self { records, ..self }
    }
}

/// One connection, and what has come in by it.
struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

/// All the clients of one server.
pub(crate) struct Clients {
    pub(crate) server: Server,
    connections: Vec<Connection>,
    correlation: i32,
    /// What a socket is read into.
    buffer: Vec<u8>,
}

impl Clients {
    pub(crate) fn new(server: Server) -> Self {
        let buffer = vec![0; SOCKET_BYTES];
        Self { server, connections: Vec::new(), correlation: 0, buffer }
    }

    /// Opens one more connection; its number.
    pub(crate) fn connect(&mut self) -> Result<usize, ClientError> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_send_buffer_size(SOCKET_BYTES)?;
        socket.set_recv_buffer_size(SOCKET_BYTES)?;
        socket.set_tcp_nodelay(true)?;
        socket.connect(&self.server.address.into())?;
        socket.set_nonblocking(true)?;
        self.connections.push(Connection { stream: socket.into(), received: BytesMut::new() });
        Ok(self.connections.len() - 1)
    }

    /// A request on `connection`, to be answered with a `T`.
    pub(crate) fn request<T: Decode + Outcome>(
        &mut self,
        connection: usize,
        api: ApiKey,
        version: i16,
        request: &impl Encode,
    ) -> Result<Exchange, ClientError> {
        self.request_checked(connection, api, version, request, |body, api, version| {
            decode::<T>(body, api, version).map(|_| 0)
        })
    }

    /// A request whose answer is checked by `check`.
    pub(crate) fn request_checked(
        &mut self,
        connection: usize,
        api: ApiKey,
        version: i16,
        request: &impl Encode,
        check: Check,
    ) -> Result<Exchange, ClientError> {
        self.correlation += 1;
        let correlation = self.correlation;
        let mut out = BytesMut::new();
        out.put_i32(0);
        out.put_i16(api as i16);
        out.put_i16(version);
        out.put_i32(correlation);
        out.put_i16(i16::try_from(CLIENT_ID.len()).unwrap_or_default());
        out.put_slice(CLIENT_ID.as_bytes());
        if is_flexible(api as i16, version) {
            out.put_u8(0);
        }
        request.encode(&mut out, version).map_err(|e| ClientError::Codec(api, e))?;
        finish_length(&mut out, 0);
        let frame = out.freeze();
        Ok(Exchange { connection, api, version, frame, correlation, check, records: 0 })
    }

    /// Asks once, outside of what is measured.
    pub(crate) fn call<T: Decode + Outcome>(
        &mut self,
        connection: usize,
        api: ApiKey,
        version: i16,
        request: &impl Encode,
    ) -> Result<T, ClientError> {
        let exchange = self.request::<T>(connection, api, version, request)?;
        let answers = self.round(&[exchange])?;
        let body = answers.into_iter().next().unwrap_or_default();
        decode::<T>(body, api, version)
    }

    /// Sends `exchanges` and lets the server work until each is answered as it
    /// should be; the answers' bodies.
    pub(crate) fn round(&mut self, exchanges: &[Exchange]) -> Result<Vec<Bytes>, ClientError> {
        self.server.world.advance(ROUND_MS);
        for exchange in exchanges {
            self.send(exchange)?;
        }
        let mut answers = Vec::with_capacity(exchanges.len());
        loop {
            self.server.run_tasks()?;
            if self.server.is_over() {
                return Err(ClientError::Over);
            }
            let mut moved = self.server.world.step()?;
            while let Some(exchange) = exchanges.get(answers.len()) {
                let Some(answer) = self.receive(exchange.connection)? else { break };
                answers.push(checked(exchange, answer)?);
                moved = true;
            }
            if answers.len() == exchanges.len() {
                return Ok(answers);
            }
            // Somebody may wait for the server's clock; if nobody does, the
            // socket or a timer of the runtime's own goes on.
            for _ in 0..PATIENCE_MS {
                if moved {
                    break;
                }
                self.server.world.advance(1);
                moved = self.server.world.step()?;
            }
        }
    }

    fn send(&mut self, exchange: &Exchange) -> Result<(), ClientError> {
        let mut rest = exchange.frame.clone();
        while !rest.is_empty() {
            let Some(connection) = self.connections.get_mut(exchange.connection) else { break };
            match connection.stream.write(&rest) {
                Ok(sent) => rest.advance(sent),
                // The socket is full: the server has something to read.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.server.run_tasks()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next answer on `connection`, without its length, once it is whole.
    fn receive(&mut self, connection: usize) -> Result<Option<Bytes>, ClientError> {
        let Some(Connection { stream, received }) = self.connections.get_mut(connection) else {
            return Ok(None);
        };
        loop {
            match stream.read(&mut self.buffer) {
                Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(n) => received.extend_from_slice(self.buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let Some(prefix) = received.first_chunk::<4>() else { return Ok(None) };
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if received.len() - 4 < len {
            return Ok(None);
        }
        received.advance(4);
        Ok(Some(received.split_to(len).freeze()))
    }
}

/// The body of an answer that is as it should be.
fn checked(exchange: &Exchange, mut answer: Bytes) -> Result<Bytes, ClientError> {
    let Exchange { api, version, correlation, check, records: wanted, .. } = *exchange;
    if answer.remaining() < 5 || answer.get_i32() != correlation {
        return Err(ClientError::Order(api));
    }
    if is_flexible(api as i16, version) && api != ApiKey::ApiVersions {
        answer.advance(1);
    }
    let got = check(answer.clone(), api, version)?;
    if got != wanted {
        return Err(ClientError::Records { api, got, wanted });
    }
    Ok(answer)
}

/// An answer without an error.
pub(crate) fn decode<T: Decode + Outcome>(
    mut body: Bytes,
    api: ApiKey,
    version: i16,
) -> Result<T, ClientError> {
    let answer = T::decode(&mut body, version).map_err(|e| ClientError::Codec(api, e))?;
    match answer.error_code() {
        0 => Ok(answer),
        code => Err(ClientError::Refused(api, error_name(code))),
    }
}
