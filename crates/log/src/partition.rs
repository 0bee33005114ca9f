//! The state machine of one partition.
//!
//! Offsets are given out before the bytes are durable: what [`Partition::admit`]
//! let in is *tentative* until [`Partition::committed`] hears that its extent
//! is durable. Sequencing looks at both, so that a producer's batches may be
//! pipelined; everything that is told to anyone (high watermark, epochs,
//! producers, snapshots) is durable state only.
//!
//! A partition that is *sealed* takes no more records. Offsets from its end on
//! are nobody's: the seal takes the first, and the batches that producers
//! still send there and that are stored elsewhere take theirs, so that they
//! are known when they come again. No reader sees these offsets.
//!
//! Invariants: log start ≤ high watermark ≤ next offset; epochs and append
//! times never decrease; what is sealed stays so; `restore(snapshot)` followed by `replay` of the
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
    /// The end of its records, once a seal was admitted, and once it is durable.
    admitted_seal: Option<Offset>,
    seal: Option<Offset>,
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
    /// The partition was sealed and takes no more.
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
        let end = snapshot.high_watermark;
        let seal = (snapshot.behind_seal > 0).then_some(end);
        // The sum was checked when the snapshot was read.
        let behind = i64::try_from(snapshot.behind_seal).unwrap_or(0);
        let high_watermark = end.checked_add(behind).unwrap_or(end);
        Self {
            log_start: snapshot.log_start,
            high_watermark,
            next_offset: high_watermark,
            admitted_seal: seal,
            seal,
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
        let behind_seal = self.seal.map_or(0, |end| self.high_watermark.since(end).max(1));
        PartitionSnapshot {
            log_start: self.log_start,
            high_watermark: self.high_watermark(),
            behind_seal,
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
        if let Some(duplicate) = self.duplicate(batch)? {
            return Ok(duplicate);
        }
        if self.admitted_seal.is_some() {
            return Err(AdmitError::Sealed);
        }
        let last_offset_delta = u32::try_from(batch.last_offset_delta).unwrap_or(0);
        self.admit_new(batch, last_offset_delta, lsn, now)
    }

    /// Where `batch` stands already, if it is a producer's retry.
    ///
    /// # Errors
    /// As [`Partition::admit`]'s, where its sequence or epoch does not fit.
    pub fn duplicate(&self, batch: &BatchHeader) -> Result<Option<Admission>, AdmitError> {
        let Some(producer) = batch.producer else { return Ok(None) };
        let last_offset_delta = u32::try_from(batch.last_offset_delta).unwrap_or(0);
        Ok(match self.producers.check(producer, last_offset_delta)? {
            Sequencing::Next => None,
            Sequencing::Duplicate { last_offset, append_time, lsn } => {
                let delta = i64::from(last_offset_delta);
                let base_offset = Offset(last_offset.get().saturating_sub(delta));
                Some(Admission::Duplicate { base_offset, append_time, lsn })
            }
        })
    }

    /// Decides about a batch that goes to other partitions, since this one is
    /// sealed: as [`Partition::admit`] does, but what is appended is what is
    /// remembered of it, at an offset that no reader sees.
    ///
    /// # Errors
    /// As [`Partition::admit`]'s.
    ///
    /// # Panics
    /// If the partition is not sealed: readers would see the offset.
    pub fn admit_rerouted(
        &mut self,
        batch: &BatchHeader,
        lsn: Lsn,
        now: Timestamp,
    ) -> Result<Admission, AdmitError> {
        assert!(self.admitted_seal.is_some(), "batches go elsewhere only once a seal is there");
        match self.admit(batch, lsn, now) {
            Err(AdmitError::Sealed) => {
                let last_offset_delta = u32::try_from(batch.last_offset_delta).unwrap_or(0);
                self.admit_new(batch, last_offset_delta, lsn, now)
            }
            decided => decided,
        }
    }

    /// Seals the partition behind all that was admitted. The seal must then be
    /// written. None where it is sealed already.
    ///
    /// # Errors
    /// [`AdmitError::OffsetOverflow`].
    pub fn admit_seal(&mut self, now: Timestamp) -> Result<Option<Admission>, AdmitError> {
        if self.admitted_seal.is_some() {
            return Ok(None);
        }
        let end = self.next_offset();
        self.next_offset = end.checked_add(1).ok_or(AdmitError::OffsetOverflow)?;
        self.admitted_seal = Some(end);
        self.admitted_append_time = now.max(self.admitted_append_time);
        Ok(Some(Admission::Append {
            base_offset: end,
            leader_epoch: self.leader_epoch,
            append_time: self.admitted_append_time,
        }))
    }

    fn admit_new(
        &mut self,
        batch: &BatchHeader,
        last_offset_delta: u32,
        lsn: Lsn,
        now: Timestamp,
    ) -> Result<Admission, AdmitError> {
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
    /// dead and rewritten); what the state knows already is left out, and what
    /// makes no sense on its side of a seal.
    /// Returns whether it was new.
    pub fn replay(&mut self, extent: &Extent) -> bool {
        let fits = match extent.kind {
            ExtentKind::Batch | ExtentKind::Seal => self.seal.is_none(),
            ExtentKind::Rerouted => self.seal.is_some(),
            ExtentKind::Release | ExtentKind::Mark | ExtentKind::Skip => false,
        };
        if !fits || extent.next_offset() <= self.high_watermark {
            return false;
        }
        self.apply(extent);
        self.next_offset = self.next_offset.max(self.high_watermark);
        self.admitted_append_time = self.admitted_append_time.max(self.append_time);
        self.admitted_seal = self.seal;
        if extent.kind == ExtentKind::Batch {
            self.leader_epoch = self.leader_epoch.max(extent.leader_epoch.next());
        }
        true
    }

    fn apply(&mut self, extent: &Extent) {
        match extent.kind {
            ExtentKind::Seal => self.seal = Some(extent.base_offset),
            ExtentKind::Rerouted => self.producers.apply(extent),
            _ => {
                self.epochs.open(extent.leader_epoch, extent.base_offset, self.log_start);
                self.producers.apply(extent);
            }
        }
        self.append_time = self.append_time.max(extent.append_time);
        self.high_watermark = extent.next_offset();
    }

    /// Takes for granted that the partition ends here: another proof of it
    /// stands where the log's own was lost. Nothing where it is sealed.
    pub fn presume_sealed(&mut self) {
        if self.admitted_seal.is_some() {
            return;
        }
        let end = self.next_offset();
        if let Some(behind) = end.checked_add(1) {
            self.next_offset = behind;
            self.high_watermark = behind;
            self.admitted_seal = Some(end);
            self.seal = Some(end);
        }
    }

    /// Goes on at `end`: what lies before, from the end on, is given up. Nothing
    /// where the partition ends further on, or is sealed.
    pub fn go_on_at(&mut self, end: Offset) {
        if self.admitted_seal.is_none() && end > self.next_offset() {
            self.next_offset = end;
            self.high_watermark = end;
        }
    }

    /// The offset behind the last record, for ever, once that is durable.
    #[must_use]
    pub const fn sealed(&self) -> Option<Offset> {
        self.seal
    }

    /// The same as soon as a seal was admitted: what counts for appends.
    #[must_use]
    pub const fn admitted_seal(&self) -> Option<Offset> {
        self.admitted_seal
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

    /// The offset that the next admitted batch gets, also one that goes
    /// elsewhere.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset.max(self.log_start)
    }

    /// End of what is durable and may be read.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        let end = self.seal.unwrap_or(self.high_watermark);
        self.high_watermark.min(end).max(self.log_start)
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
