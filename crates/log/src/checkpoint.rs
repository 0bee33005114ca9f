//! Checkpoints: what a start reads instead of the log's history.
//!
//! A checkpoint is a header, chunks with a checksum each, and an end. One
//! partition is one chunk, so that a rotten block costs one partition a look
//! into the older checkpoint, not all of them. Invariant: a checkpoint without
//! its end was never finished and counts for nothing. Written and read by the
//! engine in `store`.

use millrace_types::{FileId, Incarnation, Lsn, Offset, Timestamp, TopicId, TopicPartition};

use crate::{
    FORMAT_VERSION,
    frame::FileKind,
    index::Span,
    partition::PartitionSnapshot,
    wire::{Reader, len_u32},
};

pub(crate) mod chunk;
#[cfg(test)]
mod tests;

/// Bytes of a checkpoint before its chunks.
pub const CHECKPOINT_HEADER_LEN: usize = 72;
/// Bytes of a chunk before its body.
pub const CHUNK_HEADER_LEN: usize = 16;

const MAGIC: [u8; 8] = *b"MLRCHKPT";
/// Bytes of the header that its CRC covers, all before it.
const CRC_AT: usize = 64;

/// What a checkpoint says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointHeader {
    /// The data directory that it belongs to (a UUID).
    pub log_id: [u8; 16],
    /// The life that wrote it.
    pub incarnation: Incarnation,
    /// Counts checkpoints; the largest is the newest.
    pub number: u64,
    /// Every frame up to this one is covered by all of its chunks.
    pub lsn: Lsn,
    /// Wall clock when it was begun.
    pub time: Timestamp,
}

/// A log file, as a checkpoint lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// The file.
    pub file: FileId,
    /// What it holds.
    pub kind: FileKind,
    /// Whether it holds bytes that fail their checksum: it is not rewritten.
    pub quarantined: bool,
    /// The life that wrote it.
    pub incarnation: Incarnation,
    /// Sequence number of its first frame.
    pub first_lsn: Lsn,
    /// Sequence number of its last frame.
    pub last_lsn: Lsn,
    /// End of its valid frames or extents.
    pub data_end: u64,
    /// Its length on the disk.
    pub len: u64,
    /// The companion that holds its footer, if it has none of its own.
    pub companion: Option<FileId>,
}

/// One partition in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecord {
    /// The partition.
    pub partition: TopicPartition,
    /// The frame up to which its state and spans go: at least the header's.
    pub lsn: Lsn,
    /// Its durable state.
    pub state: PartitionSnapshot,
    /// Where its offsets lie.
    pub spans: Vec<Span>,
}

/// State that a hidden topic's records add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenRecord {
    /// The hidden topic.
    pub topic: TopicId,
    /// Records below this offset are part of the state.
    pub offset: Offset,
    /// One of the records that rebuild it; what they mean is the topic's own.
    pub state: Vec<u8>,
}

/// One chunk of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// The log files, in the order of their bytes' age.
    Files(Vec<FileRecord>),
    /// A partition.
    Partition(Box<PartitionRecord>),
    /// A record of a hidden topic's state; a topic may have many.
    Hidden(HiddenRecord),
}

/// Why a checkpoint, or one chunk of it, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a checkpoint, or its header is rotten.
    #[error("the checkpoint's header fails its checksum or is not there")]
    Header,
    /// Of a newer program.
    #[error(
        "the checkpoint has the format version {0}; this program reads {FORMAT_VERSION}: start the version that wrote it"
    )]
    Version(u16),
    /// One chunk is rotten; those behind it can still be read.
    #[error("the checkpoint's chunk at byte {position} fails its checksum")]
    Chunk {
        /// Where the chunk begins.
        position: usize,
    },
    /// A chunk whose checksum holds makes no sense: a defect of the writer.
    #[error("the checkpoint's chunk at byte {position} makes no sense")]
    Content {
        /// Where the chunk begins.
        position: usize,
    },
    /// The rest is missing or rotten, so that no end is found.
    #[error("the checkpoint breaks off at byte {position}")]
    Incomplete {
        /// Where nothing readable follows.
        position: usize,
    },
}

impl CheckpointHeader {
    fn encode(&self) -> [u8; CHECKPOINT_HEADER_LEN] {
        let mut out = [0; CHECKPOINT_HEADER_LEN];
        let (head, rest) = out.split_at_mut(CRC_AT);
        let mut writer = crate::wire::Writer::new(head);
        writer
            .put(&MAGIC)
            .put(&FORMAT_VERSION.to_le_bytes())
            .put(&[0; 6])
            .put(&self.log_id)
            .put(&self.incarnation.get().to_le_bytes())
            .put(&self.number.to_le_bytes())
            .put(&self.lsn.get().to_le_bytes())
            .put(&self.time.get().to_le_bytes());
        writer.finish();
        let mut writer = crate::wire::Writer::new(rest);
        writer.put(&crc32c::crc32c(head).to_le_bytes());
        writer.finish();
        out
    }

