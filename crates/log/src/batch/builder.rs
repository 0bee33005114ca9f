//! Building of uncompressed batches: for records that the server itself writes
//! (hidden partitions) and for protocols whose clients send single records.

use millrace_types::{Offset, Timestamp};

use super::{CRC_FROM, HEADER_LEN, LENGTH_END, MAGIC, ProducerStamp, put};

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Its name.
    pub key: &'a [u8],
    /// Its value; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// Collects records and yields one batch at offset 0, ready to be admitted and
/// stamped.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    out: Vec<u8>,
    count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    producer: Option<ProducerStamp>,
}

impl BatchBuilder {
    /// A builder of a batch whose records' times are relative to
    /// `base_timestamp`.
    #[must_use]
    pub fn new(base_timestamp: Timestamp) -> Self {
        Self::with_capacity(base_timestamp, 0)
    }

    /// The same, with room for records of so many bytes: a batch that outgrows
    /// it is copied as it grows.
    #[must_use]
    pub fn with_capacity(base_timestamp: Timestamp, bytes: usize) -> Self {
        let mut out = Vec::with_capacity(HEADER_LEN.saturating_add(bytes));
        out.resize(HEADER_LEN, 0);
        Self { out, count: 0, base_timestamp, max_timestamp: base_timestamp, producer: None }
    }

    /// Marks the batch as `producer`'s.
    #[must_use]
    pub const fn producer(mut self, producer: ProducerStamp) -> Self {
        self.producer = Some(producer);
        self
    }

    /// Appends a record made `timestamp_delta` ms after the base timestamp.
    ///
    /// # Panics
    /// On the record number 2^31: a request holds far fewer.
    pub fn record(
        &mut self,
        timestamp_delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> &mut Self {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(value.unwrap_or_default());
        self.record_with(timestamp_delta, key, value.map(<[u8]>::len), write, headers)
    }

    /// Appends a record whose value of `value_len` bytes `write` puts behind
    /// what it is given: for values that are decoded on the way. What is missing
    /// of them is zeros, and what is too much is cut off.
    ///
    /// # Panics
    /// As [`Self::record`].
    pub fn record_with(
        &mut self,
        timestamp_delta: i64,
        key: Option<&[u8]>,
        value_len: Option<usize>,
        write: impl FnOnce(&mut Vec<u8>),
        headers: &[RecordHeader<'_>],
    ) -> &mut Self {
        let Some(next) = self.count.checked_add(1) else { panic!("a batch holds 2^31 records") };
        let at = self.base_timestamp.plus_ms(timestamp_delta);
        self.max_timestamp = if self.count == 0 { at } else { self.max_timestamp.max(at) };

        // The length stands first: counted before, so that nothing is moved.
        let count = i64::from(self.count);
        let of_headers: usize =
            headers.iter().map(|h| bytes_len(Some(h.key)) + bytes_len(h.value)).sum();
        let len = 1
            + varint_len(timestamp_delta)
            + varint_len(count)
            + bytes_len(key)
            + field_len(value_len)
            + varint_len(length(headers.len()))
            + of_headers;
        let out = &mut self.out;
        out.reserve(len + varint_len(length(len)));
        varint(out, length(len));
        out.push(0); // attributes of a record: none exist
        varint(out, timestamp_delta);
        varint(out, count);
        field(out, key);
        match value_len {
            None => varint(out, -1),
            Some(len) => {
                varint(out, length(len));
                let end = out.len() + len;
                write(out);
                debug_assert_eq!(out.len(), end, "a value is as long as was said");
                out.resize(end, 0);
            }
        }
        varint(out, length(headers.len()));
        for header in headers {
            field(out, Some(header.key));
            field(out, header.value);
        }
        self.count = next;
        self
    }

    /// Bytes of the batch so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether no record was appended yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch. One without records is not a batch that [`super::check`]
    /// lets pass.
    ///
    /// # Panics
    /// Beyond 2 GiB.
    #[must_use]
    pub fn build(mut self) -> Vec<u8> {
        let Ok(len) = i32::try_from(self.out.len() - LENGTH_END) else {
            panic!("a batch of {} bytes exceeds 2 GiB", self.out.len())
        };
        let (id, epoch, sequence) = self
            .producer
            .map_or((-1, -1, -1), |p| (p.id.get(), p.epoch.get(), p.base_sequence.get()));
        if let Some(header) = self.out.first_chunk_mut::<HEADER_LEN>() {
            put(header, 0, Offset::ZERO.get().to_be_bytes());
            put(header, 8, len.to_be_bytes());
            put(header, 12, (-1i32).to_be_bytes());
            put(header, 16, MAGIC.to_be_bytes());
            put(header, 23, (self.count - 1).to_be_bytes());
            put(header, 27, self.base_timestamp.get().to_be_bytes());
            put(header, 35, self.max_timestamp.get().to_be_bytes());
            put(header, 43, id.to_be_bytes());
            put(header, 51, epoch.to_be_bytes());
            put(header, 53, sequence.to_be_bytes());
            put(header, 57, self.count.to_be_bytes());
        }
        let crc = crc32c::crc32c(self.out.get(CRC_FROM..).unwrap_or_default());
        if let Some(header) = self.out.first_chunk_mut::<HEADER_LEN>() {
            put(header, 17, crc.to_be_bytes());
        }
        self.out
    }
}

/// Bytes with their length before them; -1 for none.
fn field(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint(out, -1),
        Some(bytes) => {
            varint(out, length(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

/// Bytes that [`field`] takes.
fn bytes_len(bytes: Option<&[u8]>) -> usize {
    field_len(bytes.map(<[u8]>::len))
}

/// Bytes that a field of so many bytes takes.
fn field_len(len: Option<usize>) -> usize {
    len.map_or(1, |len| varint_len(length(len)) + len)
}

fn length(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// Bytes that [`varint`] takes.
fn varint_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    // Seven bits a byte, and one byte for none.
    let bits = u64::BITS - (zigzag | 1).leading_zeros();
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}

/// A zigzag variable-length integer, as records use for every number.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}
