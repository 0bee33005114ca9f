//! The durable state of a partition as a value, and as bytes of a checkpoint.

use millrace_types::{Offset, ProducerId, Timestamp};

use super::{
    epochs::EpochStart,
    producers::{BATCHES_KEPT, Entry, Kept},
};
use crate::wire::{Ended, Reader, len_u32};

/// Bytes of a stored snapshot before its epochs.
pub(crate) const SNAPSHOT_HEADER_LEN: usize = 40;
/// Bytes of a stored epoch.
pub(crate) const EPOCH_LEN: usize = 12;
/// Bytes of a stored producer before its batches.
pub(crate) const PRODUCER_LEN: usize = 32;
/// Bytes of a stored batch of a producer.
pub(crate) const KEPT_LEN: usize = 24;

/// What a partition's state is restored from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSnapshot {
    /// The first readable offset.
    pub log_start: Offset,
    /// End of what is durable.
    pub high_watermark: Offset,
    /// Offsets that the seal, and what came after it, have taken behind the high
    /// watermark; 0 while the partition is not sealed.
    pub behind_seal: u64,
    /// Append time of the last batch.
    pub append_time: Timestamp,
    /// Leader epochs, oldest first.
    pub epochs: Vec<EpochStart>,
    pub(super) producers: Vec<(ProducerId, Entry)>,
}

/// The checksum held and the snapshot makes no sense: a defect of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot of a partition makes no sense")]
pub struct SnapshotError;

impl From<Ended> for SnapshotError {
    fn from(Ended: Ended) -> Self {
        Self
    }
}

impl PartitionSnapshot {
    /// Leaves the producers out.
    pub fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// Number of producers.
    #[must_use]
    pub const fn producer_count(&self) -> usize {
        self.producers.len()
    }

    /// Appends the stored form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let producer_len = PRODUCER_LEN + BATCHES_KEPT * KEPT_LEN;
        out.reserve(
            SNAPSHOT_HEADER_LEN
                + self.epochs.len() * EPOCH_LEN
                + self.producers.len() * producer_len,
        );
        out.extend_from_slice(&self.log_start.get().to_le_bytes());
        out.extend_from_slice(&self.high_watermark.get().to_le_bytes());
        out.extend_from_slice(&self.append_time.get().to_le_bytes());
        out.extend_from_slice(&len_u32(self.epochs.len()).to_le_bytes());
        out.extend_from_slice(&len_u32(self.producers.len()).to_le_bytes());
        out.extend_from_slice(&self.behind_seal.to_le_bytes());
        for start in &self.epochs {
            out.extend_from_slice(&start.epoch.get().to_le_bytes());
            out.extend_from_slice(&start.start.get().to_le_bytes());
        }
        for (id, entry) in &self.producers {
            encode_producer(*id, entry, out);
        }
    }

    /// Decodes the stored form at the start of `reader`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let log_start = reader.offset()?;
        let high_watermark = reader.offset()?;
        let append_time = reader.timestamp()?;
        let epoch_count = reader.u32()?;
        let producer_count = reader.u32()?;
        let behind_seal = reader.u64()?;
        // The offset behind all of them exists.
        let end = i64::try_from(behind_seal).ok().and_then(|n| high_watermark.checked_add(n));
        if end.is_none() || log_start < Offset::ZERO || high_watermark < log_start {
            return Err(SnapshotError);
        }
        let mut epochs: Vec<EpochStart> = Vec::with_capacity(reader.fits(epoch_count, EPOCH_LEN)?);
        for _ in 0..epoch_count {
            let start = EpochStart { epoch: reader.leader_epoch()?, start: reader.offset()? };
            let rises =
                epochs.last().is_none_or(|e| e.epoch < start.epoch && e.start <= start.start);
            if !rises {
                return Err(SnapshotError);
            }
            epochs.push(start);
        }
        let least = PRODUCER_LEN + KEPT_LEN;
        let mut producers: Vec<(ProducerId, Entry)> =
            Vec::with_capacity(reader.fits(producer_count, least)?);
        for _ in 0..producer_count {
            let (id, entry) = read_producer(reader)?;
            if producers.last().is_some_and(|(before, _)| *before >= id) {
                return Err(SnapshotError);
            }
            producers.push((id, entry));
        }
        Ok(Self { log_start, high_watermark, behind_seal, append_time, epochs, producers })
    }

    /// Decodes a stored form that takes all of `bytes`.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader::new(bytes);
        let snapshot = Self::read(&mut reader)?;
        if reader.rest().is_empty() { Ok(snapshot) } else { Err(SnapshotError) }
    }
}

fn encode_producer(id: ProducerId, entry: &Entry, out: &mut Vec<u8>) {
    let batches = entry.batches();
    out.extend_from_slice(&id.get().to_le_bytes());
    out.extend_from_slice(&entry.epoch.get().to_le_bytes());
    out.push(u8::try_from(batches.len()).unwrap_or(0));
    out.push(0);
    // Reserved: epoch of the coordinator, first offset of the open transaction.
    out.extend_from_slice(&(-1i32).to_le_bytes());
    out.extend_from_slice(&(-1i64).to_le_bytes());
    out.extend_from_slice(&entry.last_timestamp.get().to_le_bytes());
    for batch in batches {
        out.extend_from_slice(&batch.last_offset.get().to_le_bytes());
        out.extend_from_slice(&batch.append_time.get().to_le_bytes());
        out.extend_from_slice(&batch.base_sequence.get().to_le_bytes());
        out.extend_from_slice(&batch.last_offset_delta.to_le_bytes());
    }
}

fn read_producer(reader: &mut Reader<'_>) -> Result<(ProducerId, Entry), SnapshotError> {
    let id = reader.producer_id()?;
    let epoch = reader.producer_epoch()?;
    let count = usize::from(reader.u8()?);
    let flags = reader.u8()?;
    let (coordinator_epoch, transaction) = (reader.i32()?, reader.i64()?);
    let last_timestamp = reader.timestamp()?;
    let reserved = flags != 0 || coordinator_epoch != -1 || transaction != -1;
    if reserved || count > BATCHES_KEPT {
        return Err(SnapshotError);
    }
    let mut batches = [Kept::default(); BATCHES_KEPT];
    for batch in batches.iter_mut().take(count) {
        *batch = Kept {
            last_offset: reader.offset()?,
            append_time: reader.timestamp()?,
            base_sequence: reader.sequence()?,
            last_offset_delta: reader.u32()?,
        };
        if i32::try_from(batch.last_offset_delta).is_err() || batch.base_sequence.get() < 0 {
            return Err(SnapshotError);
        }
    }
    let entry = Entry::new(epoch, last_timestamp, batches.into_iter().take(count));
    Ok((id, entry.ok_or(SnapshotError)?))
}
