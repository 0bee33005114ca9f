//! Where the offsets of one partition lie.
//!
//! A *span* sums up what one file holds of the partition; its *entries* (one
//! an extent) are in memory only while they are needed: a terabyte of small
//! batches is millions of extents. The file being written keeps its entries,
//! others load theirs from their footer and lose them to the budget.
//!
//! Invariants: spans are ordered by offset and disjoint; gaps between entries
//! are legal (compaction will make some), and a lookup finds the next entry at
//! or after the offset. What lies below the log start is never found. Driven by
//! the engine in `store`, which loads, reads and rewrites files.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use millrace_types::{FileId, Offset, Timestamp};

use crate::frame::{DirectoryEntry, Extent};

mod lookup;
#[cfg(test)]
mod tests;

pub use lookup::{Located, Lookup, Run};

/// What one file holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First offset.
    pub base_offset: Offset,
    /// Last offset.
    pub last_offset: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// The largest timestamp.
    pub max_timestamp: Timestamp,
    /// The largest [`Extent::retention_time`].
    pub retention_time: Timestamp,
    /// The append time of the last batch.
    pub append_time: Timestamp,
    /// Number of extents.
    pub extents: u32,
}

/// Where one extent lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// The largest timestamp.
    pub max_timestamp: Timestamp,
    /// When it was appended.
    pub append_time: Timestamp,
    /// Last offset minus base offset.
    pub last_offset_delta: u32,
    /// First byte in the file.
    pub position: u32,
    /// Bytes.
    pub len: u32,
    /// CRC32C of the bytes.
    pub crc: u32,
}

/// A part of the partition that may expire on its own: an extent where entries
/// are in memory, else a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The offset after its last record.
    pub next_offset: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// What its age counts from; see [`Extent::retention_time`].
    pub retention_time: Timestamp,
}

/// A rewritten file does not hold what its inputs held: it is not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rewritten file does not cover offsets {from} to {to} of its inputs; keep the inputs")]
pub struct ReplaceError {
    /// First live offset in the inputs.
    pub from: Offset,
    /// Last offset in the inputs.
    pub to: Offset,
}

#[derive(Debug)]
enum Entries {
    /// Of the file being written.
    Growing(Vec<IndexEntry>),
    /// Of a sealed file.
    Loaded(Arc<[IndexEntry]>),
    /// In the file's footer only.
    Away,
}

#[derive(Debug)]
struct Slot {
    span: Span,
    entries: Entries,
    /// Whether a lookup came by since the last eviction.
    used: AtomicBool,
}

/// The index of one partition.
#[derive(Debug, Default)]
pub struct PartitionIndex {
    slots: VecDeque<Slot>,
    log_start: Offset,
    /// Bytes of all spans.
    bytes: u64,
    /// Bytes of the first span that lie below the log start and were reported
    /// as dead; estimated while its entries are away.
    trimmed: u64,
}

impl Span {
    /// The span of a footer's directory entry.
    #[must_use]
    pub const fn of_directory(file: FileId, entry: &DirectoryEntry) -> Self {
        Self {
            file,
            base_offset: entry.base_offset,
            last_offset: entry.last_offset,
            bytes: entry.bytes,
            max_timestamp: entry.max_timestamp,
            retention_time: entry.retention_time,
            append_time: entry.append_time,
            extents: entry.extents,
        }
    }

    /// The span of one extent.
    #[must_use]
    pub fn of_extent(file: FileId, extent: &Extent) -> Self {
        Self {
            file,
            base_offset: extent.base_offset,
            last_offset: extent.last_offset(),
            bytes: u64::from(extent.len),
            max_timestamp: extent.max_timestamp,
            retention_time: extent.retention_time(),
            append_time: extent.append_time,
            extents: 1,
        }
    }

    /// Makes the span reach over what follows it in the same file.
    fn extend(&mut self, more: &Self) {
        self.last_offset = more.last_offset;
        self.bytes += more.bytes;
        self.max_timestamp = self.max_timestamp.max(more.max_timestamp);
        self.retention_time = self.retention_time.max(more.retention_time);
        self.append_time = self.append_time.max(more.append_time);
        self.extents = self.extents.saturating_add(more.extents);
    }

    /// The span of this one and what follows it in the same file.
    #[must_use]
    pub fn joined(mut self, more: Self) -> Self {
        self.extend(&more);
        self
    }

    /// The offset after the last one.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset.0.saturating_add(1))
    }
}

impl IndexEntry {
    /// The entry of an extent whose position counts from the file's start.
    #[must_use]
    pub const fn of(extent: &Extent) -> Self {
        Self {
            base_offset: extent.base_offset,
            max_timestamp: extent.max_timestamp,
            append_time: extent.append_time,
            last_offset_delta: extent.last_offset_delta,
            position: extent.position,
            len: extent.len,
            crc: extent.crc,
        }
    }

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

    /// As [`Extent::retention_time`].
    #[must_use]
    pub fn retention_time(&self) -> Timestamp {
        crate::frame::retention_time(self.max_timestamp, self.append_time)
    }
}

