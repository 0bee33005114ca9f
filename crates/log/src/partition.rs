//! The state machine of one partition.
//!
//! Offsets are given out before the bytes are durable: what [`Partition::admit`]
//! let in is *tentative* until [`Partition::committed`] hears that its extent
//! is durable. Sequencing looks at both, so that a producer's batches may be
//! pipelined; everything that is told to anyone (high watermark, epochs,
//! producers, snapshots) is durable state only.
//!
//! Invariants: log start ≤ high watermark ≤ next offset; epochs and append
//! times never decrease; `restore(snapshot)` followed by `replay` of the
//! extents since gives the durable state again. One owner drives it: the
//! broker's partition, and recovery in `store`.

use millrace_types::{
    ErrorKind, LeaderEpoch, Lsn, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp,
};

use crate::{
    batch::BatchHeader,
    frame::{Extent, ExtentKind},
};

mod epochs;
mod producers;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;

pub use epochs::EpochStart;
pub use producers::{BATCHES_KEPT, ProducerState};
pub use snapshot::{PartitionSnapshot, SnapshotError};

use epochs::Epochs;
use producers::{Pending, Producers, Sequencing};

/// The state of one partition.
#[derive(Clone, Debug, Default)]
pub struct Partition {
    log_start: Offset,
    /// End of what is durable. During recovery it may stand below the log
    /// start, whose record can come before the batches that it outran.
    high_watermark: Offset,
    /// End of what was admitted.
    next_offset: Offset,
    /// Append time of the last admitted batch, and of the last durable one.
    admitted_append_time: Timestamp,
    append_time: Timestamp,
    /// The epoch of the next append.
    leader_epoch: LeaderEpoch,
    epochs: Epochs,
    producers: Producers,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It stands at this offset once the frame is durable.
    Append {
        /// Offset of its first record.
        base_offset: Offset,
        /// The epoch to stamp it with.
        leader_epoch: LeaderEpoch,
        /// When it counts as appended: now, or the append time of the batch
        /// before it where the clock went back.
        append_time: Timestamp,
    },
    /// It was appended before.
    Duplicate {
        /// Offset of its first record.
        base_offset: Offset,
        /// When it was appended.
        append_time: Timestamp,
        /// The frame that made (or will make) it durable; 0 if it long is.
        /// The answer waits for it.
        lsn: Lsn,
    },
}

/// Why a batch is not let in. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// A batch of its producer is missing before it, or it comes twice and too
    /// late to be known.
    #[error("the batch of producer {id} has the sequence {got}; {expected} follows")]
    OutOfOrderSequence {
        /// The producer.
        id: ProducerId,
        /// The sequence that would be right.
        expected: Sequence,
        /// The sequence of the batch.
        got: Sequence,
    },
    /// The producer was replaced by a newer generation of itself.
    #[error("the batch of producer {id} has the epoch {got}; {current} is the current one")]
    InvalidProducerEpoch {
        /// The producer.
        id: ProducerId,
        /// Its epoch by this partition.
        current: ProducerEpoch,
        /// Its epoch by the batch.
        got: ProducerEpoch,
    },
    /// Offsets are used up.
    #[error("the partition has no offsets left")]
    OffsetOverflow,
    /// Reserved: the partition was sealed and takes no more.
    #[error("the partition is sealed")]
    Sealed,
}

impl AdmitError {
    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfOrderSequence { .. } => ErrorKind::Conflict,
            Self::InvalidProducerEpoch { .. } => ErrorKind::Fenced,
            Self::OffsetOverflow | Self::Sealed => ErrorKind::Invalid,
        }
    }
}

impl Partition {
    /// An empty partition, in leader epoch 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The partition of a snapshot. Its next append opens a new leader epoch if
    /// anything was ever appended.
    #[must_use]
    pub fn restore(snapshot: PartitionSnapshot) -> Self {
        let epochs = Epochs::restore(snapshot.epochs);
        Self {
            log_start: snapshot.log_start,
            high_watermark: snapshot.high_watermark,
            next_offset: snapshot.high_watermark,
            admitted_append_time: snapshot.append_time,
            append_time: snapshot.append_time,
            leader_epoch: epochs.last().map_or(LeaderEpoch(0), LeaderEpoch::next),
            epochs,
            producers: Producers::restore(snapshot.producers),
        }
    }

    /// The durable state: nothing at or above the high watermark.
    #[must_use]
    pub fn snapshot(&self) -> PartitionSnapshot {
        PartitionSnapshot {
            log_start: self.log_start,
            high_watermark: self.high_watermark(),
            append_time: self.append_time,
            epochs: self.epochs.starts().to_vec(),
            producers: self.producers.durable(),
        }
    }

