//! Finding extents: by offset, by time, and on from there.

use std::sync::atomic::Ordering;

use millrace_types::{FileId, Offset, Timestamp, canary};

use super::{IndexEntry, PartitionIndex, Slot};

/// Where an extent lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub file: FileId,
    /// Where in it.
    pub entry: IndexEntry,
}

/// What a lookup found.
#[derive(Clone, Debug)]
pub enum Lookup<'a> {
    /// The extents from the one that was looked for on.
    Found(Run<'a>),
    /// The entries of this file have to be installed first; then look again.
    Load(FileId),
    /// The offset lies below the log start.
    BeforeStart,
    /// Nothing at or after it.
    AtEnd,
}

/// Consecutive extents, as far as their entries are in memory.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    index: &'a PartitionIndex,
    slot: usize,
    entry: usize,
}

impl PartitionIndex {
    /// Finds the extent that holds `offset`, or the next one behind it.
    #[must_use]
    pub fn lookup(&self, offset: Offset) -> Lookup<'_> {
        if offset < self.log_start {
            return Lookup::BeforeStart;
        }
        let from = self.slots.partition_point(|slot| slot.span.last_offset < offset);
        self.first(from, |entry| entry.last_offset() >= offset)
    }

    /// Finds the first extent at or after `from` (and the log start) whose
    /// largest timestamp is `at` or later.
    #[must_use]
    pub fn lookup_time(&self, at: Timestamp, from: Offset) -> Lookup<'_> {
        let from = from.max(self.log_start);
        for (number, slot) in self.slots.iter().enumerate() {
            if slot.span.last_offset < from || slot.span.max_timestamp < at {
                continue;
            }
            let Some(entries) = slot.entries() else { return Lookup::Load(slot.span.file) };
            let matches = |e: &IndexEntry| e.last_offset() >= from && e.max_timestamp >= at;
            if let Some(entry) = entries.iter().position(matches) {
                return Lookup::Found(self.run(number, entry));
            }
        }
        Lookup::AtEnd
    }

    /// Finds the first extent, at or after the log start, that was appended at
    /// `at` or later. Append times never go back within a partition.
    #[must_use]
    pub fn lookup_append_time(&self, at: Timestamp) -> Lookup<'_> {
        let log_start = self.log_start;
        let from = self.slots.partition_point(|slot| {
            slot.span.append_time < at || slot.span.last_offset < log_start
        });
        self.first(from, |entry| entry.append_time >= at && entry.last_offset() >= log_start)
    }

    /// When the first live record at or after `offset` was appended, without
    /// loading anything: to the batch where the entries are in memory; else
    /// judged by where in its span the offset lies, between the append times
    /// of the last batches of the span before and of its own. `None` where
    /// there is no such record.
    #[must_use]
    pub fn append_time_near(&self, offset: Offset) -> Option<Timestamp> {
        let offset = offset.max(self.log_start);
        let number = self.slots.partition_point(|slot| slot.span.last_offset < offset);
        let slot = self.slots.get(number)?;
        let until = slot.span.append_time;
        if let Some(entries) = slot.entries() {
            let entry = entries.partition_point(|e| e.last_offset() < offset);
            return Some(entries.get(entry).map_or(until, |entry| entry.append_time));
        }
        let before = number.checked_sub(1).and_then(|before| self.slots.get(before));
        let Some(before) = before else { return Some(until) };
        let span = &slot.span;
        let since = before.span.append_time.min(until);
        let time = i128::from(until.get()) - i128::from(since.get());
        let passed = i128::from(offset.since(span.base_offset));
        let offsets = i128::from(span.next_offset().since(span.base_offset)).max(1);
        let judged = i128::from(since.get()) + time * passed / offsets;
        Some(i64::try_from(judged).map_or(until, Timestamp))
    }

    /// Finds the first of the live extents with the largest timestamp; `AtEnd`
    /// where none has one.
    #[must_use]
    pub fn lookup_max_timestamp(&self) -> Lookup<'_> {
        let mut best: Option<(usize, Timestamp)> = None;
        for (number, slot) in self.slots.iter().enumerate() {
            let partly_dead = slot.span.base_offset < self.log_start;
            let largest = match slot.entries().filter(|_| partly_dead) {
                Some(entries) => self.live(entries).map(|e| e.max_timestamp).max(),
                None => Some(slot.span.max_timestamp),
            };
            let Some(largest) = largest.filter(|t| *t >= Timestamp(0)) else { continue };
            if best.is_none_or(|(_, at)| at < largest) {
                best = Some((number, largest));
            }
        }
        let Some((number, at)) = best else { return Lookup::AtEnd };
        // Where a partly dead span won by what may be dead, its entries tell.
        match self.slots.get(number).map(|slot| (slot.span.file, slot.entries())) {
            Some((file, None)) => Lookup::Load(file),
            Some((_, Some(entries))) => {
                let matches =
                    |e: &IndexEntry| e.last_offset() >= self.log_start && e.max_timestamp >= at;
                match entries.iter().position(matches) {
                    Some(entry) => Lookup::Found(self.run(number, entry)),
                    None => Lookup::AtEnd,
                }
            }
            None => Lookup::AtEnd,
        }
    }

    /// The first entry from a slot on that is wanted. A slot whose entries have
    /// none (a gap at its end) is passed over.
    fn first(&self, from: usize, wanted: impl Fn(&IndexEntry) -> bool) -> Lookup<'_> {
        for (number, slot) in self.slots.iter().enumerate().skip(from) {
            let Some(entries) = slot.entries() else { return Lookup::Load(slot.span.file) };
            let entry = entries.partition_point(|e| !wanted(e));
            if entry < entries.len() {
                let beyond = canary!(IndexOffByOne) && entry + 1 < entries.len();
                let entry = if beyond { entry + 1 } else { entry };
                return Lookup::Found(self.run(number, entry));
            }
        }
        Lookup::AtEnd
    }

    fn live<'a>(&self, entries: &'a [IndexEntry]) -> impl Iterator<Item = &'a IndexEntry> {
        let log_start = self.log_start;
        entries.iter().filter(move |e| e.last_offset() >= log_start)
    }

    fn run(&self, slot: usize, entry: usize) -> Run<'_> {
        let run = Run { index: self, slot, entry };
        run.touch();
        run
    }
}

