//! The bytes of one file of a [`super::MemDisk`], as programs read them and
//! as the disk has them.
#![expect(clippy::indexing_slicing, reason = "pages are a block long; for tests alone")]

use std::collections::{BTreeMap, BTreeSet};

use crate::BLOCK;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// One file's content.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// As reads see it.
    cached: Bytes,
    /// As a power cut leaves it at least.
    durable: Bytes,
    /// Changes made since the last sync, in order.
    unsynced: Vec<Change>,
    /// Bytes from the start that have room on the disk.
    pub(super) allocated: u64,
}

/// One change of a file.
#[derive(Debug)]
pub(super) enum Change {
    Write { position: u64, bytes: Vec<u8> },
    Length(u64),
}

/// Bytes that are zeros where nothing was written.
#[derive(Clone, Debug, Default)]
struct Bytes {
    pages: BTreeMap<u64, Box<[u8]>>,
    length: u64,
}

impl Content {
    pub(super) const fn length(&self) -> u64 {
        self.cached.length
    }

    pub(super) fn settled_length(&self) -> u64 {
        self.cached.length.min(self.durable.length)
    }

    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) -> usize {
        self.cached.read(position, buffer)
    }

    pub(super) fn change(&mut self, change: Change) {
        if let Change::Length(length) = change
            && length < self.cached.length
        {
            self.allocated = self.allocated.min(whole_pages(length));
        }
        self.cached.apply(&change);
        self.unsynced.push(change);
    }

    /// Makes those sectors of a change for which `coin` says so.
    pub(super) fn change_torn(&mut self, change: Change, coin: &mut impl FnMut() -> bool) {
        for part in change.sectors().filter(|_| coin()) {
            self.change(part);
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            self.durable.apply(&change);
        }
    }

    /// Saves the sectors for which `coin` says so and takes the others for
    /// saved, as a kernel does after a failed writeback.
    pub(super) fn sync_torn(&mut self, coin: &mut impl FnMut() -> bool) {
        for part in self.unsynced.drain(..).flat_map(Change::sectors).filter(|_| coin()) {
            self.durable.apply(&part);
        }
    }

    /// Loses what is cached, but for the sectors for which `coin` says that
    /// they had reached the disk. Blocks that are new may come with what one of the `stale` files had
    /// there.
    pub(super) fn forget_cache(&mut self, coin: &mut impl FnMut() -> bool, stale: &[Self]) {
        if !stale.is_empty() && coin() && coin() {
            self.come_back_stale(stale);
        }
        for page in self.new_pages() {
            let old = stale.iter().rev().find_map(|old| old.durable.pages.get(&page));
            if let Some(old) = old.filter(|_| coin()) {
                self.durable.pages.insert(page, old.clone());
            }
        }
        self.sync_torn(coin);
        self.cached = self.durable.clone();
        self.allocated = whole_pages(self.durable.length);
    }

    /// The file has its blocks, and nothing that was written into those that
    /// are new: they hold what the last of the `stale` files had there.
    fn come_back_stale(&mut self, stale: &[Self]) {
        let pages = self.new_pages();
        self.durable.length = self.durable.length.max(self.cached.length);
        self.unsynced.clear();
        let Some(old) = stale.last() else { return };
        for page in pages {
            if let Some(old) = old.durable.pages.get(&page) {
                self.durable.pages.insert(page, old.clone());
            }
        }
    }

    /// Pages that were written since the last sync and never before it.
    fn new_pages(&self) -> BTreeSet<u64> {
        let mut pages = BTreeSet::new();
        for change in &self.unsynced {
            if let Change::Write { position, bytes } = change {
                let end = position + bytes.len() as u64;
                pages.extend(position / BLOCK as u64..end.div_ceil(BLOCK as u64));
            }
        }
        pages.retain(|page| !self.durable.pages.contains_key(page));
        pages
    }

    /// What stays in its blocks when the file goes.
    pub(super) fn remains(&self) -> Self {
        Self { durable: self.durable.clone(), ..Self::default() }
    }

    /// Flips bits of the byte at `position`.
    pub(super) fn rot(&mut self, position: u64, mask: u8) {
        for bytes in [&mut self.cached, &mut self.durable] {
            let mut byte = [0];
            assert_eq!(bytes.read(position, &mut byte), 1, "no byte {position} to rot");
            bytes.write(position, &[byte[0] ^ mask]);
        }
    }
}

impl Change {
    /// The parts that reach a disk each by itself.
    fn sectors(self) -> impl Iterator<Item = Self> {
        let parts: Vec<Self> = match self {
            Self::Length(_) => vec![self],
            Self::Write { position, bytes } => {
                let mut parts = Vec::with_capacity(bytes.len() / SECTOR + 1);
                let (mut at, mut rest) = (position, bytes.as_slice());
                while !rest.is_empty() {
                    let to_boundary = SECTOR - within(at, SECTOR);
                    let (part, later) = rest.split_at(to_boundary.min(rest.len()));
                    parts.push(Self::Write { position: at, bytes: part.to_vec() });
                    at += part.len() as u64;
                    rest = later;
                }
                parts
            }
        };
        parts.into_iter()
    }
}

impl Bytes {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { position, bytes } => self.write(*position, bytes),
            Change::Length(length) => self.set_length(*length),
        }
    }

    fn write(&mut self, position: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (position, bytes);
        while !rest.is_empty() {
            let start = within(at, BLOCK);
            let (part, later) = rest.split_at((BLOCK - start).min(rest.len()));
            let page = self.pages.entry(at / BLOCK as u64).or_insert_with(|| [0; BLOCK].into());
            page[start..start + part.len()].copy_from_slice(part);
            at += part.len() as u64;
            rest = later;
        }
        self.length = self.length.max(at);
    }

    fn read(&self, position: u64, buffer: &mut [u8]) -> usize {
        let available = self.length.saturating_sub(position);
        let len = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        let (mut at, mut rest) = (position, &mut buffer[..len]);
        while !rest.is_empty() {
            let start = within(at, BLOCK);
            let (part, later) = rest.split_at_mut((BLOCK - start).min(rest.len()));
            match self.pages.get(&(at / BLOCK as u64)) {
                Some(page) => part.copy_from_slice(&page[start..start + part.len()]),
                None => part.fill(0),
            }
            at += part.len() as u64;
            rest = later;
        }
        len
    }

    fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.pages.split_off(&length.div_ceil(BLOCK as u64));
            // What is cut reads as zeros when the file grows again.
            if let Some(page) = self.pages.get_mut(&(length / BLOCK as u64)) {
                page[within(length, BLOCK)..].fill(0);
            }
        }
        self.length = length;
    }
}

/// `length` rounded up to what a file occupies for it.
pub(super) const fn whole_pages(length: u64) -> u64 {
    match length.checked_next_multiple_of(BLOCK as u64) {
        Some(bytes) => bytes,
        None => u64::MAX,
    }
}

/// How far `position` stands behind the last multiple of `unit`.
fn within(position: u64, unit: usize) -> usize {
    usize::try_from(position % unit as u64).unwrap_or(0)
}
