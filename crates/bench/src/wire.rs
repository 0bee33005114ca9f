//! The few encodings of Kafka's protocol that Produce and Fetch need at their
//! flexible versions: fixed numbers, unsigned varints, compact lengths, tags.
//!
//! Invariant: reading never panics and allocates nothing. Called by `produce`
//! and `fetch`; everything else goes through the codec in `control`.

/// A response that is not what its version says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response is malformed")]
pub(crate) struct Malformed;

/// Reads a response from front to back.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.take()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], Malformed> {
        self.take()
    }

    pub(crate) fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Malformed);
            }
        }
        Err(Malformed)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    /// Length of a compact array, string or byte field; `None` for null.
    pub(crate) fn compact_len(&mut self) -> Result<Option<usize>, Malformed> {
        let Some(len) = self.uvarint()?.checked_sub(1) else { return Ok(None) };
        usize::try_from(len).map(Some).map_err(|_| Malformed)
    }

    /// A compact byte field or string; null is empty.
    pub(crate) fn compact_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.compact_len()?.unwrap_or(0);
        self.bytes(len)
    }

    /// Elements of a compact array; null is empty.
    pub(crate) fn array(&mut self) -> Result<usize, Malformed> {
        Ok(self.compact_len()?.unwrap_or(0))
    }

    /// Passes over tagged fields.
    pub(crate) fn tags(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.uvarint()? {
            let _tag = self.uvarint()?;
            let len = usize::try_from(self.uvarint()?).map_err(|_| Malformed)?;
            self.bytes(len)?;
        }
        Ok(())
    }
}

/// Appends an unsigned varint.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(low_byte(u64::from(value)) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(u64::from(value)));
}

/// Appends the length of a compact array, string or byte field.
pub(crate) fn put_compact_len(out: &mut Vec<u8>, len: usize) {
    put_uvarint(out, u32::try_from(len).unwrap_or(u32::MAX).saturating_add(1));
}

/// Appends a compact string.
pub(crate) fn put_compact_str(out: &mut Vec<u8>, text: &str) {
    put_compact_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a signed (zigzag) varint, as records have them.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: usize) {
    // Lengths and offset deltas are never negative: zigzag doubles them.
    let mut value = u64::try_from(value).unwrap_or(u64::MAX / 2).saturating_mul(2);
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Begins a request at a flexible version: four bytes for the length, then the
/// header.
pub(crate) fn begin_request(out: &mut Vec<u8>, key: i16, version: i16, correlation_id: i32) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&key.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation_id.to_be_bytes());
    let client = crate::CLIENT_ID.as_bytes();
    out.extend_from_slice(&i16::try_from(client.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(client);
    out.push(0);
}

/// Sets the length of a request that has `more` bytes beyond `out`.
pub(crate) fn finish_request(out: &mut [u8], more: usize) {
    let len = out.len().saturating_sub(4).saturating_add(more);
    if let Some(place) = out.first_chunk_mut() {
        *place = i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes();
    }
}