impl Run<'_> {
    /// The extents that a read of `bytes_max` bytes takes: consecutive ones
    /// that begin below `upto` and fit, the first one also where it alone is
    /// larger, if `at_least_one`.
    #[must_use]
    pub fn take_bytes(self, bytes_max: u64, upto: Offset, at_least_one: bool) -> Vec<Located> {
        let mut taken = Vec::new();
        let mut left = bytes_max;
        for located in self.take_while(|located| located.entry.base_offset < upto) {
            let len = u64::from(located.entry.len);
            let obliged = at_least_one && taken.is_empty();
            if len > left && !obliged {
                break;
            }
            left = left.saturating_sub(len);
            taken.push(located);
        }
        taken
    }

    /// The file whose entries are needed to go on, once the run has ended;
    /// `None` at the end of the partition.
    #[must_use]
    pub fn needs(&self) -> Option<FileId> {
        let slot = self.slot()?;
        slot.entries().is_none().then_some(slot.span.file)
    }

    fn slot(&self) -> Option<&Slot> {
        self.index.slots.get(self.slot)
    }

    fn touch(&self) {
        if let Some(slot) = self.slot() {
            slot.used.store(true, Ordering::Relaxed);
        }
    }
}

impl Iterator for Run<'_> {
    type Item = Located;

    fn next(&mut self) -> Option<Located> {
        loop {
            let slot = self.slot()?;
            let file = slot.span.file;
            if let Some(entry) = slot.entries()?.get(self.entry).copied() {
                self.entry += 1;
                return Some(Located { file, entry });
            }
            self.slot += 1;
            self.entry = 0;
            self.touch();
        }
    }
}
