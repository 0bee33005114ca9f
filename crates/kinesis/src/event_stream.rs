//! application/vnd.amazon.eventstream: how an answer without an end is cut
//! into messages.
//!
//! ```text
//! length 4 | length of headers 4 | CRC-32 of these 4
//! headers: length of name 1 | name | 7 (text) | length 2 | text
//! payload
//! CRC-32 of all before 4
//! ```
//!
//! Numbers are big-endian. Invariant: what is written here is far shorter
//! than 4 GiB, and names of headers than 256 bytes. Called by SubscribeToShard.

use bytes::{BufMut as _, Bytes};
use flate2::Crc;

use crate::error::Error;
use crate::http::{encode, named};
use crate::model::Encoding;
use crate::value::{Encoded, Members};

/// The Content-Type of an answer of messages.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Bytes of a message around its headers and its payload.
const AROUND: usize = 16;
/// The type of a header that is text.
const TEXT: u8 = 7;

/// The message before all events, which some clients wait for.
pub(crate) fn initial_response(encoding: Encoding) -> Bytes {
    event("initial-response", encode(&Members::new().done(), encoding), encoding)
}

/// An event of a kind.
pub(crate) fn event(kind: &str, payload: Encoded, encoding: Encoding) -> Bytes {
    let headers =
        [(":message-type", "event"), (":event-type", kind), (":content-type", named(encoding))];
    message(&headers, payload)
}

/// An error after the answer has begun: the last message.
pub(crate) fn exception(error: &Error, encoding: Encoding) -> Bytes {
    let headers = [
        (":message-type", "exception"),
        (":exception-type", error.code.name()),
        (":content-type", named(encoding)),
    ];
    message(&headers, encode(&error.body(), encoding))
}

fn message(headers: &[(&str, &str)], payload: Encoded) -> Bytes {
    let headers_len: usize = headers.iter().map(|(name, text)| name.len() + text.len() + 4).sum();
    let len = AROUND + headers_len + payload.len();
    let mut out = Vec::with_capacity(len);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    out.put_u32(u32::try_from(headers_len).unwrap_or(u32::MAX));
    out.put_u32(crc(&out));
    for (name, text) in headers {
        out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.put_slice(name.as_bytes());
        out.put_u8(TEXT);
        out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        out.put_slice(text.as_bytes());
    }
    payload.append_to(&mut out);
    out.put_u32(crc(&out));
    out.into()
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A message taken apart, for tests: its headers and its payload.
#[cfg(test)]
pub(crate) fn read(message: &[u8]) -> (std::collections::BTreeMap<String, String>, Vec<u8>) {
    let word = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
    let (len, headers_len) = (word(0) as usize, word(4) as usize);
    assert_eq!((len, word(8)), (message.len(), crc(&message[..8])));
    assert_eq!(word(len - 4), crc(&message[..len - 4]));
    let mut rest = &message[12..12 + headers_len];
    let mut headers = std::collections::BTreeMap::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    while let Some((len, more)) = rest.split_first() {
        let (name, more) = more.split_at(usize::from(*len));
        assert_eq!(more[0], TEXT);
        let len = usize::from(u16::from_be_bytes([more[1], more[2]]));
        headers.insert(text(name), text(&more[3..3 + len]));
        rest = &more[3 + len..];
    }
    (headers, message[12 + headers_len..len - 4].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_message_is_that_of_the_specification() {
        let known = [0, 0, 0, 16, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
        assert_eq!(message(&[], Encoded::default()), known.as_slice());
    }

    #[test]
    fn messages_say_what_they_are() {
        let (headers, payload) = read(&initial_response(Encoding::Json));
        assert_eq!(headers[":message-type"], "event");
        assert_eq!(headers[":event-type"], "initial-response");
        assert_eq!(payload, b"{}");
        let (headers, payload) = read(&exception(&Error::internal("why"), Encoding::Json));
        assert_eq!(headers[":message-type"], "exception");
        assert_eq!(headers[":exception-type"], "InternalFailureException");
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(payload["message"], "why");
    }
}
