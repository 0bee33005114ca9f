//! Single records in and out, for fronts whose protocol has no batches.
//!
//! Invariant: records given together to one partition become one batch, and
//! stand there in the order given. What is read is durable and committed.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use bytes::Bytes;
use millrace_log::{
    batch::{BatchError, BatchHeader, Compression, HEADER_LEN},
    compression::DecompressError,
    records::{self, Record},
};
use millrace_types::{Offset, Timestamp};

pub use millrace_log::batch::{BatchBuilder, RecordHeader};

use crate::{
    AppendError, Appended, Appends, Broker, Offsets, Partition, ReadError, validate::DECODED_MAX,
};

/// A record as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it stands.
    pub offset: Offset,
    /// When the log took it: never changes, and never goes back in a
    /// partition.
    pub append_time: Timestamp,
    /// Its key; `None` is Kafka's null.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// How much to read.
#[derive(Clone, Copy, Debug)]
pub struct RecordsLimit {
    /// Most records.
    pub records_max: usize,
    /// Most bytes of keys and values; the first record counts even if it is
    /// larger.
    pub bytes_max: usize,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct RecordsRead {
    /// The partition's offsets when it was read.
    pub offsets: Offsets,
    /// In order.
    pub records: Vec<StoredRecord>,
    /// Where to go on.
    pub next: Offset,
}

/// Bytes that are read at once: a page of small records needs few.
const READ_BYTES: usize = 1 << 20;
/// Bytes that a record's length takes, at most.
const LENGTH_BYTES_MAX: usize = 10;

impl Appends<'_> {
    /// Appends `records` to `partition` as one batch, whatever its size: who
    /// calls bounds it. Returns as [`Self::append`].
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    pub async fn append_records(
        &self,
        partition: &Arc<Partition>,
        records: BatchBuilder,
    ) -> Result<Appended, AppendError> {
        let batch = records.build();
        let header = BatchHeader::parse(&batch)?;
        let appended = self.append_checked(partition, &header, &batch).await;
        self.count_refusal(&appended);
        appended
    }
}

impl Broker {
    /// Reads records of `partition` from `from` on: what is committed, up to
    /// `limit`. Batches whose compressed records can't be read are passed
    /// over: no reader has ever seen them.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_records(
        &self,
        partition: &Arc<Partition>,
        from: Offset,
        limit: RecordsLimit,
    ) -> Result<RecordsRead, ReadError> {
        let mut page = Page { read: RecordsRead { next: from, ..RecordsRead::default() }, limit };
        loop {
            let bytes_max = page.limit.bytes_max.min(READ_BYTES);
            // Beyond the first, nothing is waited for: it may be this page that
            // holds the memory.
            let is_first = page.read.records.is_empty();
            let next = page.read.next;
            let read = self.engine.read_timed(&partition.log, next, bytes_max, is_first).await?;
            self.metrics.bytes_out.add(read.bytes as u64);
            self.metrics.batches_out.add(read.batches as u64);
            self.metrics.records_out.add(read.records_read);
            partition.traffic().read(read.bytes as u64, read.records_read);
            page.read.offsets = read.offsets;
            if read.bytes == 0 {
                return Ok(page.read);
            }
            if !page.take(Batches(Pieces(read.records.into())), &read.append_times) {
                return Ok(page.read);
            }
        }
    }

    /// Where the first record stands that was appended at `time` or later;
    /// `None` where none was yet.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn offset_appended_at(
        &self,
        partition: &Arc<Partition>,
        time: Timestamp,
    ) -> Result<Option<Offset>, ReadError> {
        let found = self.engine.first_batch_appended_at(&partition.log, time).await?;
        Ok(found.map(|(offset, _)| offset.max(partition.offsets().log_start)))
    }

    /// When the record at `offset`, or the next one behind it, was appended.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn append_time_at(
        &self,
        partition: &Arc<Partition>,
        offset: Offset,
    ) -> Result<Option<Timestamp>, ReadError> {
        Ok(self.engine.append_time_at(&partition.log, offset).await?)
    }
}

/// Bytes in pieces, as they lie.
#[derive(Clone, Debug)]
struct Pieces(VecDeque<Bytes>);

