//! The end of a sealed file: all its extents sorted by partition, a directory
//! of partitions, and a trailer that finds both. A reader that needs one
//! partition reads the trailer, the directory, and that partition's extents.

use std::ops::Range;

use millrace_types::{FileId, Incarnation, Lsn, Offset, Timestamp, TopicPartition};

use super::extent::{EXTENT_LEN, Extent};
use crate::{
    BLOCK, FORMAT_VERSION,
    wire::{Ended, Reader, Writer, len_u32, partition_bytes},
};

/// Bytes of a stored directory entry.
pub const DIRECTORY_ENTRY_LEN: usize = 80;
/// Bytes of the trailer, the last ones of the file.
pub const TRAILER_LEN: usize = 128;

const MAGIC: u32 = u32::from_le_bytes(*b"MLRT");
/// Magic and CRC, which the CRC does not cover.
const CRC_END: usize = 8;

/// What a footer says of the file that it describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterInfo {
    /// The file that holds the described bytes: the one that ends in this
    /// footer, or the one that a companion stands beside.
    pub file: FileId,
    /// The life that wrote the described bytes.
    pub incarnation: Incarnation,
    /// End of the valid frames (or sorted extents) in the described file.
    pub data_end: u64,
    /// Sequence number of the first frame described.
    pub first_lsn: Lsn,
    /// Sequence number of the last frame described.
    pub last_lsn: Lsn,
}

/// The last bytes of a footer: where everything else is. Positions are bytes
/// of the file that the footer stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// What it describes.
    pub info: FooterInfo,
    /// First byte of the extents.
    pub table_position: u64,
    /// Number of extents.
    pub extents: u32,
    /// Number of directory entries, which follow the extents.
    pub partitions: u32,
    /// CRC32C of the directory.
    pub directory_crc: u32,
    /// Number of file ids, which follow the directory: the files that a sorted
    /// file replaces.
    pub inputs: u32,
    /// CRC32C of those.
    pub inputs_crc: u32,
}

/// What a footer says of one partition: enough for the index, without the
/// extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The partition.
    pub partition: TopicPartition,
    /// Index of its first extent in the table.
    pub first_extent: u32,
    /// Number of its extents.
    pub extents: u32,
    /// CRC32C of its extents' bytes in the table.
    pub crc: u32,
    /// Its first offset in the file.
    pub base_offset: Offset,
    /// Its last offset in the file.
    pub last_offset: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// The largest timestamp of its batches.
    pub max_timestamp: Timestamp,
    /// The largest [`Extent::retention_time`].
    pub retention_time: Timestamp,
    /// The append time of the last one.
    pub append_time: Timestamp,
}

/// A footer without its extents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Where everything is.
    pub trailer: Trailer,
    /// One entry a partition, in their order.
    pub directory: Vec<DirectoryEntry>,
    /// Files that this sorted file replaces.
    pub inputs: Vec<FileId>,
}

/// Why bytes are not a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FooterError {
    /// Fewer bytes than it takes.
    #[error("the footer's part takes {needed} bytes; {available} are there")]
    Truncated {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// The file does not end in a footer.
    #[error("the file does not end in a footer")]
    Magic,
    /// Of a newer program.
    #[error(
        "the footer has the format version {0}; this program reads {FORMAT_VERSION}: start the version that wrote it"
    )]
    Version(u16),
    /// A rotten trailer.
    #[error("the footer's trailer fails its checksum")]
    TrailerCrc,
    /// A rotten directory, or rotten input ids.
    #[error("the footer's directory fails its checksum")]
    DirectoryCrc,
    /// Rotten extents.
    #[error("the footer's extents of partition {partition} fail their checksum")]
    ExtentsCrc {
        /// Whose.
        partition: TopicPartition,
    },
    /// Checksums match and the content makes no sense: a defect of the writer.
    #[error("the footer makes no sense")]
    Content,
}

/// Writes a footer piece by piece, so that a sorted file of millions of
/// extents needs no memory for all of them.
#[derive(Debug)]
pub struct FooterWriter {
    table_position: u64,
    extents: u32,
    directory: Vec<DirectoryEntry>,
}

impl FooterWriter {
    /// A writer of a footer that begins at `position` of its file, a multiple
    /// of [`BLOCK`].
    ///
    /// # Panics
    /// If `position` is none.
    #[must_use]
    pub const fn new(position: u64) -> Self {
        assert!(position.is_multiple_of(BLOCK as u64), "a footer begins at a block");
        Self { table_position: position, extents: 0, directory: Vec::new() }
    }

