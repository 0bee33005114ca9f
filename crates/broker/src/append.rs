//! Appending one record batch, with the checks that its topic asks for.

use std::sync::Arc;

use millrace_log::batch::{self, BatchHeader, Compression};
use millrace_log::records::{self, RecordError};
use millrace_store::engine::{Class, Ended};
use millrace_types::{Lsn, Offset, Timestamp};

use crate::{
    AppendError, Broker, Partition,
    config::{TimestampKind, TopicConfig},
    metrics::Reason,
};

/// What the request allows.
#[derive(Clone, Copy, Debug)]
pub struct AppendOptions {
    /// The newest codec that the request's version knows.
    pub compression_max: Compression,
}

/// Where a batch will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// The time that the log gave it, where the topic has LogAppendTime.
    pub append_time: Option<Timestamp>,
    /// The partition's log start.
    pub log_start: Offset,
    /// It is durable once this is: see [`Broker::durable`].
    pub lsn: Lsn,
}

/// Bytes that the records of one batch may have where they must be decoded.
const DECOMPRESSED_MAX: usize = 64 << 20;
/// Records without a key that are told apart in one error.
const WITHOUT_KEY_MAX: usize = 10_000;

impl Broker {
    /// Appends one batch to `partition`. Returns as soon as its offset is
    /// known; waits only while the log is behind.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    pub async fn append(
        &self,
        partition: &Arc<Partition>,
        batch: &[u8],
        options: &AppendOptions,
    ) -> Result<Appended, AppendError> {
        let appended = self.try_append(partition, batch, options).await;
        if let Err(error) = &appended {
            self.metrics.batches_refused.with(&Reason { reason: error.name() }).increment();
        }
        appended
    }

    async fn try_append(
        &self,
        partition: &Arc<Partition>,
        batch: &[u8],
        options: &AppendOptions,
    ) -> Result<Appended, AppendError> {
        let config = partition.config();
        let header = batch::check(batch)?;
        if header.compression > options.compression_max {
            return Err(AppendError::Compression);
        }
        if header.transactional {
            return Err(AppendError::Transactional);
        }
        let limit = config.message_bytes_max;
        if batch.len() > limit {
            return Err(AppendError::TooLarge { bytes: batch.len(), limit });
        }
        if config.cleanup_policy.compact {
            check_keys(&header, batch)?;
        }
        let stamp_time = config.timestamp_kind == TimestampKind::LogAppendTime;
        if !stamp_time {
            check_timestamp(&header, &config, self.env().wall())?;
        }
        let appended =
            self.engine.append(&partition.log, &header, batch, Class::Client, stamp_time).await?;
        let metrics = &self.metrics;
        if appended.duplicate {
            metrics.duplicates.increment();
        } else {
            metrics.batches_in.increment();
            metrics.bytes_in.add(batch.len() as u64);
            metrics.records_in.add(u64::try_from(header.count).unwrap_or(0));
        }
        Ok(Appended {
            base_offset: appended.base_offset,
            append_time: stamp_time.then_some(appended.append_time),
            log_start: partition.offsets().log_start,
            lsn: appended.lsn,
        })
    }

    /// Resolves once everything up to `lsn` is durable.
    ///
    /// # Errors
    /// [`Ended`] when the incarnation ended before: whether it is durable
    /// is for the next one to say.
    pub async fn durable(&self, lsn: Lsn) -> Result<(), Ended> {
        self.engine.durable(lsn).await
    }
}

/// Refuses records without a key, which compaction could never replace: the one
/// check that decodes records, on the topics that ask for it.
fn check_keys(header: &BatchHeader, batch: &[u8]) -> Result<(), AppendError> {
    let body = records::body(header, batch, DECOMPRESSED_MAX).map_err(RecordError::from)?;
    let mut without = Vec::new();
    for record in records::records(header, &body) {
        let record = record?;
        if record.key.is_none() && without.len() < WITHOUT_KEY_MAX {
            without.push(record.offset_delta);
        }
    }
    if without.is_empty() { Ok(()) } else { Err(AppendError::WithoutKey { records: without }) }
}

/// Refuses a timestamp that is too far from now. The header has the first and
/// the largest; what is between is not decoded.
fn check_timestamp(
    header: &BatchHeader,
    config: &TopicConfig,
    now: Timestamp,
) -> Result<(), AppendError> {
    let latest = now.plus_ms(signed(config.timestamp_after_max_ms));
    let earliest = now.plus_ms(-signed(config.timestamp_before_max_ms));
    let refuse = |timestamp| Err(AppendError::Timestamp { timestamp, earliest, latest });
    if header.max_timestamp > latest {
        return refuse(header.max_timestamp);
    }
    if header.base_timestamp < earliest && header.base_timestamp != Timestamp::NONE {
        return refuse(header.base_timestamp);
    }
    Ok(())
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