impl Slot {
    const fn new(span: Span, entries: Entries) -> Self {
        Self { span, entries, used: AtomicBool::new(true) }
    }

    fn entries(&self) -> Option<&[IndexEntry]> {
        match &self.entries {
            Entries::Growing(entries) => Some(entries),
            Entries::Loaded(entries) => Some(entries),
            Entries::Away => None,
        }
    }

    /// Its bytes below `log_start`: exact where the entries are in memory, else
    /// in proportion to the offsets.
    fn bytes_below(&self, log_start: Offset) -> u64 {
        let span = &self.span;
        if let Some(entries) = self.entries() {
            let dead = entries.iter().take_while(|e| e.last_offset() < log_start);
            return dead.map(|e| u64::from(e.len)).sum::<u64>().min(span.bytes);
        }
        let below = u128::from(log_start.since(span.base_offset));
        let offsets = u128::from(span.next_offset().since(span.base_offset)).max(1);
        u64::try_from(u128::from(span.bytes) * below / offsets)
            .map_or(span.bytes, |b| b.min(span.bytes))
    }
}

impl PartitionIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The index of a checkpoint's spans; their entries are away. Spans out of
    /// order are left out: a checkpoint that passed its checksum has none.
    #[must_use]
    pub fn restore(log_start: Offset, spans: impl IntoIterator<Item = Span>) -> Self {
        let mut index = Self::default();
        for span in spans {
            index.push_span(span);
        }
        index.trim(log_start);
        index
    }

    /// Appends a durable extent, whose position counts from the start of
    /// `file`. Returns whether it was new: what begins below the end of the
    /// index is left out.
    pub fn push(&mut self, file: FileId, extent: &Extent) -> bool {
        let span = Span::of_extent(file, extent);
        if span.base_offset < self.end() {
            return false;
        }
        let entry = IndexEntry::of(extent);
        self.bytes += span.bytes;
        if let Some(slot) = self.slots.back_mut().filter(|slot| slot.span.file == file) {
            slot.span.extend(&span);
            match &mut slot.entries {
                Entries::Growing(entries) => entries.push(entry),
                Entries::Loaded(entries) => {
                    let entries = entries.iter().copied().chain([entry]).collect();
                    slot.entries = Entries::Growing(entries);
                }
                // They come with the file's footer, this one among them.
                Entries::Away => {}
            }
            return true;
        }
        self.slots.push_back(Slot::new(span, Entries::Growing(vec![entry])));
        true
    }

    /// Appends what a sealed file holds, by its footer's directory; entries are
    /// away. Returns whether it was new, as [`PartitionIndex::push`].
    pub fn push_span(&mut self, span: Span) -> bool {
        if span.base_offset < self.end() || span.last_offset < span.base_offset {
            return false;
        }
        self.bytes += span.bytes;
        match self.slots.back_mut().filter(|slot| slot.span.file == span.file) {
            Some(slot) => {
                slot.span.extend(&span);
                slot.entries = Entries::Away;
            }
            None => self.slots.push_back(Slot::new(span, Entries::Away)),
        }
        true
    }

    /// `file` is complete: its entries may be evicted from now on.
    pub fn seal(&mut self, file: FileId) {
        for slot in self.slots.iter_mut().filter(|slot| slot.span.file == file) {
            if let Entries::Growing(entries) = &mut slot.entries {
                slot.entries = Entries::Loaded(std::mem::take(entries).into());
            }
        }
    }

    /// Gives a file's spans their entries, as its footer has them: ordered by
    /// offset; those beyond the spans are left out. Returns how many were
    /// taken, which is fewer than [`Span::extents`] only where a footer is
    /// incomplete or the log start has passed some.
    pub fn install(&mut self, file: FileId, entries: &[IndexEntry]) -> usize {
        let mut taken = 0;
        for slot in self.slots.iter_mut().filter(|slot| slot.span.file == file) {
            if !matches!(slot.entries, Entries::Away) {
                continue;
            }
            let (base, last) = (slot.span.base_offset, slot.span.last_offset);
            let from = entries.partition_point(|e| e.base_offset < base);
            let to = entries.partition_point(|e| e.last_offset() <= last);
            let part = entries.get(from..to).unwrap_or_default();
            taken += part.len();
            slot.entries = Entries::Loaded(part.into());
            slot.used.store(true, Ordering::Relaxed);
        }
        taken
    }

    /// Moves the log start. Returns the bytes that died, by file, so that the
    /// sum over a file's life is exactly its bytes.
    pub fn trim(&mut self, log_start: Offset) -> Vec<(FileId, u64)> {
        let mut dead = Vec::new();
        if log_start <= self.log_start {
            return dead;
        }
        self.log_start = log_start;
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.span.last_offset < log_start) {
            self.bytes -= slot.span.bytes;
            dead.push((slot.span.file, slot.span.bytes - std::mem::take(&mut self.trimmed)));
        }
        if let Some(first) = self.slots.front() {
            let below = first.bytes_below(log_start);
            if below > self.trimmed {
                dead.push((first.span.file, below - self.trimmed));
                self.trimmed = below;
            }
        }
        dead.retain(|(_, bytes)| *bytes > 0);
        dead
    }

    /// Puts the span of a rewritten file (and its entries, if at hand) in the
    /// place of those of its inputs; `None` where none of this partition's
    /// batches was live. `live_from` is the log start by which the rewriting
    /// told live from dead. Returns the bytes of the new file that are dead
    /// already, since the log start moved on while it was written.
    ///
    /// # Errors
    /// If the new span lacks live offsets of the inputs, or reaches beyond
    /// them. Nothing has changed then.
    pub fn replace(
        &mut self,
        inputs: &[FileId],
        new: Option<Span>,
        live_from: Offset,
        entries: Option<Arc<[IndexEntry]>>,
    ) -> Result<u64, ReplaceError> {
        let is_input = |slot: &Slot| inputs.contains(&slot.span.file);
        let Some(from) = self.slots.iter().position(is_input) else {
            // The log start has passed all of it.
            return Ok(new.map_or(0, |span| span.bytes));
        };
        let count = self.slots.iter().skip(from).take_while(|slot| is_input(slot)).count();
        let old: Vec<Span> = self.slots.range(from..from + count).map(|slot| slot.span).collect();
        let (Some(first), Some(last)) = (old.first(), old.last()) else { return Ok(0) };
        let lost =
            ReplaceError { from: first.base_offset.max(self.log_start), to: last.last_offset };
        let split = self.slots.iter().skip(from + count).any(is_input);
        let new = new.filter(|new| {
            // Where the log start has passed the first inputs meanwhile, the
            // new file begins before what is left of them.
            let begins = from == 0 || first.base_offset <= new.base_offset;
            !split
                && begins
                && new.base_offset <= new.last_offset
                && live_from <= lost.from
                && new.last_offset == lost.to
        });
        let new = new.ok_or(lost)?;

        let entries = entries.map_or(Entries::Away, Entries::Loaded);
        self.slots.drain(from..from + count);
        self.slots.insert(from, Slot::new(new, entries));
        self.bytes -= old.iter().map(|span| span.bytes).sum::<u64>();
        self.bytes += new.bytes;
        if from > 0 {
            return Ok(0);
        }
        self.trimmed = self.slots.front().map_or(0, |slot| slot.bytes_below(self.log_start));
        Ok(self.trimmed)
    }

    /// Drops entries of sealed files until at most `keep` entries of them are
    /// in memory: those first that no lookup used since the last call, oldest
    /// first. Returns how many were dropped.
    pub fn evict(&mut self, keep: usize) -> usize {
        let mut loaded = self.loaded_entries();
        let before = loaded;
        for spare_used in [true, false] {
            for slot in &mut self.slots {
                let Entries::Loaded(entries) = &slot.entries else { continue };
                let used = slot.used.swap(false, Ordering::Relaxed);
                if loaded > keep && !(spare_used && used) {
                    loaded -= entries.len();
                    slot.entries = Entries::Away;
                }
            }
        }
        before - loaded
    }

    /// Entries of sealed files in memory.
    #[must_use]
    pub fn loaded_entries(&self) -> usize {
        let loaded = |slot: &Slot| match &slot.entries {
            Entries::Loaded(entries) => entries.len(),
            Entries::Growing(_) | Entries::Away => 0,
        };
        self.slots.iter().map(loaded).sum()
    }

    /// All entries in memory, those of the file being written included.
    #[must_use]
    pub fn entries_in_memory(&self) -> usize {
        self.slots.iter().filter_map(Slot::entries).map(<[IndexEntry]>::len).sum()
    }

    /// The spans, in the order of offsets: for checkpoints.
    pub fn spans(&self) -> impl ExactSizeIterator<Item = &Span> {
        self.slots.iter().map(|slot| &slot.span)
    }

    /// Live bytes of the partition, by file.
    pub fn live_bytes(&self) -> impl Iterator<Item = (FileId, u64)> + '_ {
        self.slots.iter().enumerate().map(|(at, slot)| {
            let dead = if at == 0 { self.trimmed } else { 0 };
            (slot.span.file, slot.span.bytes - dead)
        })
    }

    /// What may expire, oldest first.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let log_start = self.log_start;
        self.slots.iter().enumerate().flat_map(move |(at, slot)| {
            let span = &slot.span;
            let dead = if at == 0 { self.trimmed } else { 0 };
            let whole = slot.entries().is_none().then_some(Piece {
                next_offset: span.next_offset(),
                bytes: span.bytes - dead,
                retention_time: span.retention_time,
            });
            let entries = slot.entries().unwrap_or_default().iter();
            let live = entries.filter(move |e| e.last_offset() >= log_start);
            whole.into_iter().chain(live.map(|e| Piece {
                next_offset: e.next_offset(),
                bytes: u64::from(e.len),
                retention_time: e.retention_time(),
            }))
        })
    }

    /// Live bytes of the partition.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes - self.trimmed
    }

    /// The first offset that may be found.
    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The offset after the last one of the index; 0 if it is empty.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.slots.back().map_or(Offset::ZERO, |slot| slot.span.next_offset())
    }
}
