//! The log's files: one group commit is one frame, a sealed file ends in a
//! footer.
//!
//! A frame's table of extents stands twice, before and behind the payload, so
//! that one rotten block never hides what the frame held. The checksum of both
//! is seeded with (incarnation, file, position): bytes of another file, another
//! life or another place never pass as a frame.
//!
//! Invariant: decoding proves the geometry before it trusts a length, so what
//! it returns can be followed without further checks. Written by the log
//! writer, read by recovery, the scrub and rewriting, all in `store`.

use millrace_types::{FileId, Incarnation, Lsn, Timestamp, canary};

use crate::{
    BLOCK,
    wire::{Ended, Reader, Writer},
};

mod extent;
mod file;
mod footer;
#[cfg(test)]
mod tests;

pub(crate) use extent::retention_time;
pub use extent::{EXTENT_LEN, Extent, ExtentKind};
pub use file::{FILE_HEADER_LEN, FileError, FileHeader, FileKind};
pub use footer::{
    DIRECTORY_ENTRY_LEN, DirectoryEntry, Footer, FooterError, FooterInfo, FooterWriter,
    TRAILER_LEN, Trailer, decode_extents, encode_footer,
};

/// Bytes of a frame header, front or back.
pub const FRAME_HEADER_LEN: usize = 112;
/// No frame is longer, so a rotten length never asks for more memory.
pub const FRAME_LEN_MAX: usize = 1 << 30;

/// `MLRF` and `MLRB` as they lie on the disk.
const FRONT_MAGIC: u32 = u32::from_le_bytes(*b"MLRF");
const BACK_MAGIC: u32 = u32::from_le_bytes(*b"MLRB");
/// Magic and CRC, which the CRC does not cover.
const CRC_END: usize = 8;

/// Where a frame claims to be: its checksum holds nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The life that wrote the file.
    pub incarnation: Incarnation,
    /// The file.
    pub file: FileId,
    /// Byte of the file at which the frame begins.
    pub position: u64,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Log sequence number: one more than that of the frame before.
    pub lsn: Lsn,
    /// The life that wrote it.
    pub incarnation: Incarnation,
    /// The file that it was written to.
    pub file: FileId,
    /// Byte of the file at which it begins; a multiple of [`BLOCK`].
    pub position: u64,
    /// Bytes of this file, from its start, that a returned fdatasync covered
    /// when the frame was made: what is invalid below is rotten, not torn.
    pub synced_to: u64,
    /// Wall clock when the frame was closed.
    pub time: Timestamp,
    /// Bytes from the frame's start to its payload; a multiple of [`BLOCK`].
    pub front_len: u32,
    /// Bytes of all extents.
    pub payload_len: u32,
    /// Number of extents; 0 in a mark.
    pub extents: u32,
    /// Bytes of the whole frame; a multiple of [`BLOCK`].
    pub frame_len: u32,
}

/// Why bytes are not the frame that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the header or its table takes: read more.
    #[error("the frame's table takes {needed} bytes; {available} are there")]
    Truncated {
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// No frame begins (or ends) here.
    #[error("no frame is here: its magic is missing")]
    Magic,
    /// The lengths contradict each other.
    #[error("the frame's lengths contradict each other")]
    Geometry,
    /// A whole frame perhaps, but of another place.
    #[error("the frame was written elsewhere: in file {file} at byte {position}")]
    Elsewhere {
        /// The file that it names.
        file: FileId,
        /// The position that it names.
        position: u64,
    },
    /// The checksum does not match.
    #[error("the frame's table fails its checksum")]
    Crc,
    /// The checksum matches, but an extent makes no sense: a defect of the
    /// writer.
    #[error("extent {index} of the frame makes no sense")]
    Extent {
        /// Which of the table.
        index: usize,
    },
}

impl FrameHeader {
    /// A header for a frame whose payload was gathered behind a front of
    /// `front_len` bytes; `None` where that makes no frame (too long, or
    /// a front too short for the table).
    #[must_use]
    pub fn new(
        lsn: Lsn,
        seed: Seed,
        synced_to: u64,
        time: Timestamp,
        front_len: usize,
        payload_len: usize,
        extents: usize,
    ) -> Option<Self> {
        let header = Self {
            lsn,
            incarnation: seed.incarnation,
            file: seed.file,
            position: seed.position,
            synced_to,
            time,
            front_len: u32::try_from(front_len).ok()?,
            payload_len: u32::try_from(payload_len).ok()?,
            extents: u32::try_from(extents).ok()?,
            frame_len: u32::try_from(frame_len(front_len, payload_len, extents)?).ok()?,
        };
        header.is_sound().then_some(header)
    }

    /// Reads the header of a frame that begins at `bytes`, *without* proving
    /// its checksum: to learn how much to read for [`decode_front`], or
    /// where the next frame would be.
    ///
    /// # Errors
    /// Where no frame begins, or its lengths contradict each other.
    pub fn peek(bytes: &[u8]) -> Result<Self, FrameError> {
        Self::decode(bytes, FRONT_MAGIC)
    }

