//! Footers of sealed files, and what stands in for one that is rotten.
//!
//! A footer says nothing that is nowhere else. Of a file of frames all of it is
//! in their tables. In a sorted file batches lie back to back, by partition and
//! offset, and say themselves what they hold; whose they are follows from how
//! many bytes each partition has there, by the directory or the index. So a
//! rotten footer is made again, in memory, when somebody needs it; the file
//! stays as it is, and a rewriting replaces it.
//!
//! Invariants: what is made again passed a checksum, that of a frame's table or
//! of the batch itself; what the index knows to be in the file and was not found
//! is quarantined, so that no reader passes it. Called by readers, rewriting,
//! scrubbing and checks.

use std::{collections::BTreeMap, sync::Arc};

use millrace_log::{
    batch::{self, BatchHeader, HEADER_LEN},
    frame::{
        self, DirectoryEntry, EXTENT_LEN, Extent, ExtentKind, FileKind, Footer, FooterError,
        FooterInfo, TRAILER_LEN, Trailer,
    },
    index::{IndexEntry, Span},
};
use millrace_types::{Offset, TopicPartition};

use super::{
    Engine, Progress, ReadError,
    files::{self, LogFile},
    partition::Quarantined,
    reader::read_aligned,
    scan::{self, Hole},
    sequential::CHUNK,
};
use crate::{
    BLOCK,
    disk::{Access, Disk, DiskError, File, Mode},
    env::lock_over_io,
};

/// A footer with all of its extents.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) footer: Footer,
    /// The extents as they are stored.
    table: Vec<u8>,
}

/// Where a footer is rotten.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Rot {
    pub(super) byte: u64,
    pub(super) error: FooterError,
}

impl Tables {
    /// Those of a file whose extents are all at hand, ordered.
    fn of(info: FooterInfo, extents: &[Extent]) -> Option<Self> {
        let bytes = frame::encode_footer(0, info, extents, &[]);
        let trailer = Trailer::decode(&bytes, bytes.len() as u64).ok()?;
        let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let summary = trailer.summary_range();
        let footer =
            Footer::decode(trailer, bytes.get(within(summary.start)..).unwrap_or_default()).ok()?;
        let table = bytes.get(..within(trailer.directory_range().start))?.to_vec();
        Some(Self { footer, table })
    }

    /// The extents of one partition.
    pub(super) fn extents(&self, entry: &DirectoryEntry) -> Result<Vec<Extent>, FooterError> {
        let trailer = &self.footer.trailer;
        frame::decode_extents(trailer, entry, self.stored(entry))
    }

    /// Their bytes, rotten or not.
    fn stored(&self, entry: &DirectoryEntry) -> &[u8] {
        let trailer = &self.footer.trailer;
        let range = entry.extents_range(trailer);
        let within = |at: u64| usize::try_from(at - trailer.table_position).unwrap_or(usize::MAX);
        self.table.get(within(range.start)..within(range.end)).unwrap_or_default()
    }

    /// The first extents that fail their checksum.
    pub(super) fn rot(&self) -> Option<Rot> {
        self.footer.directory.iter().find_map(|entry| {
            let error = self.extents(entry).err()?;
            Some(Rot { byte: entry.extents_range(&self.footer.trailer).start, error })
        })
    }

    /// All extents that pass their checksum.
    pub(super) fn all(&self) -> Vec<Extent> {
        let sound = self.footer.directory.iter().filter_map(|entry| self.extents(entry).ok());
        sound.flatten().collect()
    }

    /// The batches of a partition, as its index wants them.
    pub(super) fn entries(
        &self,
        partition: TopicPartition,
    ) -> Result<Vec<IndexEntry>, FooterError> {
        let Some(entry) = self.footer.find(partition) else { return Ok(Vec::new()) };
        Ok(entries(&self.extents(entry)?))
    }
}

fn entries(extents: &[Extent]) -> Vec<IndexEntry> {
    let batches = extents.iter().filter(|extent| extent.kind == ExtentKind::Batch);
    batches.map(IndexEntry::of).collect()
}

impl LogFile {
    /// The file that the footer stands in.
    fn footer_handle(&self, disk: &dyn Disk) -> Result<File, DiskError> {
        if self.has_companion() {
            disk.open(&files::name(self.id, FileKind::Companion), Access::Read, Mode::Direct)
        } else {
            Ok(Arc::clone(&self.handle))
        }
    }