    /// Decides about a checked batch that would go into the frame `lsn`, at
    /// the time `now`. An `Append` must then be written: its offsets are given
    /// out.
    ///
    /// # Errors
    /// By Kafka's rules for idempotent producers: the epoch does not go back, a
    /// new epoch begins at sequence 0, sequences follow each other; a producer
    /// without state begins anywhere.
    pub fn admit(
        &mut self,
        batch: &BatchHeader,
        lsn: Lsn,
        now: Timestamp,
    ) -> Result<Admission, AdmitError> {
        let last_offset_delta = u32::try_from(batch.last_offset_delta).unwrap_or(0);
        if let Some(producer) = batch.producer {
            match self.producers.check(producer, last_offset_delta)? {
                Sequencing::Next => {}
                Sequencing::Duplicate { last_offset, append_time, lsn } => {
                    let delta = i64::from(last_offset_delta);
                    let base_offset = Offset(last_offset.get().saturating_sub(delta));
                    return Ok(Admission::Duplicate { base_offset, append_time, lsn });
                }
            }
        }
        let base_offset = self.next_offset();
        let next_offset = base_offset
            .checked_add(i64::from(last_offset_delta) + 1)
            .ok_or(AdmitError::OffsetOverflow)?;
        let append_time = now.max(self.admitted_append_time);
        if let Some(producer) = batch.producer {
            let pending = Pending { producer, last_offset_delta, append_time, lsn };
            self.producers.admitted(base_offset, pending);
        }
        self.next_offset = next_offset;
        self.admitted_append_time = append_time;
        Ok(Admission::Append { base_offset, leader_epoch: self.leader_epoch, append_time })
    }

    /// An admitted batch is durable. Extents come in the order of offsets.
    ///
    /// # Panics
    /// If the extent was committed before or never admitted: offsets would be
    /// shown that mean nothing.
    pub fn committed(&mut self, extent: &Extent) {
        assert!(
            extent.base_offset >= self.high_watermark && extent.next_offset() <= self.next_offset,
            "offsets {} to {} of {} were committed out of order",
            extent.base_offset,
            extent.last_offset(),
            extent.partition,
        );
        self.producers.settled(extent);
        self.apply(extent);
    }

    /// Takes an extent that recovery found. Gaps are legal (what lay there was
    /// dead and rewritten); what the state knows already is left out.
    /// Returns whether it was new.
    pub fn replay(&mut self, extent: &Extent) -> bool {
        if extent.kind != ExtentKind::Batch || extent.next_offset() <= self.high_watermark {
            return false;
        }
        self.apply(extent);
        self.next_offset = self.next_offset.max(self.high_watermark);
        self.admitted_append_time = self.admitted_append_time.max(self.append_time);
        self.leader_epoch = self.leader_epoch.max(extent.leader_epoch.next());
        true
    }

    fn apply(&mut self, extent: &Extent) {
        self.epochs.open(extent.leader_epoch, extent.base_offset, self.log_start);
        self.producers.apply(extent);
        self.append_time = self.append_time.max(extent.append_time);
        self.high_watermark = extent.next_offset();
    }

    /// Makes what lies below `to` unreadable, once that is durable; the log
    /// start never goes back. Only recovery moves it beyond the high
    /// watermark: then nothing is left of what it cut.
    /// Returns whether it moved.
    pub fn move_log_start(&mut self, to: Offset) -> bool {
        if to <= self.log_start {
            return false;
        }
        self.log_start = to;
        self.epochs.trim(to);
        true
    }

    /// The first readable offset.
    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The offset that the next admitted record gets.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset.max(self.log_start)
    }

    /// End of what is durable and may be read.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark.max(self.log_start)
    }

    /// End of what consumers of committed transactions may read: the high
    /// watermark, as long as there are no transactions.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark()
    }

    /// The leader epoch of the next append, and the one that clients are told.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Append time of the last durable batch; 0 before the first.
    #[must_use]
    pub const fn append_time(&self) -> Timestamp {
        self.append_time
    }

    /// The epoch of the record at the log start; of the next append where there
    /// never was one.
    #[must_use]
    pub fn log_start_epoch(&self) -> LeaderEpoch {
        self.epochs.starts().first().map_or(self.leader_epoch, |first| first.epoch)
    }

    /// Where `epoch` ends, as Kafka's OffsetForLeaderEpoch answers: the largest
    /// epoch up to it and the offset at which the next one begins; the high
    /// watermark for the current epoch. `None` for one of the future.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end(epoch, self.leader_epoch, self.high_watermark())
    }

    /// The leader epochs with the offsets at which they begin.
    #[must_use]
    pub fn epochs(&self) -> &[EpochStart] {
        self.epochs.starts()
    }

    /// Durable state of the idempotent producers, ordered by id.
    pub fn producers(&self) -> impl Iterator<Item = ProducerState> + '_ {
        self.producers.iter()
    }

    /// Whether a batch of this producer would add no entry.
    #[must_use]
    pub fn knows_producer(&self, id: ProducerId) -> bool {
        self.producers.knows(id)
    }

    /// Entries that count against the limit of producers.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.producers.count()
    }

    /// Forgets producers whose last batch was appended before `before` and that
    /// have none in flight. Returns how many. (Kafka looks at the batch's own
    /// timestamp, by which a producer with a slow clock expires at once.)
    pub fn expire_producers(&mut self, before: Timestamp) -> usize {
        self.producers.expire(before)
    }

    /// The producer without batches in flight that was heard of longest ago,
    /// and when.
    #[must_use]
    pub fn least_recent_producer(&self) -> Option<(ProducerId, Timestamp)> {
        self.producers.least_recent()
    }

    /// Forgets one producer, unless it has batches in flight. Returns whether
    /// it was there.
    pub fn forget_producer(&mut self, id: ProducerId) -> bool {
        self.producers.forget(id)
    }
}
