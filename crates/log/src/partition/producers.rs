//! Idempotent producers: what makes a batch that is sent twice stand once.
//!
//! The rules are Kafka's (`ProducerAppendInfo`, `ProducerStateEntry`), split in
//! two: the last five durable batches a producer, and the tentative ones behind
//! them, which count for sequencing at once and may vanish with the
//! incarnation. An entry is flat, since there may be very many.

use std::collections::BTreeMap;

use millrace_types::{Lsn, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::AdmitError;
use crate::{batch::ProducerStamp, frame::Extent};

/// Batches that are remembered for each producer: as many as a client may
/// have in flight.
pub const BATCHES_KEPT: usize = 5;

/// What a partition knows of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer.
    pub id: ProducerId,
    /// Its newest generation.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Largest timestamp of its last batch, as it says.
    pub last_timestamp: Timestamp,
    /// When its last batch was appended.
    pub append_time: Timestamp,
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) last_offset: Offset,
    pub(super) append_time: Timestamp,
    pub(super) base_sequence: Sequence,
    pub(super) last_offset_delta: u32,
}

/// The durable state of one producer: 136 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Oldest first; the first `kept` ones count, at least one.
    batches: [Kept; BATCHES_KEPT],
    pub(super) last_timestamp: Timestamp,
    pub(super) epoch: ProducerEpoch,
    kept: u8,
}

/// A batch that was admitted and is not durable yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) producer: ProducerStamp,
    pub(super) last_offset_delta: u32,
    pub(super) append_time: Timestamp,
    pub(super) lsn: Lsn,
}

/// What a producer's batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequencing {
    Next,
    Duplicate { last_offset: Offset, append_time: Timestamp, lsn: Lsn },
}

/// The producers of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Producers {
    durable: BTreeMap<ProducerId, Entry>,
    /// Tentative batches by producer and base offset.
    pending: BTreeMap<(ProducerId, Offset), Pending>,
}

/// Sequence of the last record of a batch.
fn last_sequence(base: Sequence, last_offset_delta: u32) -> Sequence {
    base.advance(i32::try_from(last_offset_delta).unwrap_or(i32::MAX))
}

impl Entry {
    /// An entry of up to five batches, oldest first; `None` if there is none.
    pub(super) fn new(
        epoch: ProducerEpoch,
        last_timestamp: Timestamp,
        batches: impl IntoIterator<Item = Kept>,
    ) -> Option<Self> {
        let mut entry =
            Self { batches: [Kept::default(); BATCHES_KEPT], last_timestamp, epoch, kept: 0 };
        for batch in batches {
            entry.push(batch);
        }
        (entry.kept > 0).then_some(entry)
    }

    pub(super) fn batches(&self) -> &[Kept] {
        self.batches.get(..usize::from(self.kept)).unwrap_or_default()
    }

    fn last(&self) -> Kept {
        self.batches().last().copied().unwrap_or_default()
    }

    fn push(&mut self, batch: Kept) {
        if usize::from(self.kept) == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.kept -= 1;
        }
        if let Some(place) = self.batches.get_mut(usize::from(self.kept)) {
            *place = batch;
            self.kept += 1;
        }
    }
}

impl Producers {
    pub(super) fn restore(durable: Vec<(ProducerId, Entry)>) -> Self {
        Self { durable: durable.into_iter().collect(), pending: BTreeMap::new() }
    }

    pub(super) fn durable(&self) -> Vec<(ProducerId, Entry)> {
        self.durable.iter().map(|(id, entry)| (*id, *entry)).collect()
    }

    /// Tentative batches of one producer, oldest first.
    fn pending(&self, id: ProducerId) -> impl DoubleEndedIterator<Item = (Offset, &Pending)> {
        self.pending
            .range((id, Offset(i64::MIN))..=(id, Offset(i64::MAX)))
            .map(|((_, base_offset), pending)| (*base_offset, pending))
    }

    /// Decides about a batch of `last_offset_delta + 1` records.
    pub(super) fn check(
        &self,
        batch: ProducerStamp,
        last_offset_delta: u32,
    ) -> Result<Sequencing, AdmitError> {
        let durable = self.durable.get(&batch.id);
        let newest = self.pending(batch.id).next_back();
        let (current, last) = match (newest, durable) {
            (Some((_, p)), _) => {
                (p.producer.epoch, last_sequence(p.producer.base_sequence, p.last_offset_delta))
            }
            (None, Some(entry)) => {
                let last = entry.last();
                (entry.epoch, last_sequence(last.base_sequence, last.last_offset_delta))
            }
            // Nothing is known: retention may have removed it, so any sequence
            // is as good as another.
            (None, None) => return Ok(Sequencing::Next),
        };
        if batch.epoch < current {
            let (id, got) = (batch.id, batch.epoch);
            return Err(AdmitError::InvalidProducerEpoch { id, current, got });
        }
        if batch.epoch == current
            && let Some(duplicate) = self.duplicate(batch, last_offset_delta)
        {
            return Ok(duplicate);
        }
        let expected = if batch.epoch == current { last.advance(1) } else { Sequence(0) };
        if batch.base_sequence == expected {
            Ok(Sequencing::Next)
        } else {
            let (id, got) = (batch.id, batch.base_sequence);
            Err(AdmitError::OutOfOrderSequence { id, expected, got })
        }
    }

