//! Reading records, and finding offsets by time.

use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use millrace_log::{
    batch::{BatchHeader, TimestampType},
    records,
};
use millrace_store::engine;
use millrace_types::{LeaderEpoch, Offset, Timestamp};

use crate::{Broker, DeleteRecordsError, Offsets, Partition, ReadError, validate::DECODED_MAX};

/// Batches that a search by time decodes in vain: their headers tell of a
/// record that isn't in them, or is deleted. After so many it doesn't look
/// whether the next one's header is right.
const SEARCHED_MAX: usize = 64;

/// Records of open transactions: seen or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything below the high watermark.
    ReadUncommitted,
    /// What is below the last stable offset.
    ReadCommitted,
}

/// How much to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// Most bytes of batches.
    pub bytes_max: usize,
    /// The first batch counts even if it is larger.
    pub at_least_one: bool,
    /// Which records may be seen.
    pub isolation: Isolation,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// The partition's offsets when it was read.
    pub offsets: Offsets,
    /// Whole batches in order, cut anywhere into pieces.
    pub records: Vec<Bytes>,
    /// Bytes in all.
    pub bytes: usize,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAndTime {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The epoch in which it was appended.
    pub leader_epoch: LeaderEpoch,
}

impl Broker {
    /// Reads whole batches from the one that holds `from` on; nothing where
    /// `from` is the end.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(
        &self,
        partition: &Arc<Partition>,
        from: Offset,
        options: &ReadOptions,
    ) -> Result<Read, ReadError> {
        let committed = options.isolation == Isolation::ReadCommitted;
        let read = self
            .engine
            .read(&partition.log, from, options.bytes_max, options.at_least_one, committed)
            .await?;
        self.metrics.bytes_out.add(read.bytes as u64);
        self.metrics.batches_out.add(read.batches as u64);
        self.metrics.records_out.add(read.records_read);
        partition.traffic().read(read.bytes as u64, read.records_read);
        Ok(Read { offsets: read.offsets, records: read.records, bytes: read.bytes })
    }

    /// The first record at or after `time`, in the order of offsets; `None`
    /// where there is none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn offset_at_time(
        &self,
        partition: &Arc<Partition>,
        time: Timestamp,
        isolation: Isolation,
    ) -> Result<Option<OffsetAndTime>, ReadError> {
        let mut from = Offset(0);
        for searched in 0..=SEARCHED_MAX {
            let Some(batch) = self.engine.first_batch_at(&partition.log, time, from).await? else {
                return Ok(None);
            };
            let offsets = partition.offsets();
            let end = match isolation {
                Isolation::ReadUncommitted => offsets.high_watermark,
                Isolation::ReadCommitted => offsets.last_stable,
            };
            let start = batch.max(offsets.log_start);
            let wanted = |record| record >= time || searched == SEARCHED_MAX;
            match self.find_in_batch(partition, start, wanted).await? {
                ControlFlow::Break(found) => return Ok(found.filter(|found| found.offset < end)),
                ControlFlow::Continue(next) => from = next,
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp, the first of several.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn offset_of_max_timestamp(
        &self,
        partition: &Arc<Partition>,
    ) -> Result<Option<OffsetAndTime>, ReadError> {
        let Some((from, largest)) = self.engine.batch_of_max_timestamp(&partition.log).await?
        else {
            return Ok(None);
        };
        let start = from.max(partition.offsets().log_start);
        let found = self.find_in_batch(partition, start, |record| record == largest).await?;
        Ok(found.break_value().flatten())
    }

    /// The first record of the batch at `from`, at or after it, whose time is
    /// `wanted`; or where the next batch begins, if this one has none.
    async fn find_in_batch(
        &self,
        partition: &Arc<Partition>,
        from: Offset,
        wanted: impl Fn(Timestamp) -> bool,
    ) -> Result<ControlFlow<Option<OffsetAndTime>, Offset>, ReadError> {
        let read = self.engine.read(&partition.log, from, 1, true, false).await?;
        let bytes = read.records.concat();
        let Ok(header) = BatchHeader::parse(&bytes) else { return Ok(ControlFlow::Break(None)) };
        let leader_epoch = header.leader_epoch;
        let found = |offset, timestamp| {
            ControlFlow::Break(Some(OffsetAndTime { offset, timestamp, leader_epoch }))
        };
        if header.timestamp_type == TimestampType::LogAppendTime {
            return Ok(found(header.base_offset.max(from), header.max_timestamp));
        }
        let Ok(body) = records::body(&header, &bytes, DECODED_MAX) else {
            // What its producer compressed wrongly is its readers' trouble, and
            // what is larger is not decoded for this: the batch's first offset
            // is a right place to start from.
            return Ok(found(header.base_offset.max(from), header.max_timestamp));
        };
        for record in records::records(&header, &body).map_while(Result::ok) {
            let (offset, timestamp) = (record.offset(&header), record.timestamp(&header));
            if offset >= from && wanted(timestamp) {
                return Ok(found(offset, timestamp));
            }
        }
        Ok(header.next_offset().map_or(ControlFlow::Break(None), ControlFlow::Continue))
    }

    /// Deletes the records below `before`, or all if `None`; answers the log
    /// start, which is durable then.
    ///
    /// # Errors
    /// See [`DeleteRecordsError`].
    pub async fn delete_records(
        &self,
        partition: &Arc<Partition>,
        before: Option<Offset>,
    ) -> Result<Offset, DeleteRecordsError> {
        let offsets = partition.offsets();
        let before = before.unwrap_or(offsets.high_watermark);
        if before > offsets.high_watermark {
            return Err(DeleteRecordsError::OutOfRange(offsets.high_watermark));
        }
        if partition.is_deleted() {
            return Err(DeleteRecordsError::Deleted);
        }
        if before > offsets.log_start {
            self.engine.move_log_starts(&[(partition.id(), before)]).await.map_err(|error| {
                match error {
                    engine::AppendError::Ended(_) => DeleteRecordsError::Ended,
                    _ => DeleteRecordsError::Unavailable,
                }
            })?;
        }
        Ok(partition.offsets().log_start)
    }
}

impl From<engine::ReadError> for ReadError {
    fn from(error: engine::ReadError) -> Self {
        match error {
            engine::ReadError::OutOfRange(offsets) => Self::OutOfRange(offsets),
            engine::ReadError::Corrupt { .. } => Self::Corrupt(error.to_string()),
            engine::ReadError::Deleted => Self::Deleted,
            engine::ReadError::NoMemory => Self::NoMemory,
            engine::ReadError::Unavailable(_) => Self::Unavailable,
        }
    }
}