    /// The footer of a sealed file as it is stored, without its extents.
    pub(super) fn stored_footer(&self, disk: &dyn Disk) -> Result<Result<Footer, Rot>, DiskError> {
        let handle = self.footer_handle(disk)?;
        let length = handle.length()?;
        let start = length.saturating_sub(TRAILER_LEN as u64);
        let (bytes, skip) = read_aligned(&*handle, start, length)?;
        let bytes = bytes.get(skip..).and_then(|rest| rest.get(..TRAILER_LEN));
        let trailer = match Trailer::decode(bytes.unwrap_or_default(), length) {
            Ok(trailer) => trailer,
            Err(error) => return Ok(Err(Rot { byte: start, error })),
        };
        let range = trailer.summary_range();
        let (bytes, skip) = read_aligned(&*handle, range.start, range.end)?;
        let footer = Footer::decode(trailer, bytes.get(skip..).unwrap_or_default());
        Ok(footer.map_err(|error| Rot { byte: range.start, error }))
    }

    /// The same with its extents, of which some may be rotten.
    pub(super) fn stored_tables(&self, disk: &dyn Disk) -> Result<Result<Tables, Rot>, DiskError> {
        let footer = match self.stored_footer(disk)? {
            Ok(footer) => footer,
            Err(rot) => return Ok(Err(rot)),
        };
        let range = footer.trailer.table_position..footer.trailer.directory_range().start;
        let (bytes, skip) = read_aligned(&*self.footer_handle(disk)?, range.start, range.end)?;
        let len = usize::try_from(range.end - range.start).unwrap_or(0);
        let table = bytes.get(skip..skip + len).unwrap_or_default().to_vec();
        Ok(Ok(Tables { footer, table }))
    }
}

impl Engine {
    /// The footer of a sealed file with its extents.
    pub(super) fn tables(&self, file: &LogFile) -> Result<Arc<Tables>, ReadError> {
        if let Some(made) = self.made_again(file) {
            return Ok(made);
        }
        let stored = file.stored_tables(&*self.disk)?;
        let rot = match &stored {
            Ok(tables) => tables.rot(),
            Err(rot) => Some(*rot),
        };
        match (stored, rot) {
            (Ok(tables), None) => Ok(Arc::new(tables)),
            (stored, rot) => self.make_again(file, stored.ok(), rot),
        }
    }

    /// The batches of one partition in a sealed file.
    pub(super) fn footer_entries(
        &self,
        file: &LogFile,
        partition: TopicPartition,
    ) -> Result<Vec<IndexEntry>, ReadError> {
        if self.made_again(file).is_none()
            && let Ok(footer) = file.stored_footer(&*self.disk)?
        {
            let Some(entry) = footer.find(partition) else { return Ok(Vec::new()) };
            let range = entry.extents_range(&footer.trailer);
            let bytes = file.read_footer_bytes(&*self.disk, range)?;
            if let Ok(extents) = frame::decode_extents(&footer.trailer, entry, &bytes) {
                return Ok(entries(&extents));
            }
        }
        let entries = self.tables(file)?.entries(partition);
        entries.map_err(|error| ReadError::Unavailable(format!("log file {}: {error}", file.name)))
    }

    fn made_again(&self, file: &LogFile) -> Option<Arc<Tables>> {
        lock_over_io(&*self.env, &file.made_again).clone()
    }