    /// Appends extents to the table and to `out`. Over all calls they are
    /// sorted by partition and offset; positions count from the file's start.
    ///
    /// # Panics
    /// If they are not sorted: the directory would lose some.
    pub fn extents(&mut self, extents: &[Extent], out: &mut Vec<u8>) {
        for extent in extents {
            let bytes = extent.encode();
            match self.directory.last_mut() {
                Some(entry) if entry.partition == extent.partition => {
                    entry.extend(extent, &bytes);
                }
                last => {
                    assert!(
                        last.is_none_or(|entry| entry.partition < extent.partition),
                        "a footer's extents are not sorted by partition"
                    );
                    self.directory.push(DirectoryEntry::first(extent, self.extents, &bytes));
                }
            }
            self.extents += 1;
            out.extend_from_slice(&bytes);
        }
    }

    /// Appends directory, inputs, padding and trailer to `out`. The file then
    /// ends at a block.
    pub fn finish(self, info: FooterInfo, inputs: &[FileId], out: &mut Vec<u8>) {
        let from = out.len();
        for entry in &self.directory {
            out.extend_from_slice(&entry.encode());
        }
        let directory_crc = crc32c::crc32c(out.get(from..).unwrap_or_default());
        let from = out.len();
        for file in inputs {
            out.extend_from_slice(&file.get().to_le_bytes());
        }
        let inputs_crc = crc32c::crc32c(out.get(from..).unwrap_or_default());
        let trailer = Trailer {
            info,
            table_position: self.table_position,
            extents: self.extents,
            partitions: len_u32(self.directory.len()),
            directory_crc,
            inputs: len_u32(inputs.len()),
            inputs_crc,
        };
        let end = trailer.inputs_range().end + TRAILER_LEN as u64;
        let zeros = end.next_multiple_of(BLOCK as u64) - end;
        out.resize(out.len() + usize::try_from(zeros).unwrap_or(0), 0);
        out.extend_from_slice(&trailer.encode());
    }
}

/// The whole footer of a file whose extents are all at hand, for the byte
/// `position` of its file.
#[must_use]
pub fn encode_footer(
    position: u64,
    info: FooterInfo,
    extents: &[Extent],
    inputs: &[FileId],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(extents.len() * EXTENT_LEN + 2 * BLOCK);
    let mut writer = FooterWriter::new(position);
    writer.extents(extents, &mut out);
    writer.finish(info, inputs, &mut out);
    out
}

impl DirectoryEntry {
    fn first(extent: &Extent, index: u32, bytes: &[u8]) -> Self {
        Self {
            partition: extent.partition,
            first_extent: index,
            extents: 1,
            crc: crc32c::crc32c(bytes),
            base_offset: extent.base_offset,
            last_offset: extent.last_offset(),
            bytes: u64::from(extent.len),
            max_timestamp: extent.max_timestamp,
            retention_time: extent.retention_time(),
            append_time: extent.append_time,
        }
    }

    fn extend(&mut self, extent: &Extent, bytes: &[u8]) {
        assert!(
            self.last_offset < extent.base_offset,
            "a footer's extents are not sorted by offset"
        );
        self.extents += 1;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.last_offset = extent.last_offset();
        self.bytes += u64::from(extent.len);
        self.max_timestamp = self.max_timestamp.max(extent.max_timestamp);
        self.retention_time = self.retention_time.max(extent.retention_time());
        self.append_time = extent.append_time;
    }

    /// Where its extents stand in the file of the footer.
    #[must_use]
    pub const fn extents_range(&self, trailer: &Trailer) -> Range<u64> {
        let from = trailer.table_position + self.first_extent as u64 * EXTENT_LEN as u64;
        from..from + self.extents as u64 * EXTENT_LEN as u64
    }