impl Pieces {
    /// The first `len` bytes, or fewer if there are no more.
    fn peek(&self, len: usize) -> Cow<'_, [u8]> {
        match self.0.front().and_then(|front| front.get(..len)) {
            Some(bytes) => Cow::Borrowed(bytes),
            None => Cow::Owned(self.0.iter().flatten().copied().take(len).collect()),
        }
    }

    /// Takes the first `len` bytes off, or all.
    fn split_to(&mut self, len: usize) -> Self {
        let mut taken = VecDeque::new();
        let mut missing = len;
        while let Some(front) = self.0.front_mut().filter(|_| missing > 0) {
            let piece = front.split_to(front.len().min(missing));
            missing -= piece.len();
            if front.is_empty() {
                self.0.pop_front();
            }
            taken.push_back(piece);
        }
        Self(taken)
    }

    /// Takes the first `len` bytes off, or all: in one piece, which is copied
    /// only if it lies in several.
    fn take(&mut self, len: usize) -> Bytes {
        match self.0.front_mut().filter(|front| front.len() > len) {
            Some(front) => front.split_to(len),
            None => self.split_to(len).join(),
        }
    }

    fn join(mut self) -> Bytes {
        match self.0.pop_front() {
            Some(only) if self.0.is_empty() => only,
            Some(first) => {
                self.0.push_front(first);
                self.0.make_contiguous().concat().into()
            }
            None => Bytes::new(),
        }
    }

    fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

/// The batches in these pieces.
struct Batches(Pieces);

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Pieces), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.peek(HEADER_LEN);
        if head.is_empty() {
            return None;
        }
        let header = match BatchHeader::parse(&head) {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let batch = self.0.split_to(header.len);
        let (needed, available) = (header.len, batch.len());
        if available < needed {
            return Some(Err(BatchError::Truncated { needed, available }));
        }
        Some(Ok((header, batch)))
    }
}

/// A page being filled. `limit.bytes_max` is what is left of it.
struct Page {
    read: RecordsRead,
    limit: RecordsLimit,
}

impl Page {
    /// Takes what fits of these batches. False once the page is full.
    fn take(&mut self, batches: Batches, append_times: &[Timestamp]) -> bool {
        for (batch, append_time) in batches.zip(append_times) {
            let Ok((header, batch)) = batch else { return false };
            if !self.take_batch(&header, batch, *append_time) {
                return false;
            }
        }
        true
    }

    fn take_batch(&mut self, header: &BatchHeader, batch: Pieces, append_time: Timestamp) -> bool {
        let Some(next) = header.next_offset() else { return false };
        if header.control {
            self.read.next = self.read.next.max(next);
            return true;
        }
        if self.read.records.is_empty() {
            self.read.records.reserve_exact(self.expected(header));
        }
        // What was decompressed is copied, so that one record does not hold
        // all of it.
        let shared = header.compression == Compression::None;
        let mut rest = match body(header, batch) {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(offset = %header.base_offset, %error, "a batch cannot be read");
                self.read.next = self.read.next.max(next);
                return true;
            }
        };
        for _ in 0..header.count {
            let Some(bytes) = records::first_len(&rest.peek(LENGTH_BYTES_MAX)) else { break };
            let bytes = rest.take(bytes);
            let Some(record) = records::first(&bytes) else { break };
            let offset = record.offset(header);
            if offset < self.read.next {
                continue;
            }
            let len = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            let full = self.read.records.len() >= self.limit.records_max;
            if full || (len > self.limit.bytes_max && !self.read.records.is_empty()) {
                return false;
            }
            self.limit.bytes_max = self.limit.bytes_max.saturating_sub(len);
            let record = stored(&record, offset, append_time, shared.then_some(&bytes));
            self.read.records.push(record);
            self.read.next = Offset(offset.get().saturating_add(1));
        }
        self.read.next = self.read.next.max(next);
        self.limit.bytes_max > 0 && self.read.records.len() < self.limit.records_max
    }

    /// How many records the page will hold if all are as large as these: the
    /// list of them grows to most of a megabyte.
    fn expected(&self, header: &BatchHeader) -> usize {
        let count = usize::try_from(header.count).unwrap_or(1).max(1);
        let each = (header.len / count).max(1);
        (self.limit.bytes_max / each + 1).min(self.limit.records_max)
    }
}

/// The records of a batch, decompressed.
fn body(header: &BatchHeader, mut batch: Pieces) -> Result<Pieces, DecompressError> {
    if header.compression == Compression::None {
        batch.split_to(HEADER_LEN);
        return Ok(batch);
    }
    let batch = batch.join();
    let body = records::body(header, &batch, DECODED_MAX)?;
    Ok(Pieces([Bytes::from(body.into_owned())].into()))
}

fn stored(
    record: &Record<'_>,
    offset: Offset,
    append_time: Timestamp,
    shared: Option<&Bytes>,
) -> StoredRecord {
    let keep = |bytes: &[u8]| match shared {
        Some(shared) => shared.slice_ref(bytes),
        None => Bytes::copy_from_slice(bytes),
    };
    StoredRecord { offset, append_time, key: record.key.map(keep), value: record.value.map(keep) }
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests;
