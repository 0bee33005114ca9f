//! A connection that asks Kinesis: HTTP/1.1, JSON, one request at a time.

use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::error::BenchError;
use crate::shared::ANSWER_MAX;

/// What a signature looks like. Nobody has to believe it.
const CREDENTIALS: &str = "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/kinesis/aws4_request, \
    SignedHeaders=host;x-amz-date, \
    Signature=0000000000000000000000000000000000000000000000000000000000000000";

/// How long [`Connection::chunk`] waits.
const LOOK: Duration = Duration::from_millis(100);

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    pub(super) body: String,
    /// Bytes of the body.
    pub(super) len: u64,
}

impl Answer {
    pub(super) const fn is_ok(&self) -> bool {
        self.status == 200
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_throttled(&self) -> bool {
        !self.is_ok()
            && ["ThroughputExceeded", "LimitExceeded"].iter().any(|name| self.body.contains(name))
    }

    pub(super) fn refused(&self, operation: &str) -> BenchError {
        let code = member(&self.body, "__type").unwrap_or("no type of error");
        let message = member(&self.body, "message").or_else(|| member(&self.body, "Message"));
        BenchError::Refused {
            what: operation.to_owned(),
            code: format!("{code} ({})", self.status),
            message: message.map(|message| format!(": {message}")).unwrap_or_default(),
            advice: "",
        }
    }
}

/// How the body of an answer ends.
enum Length {
    Known(usize),
    Chunked,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Self, BenchError> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_nanos(ANSWER_MAX)))?;
            Ok(stream)
        };
        let stream = connect().map_err(|why| broken(address, why))?;
        let stream = BufReader::with_capacity(64 * 1024, stream);
        Ok(Self { address: address.to_owned(), stream })
    }

    /// Asks, and reads the answer.
    pub(super) fn call(&mut self, operation: &str, body: &[u8]) -> Result<Answer, BenchError> {
        let read = self.ask(operation, body).and_then(|(status, length)| {
            let body = match length {
                Length::Known(len) => self.exactly(len)?,
                Length::Chunked => {
                    let mut all = Vec::new();
                    while let Some(chunk) = self.next_chunk()? {
                        all.extend(chunk);
                    }
                    all
                }
            };
            let len = crate::numbers::wide(body.len());
            let body = String::from_utf8(body).map_err(io::Error::other)?;
            Ok(Answer { status, body, len })
        });
        read.map_err(|why| broken(&self.address, why))
    }

    /// Asks for what must not be refused; the answer's body.
    pub(super) fn ok(&mut self, operation: &str, body: &str) -> Result<String, BenchError> {
        let answer = self.call(operation, body.as_bytes())?;
        if answer.is_ok() { Ok(answer.body) } else { Err(answer.refused(operation)) }
    }

    /// Asks for events, which [`Self::chunk`] then reads.
    pub(super) fn subscribe(&mut self, operation: &str, body: &str) -> Result<(), BenchError> {
        let asked = self.ask(operation, body.as_bytes());
        match asked.map_err(|why| broken(&self.address, why))? {
            (200, Length::Chunked) => Ok(()),
            (status, _) => Err(BenchError::Refused {
                what: operation.to_owned(),
                code: status.to_string(),
                message: String::new(),
                advice: "",
            }),
        }
    }

    /// The next piece of a chunked body; `None` at its end, an empty one where
    /// none came for a while.
    pub(super) fn chunk(&mut self) -> Result<Option<Vec<u8>>, BenchError> {
        let read = self
            .has_more()
            .and_then(|more| if more { self.next_chunk() } else { Ok(Some(Vec::new())) });
        read.map_err(|why| broken(&self.address, why))
    }

    fn has_more(&mut self) -> io::Result<bool> {
        if !self.stream.buffer().is_empty() {
            return Ok(true);
        }
        self.stream.get_mut().set_read_timeout(Some(LOOK))?;
        let came = match self.stream.fill_buf() {
            Ok(_) => Ok(true),
            Err(why) if matches!(why.kind(), WouldBlock | TimedOut) => Ok(false),
            Err(why) => Err(why),
        };
        self.stream.get_mut().set_read_timeout(Some(Duration::from_nanos(ANSWER_MAX)))?;
        came
    }

    fn ask(&mut self, operation: &str, body: &[u8]) -> io::Result<(u16, Length)> {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Target: Kinesis_20131202.{operation}\r\nX-Amz-Date: 20260101T000000Z\r\n\
             Authorization: {CREDENTIALS}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut length = Length::Known(0);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Length::Known(value.parse().map_err(io::Error::other)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = Length::Chunked;
            }
        }
        Ok((status.ok_or_else(|| io::Error::other("no status of HTTP"))?, length))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn exactly(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let len = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
        let chunk = self.exactly(len.map_err(io::Error::other)?)?;
        self.line()?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

fn broken(address: &str, why: io::Error) -> BenchError {
    BenchError::Http { address: address.to_owned(), why }
}

/// The texts of all members of this name, wherever they are. No text that is
/// asked for has an escape.
pub(super) fn members<'j>(json: &'j str, name: &str) -> impl Iterator<Item = &'j str> {
    let name = format!("\"{name}\"");
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let (_, behind) = rest.split_once(name.as_str())?;
            rest = behind;
            let value = behind.trim_start().strip_prefix(':').map(str::trim_start);
            let text = value.and_then(|value| value.strip_prefix('"'));
            if let Some((text, behind)) = text.and_then(|text| text.split_once('"')) {
                rest = behind;
                return Some(text);
            }
        }
    })
}

/// The first of [`members`].
pub(super) fn member<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    members(json, name).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_with_and_without_blanks() {
        let json = r#"{"a":{"Data": "x","Data":"y"},"Other":null,"Data" : "z", "Data": null}"#;
        assert_eq!(members(json, "Data").collect::<Vec<_>>(), ["x", "y", "z"]);
        assert_eq!(member(json, "Other"), None);
    }
}
