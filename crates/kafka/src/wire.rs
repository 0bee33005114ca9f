//! Reading and writing the few things of Kafka's encoding that Produce and
//! Fetch need by hand, where going through whole decoded messages would cost
//! memory that a client controls (Produce) or a copy of the records (Fetch).
//!
//! Invariant: reading allocates nothing and never goes beyond the bytes that
//! are there; `tests` compare with the codec. Called by those two handlers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millrace_types::TopicId;

/// The bytes are not what the schema says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's body does not parse")]
pub struct Malformed;

/// Reads fields in schema order; lengths are compact in flexible versions.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    flexible: bool,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes, flexible: bool) -> Self {
        Self { bytes, flexible }
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.bytes.try_get_i16().map_err(|_| Malformed)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.bytes.try_get_i32().map_err(|_| Malformed)
    }

    pub(crate) fn topic_id(&mut self) -> Result<TopicId, Malformed> {
        let mut id = [0; 16];
        self.bytes.try_copy_to_slice(&mut id).map_err(|_| Malformed)?;
        Ok(TopicId(id))
    }

    /// Elements of an array; a null array has none.
    pub(crate) fn array(&mut self) -> Result<usize, Malformed> {
        Ok(if self.flexible { self.compact_len()? } else { self.plain_len()? }.unwrap_or(0))
    }

    /// A text that may be null.
    pub(crate) fn string(&mut self) -> Result<Option<Bytes>, Malformed> {
        let len =
            if self.flexible { self.compact_len()? } else { usize::try_from(self.i16()?).ok() };
        let Some(text) = self.take(len)? else { return Ok(None) };
        std::str::from_utf8(&text).map_err(|_| Malformed)?;
        Ok(Some(text))
    }

    /// Bytes that may be null, sharing the request's memory.
    pub(crate) fn bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        let len = if self.flexible { self.compact_len()? } else { self.plain_len()? };
        self.take(len)
    }

    /// Skips tagged fields, which flexible versions have.
    pub(crate) fn tags(&mut self) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
            self.take(Some(len))?;
        }
        Ok(())
    }

    fn take(&mut self, len: Option<usize>) -> Result<Option<Bytes>, Malformed> {
        let Some(len) = len else { return Ok(None) };
        (len <= self.bytes.len()).then(|| Some(self.bytes.split_to(len))).ok_or(Malformed)
    }

    fn plain_len(&mut self) -> Result<Option<usize>, Malformed> {
        Ok(usize::try_from(self.i32()?).ok())
    }

    fn compact_len(&mut self) -> Result<Option<usize>, Malformed> {
        let Some(len) = self.varint()?.checked_sub(1) else { return Ok(None) };
        usize::try_from(len).map(Some).map_err(|_| Malformed)
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.bytes.try_get_u8().map_err(|_| Malformed)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

/// Writes fields in schema order; lengths are compact in flexible versions.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) out: BytesMut,
    flexible: bool,
}

impl Writer {
    pub(crate) fn new(out: BytesMut, flexible: bool) -> Self {
        Self { out, flexible }
    }

    pub(crate) fn array(&mut self, len: usize) {
        if self.flexible { self.compact_len(Some(len)) } else { self.plain_len(Some(len)) }
    }

    pub(crate) fn null_array(&mut self) {
        if self.flexible { self.compact_len(None) } else { self.plain_len(None) }
    }

    /// Announces bytes that follow by other means.
    pub(crate) fn bytes_len(&mut self, len: usize) {
        self.array(len);
    }

    pub(crate) fn string(&mut self, text: Option<&str>) {
        match text {
            _ if self.flexible => self.compact_len(text.map(str::len)),
            None => self.out.put_i16(-1),
            Some(text) => self.out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX)),
        }
        self.out.put_slice(text.unwrap_or_default().as_bytes());
    }

    /// No tagged fields.
    pub(crate) fn no_tags(&mut self) {
        if self.flexible {
            self.out.put_u8(0);
        }
    }

    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value.to_le_bytes()[0]);
    }

    fn plain_len(&mut self, len: Option<usize>) {
        self.out.put_i32(len.map_or(-1, |len| i32::try_from(len).unwrap_or(i32::MAX)));
    }

    fn compact_len(&mut self, len: Option<usize>) {
        let len = len.map_or(0, |len| u32::try_from(len).unwrap_or(u32::MAX - 1) + 1);
        self.varint(len);
    }
}

#[cfg(test)]
mod tests;
