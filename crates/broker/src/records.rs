//! Single records in and out, for fronts whose protocol has no batches.
//!
//! Invariant: records given together to one partition become one batch, and
//! stand there in the order given. What is read is durable and committed.

use std::sync::Arc;

use bytes::Bytes;
use millrace_log::{
    batch::{self, BatchBuilder, BatchHeader, Compression},
    records::{self, Record},
};
use millrace_types::{Offset, Timestamp};

pub use millrace_log::batch::RecordHeader;

use crate::{
    AppendError, Appended, Appends, Broker, Offsets, Partition, ReadError, validate::DECODED_MAX,
};

/// A record to be appended.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Its key; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [RecordHeader<'a>],
}

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

impl Appends<'_> {
    /// Appends `records` to `partition` as one batch, whatever its size: who
    /// calls bounds it. Returns as [`Self::append`].
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    pub async fn append_records(
        &self,
        partition: &Arc<Partition>,
        records: &[NewRecord<'_>],
    ) -> Result<Appended, AppendError> {
        let mut builder = BatchBuilder::new(self.broker.env().wall());
        for record in records {
            builder.record(0, record.key, record.value, record.headers);
        }
        let batch = builder.build();
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
            let bytes = contiguous(read.records);
            if !page.take(&bytes, &read.append_times) {
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

/// One piece of memory; none is copied where there is one already.
fn contiguous(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.pop() {
        Some(only) if pieces.is_empty() => only,
        Some(last) => {
            pieces.push(last);
            pieces.concat().into()
        }
        None => Bytes::new(),
    }
}

/// A page being filled. `limit.bytes_max` is what is left of it.
struct Page {
    read: RecordsRead,
    limit: RecordsLimit,
}

impl Page {
    /// Takes what fits of these batches. False once the page is full.
    fn take(&mut self, bytes: &Bytes, append_times: &[Timestamp]) -> bool {
        for (batch, append_time) in batch::batches(bytes).zip(append_times) {
            let Ok((header, batch)) = batch else { return false };
            if !self.take_batch(&header, &bytes.slice_ref(batch), *append_time) {
                return false;
            }
        }
        true
    }

    fn take_batch(&mut self, header: &BatchHeader, batch: &Bytes, append_time: Timestamp) -> bool {
        let Some(next) = header.next_offset() else { return false };
        if header.control {
            self.read.next = self.read.next.max(next);
            return true;
        }
        let body = match records::body(header, batch, DECODED_MAX) {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(offset = %header.base_offset, %error, "a batch cannot be read");
                self.read.next = self.read.next.max(next);
                return true;
            }
        };
        // What was decompressed is copied, so that one record does not hold
        // all of it.
        let shared = (header.compression == Compression::None).then_some(batch);
        for record in records::records(header, &body).map_while(Result::ok) {
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
            self.read.records.push(stored(&record, offset, append_time, shared));
            self.read.next = Offset(offset.get().saturating_add(1));
        }
        self.read.next = self.read.next.max(next);
        self.limit.bytes_max > 0 && self.read.records.len() < self.limit.records_max
    }
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