    /// Makes the footer of a sealed file from what else is in it.
    fn make_again(
        &self,
        file: &LogFile,
        stored: Option<Tables>,
        rot: Option<Rot>,
    ) -> Result<Arc<Tables>, ReadError> {
        let mut made = lock_over_io(&*self.env, &file.made_again);
        if let Some(tables) = &*made {
            return Ok(Arc::clone(tables));
        }
        let spans = self.spans_in(file);
        let (mut extents, holes) = match file.kind {
            FileKind::Wal => by_frames(file)?,
            FileKind::Sorted | FileKind::Companion => {
                (by_batches(file, stored.as_ref(), &spans)?, Vec::new())
            }
        };
        extents.sort_by_key(Extent::order);
        let mut last: Option<(TopicPartition, Offset)> = None;
        extents.retain(|extent| {
            let follows = last.is_none_or(|(partition, offset)| {
                partition != extent.partition || offset < extent.base_offset
            });
            if follows {
                last = Some((extent.partition, extent.last_offset()));
            }
            follows
        });
        let info = FooterInfo {
            file: file.id,
            incarnation: file.incarnation(),
            data_end: file.data_end(),
            first_lsn: file.first_lsn(),
            last_lsn: file.last_lsn(),
        };
        let byte = rot.map_or(0, |rot| rot.byte);
        let tables = Tables::of(info, &extents).map(Arc::new).ok_or_else(|| {
            ReadError::Unavailable(format!("the footer of log file {} is rotten", file.name))
        })?;
        let mut lost = 0u64;
        for (id, span) in &spans {
            let found = tables.entries(*id).unwrap_or_default();
            for (first, end, next) in missing(span, &found) {
                let before = holes.iter().rfind(|hole| next.is_none_or(|next| hole.byte <= next));
                let byte = before.or(holes.last()).map_or(byte, |hole| hole.byte);
                lost += end.since(first);
                self.quarantine_range(*id, Quarantined { first, end, file: file.id, byte });
            }
        }
        let error = rot.map(|rot| rot.to_string()).unwrap_or_default();
        tracing::error!(file = %file.name, byte, error, offsets_lost = lost,
            "the footer of a log file is rotten: it was made again, in memory, from what else \
             the file holds");
        *made = Some(Arc::clone(&tables));
        Ok(tables)
    }

    /// What the index knows to be in a file.
    fn spans_in(&self, file: &LogFile) -> BTreeMap<TopicPartition, Span> {
        let mut spans = BTreeMap::new();
        for partition in self.partitions_by_id() {
            let core = partition.lock();
            if let Some(span) = core.index.spans().find(|span| span.file == file.id) {
                spans.insert(partition.id(), *span);
            }
        }
        spans
    }

    fn quarantine_range(&self, id: TopicPartition, range: Quarantined) {
        let Some(partition) = self.partitions.read().get(&id).cloned() else { return };
        let mut core = partition.lock();
        if range.end > core.state.log_start() {
            core.add_quarantined(range);
        }
    }
}

/// Offsets of a span that no entry has: from, the first behind, and where the
/// entry behind them lies.
fn missing(span: &Span, found: &[IndexEntry]) -> Vec<(Offset, Offset, Option<u64>)> {
    let within = found
        .iter()
        .filter(|entry| entry.base_offset >= span.base_offset)
        .filter(|entry| entry.last_offset() <= span.last_offset);
    let bytes: u64 = within.clone().map(|entry| u64::from(entry.len)).sum();
    let mut gaps = Vec::new();
    // Gaps between offsets are legal.
    if bytes == span.bytes && within.clone().count() as u64 == u64::from(span.extents) {
        return gaps;
    }
    let mut next = span.base_offset;
    for entry in within {
        if entry.base_offset > next {
            gaps.push((next, entry.base_offset, Some(u64::from(entry.position))));
        }
        next = entry.next_offset();
    }
    if next < span.next_offset() {
        gaps.push((next, span.next_offset(), None));
    }
    gaps
}

/// What the frames of a file say, and where some are lost.
fn by_frames(file: &LogFile) -> Result<(Vec<Extent>, Vec<Hole>), DiskError> {
    let scan = scan::scan(&*file.handle, file.id, &Progress::default())?;
    let end = file.data_end();
    let count = scan.frames.partition_point(|found| found.header.end() <= end);
    let frames = scan.frames.get(..count).unwrap_or_default();
    let reached = frames.last().map_or(BLOCK as u64, |last| last.header.end());
    let mut holes = scan.holes;
    holes.retain(|hole| hole.byte < end);
    if reached < end && holes.last().is_none_or(|hole| hole.byte < reached) {
        holes.push(Hole { byte: reached, before: file.last_lsn().next() });
    }
    Ok((frames.iter().flat_map(|found| found.extents.clone()).collect(), holes))
}