    /// Bytes from the frame's start (or, behind, to its end) that header and
    /// table take.
    #[must_use]
    pub fn table_len(&self) -> usize {
        to_usize(self.extents).saturating_mul(EXTENT_LEN).saturating_add(FRAME_HEADER_LEN)
    }

    /// The position behind the frame, where the next one begins.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.position.saturating_add(self.frame_len as u64)
    }

    /// Byte of the file at which the payload begins.
    #[must_use]
    pub const fn payload_position(&self) -> u64 {
        self.position.saturating_add(self.front_len as u64)
    }

    /// The place that its checksum is bound to.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        Seed { incarnation: self.incarnation, file: self.file, position: self.position }
    }

    fn is_sound(&self) -> bool {
        let (front, payload, extents) =
            (to_usize(self.front_len), to_usize(self.payload_len), to_usize(self.extents));
        self.position.is_multiple_of(BLOCK as u64)
            && self.position.checked_add(u64::from(self.frame_len)).is_some()
            && front.is_multiple_of(BLOCK)
            && front >= self.table_len()
            && to_usize(self.frame_len) <= FRAME_LEN_MAX
            && frame_len(front, payload, extents) == Some(to_usize(self.frame_len))
    }

    fn encode(&self, magic: u32, table: &[u8], out: &mut [u8]) {
        let mut writer = Writer::new(out);
        writer
            .put(&magic.to_le_bytes())
            .put(&[0; 4])
            .put(&self.frame_len.to_le_bytes())
            .put(&self.front_len.to_le_bytes())
            .put(&self.payload_len.to_le_bytes())
            .put(&self.extents.to_le_bytes())
            .put(&self.lsn.get().to_le_bytes())
            .put(&self.incarnation.get().to_le_bytes())
            .put(&self.file.get().to_le_bytes())
            .put(&self.position.to_le_bytes())
            .put(&self.synced_to.to_le_bytes())
            .put(&self.time.get().to_le_bytes());
        writer.finish();
        let crc = checksum(self.seed(), out.get(CRC_END..).unwrap_or_default(), table);
        if let Some(place) = out.get_mut(4..CRC_END) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8], magic: u32) -> Result<Self, FrameError> {
        let header =
            Self::read(&mut Reader::new(bytes), magic).unwrap_or(Err(FrameError::Truncated {
                needed: FRAME_HEADER_LEN,
                available: bytes.len(),
            }))?;
        if header.is_sound() { Ok(header) } else { Err(FrameError::Geometry) }
    }

    fn read(reader: &mut Reader<'_>, magic: u32) -> Result<Result<Self, FrameError>, Ended> {
        let mut reader = Reader::new(reader.bytes(FRAME_HEADER_LEN)?);
        if reader.u32()? != magic {
            return Ok(Err(FrameError::Magic));
        }
        let _crc = reader.u32()?;
        let (frame_len, front_len, payload_len, extents) =
            (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
        Ok(Ok(Self {
            lsn: Lsn(reader.u64()?),
            incarnation: Incarnation(reader.u64()?),
            file: FileId(reader.u64()?),
            position: reader.u64()?,
            synced_to: reader.u64()?,
            time: reader.timestamp()?,
            front_len,
            payload_len,
            extents,
            frame_len,
        }))
    }
}

/// Bytes that header and table of `extents` extents take before the payload:
/// what a writer leaves free before it gathers. It may leave more.
#[must_use]
pub const fn front_len(extents: usize) -> usize {
    (FRAME_HEADER_LEN + extents * EXTENT_LEN).next_multiple_of(BLOCK)
}

/// Bytes from the payload's end to the frame's end; `payload_end` is where the
/// payload ends, counted from any multiple of [`BLOCK`].
#[must_use]
pub const fn back_len(payload_end: usize, extents: usize) -> usize {
    let from = payload_end % BLOCK;
    (from + FRAME_HEADER_LEN + extents * EXTENT_LEN).next_multiple_of(BLOCK) - from
}

/// Bytes of a whole frame; `None` where they exceed what a frame may have.
fn frame_len(front_len: usize, payload_len: usize, extents: usize) -> Option<usize> {
    let table = extents.checked_mul(EXTENT_LEN)?.checked_add(FRAME_HEADER_LEN)?;
    let end = front_len.checked_add(payload_len)?.checked_add(table)?;
    end.checked_next_multiple_of(BLOCK).filter(|len| *len <= FRAME_LEN_MAX)
}

/// Writes the front into `out`, all of it: header, table, zeros. The extents
/// are sorted by partition and offset.
///
/// # Panics
/// If `out` is not `header.front_len` bytes, or `extents` not as many as the
/// header says: a defect of the writer.
pub fn encode_front(header: &FrameHeader, extents: &[Extent], out: &mut [u8]) {
    assert_eq!(
        out.len(),
        to_usize(header.front_len),
        "the front is not as long as its header says"
    );
    let (head, rest) = out.split_at_mut(FRAME_HEADER_LEN);
    encode_table(header, extents, rest);
    let table = rest.get(..extents.len() * EXTENT_LEN).unwrap_or_default();
    header.encode(FRONT_MAGIC, table, head);
}

