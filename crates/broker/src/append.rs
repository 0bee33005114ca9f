//! Appending one record batch, with the checks that its topic asks for.

use std::sync::Arc;

use millrace_log::batch::{self, BatchHeader, Compression};
use millrace_store::engine::{self, Class, Ended};
use millrace_types::{Lsn, Offset, Timestamp};

use crate::{
    AppendError, Broker, Partition, config::TimestampKind, metrics::Reason, reroute::told,
    validate::check_timestamp,
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
    /// Offset of its first record; -1 where the partition is sealed and its
    /// records stand in those that took over.
    pub base_offset: Offset,
    /// The time that the log gave it, where the topic has LogAppendTime.
    pub append_time: Option<Timestamp>,
    /// When the log took it, whatever its records say.
    pub at: Timestamp,
    /// The partition's log start.
    pub log_start: Offset,
    /// It is durable once this is: see [`Broker::durable`].
    pub lsn: Lsn,
}

/// Appends that belong together, such as those of one request: they are
/// committed together unless they are large, and no sooner than this is dropped
/// or a commit is due.
#[must_use = "appends are made through it"]
pub struct Appends<'a> {
    pub(crate) broker: &'a Broker,
    pub(crate) log: engine::Appends<'a>,
}

impl Appends<'_> {
    /// Appends one batch to `partition`. Returns as soon as its offset is
    /// known; waits only while the log is behind, or while a large batch is
    /// decoded.
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
        self.count_refusal(&appended);
        appended
    }

    pub(crate) fn count_refusal(&self, appended: &Result<Appended, AppendError>) {
        if let Err(error) = appended {
            self.broker.metrics.batches_refused.with(&Reason { reason: error.name() }).increment();
        }
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
        match self.append_checked(partition, &header, batch).await {
            // Apart, so that appends that need none of it don't carry its state.
            Err(AppendError::Sealed) => {
                Box::pin(self.append_to_descendants(partition, &header, batch)).await
            }
            appended => appended,
        }
    }

    /// Appends a well-formed batch to those that took over from `partition`.
    async fn append_to_descendants(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<Appended, AppendError> {
        let config = partition.config();
        // The same look as before: it left nothing behind.
        let changed = if self.broker.validator.looks_inside(&config, header) {
            self.broker.validated(&config, header, batch).await?
        } else {
            None
        };
        let (header, batch) =
            changed.as_ref().map_or((header, batch), |changed| (&changed.header, &changed.bytes));
        self.append_rerouted(partition, header, batch).await
    }

    /// Appends a well-formed batch, with the checks that its topic asks for.
    /// A sealed partition refuses it.
    pub(crate) async fn append_checked(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<Appended, AppendError> {
        let config = partition.config();
        let stamp_time = config.timestamp_kind == TimestampKind::LogAppendTime;
        let mut changed = None;
        let broker = self.broker;
        if broker.validator.looks_inside(&config, header) {
            // Apart, so that appends that need none of it don't carry its state.
            changed = Box::pin(broker.validated(&config, header, batch)).await?;
        } else if !stamp_time {
            check_timestamp(&config, broker.env().wall(), header)?;
        }
        let (head, bytes) =
            changed.as_ref().map_or((header, batch), |changed| (&changed.header, &changed.bytes));
        let appended =
            self.log.append(&partition.log, head, bytes, Class::Client, stamp_time).await?;
        let metrics = &broker.metrics;
        if appended.duplicate {
            metrics.duplicates.increment();
        } else {
            metrics.batches_in.increment();
            let (bytes, records) = (batch.len() as u64, u64::try_from(header.count).unwrap_or(0));
            metrics.bytes_in.add(bytes);
            metrics.records_in.add(records);
            partition.traffic().appended(bytes, records);
        }
        Ok(Appended {
            base_offset: if appended.duplicate {
                told(partition, appended.base_offset, false)
            } else {
                appended.base_offset
            },
            append_time: stamp_time.then_some(appended.append_time),
            at: appended.append_time,
            log_start: partition.offsets().log_start,
            lsn: appended.lsn,
        })
    }
}

impl Broker {
    /// Begins appends that belong together.
    pub fn appends(&self) -> Appends<'_> {
        Appends { broker: self, log: self.engine.appends() }
    }

    /// One append by itself: [`Appends::append`].
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    pub async fn append(
        &self,
        partition: &Arc<Partition>,
        batch: &[u8],
        options: &AppendOptions,
    ) -> Result<Appended, AppendError> {
        self.appends().append(partition, batch, options).await
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