/// What the batches of a sorted file say.
fn by_batches(
    file: &LogFile,
    stored: Option<&Tables>,
    spans: &BTreeMap<TopicPartition, Span>,
) -> Result<Vec<Extent>, DiskError> {
    let begin = BLOCK as u64;
    let parts: Vec<(TopicPartition, Span)> = match stored {
        Some(tables) => {
            let directory = tables.footer.directory.iter();
            directory.map(|entry| (entry.partition, Span::of_directory(file.id, entry))).collect()
        }
        None => spans.iter().map(|(id, span)| (*id, *span)).collect(),
    };
    let bytes: u64 = parts.iter().map(|(_, span)| span.bytes).sum();
    if begin + bytes != file.data_end() {
        // Some of it is of partitions that nobody knows any more: whose the
        // others are cannot be told.
        return Ok(Vec::new());
    }
    let (mut all, mut at) = (Vec::new(), begin);
    for (id, span) in parts {
        let entry = stored.and_then(|tables| Some((tables, tables.footer.find(id)?)));
        match entry.map(|(tables, entry)| (tables.extents(entry), tables.stored(entry))) {
            Some((Ok(extents), _)) => all.extend(extents),
            Some((Err(_), records)) => all.extend(walk(file, at, id, &span, records)?),
            None => all.extend(walk(file, at, id, &span, &[])?),
        }
        at += span.bytes;
    }
    Ok(all)
}

/// The batches of one partition, which lie from `at` on. `records` are the
/// extents as they are stored, some of them rotten.
fn walk(
    file: &LogFile,
    at: u64,
    partition: TopicPartition,
    span: &Span,
    records: &[u8],
) -> Result<Vec<Extent>, DiskError> {
    let mut reader = Window { file, start: 0, bytes: Vec::new() };
    let (mut position, end) = (at, at + span.bytes);
    let mut batches = Vec::new();
    while position < end {
        let Ok(header) = BatchHeader::parse(reader.get(position, HEADER_LEN)?) else { break };
        let batch = reader.get(position, header.len)?;
        let sound = batch.len() == header.len && batch::check_crc(&header, batch).is_ok();
        batches.push((position, header, crc32c::crc32c(batch), sound));
        position += header.len as u64;
    }
    let mut records = records.chunks_exact(EXTENT_LEN).map(Some).chain(std::iter::repeat(None));
    let mut extents: Vec<Extent> = Vec::with_capacity(batches.len());
    for (number, (position, header, crc, sound)) in batches.iter().enumerate() {
        let stored = records.next().flatten().and_then(Extent::decode_unproven);
        let stored = stored.filter(|stored| {
            stored.partition == partition
                && u64::from(stored.position) == *position
                && stored.len as usize == header.len
                && stored.base_offset == header.base_offset
                && stored.last_offset() == header.last_offset()
                && stored.crc == *crc
        });
        let before = match number.checked_sub(1).and_then(|before| batches.get(before)) {
            Some((_, before, ..)) => before.next_offset(),
            None => Some(span.base_offset),
        };
        let behind = match batches.get(number + 1) {
            Some((_, behind, ..)) => Some(behind.base_offset),
            None => Some(span.next_offset()),
        };
        // Its own checksum does not cover its offset: its neighbours have to
        // agree, or the extent that was made of it.
        let placed = before == Some(header.base_offset) && header.next_offset() == behind;
        if !sound || !(placed || stored.is_some()) {
            continue;
        }
        let earliest = extents.last().map_or(header.max_timestamp, |last| last.append_time);
        let append_time = stored.map_or(earliest, |stored| stored.append_time.max(earliest));
        extents.push(Extent {
            partition,
            kind: ExtentKind::Batch,
            base_offset: header.base_offset,
            last_offset_delta: u32::try_from(header.last_offset_delta).unwrap_or(0),
            leader_epoch: header.leader_epoch,
            position: u32::try_from(*position).unwrap_or(u32::MAX),
            len: u32::try_from(header.len).unwrap_or(u32::MAX),
            max_timestamp: header.max_timestamp,
            append_time: append_time.min(span.append_time),
            producer: header.producer,
            crc: *crc,
        });
    }
    Ok(extents)
}

/// Reads a file forward, in large pieces.
struct Window<'a> {
    file: &'a LogFile,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `len` bytes at `position`; fewer behind what was written.
    fn get(&mut self, position: u64, len: usize) -> Result<&[u8], DiskError> {
        let data_end = self.file.data_end();
        let end = position.saturating_add(len as u64).min(data_end);
        let covered = self.start <= position && end <= self.start + self.bytes.len() as u64;
        if !covered {
            let until = end.max(position + CHUNK as u64).min(data_end);
            let (bytes, skip) = read_aligned(&*self.file.handle, position, until)?;
            let len = usize::try_from(until - position).unwrap_or(0);
            self.bytes = bytes.get(skip..skip + len).unwrap_or_default().to_vec();
            self.start = position;
        }
        let from = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        let to = usize::try_from(end - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }
}