    /// Decodes the header at the start of a checkpoint.
    ///
    /// # Errors
    /// If it is none that this program reads.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let mut reader = Reader::new(bytes);
        let (Ok(covered), Ok(crc)) = (reader.bytes(CRC_AT), reader.u32()) else {
            return Err(CheckpointError::Header);
        };
        let mut reader = Reader::new(covered);
        if reader.take() != Ok(MAGIC) {
            return Err(CheckpointError::Header);
        }
        let version = reader.u16().map_err(|_| CheckpointError::Header)?;
        if version != FORMAT_VERSION {
            return Err(CheckpointError::Version(version));
        }
        if crc32c::crc32c(covered) != crc {
            return Err(CheckpointError::Header);
        }
        Self::read(&mut reader).map_err(|_| CheckpointError::Header)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, crate::wire::Ended> {
        let _pad: [u8; 6] = reader.take()?;
        Ok(Self {
            log_id: reader.take()?,
            incarnation: Incarnation(reader.u64()?),
            number: reader.u64()?,
            lsn: Lsn(reader.u64()?),
            time: reader.timestamp()?,
        })
    }
}

/// Writes a checkpoint piece by piece; the caller may take bytes out of the
/// buffer whenever it likes.
#[derive(Debug)]
pub struct CheckpointWriter {
    chunks: u32,
}

impl CheckpointWriter {
    /// Begins a checkpoint in `out`.
    #[must_use]
    pub fn new(header: &CheckpointHeader, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&header.encode());
        Self { chunks: 0 }
    }

    /// Appends a chunk to `out`.
    pub fn chunk(&mut self, chunk: &Chunk, out: &mut Vec<u8>) {
        self.write(chunk.number(), out, |out| chunk.encode_body(out));
    }

    /// Appends the end to `out`: the checkpoint is complete once that is
    /// durable.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        let chunks = self.chunks;
        self.write(chunk::END, out, |out| out.extend_from_slice(&chunks.to_le_bytes()));
    }

    fn write(&mut self, number: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
        let at = out.len();
        out.extend_from_slice(&[0; CHUNK_HEADER_LEN]);
        body(out);
        let (_, chunk) = out.split_at_mut(at);
        let (header, body) = chunk.split_at_mut(CHUNK_HEADER_LEN);
        let (head, header_crc) = header.split_at_mut(12);
        let mut writer = crate::wire::Writer::new(head);
        writer
            .put(&[number, 0, 0, 0])
            .put(&len_u32(body.len()).to_le_bytes())
            .put(&crc32c::crc32c(body).to_le_bytes());
        writer.finish();
        header_crc.copy_from_slice(&crc32c::crc32c(head).to_le_bytes());
        self.chunks += 1;
    }
}

/// Opens a checkpoint: its header, and an iterator over its chunks.
///
/// # Errors
/// If the header cannot be used. A chunk that cannot be used is an item of the
/// iterator, which goes on behind it; an incomplete checkpoint ends in
/// [`CheckpointError::Incomplete`].
pub fn read(bytes: &[u8]) -> Result<(CheckpointHeader, Chunks<'_>), CheckpointError> {
    let header = CheckpointHeader::decode(bytes)?;
    Ok((header, Chunks { bytes, position: CHECKPOINT_HEADER_LEN, chunks: 0, ended: false }))
}

/// See [`read`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    bytes: &'a [u8],
    position: usize,
    chunks: u32,
    ended: bool,
}

impl Chunks<'_> {
    /// The next chunk's number, body and whether its checksum holds; `None`
    /// where its header is missing or rotten.
    fn split(&mut self) -> Option<(u8, &[u8], bool)> {
        let mut reader = Reader::new(self.bytes.get(self.position..)?);
        let head = reader.bytes(12).ok()?;
        let header_crc = reader.u32().ok()?;
        if crc32c::crc32c(head) != header_crc {
            return None;
        }
        let mut fields = Reader::new(head);
        let [number, ..] = fields.take::<4>().ok()?;
        let (len, crc) = (fields.u32().ok()?, fields.u32().ok()?);
        let body = reader.bytes(usize::try_from(len).ok()?).ok()?;
        self.position += CHUNK_HEADER_LEN + body.len();
        self.chunks += 1;
        Some((number, body, crc32c::crc32c(body) == crc))
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Chunk, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let position = self.position;
        let before = self.chunks;
        let Some((number, body, whole)) = self.split() else {
            self.ended = true;
            return Some(Err(CheckpointError::Incomplete { position }));
        };
        if !whole && number != chunk::END {
            return Some(Err(CheckpointError::Chunk { position }));
        }
        if number == chunk::END {
            let complete = whole && body == before.to_le_bytes();
            self.ended = true;
            return (!complete).then_some(Err(CheckpointError::Incomplete { position }));
        }
        Some(Chunk::decode(number, body).ok_or(CheckpointError::Content { position }))
    }
}
