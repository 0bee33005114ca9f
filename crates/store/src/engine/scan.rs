//! Reading a log file whose writer died: which of its frames count.
//!
//! Invariant (storage rule 6): bytes below the highest `synced_to` that any
//! valid frame names were on the disk once, so what is invalid there is
//! corrupt; the first invalid frame at or above it ends the file.

use millrace_log::frame::{self, Extent, FRAME_HEADER_LEN, FileHeader, FrameError, FrameHeader};
use millrace_types::{FileId, Incarnation, Lsn, canary};

use super::Progress;
use crate::{
    BLOCK,
    aligned::AlignedBuffer,
    disk::{DiskError, DiskFile},
};

/// Bytes that are read at once.
const WINDOW: usize = 256 * 1024;

/// A frame that was found valid (its tables; not yet its payload).
#[derive(Debug)]
pub(super) struct Found {
    pub(super) header: FrameHeader,
    /// Positions are absolute in the file.
    pub(super) extents: Vec<Extent>,
}

/// A stretch of a file that should hold frames and doesn't.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    /// Where it begins.
    pub(super) byte: u64,
    /// The frame behind it.
    pub(super) before: Lsn,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Valid frames in order.
    pub(super) frames: Vec<Found>,
    /// Corrupt stretches between them.
    pub(super) holes: Vec<Hole>,
    /// Bytes that a sync covered, as far as the frames tell.
    pub(super) synced_to: u64,
}

/// Scans the frames of file `id`; says how far it is, up to the file's length.
pub(super) fn scan(
    file: &dyn DiskFile,
    id: FileId,
    progress: &Progress,
) -> Result<Scan, DiskError> {
    let length = file.length()?;
    let mut reader = WindowReader { file, length, window: None, progress, reached: 0 };
    let header = FileHeader::decode(reader.bytes(0, BLOCK)?).ok();
    let mut scan = Scan::default();
    let mut incarnation = header.map(|header| header.incarnation);
    let mut position = BLOCK as u64;
    loop {
        let open = |hole: &&mut Hole| hole.before == Lsn(u64::MAX);
        let hole = scan.holes.last_mut().filter(open);
        // Behind a hole the numbers go on with a gap.
        let expected =
            scan.frames.last().filter(|_| hole.is_none()).map(|last| last.header.lsn.next());
        if let Some(found) = frame_at(&mut reader, id, position, incarnation, expected)? {
            position = found.header.end();
            scan.synced_to = scan.synced_to.max(found.header.synced_to);
            incarnation = Some(found.header.incarnation);
            if let Some(hole) = hole {
                hole.before = found.header.lsn;
            }
            scan.frames.push(found);
            continue;
        }
        if canary!(CutBelowSynced) {
            return Ok(scan);
        }
        // Not a frame: torn or rotten. Only a later frame that says these
        // bytes were synced makes it rot.
        let last = scan.frames.last().map_or(Lsn(0), |found| found.header.lsn);
        let Some(next) = find_after(&mut reader, id, position, incarnation, last)? else {
            return Ok(scan);
        };
        // Rot. The frame's table stands a second time at its end.
        let incarnation = incarnation.unwrap_or_default();
        if let Some(found) = frame_before(&mut reader, id, position, next, incarnation)? {
            position = found.header.end();
            scan.frames.push(found);
        } else {
            scan.holes.push(Hole { byte: position, before: Lsn(u64::MAX) });
            position = next;
        }
    }
}

/// The valid frame at `position`, if one is there.
fn frame_at(
    reader: &mut WindowReader<'_>,
    id: FileId,
    position: u64,
    incarnation: Option<Incarnation>,
    lsn: Option<Lsn>,
) -> Result<Option<Found>, DiskError> {
    let Ok(peeked) = FrameHeader::peek(reader.bytes(position, FRAME_HEADER_LEN)?) else {
        return Ok(None);
    };
    let seed =
        frame::Seed { incarnation: incarnation.unwrap_or(peeked.incarnation), file: id, position };
    if peeked.end() > reader.length {
        return Ok(None);
    }
    let decoded = frame::decode_front(reader.bytes(position, peeked.table_len())?, seed);
    let Ok((header, extents)) = decoded else { return Ok(None) };
    Ok(found(header, extents, lsn))
}

