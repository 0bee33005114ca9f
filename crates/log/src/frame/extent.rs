//! An extent: what a table says of one stored batch.

use millrace_types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

use crate::{
    batch::ProducerStamp,
    wire::{Ended, Reader, Writer, partition_bytes},
};

/// Bytes of a stored extent.
pub const EXTENT_LEN: usize = 80;

/// What an extent's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// A record batch.
    #[default]
    Batch,
    /// The partition's records end here for ever. No bytes; its offset, like
    /// those behind it, is no record's.
    Seal,
    /// Reserved: the partition's owner hands it over at this offset.
    Release,
    /// Reserved: a statement about the log that belongs to no partition.
    Mark,
    /// Reserved: offsets that will never be read (an unrepairable range).
    Skip,
    /// A producer's batch that came to a sealed partition and was stored in
    /// others: what the sealed one remembers of it. No bytes.
    Rerouted,
}

impl ExtentKind {
    const fn number(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::Seal => 2,
            Self::Release => 3,
            Self::Mark => 4,
            Self::Skip => 5,
            Self::Rerouted => 6,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Batch,
            2 => Self::Seal,
            3 => Self::Release,
            4 => Self::Mark,
            5 => Self::Skip,
            6 => Self::Rerouted,
            _ => return None,
        })
    }
}

/// One stored batch: whose, which offsets, where, and what recovery needs to
/// know of it without reading it.
///
/// Invariant of decoded ones: offsets are ≥0 and the one after the last exists;
/// the bytes lie within the payload (or file) that the table describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The partition.
    pub partition: TopicPartition,
    /// What the bytes are.
    pub kind: ExtentKind,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Last offset minus base offset; at most `i32::MAX`, as in a batch.
    pub last_offset_delta: u32,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// First byte: counted from the payload's start in a frame's table, from
    /// the file's start in a footer.
    pub position: u32,
    /// Bytes.
    pub len: u32,
    /// The batch's largest timestamp, as its producer says.
    pub max_timestamp: Timestamp,
    /// When it was appended; never decreases within a partition.
    pub append_time: Timestamp,
    /// Producer, where it is idempotent.
    pub producer: Option<ProducerStamp>,
    /// CRC32C of the stored bytes (all of them: a batch's own CRC leaves out
    /// base offset, length and leader epoch).
    pub crc: u32,
}

/// See [`Extent::retention_time`].
pub(crate) fn retention_time(max_timestamp: Timestamp, append_time: Timestamp) -> Timestamp {
    if max_timestamp < Timestamp(0) { append_time } else { max_timestamp.min(append_time) }
}

impl Extent {
    /// Offset of the last record.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(self.last_offset_delta as i64))
    }

    /// The offset after the last record.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// The same extent counted from the file's start: of a frame's table, with
    /// the payload's position in the file. `None` beyond 4 GiB, where no log
    /// file reaches.
    #[must_use]
    pub fn located(self, payload_position: u64) -> Option<Self> {
        let position = payload_position.checked_add(u64::from(self.position))?;
        Some(Self { position: u32::try_from(position).ok()?, ..self })
    }

    /// When the batch may expire counts from here: its largest timestamp, but
    /// no later than it was appended, so that a future timestamp pins nothing;
    /// the append time where the producer gave none.
    #[must_use]
    pub fn retention_time(&self) -> Timestamp {
        retention_time(self.max_timestamp, self.append_time)
    }

    /// What tables are sorted by.
    #[must_use]
    pub const fn order(&self) -> (TopicPartition, Offset) {
        (self.partition, self.base_offset)
    }

    pub(crate) fn encode(&self) -> [u8; EXTENT_LEN] {
        let (id, epoch, sequence) = self
            .producer
            .map_or((-1, -1, -1), |p| (p.id.get(), p.epoch.get(), p.base_sequence.get()));
        let mut out = [0; EXTENT_LEN];
        let mut writer = Writer::new(&mut out);
        writer
            .put(&partition_bytes(self.partition))
            .put(&[self.kind.number(), 0])
            .put(&epoch.to_le_bytes())
            .put(&self.base_offset.get().to_le_bytes())
            .put(&self.last_offset_delta.to_le_bytes())
            .put(&self.leader_epoch.get().to_le_bytes())
            .put(&self.position.to_le_bytes())
            .put(&self.len.to_le_bytes())
            .put(&self.max_timestamp.get().to_le_bytes())
            .put(&self.append_time.get().to_le_bytes())
            .put(&id.to_le_bytes())
            .put(&sequence.to_le_bytes())
            .put(&self.crc.to_le_bytes());
        writer.finish();
        out
    }

    /// Decodes one extent whose bytes must end at `end` or before; `None` where
    /// it makes no sense.
    pub(crate) fn decode(bytes: &[u8], end: u32) -> Option<Self> {
        let extent = Self::read(&mut Reader::new(bytes)).ok()??;
        let sound = extent.base_offset >= Offset::ZERO
            && i32::try_from(extent.last_offset_delta).is_ok()
            // The offset after the last one exists.
            && extent.base_offset.get() < i64::MAX - i64::from(extent.last_offset_delta)
            && extent.position.checked_add(extent.len).is_some_and(|e| e <= end);
        sound.then_some(extent)
    }

    /// Decodes one extent of bytes that fail their checksum: to be believed only
    /// as far as what it describes agrees.
    #[must_use]
    pub fn decode_unproven(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes, u32::MAX)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Ended> {
        let partition = reader.partition()?;
        let kind = ExtentKind::from_number(reader.u8()?);
        let flags = reader.u8()?;
        let epoch = reader.producer_epoch()?;
        let base_offset = reader.offset()?;
        let last_offset_delta = reader.u32()?;
        let leader_epoch = reader.leader_epoch()?;
        let (position, len) = (reader.u32()?, reader.u32()?);
        let (max_timestamp, append_time) = (reader.timestamp()?, reader.timestamp()?);
        let id = reader.producer_id()?;
        let base_sequence = reader.sequence()?;
        let crc = reader.u32()?;
        let producer = match id.get() {
            ..0 => None,
            _ if epoch.get() < 0 || base_sequence.get() < 0 => return Ok(None),
            _ => Some(ProducerStamp { id, epoch, base_sequence }),
        };
        let Some(kind) = kind.filter(|_| flags == 0) else { return Ok(None) };
        Ok(Some(Self {
            partition,
            kind,
            base_offset,
            last_offset_delta,
            leader_epoch,
            position,
            len,
            max_timestamp,
            append_time,
            producer,
            crc,
        }))
    }
}