    fn encode(&self) -> [u8; DIRECTORY_ENTRY_LEN] {
        let mut out = [0; DIRECTORY_ENTRY_LEN];
        let mut writer = Writer::new(&mut out);
        writer
            .put(&partition_bytes(self.partition))
            .put(&self.first_extent.to_le_bytes())
            .put(&self.extents.to_le_bytes())
            .put(&self.crc.to_le_bytes())
            .put(&self.base_offset.get().to_le_bytes())
            .put(&self.last_offset.get().to_le_bytes())
            .put(&self.bytes.to_le_bytes())
            .put(&self.max_timestamp.get().to_le_bytes())
            .put(&self.retention_time.get().to_le_bytes())
            .put(&self.append_time.get().to_le_bytes());
        writer.finish();
        out
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Ended> {
        Ok(Self {
            partition: reader.partition()?,
            first_extent: reader.u32()?,
            extents: reader.u32()?,
            crc: reader.u32()?,
            base_offset: reader.offset()?,
            last_offset: reader.offset()?,
            bytes: reader.u64()?,
            max_timestamp: reader.timestamp()?,
            retention_time: reader.timestamp()?,
            append_time: reader.timestamp()?,
        })
    }
}

impl Trailer {
    /// Decodes the trailer at the end of `bytes`, which end where the file
    /// ends, `file_len` bytes from its start.
    ///
    /// # Errors
    /// Says why the file does not end in a footer.
    pub fn decode(bytes: &[u8], file_len: u64) -> Result<Self, FooterError> {
        let available = bytes.len() as u64;
        let truncated = FooterError::Truncated { needed: TRAILER_LEN as u64, available };
        let (_, last) = bytes.split_last_chunk::<TRAILER_LEN>().ok_or(truncated)?;
        let trailer = Self::read(last).unwrap_or(Err(truncated))?;
        let end = trailer.inputs_range().end + TRAILER_LEN as u64;
        let sound = trailer.table_position.is_multiple_of(BLOCK as u64)
            && end.checked_next_multiple_of(BLOCK as u64) == Some(file_len);
        if sound { Ok(trailer) } else { Err(FooterError::Content) }
    }

    fn read(bytes: &[u8; TRAILER_LEN]) -> Result<Result<Self, FooterError>, Ended> {
        let mut reader = Reader::new(bytes);
        if reader.u32()? != MAGIC {
            return Ok(Err(FooterError::Magic));
        }
        let crc = reader.u32()?;
        let covered = reader.rest();
        let version = reader.u16()?;
        if version != FORMAT_VERSION {
            return Ok(Err(FooterError::Version(version)));
        }
        if crc32c::crc32c(covered) != crc {
            return Ok(Err(FooterError::TrailerCrc));
        }
        let _pad: [u8; 6] = reader.take()?;
        let (file, incarnation) = (FileId(reader.u64()?), Incarnation(reader.u64()?));
        let data_end = reader.u64()?;
        let (first_lsn, last_lsn) = (Lsn(reader.u64()?), Lsn(reader.u64()?));
        let table_position = reader.u64()?;
        let (extents, partitions) = (reader.u32()?, reader.u32()?);
        let directory_crc = reader.u32()?;
        let (inputs, inputs_crc) = (reader.u32()?, reader.u32()?);
        // No file comes near this, so that sums of positions cannot overflow.
        if table_position > u64::MAX / 2 {
            return Ok(Err(FooterError::Content));
        }
        let info = FooterInfo { file, incarnation, data_end, first_lsn, last_lsn };
        Ok(Ok(Self {
            info,
            table_position,
            extents,
            partitions,
            directory_crc,
            inputs,
            inputs_crc,
        }))
    }

    fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut out = [0; TRAILER_LEN];
        let mut writer = Writer::new(&mut out);
        writer
            .put(&MAGIC.to_le_bytes())
            .put(&[0; 4])
            .put(&FORMAT_VERSION.to_le_bytes())
            .put(&[0; 6])
            .put(&self.info.file.get().to_le_bytes())
            .put(&self.info.incarnation.get().to_le_bytes())
            .put(&self.info.data_end.to_le_bytes())
            .put(&self.info.first_lsn.get().to_le_bytes())
            .put(&self.info.last_lsn.get().to_le_bytes())
            .put(&self.table_position.to_le_bytes())
            .put(&self.extents.to_le_bytes())
            .put(&self.partitions.to_le_bytes())
            .put(&self.directory_crc.to_le_bytes())
            .put(&self.inputs.to_le_bytes())
            .put(&self.inputs_crc.to_le_bytes());
        writer.finish();
        let (head, covered) = out.split_at_mut(CRC_END);
        let mut writer = Writer::new(head);
        writer.put(&MAGIC.to_le_bytes()).put(&crc32c::crc32c(covered).to_le_bytes());
        writer.finish();
        out
    }

    /// Where the directory stands.
    #[must_use]
    pub const fn directory_range(&self) -> Range<u64> {
        let from = self.table_position + self.extents as u64 * EXTENT_LEN as u64;
        from..from + self.partitions as u64 * DIRECTORY_ENTRY_LEN as u64
    }

    /// Where the ids of the replaced files stand.
    #[must_use]
    pub const fn inputs_range(&self) -> Range<u64> {
        let from = self.directory_range().end;
        from..from + self.inputs as u64 * 8
    }

    /// What to read for [`Footer::decode`]: directory and inputs.
    #[must_use]
    pub const fn summary_range(&self) -> Range<u64> {
        self.directory_range().start..self.inputs_range().end
    }
}