/// Writes the back into `out`, all of it: zeros, table, header.
///
/// # Panics
/// If `out` is not [`back_len`] bytes, or `extents` not as many as the header
/// says: a defect of the writer.
pub fn encode_back(header: &FrameHeader, extents: &[Extent], out: &mut [u8]) {
    let len =
        to_usize(header.frame_len) - to_usize(header.front_len) - to_usize(header.payload_len);
    assert_eq!(out.len(), len, "the back is not as long as its header says");
    let (zeros, rest) = out.split_at_mut(len - header.table_len());
    zeros.fill(0);
    let (table, head) = rest.split_at_mut(extents.len() * EXTENT_LEN);
    encode_table(header, extents, table);
    header.encode(BACK_MAGIC, table, head);
}

fn encode_table(header: &FrameHeader, extents: &[Extent], out: &mut [u8]) {
    assert_eq!(
        extents.len(),
        to_usize(header.extents),
        "the table is not as long as its header says"
    );
    debug_assert!(extents.is_sorted_by_key(Extent::order), "a frame's extents are not sorted");
    let mut writer = Writer::new(out);
    for extent in extents {
        writer.put(&extent.encode());
    }
    writer.finish();
}

/// Decodes the front of a frame that begins at `bytes` and proves that it was
/// written exactly there.
///
/// # Errors
/// [`FrameError::Truncated`] where more bytes are needed; else why this is not
/// the frame.
pub fn decode_front(bytes: &[u8], seed: Seed) -> Result<(FrameHeader, Vec<Extent>), FrameError> {
    let header = FrameHeader::peek(bytes)?;
    let needed = header.table_len();
    let available = bytes.len();
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEADER_LEN>() else {
        return Err(FrameError::Truncated { needed, available });
    };
    let Some(table) = rest.get(..needed - FRAME_HEADER_LEN) else {
        return Err(FrameError::Truncated { needed, available });
    };
    decode_table(header, head, table, seed)
}

/// Decodes the back of the frame that ends where `bytes` end, at the byte `end`
/// of the file, and proves that it was written exactly there: the way to a
/// frame whose front is rotten. Its start is the header's `position`.
///
/// # Errors
/// As [`decode_front`].
pub fn decode_back(
    bytes: &[u8],
    incarnation: Incarnation,
    file: FileId,
    end: u64,
) -> Result<(FrameHeader, Vec<Extent>), FrameError> {
    let available = bytes.len();
    let Some((rest, head)) = bytes.split_last_chunk::<FRAME_HEADER_LEN>() else {
        return Err(FrameError::Truncated { needed: FRAME_HEADER_LEN, available });
    };
    let header = FrameHeader::decode(head, BACK_MAGIC)?;
    let needed = header.table_len();
    let Some(from) = available.checked_sub(needed) else {
        return Err(FrameError::Truncated { needed, available });
    };
    let Some(position) = end.checked_sub(u64::from(header.frame_len)) else {
        return Err(FrameError::Geometry);
    };
    let table = rest.get(from..).unwrap_or_default();
    decode_table(header, head, table, Seed { incarnation, file, position })
}

fn decode_table(
    header: FrameHeader,
    head: &[u8; FRAME_HEADER_LEN],
    table: &[u8],
    seed: Seed,
) -> Result<(FrameHeader, Vec<Extent>), FrameError> {
    if header.seed() != seed && !canary!(UnseededChecksum) {
        return Err(FrameError::Elsewhere { file: header.file, position: header.position });
    }
    let mut reader = Reader::new(head.get(4..).unwrap_or_default());
    let stored = reader.u32().map_err(|Ended| FrameError::Crc)?;
    if stored != checksum(seed, reader.rest(), table) {
        return Err(FrameError::Crc);
    }
    let mut extents: Vec<Extent> = Vec::with_capacity(to_usize(header.extents));
    for (index, bytes) in table.chunks_exact(EXTENT_LEN).enumerate() {
        let extent = Extent::decode(bytes, header.payload_len)
            .filter(|e| extents.last().is_none_or(|before| before.order() <= e.order()))
            .ok_or(FrameError::Extent { index })?;
        extents.push(extent);
    }
    Ok((header, extents))
}

fn checksum(seed: Seed, header: &[u8], table: &[u8]) -> u32 {
    if canary!(UnseededChecksum) {
        return crc32c::crc32c_append(crc32c::crc32c(header), table);
    }
    let mut crc = crc32c::crc32c(&seed.incarnation.get().to_le_bytes());
    crc = crc32c::crc32c_append(crc, &seed.file.get().to_le_bytes());
    crc = crc32c::crc32c_append(crc, &seed.position.to_le_bytes());
    crc = crc32c::crc32c_append(crc, header);
    crc32c::crc32c_append(crc, table)
}

/// A stored 32-bit length in memory: every target has 32 bits at least.
pub(crate) const fn to_usize(len: u32) -> usize {
    len as usize
}