/// The frame at `position` by the table at its end, which lies at or before
/// `until`: the way to a frame whose front is rotten.
fn frame_before(
    reader: &mut WindowReader<'_>,
    id: FileId,
    position: u64,
    until: u64,
    incarnation: Incarnation,
) -> Result<Option<Found>, DiskError> {
    let mut end = position + 2 * BLOCK as u64;
    while end <= until {
        let mut len = BLOCK as u64;
        loop {
            let bytes = reader.bytes(end - len, usize::try_from(len).unwrap_or(BLOCK))?;
            match frame::decode_back(bytes, incarnation, id, end) {
                Ok((header, extents)) if header.position == position => {
                    return Ok(found(header, extents, None));
                }
                Err(FrameError::Truncated { needed, .. }) if needed as u64 <= end - position => {
                    len = (needed as u64).next_multiple_of(BLOCK as u64);
                }
                _ => break,
            }
        }
        end += BLOCK as u64;
    }
    Ok(None)
}

fn found(header: FrameHeader, extents: Vec<Extent>, lsn: Option<Lsn>) -> Option<Found> {
    if lsn.is_some_and(|lsn| lsn != header.lsn) {
        return None;
    }
    let located: Option<Vec<Extent>> =
        extents.into_iter().map(|extent| extent.located(header.payload_position())).collect();
    Some(Found { header, extents: located? })
}

/// Where the next valid frame behind `position` begins, if it proves that the
/// bytes at `position` had been synced.
fn find_after(
    reader: &mut WindowReader<'_>,
    id: FileId,
    position: u64,
    incarnation: Option<Incarnation>,
    last: Lsn,
) -> Result<Option<u64>, DiskError> {
    let mut first = None;
    let mut at = position + BLOCK as u64;
    while at < reader.length {
        let looks_like = FrameHeader::peek(reader.bytes(at, FRAME_HEADER_LEN)?)
            .is_ok_and(|header| header.position == at && header.file == id && header.lsn > last);
        if looks_like && let Some(found) = frame_at(reader, id, at, incarnation, None)? {
            if found.header.synced_to > position {
                return Ok(Some(first.unwrap_or(at)));
            }
            first.get_or_insert(at);
            at = found.header.end();
        } else {
            at += BLOCK as u64;
        }
    }
    Ok(None)
}

/// An extent with its bytes.
pub(super) type ExtentBytes = (Extent, Vec<u8>);

/// Whether the payload of a frame is whole, and its bytes if so.
pub(super) fn payload(
    file: &dyn DiskFile,
    found: &Found,
) -> Result<Option<Vec<ExtentBytes>>, DiskError> {
    let start = found.header.payload_position();
    let end = start + u64::from(found.header.payload_len);
    let (buffer, skip) = super::reader::read_aligned(file, start, end)?;
    let bytes = buffer.get(skip..).unwrap_or_default();
    let mut extents = Vec::with_capacity(found.extents.len());
    for extent in &found.extents {
        let from = usize::try_from(u64::from(extent.position) - start).unwrap_or(usize::MAX);
        let content = from
            .checked_add(extent.len as usize)
            .and_then(|to| bytes.get(from..to))
            .filter(|content| crc32c::crc32c(content) == extent.crc);
        let Some(content) = content else { return Ok(None) };
        extents.push((*extent, content.to_vec()));
    }
    Ok(Some(extents))
}

/// Reads a file forward through a window, so that many small looks cost few
/// reads.
struct WindowReader<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    /// Where the window begins, and its bytes.
    window: Option<(u64, AlignedBuffer)>,
    progress: &'a Progress,
    /// How far the progress has been told.
    reached: u64,
}

impl Drop for WindowReader<'_> {
    fn drop(&mut self) {
        // What is left need not be read.
        self.reach(self.length);
    }
}

impl WindowReader<'_> {
    fn reach(&mut self, position: u64) {
        self.progress.bytes_are_read(position.saturating_sub(self.reached));
        self.reached = self.reached.max(position);
    }

    /// `len` bytes at `position`; fewer where the file ends.
    fn bytes(&mut self, position: u64, len: usize) -> Result<&[u8], DiskError> {
        let covered = self.window.as_ref().is_some_and(|(start, bytes)| {
            *start <= position && position + len as u64 <= *start + bytes.len() as u64
        });
        if !covered {
            let start = position / BLOCK as u64 * BLOCK as u64;
            let skip = usize::try_from(position - start).unwrap_or(0);
            let wanted = (skip + len).max(WINDOW).next_multiple_of(BLOCK);
            let left = usize::try_from(self.length.saturating_sub(start)).unwrap_or(wanted);
            let mut buffer = AlignedBuffer::zeroed(wanted.min(left.next_multiple_of(BLOCK)));
            self.file.read_at(start, &mut buffer)?;
            self.reach((start + buffer.len() as u64).min(self.length));
            self.window = Some((start, buffer));
        }
        let Some((start, bytes)) = &self.window else { return Ok(&[]) };
        let from = usize::try_from(position - start).unwrap_or(0).min(bytes.len());
        let to = (from + len).min(bytes.len());
        Ok(bytes.get(from..to).unwrap_or_default())
    }
}