impl Footer {
    /// Decodes directory and inputs from the bytes of
    /// [`Trailer::summary_range`].
    ///
    /// # Errors
    /// Says what is rotten.
    pub fn decode(trailer: Trailer, bytes: &[u8]) -> Result<Self, FooterError> {
        let range = trailer.summary_range();
        let (needed, available) = (range.end - range.start, bytes.len() as u64);
        if needed > available {
            return Err(FooterError::Truncated { needed, available });
        }
        Self::read(trailer, bytes).unwrap_or(Err(FooterError::Content))
    }

    fn read(trailer: Trailer, bytes: &[u8]) -> Result<Result<Self, FooterError>, Ended> {
        let mut reader = Reader::new(bytes);
        let len = super::to_usize(trailer.partitions) * DIRECTORY_ENTRY_LEN;
        let directory_bytes = reader.bytes(len)?;
        let input_bytes = reader.bytes(super::to_usize(trailer.inputs) * 8)?;
        if crc32c::crc32c(directory_bytes) != trailer.directory_crc
            || crc32c::crc32c(input_bytes) != trailer.inputs_crc
        {
            return Ok(Err(FooterError::DirectoryCrc));
        }
        let mut directory = Vec::with_capacity(super::to_usize(trailer.partitions));
        let mut next_extent = 0u32;
        for entry in directory_bytes.chunks_exact(DIRECTORY_ENTRY_LEN) {
            let entry = DirectoryEntry::read(&mut Reader::new(entry))?;
            let sound = entry.first_extent == next_extent
                && entry.extents > 0
                && Offset::ZERO <= entry.base_offset
                && entry.base_offset <= entry.last_offset
                && entry.last_offset < Offset(i64::MAX)
                && u32::try_from(entry.bytes).is_ok()
                && directory.last().is_none_or(|l: &DirectoryEntry| l.partition < entry.partition);
            let end = next_extent.checked_add(entry.extents).filter(|e| *e <= trailer.extents);
            let Some(end) = end.filter(|_| sound) else { return Ok(Err(FooterError::Content)) };
            next_extent = end;
            directory.push(entry);
        }
        if next_extent != trailer.extents {
            return Ok(Err(FooterError::Content));
        }
        let mut inputs = Vec::with_capacity(super::to_usize(trailer.inputs));
        let mut reader = Reader::new(input_bytes);
        for _ in 0..trailer.inputs {
            inputs.push(FileId(reader.u64()?));
        }
        Ok(Ok(Self { trailer, directory, inputs }))
    }

    /// The directory's entry of a partition.
    #[must_use]
    pub fn find(&self, partition: TopicPartition) -> Option<&DirectoryEntry> {
        let at = self.directory.binary_search_by_key(&partition, |e| e.partition).ok()?;
        self.directory.get(at)
    }
}

/// Decodes the extents of one partition from the bytes of
/// [`DirectoryEntry::extents_range`].
///
/// # Errors
/// Says what is rotten.
pub fn decode_extents(
    trailer: &Trailer,
    entry: &DirectoryEntry,
    bytes: &[u8],
) -> Result<Vec<Extent>, FooterError> {
    let range = entry.extents_range(trailer);
    let (needed, available) = (range.end - range.start, bytes.len() as u64);
    let table = usize::try_from(needed)
        .ok()
        .and_then(|needed| bytes.get(..needed))
        .ok_or(FooterError::Truncated { needed, available })?;
    if crc32c::crc32c(table) != entry.crc {
        return Err(FooterError::ExtentsCrc { partition: entry.partition });
    }
    let end = u32::try_from(trailer.info.data_end).unwrap_or(u32::MAX);
    let mut extents: Vec<Extent> = Vec::with_capacity(super::to_usize(entry.extents));
    for bytes in table.chunks_exact(EXTENT_LEN) {
        let extent = Extent::decode(bytes, end).ok_or(FooterError::Content)?;
        let follows = extents.last().is_none_or(|before| before.last_offset() < extent.base_offset);
        if !follows || extent.partition != entry.partition {
            return Err(FooterError::Content);
        }
        extents.push(extent);
    }
    // The index goes by the directory until extents are asked for.
    let agree = extents.first().map(|e| e.base_offset) == Some(entry.base_offset)
        && extents.last().map(Extent::last_offset) == Some(entry.last_offset)
        && extents.iter().map(|e| u64::from(e.len)).sum::<u64>() == entry.bytes;
    if agree { Ok(extents) } else { Err(FooterError::Content) }
}