    /// The one of the producer's last five batches of this epoch, tentative
    /// ones included, that has exactly these sequences.
    fn duplicate(&self, batch: ProducerStamp, last_offset_delta: u32) -> Option<Sequencing> {
        let tentative = self.pending(batch.id).rev().map(|(base_offset, pending)| {
            let last_offset =
                Offset(base_offset.get().saturating_add(i64::from(pending.last_offset_delta)));
            let kept = Kept {
                last_offset,
                append_time: pending.append_time,
                base_sequence: pending.producer.base_sequence,
                last_offset_delta: pending.last_offset_delta,
            };
            (pending.producer.epoch, kept, pending.lsn)
        });
        let durable = self.durable.get(&batch.id).into_iter().flat_map(|entry| {
            entry.batches().iter().rev().map(|kept| (entry.epoch, *kept, Lsn(0)))
        });
        tentative
            .chain(durable)
            .take(BATCHES_KEPT)
            .take_while(|(epoch, ..)| *epoch == batch.epoch)
            .find(|(_, kept, _)| {
                kept.base_sequence == batch.base_sequence
                    && kept.last_offset_delta == last_offset_delta
            })
            .map(|(_, kept, lsn)| Sequencing::Duplicate {
                last_offset: kept.last_offset,
                append_time: kept.append_time,
                lsn,
            })
    }

    /// A batch was given the offset `base_offset`.
    pub(super) fn admitted(&mut self, base_offset: Offset, pending: Pending) {
        self.pending.insert((pending.producer.id, base_offset), pending);
    }

    /// An admitted batch is no longer tentative.
    pub(super) fn settled(&mut self, extent: &Extent) {
        if let Some(producer) = extent.producer {
            self.pending.remove(&(producer.id, extent.base_offset));
        }
    }

    /// Takes a durable batch over into its producer's entry, without judging
    /// it: that was done when it was admitted.
    pub(super) fn apply(&mut self, extent: &Extent) {
        let Some(producer) = extent.producer else { return };
        let batch = Kept {
            last_offset: extent.last_offset(),
            append_time: extent.append_time,
            base_sequence: producer.base_sequence,
            last_offset_delta: extent.last_offset_delta,
        };
        let Some(fresh) = Entry::new(producer.epoch, extent.max_timestamp, [batch]) else { return };
        self.durable
            .entry(producer.id)
            .and_modify(|entry| {
                if entry.epoch == producer.epoch {
                    entry.push(batch);
                    entry.last_timestamp = extent.max_timestamp;
                } else {
                    *entry = fresh;
                }
            })
            .or_insert(fresh);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ProducerState> + '_ {
        self.durable.iter().map(|(id, entry)| {
            let last = entry.last();
            ProducerState {
                id: *id,
                epoch: entry.epoch,
                last_sequence: last_sequence(last.base_sequence, last.last_offset_delta),
                last_offset: last.last_offset,
                last_timestamp: entry.last_timestamp,
                append_time: last.append_time,
            }
        })
    }

    fn in_flight(&self, id: ProducerId) -> bool {
        self.pending(id).next().is_some()
    }

    pub(super) fn knows(&self, id: ProducerId) -> bool {
        self.durable.contains_key(&id) || self.in_flight(id)
    }

    pub(super) fn count(&self) -> usize {
        let mut new = 0;
        let mut last = None;
        for (id, _) in self.pending.keys() {
            if last != Some(*id) && !self.durable.contains_key(id) {
                new += 1;
            }
            last = Some(*id);
        }
        self.durable.len() + new
    }

    pub(super) fn expire(&mut self, before: Timestamp) -> usize {
        let count = self.durable.len();
        let mut durable = std::mem::take(&mut self.durable);
        durable.retain(|id, entry| entry.last().append_time >= before || self.in_flight(*id));
        self.durable = durable;
        count - self.durable.len()
    }

    pub(super) fn least_recent(&self) -> Option<(ProducerId, Timestamp)> {
        self.durable
            .iter()
            .filter(|(id, _)| !self.in_flight(**id))
            .map(|(id, entry)| (*id, entry.last().append_time))
            .min_by_key(|(_, append_time)| *append_time)
    }

    pub(super) fn forget(&mut self, id: ProducerId) -> bool {
        !self.in_flight(id) && self.durable.remove(&id).is_some()
    }
}
