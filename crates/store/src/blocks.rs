//! Pooled memory blocks that one writer fills while readers already share
//! what it published.
//!
//! Frames are gathered in such blocks, written from them to the disk, and
//! served from them to sockets: one copy of a payload, from the receive
//! buffer into a block. All blocks are [`BLOCK_BYTES`] long, aligned for
//! direct I/O, and recycled, since touching fresh memory costs as much as
//! copying it.
//!
//! Invariant: a byte below a block's published length never changes again
//! until the last handle (a [`Block`], a [`BlockWriter`] or a [`Bytes`] made
//! from one) is dropped; a byte at or above it is touched by the one writer
//! only. "Published" says immutable, not durable: that is the log's to know.
//!
//! This is the crate's one module with unsafe code.
#![allow(unsafe_code, reason = "shared memory of which one part is written, another read")]

mod memory;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::IoSliceMut,
    mem::ManuallyDrop,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};

use memory::Memory;

/// Bytes of every block.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// A bounded number of blocks, recycled. Clones share it.
#[derive(Clone, Debug)]
pub struct BlockPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Blocks that may exist at once.
    blocks_max: usize,
    state: Mutex<State>,
    /// Blocks with [`Bytes`] on them.
    pinned: AtomicUsize,
    /// Who waits for memory.
    waiting: AtomicUsize,
    /// Wakes them.
    returned: Notify,
}

impl Shared {
    /// Tells who waits that a block was given back, or up.
    fn tell(&self) {
        // Pairs with the fence of `BlockPool::wait`: either this sees who
        // waits, or they see what was given up before.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.returned.notify_waiters();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Memory without a user. The most recently freed is taken first: its
    /// cache lines and page table entries are the warmest.
    idle: Vec<Memory>,
    /// Memory that was never used.
    fresh: Vec<Memory>,
    /// Blocks in somebody's hands.
    in_use: usize,
}

impl State {
    /// Memory for one more user, of `most`.
    fn take(&mut self, most: usize) -> Option<Memory> {
        if self.in_use == most {
            return None;
        }
        if self.idle.is_empty() && self.fresh.is_empty() {
            self.fresh = Memory::allocate();
        }
        let memory = self.idle.pop().or_else(|| self.fresh.pop())?;
        self.in_use += 1;
        Some(memory)
    }
}

/// What a pool holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// In blocks that somebody holds.
    pub in_use: usize,
    /// In blocks that wait for their next use.
    pub idle: usize,
    /// In blocks in use that bytes on their way to a reader keep.
    pub pinned: usize,
    /// The most that may be in use.
    pub capacity: usize,
}

/// Somebody waits for memory, until this is dropped.
#[derive(Debug)]
pub struct MemoryWait<'a> {
    shared: &'a Shared,
}

impl MemoryWait<'_> {
    /// Resolves at the first block that is given back, or whose last [`Bytes`]
    /// goes, after this future was enabled.
    pub fn returned(&self) -> Notified<'_> {
        self.shared.returned.notified()
    }
}

impl Drop for MemoryWait<'_> {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl BlockPool {
    /// A pool of at most `capacity_bytes` (rounded down to whole blocks, at
    /// least one). Allocates nothing yet.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        let blocks_max = (capacity_bytes / BLOCK_BYTES).max(1);
        Self {
            shared: Arc::new(Shared {
                blocks_max,
                state: Mutex::default(),
                pinned: AtomicUsize::new(0),
                waiting: AtomicUsize::new(0),
                returned: Notify::new(),
            }),
        }
    }

    /// Begins to wait for memory: what comes back from here on is told. Who
    /// found none tries again after this, and then waits.
    #[must_use]
    pub fn wait(&self) -> MemoryWait<'_> {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        MemoryWait { shared: &self.shared }
    }

    /// Bytes of the blocks that [`Bytes`] keep, whatever their length.
    #[must_use]
    pub fn pinned(&self) -> usize {
        self.shared.pinned.load(Ordering::Relaxed) * BLOCK_BYTES
    }

    /// An empty block to fill, recycled if one is idle. `None` when the
    /// capacity is in use, or the machine has no memory left.
    #[must_use]
    pub fn take(&self) -> Option<BlockWriter> {
        let memory = self.shared.state.lock().take(self.shared.blocks_max)?;
        let inner = Inner {
            memory: ManuallyDrop::new(memory),
            published: AtomicUsize::new(0),
            filled_from_outside: AtomicBool::new(false),
            pins: AtomicUsize::new(0),
            pool: Arc::clone(&self.shared),
        };
        Some(BlockWriter { inner: Arc::new(inner), published: 0, filled: 0 })
    }

    /// What it holds at this moment.
    #[must_use]
    pub fn usage(&self) -> PoolUse {
        let state = self.shared.state.lock();
        PoolUse {
            in_use: state.in_use * BLOCK_BYTES,
            idle: state.idle.len() * BLOCK_BYTES,
            pinned: self.pinned(),
            capacity: self.shared.blocks_max * BLOCK_BYTES,
        }
    }
}

/// One block and what is known of it; freed by the last of its handles.
struct Inner {
    /// Taken out in `drop`, and only there.
    memory: ManuallyDrop<Memory>,
    /// Bytes from the start that no one changes any more. Only ever grows.
    published: AtomicUsize,
    /// Set before such bytes are published.
    filled_from_outside: AtomicBool,
    /// [`Bytes`] on it.
    pins: AtomicUsize,
    pool: Arc<Shared>,
}

impl Inner {
    /// The block's first byte. Valid for [`BLOCK_BYTES`], initialised all
    /// over (by the operating system, then by earlier users).
    fn start(&self) -> *mut u8 {
        self.memory.start()
    }

    /// The bytes of `range` if all of them are published.
    fn published(&self, range: Range<usize>) -> Option<&[u8]> {
        // Acquire pairs with the Release store of `BlockWriter::publish`: the
        // writes before it happen before reads of what it made visible.
        let published = self.published.load(Ordering::Acquire);
        if range.start > range.end || range.end > published {
            return None;
        }
        // SAFETY: range.start <= range.end <= published <= BLOCK_BYTES (the
        // writer publishes no more than it filled), so the slice lies within
        // the memory, which lives as long as `self`. No one writes below
        // `published` any more: the only writer is the one `BlockWriter`, all
        // of whose mutable slices begin at or above its copy of `published`.
        Some(unsafe {
            std::slice::from_raw_parts(self.start().add(range.start), range.end - range.start)
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: this is the one place that takes it, and the value is not
        // used again.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        let mut state = self.pool.state.lock();
        state.in_use -= 1;
        state.idle.push(memory);
        drop(state);
        self.pool.tell();
    }
}

/// The one writer of a block: appends, then publishes.
pub struct BlockWriter {
    inner: Arc<Inner>,
    /// What `inner.published` holds; only this writer stores it.
    published: usize,
    /// The cursor: bytes in [published, filled) are written, but nobody's
    /// else to see.
    filled: usize,
}

impl BlockWriter {
    /// The cursor: where the next byte goes.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes that may still be appended.
    #[must_use]
    pub fn remaining(&self) -> usize {
        BLOCK_BYTES - self.filled
    }

    /// Bytes from the start that are published.
    #[must_use]
    pub fn published(&self) -> usize {
        self.published
    }

    /// Appends as much of `bytes` as fits; returns how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.remaining());
        let (head, _) = bytes.split_at(len);
        let start = self.filled;
        self.writable(start..start + len).copy_from_slice(head);
        self.filled += len;
        len
    }

    /// Appends `len` zeros, to be filled later; returns where they begin.
    /// `None`, with nothing appended, if they don't fit.
    pub fn reserve(&mut self, len: usize) -> Option<usize> {
        if len > self.remaining() {
            return None;
        }
        let start = self.filled;
        self.writable(start..start + len).fill(0);
        self.filled += len;
        Some(start)
    }

    /// Writes `bytes` at `offset`, over what was appended there.
    ///
    /// # Panics
    /// If that is not within the unpublished region.
    pub fn fill(&mut self, offset: usize, bytes: &[u8]) {
        self.region_mut(offset..offset.saturating_add(bytes.len())).copy_from_slice(bytes);
    }

    /// Appended bytes that are not yet published, to be changed in place.
    ///
    /// # Panics
    /// If `range` is not within the unpublished region.
    pub fn region_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(
            self.published <= range.start && range.start <= range.end && range.end <= self.filled,
            "bytes {range:?} are not within the unpublished {}..{}",
            self.published,
            self.filled
        );
        self.writable(range)
    }

    /// Zeroes appended bytes that are not yet published.
    ///
    /// # Panics
    /// If `range` is not within the unpublished region.
    pub fn zero(&mut self, range: Range<usize>) {
        self.region_mut(range).fill(0);
    }

    /// All that was appended, published or not.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: filled <= BLOCK_BYTES, the memory is initialised and lives
        // as long as `self`. Only this writer changes anything, and it is
        // borrowed.
        unsafe { std::slice::from_raw_parts(self.inner.start(), self.filled) }
    }

    /// Takes back what was appended beyond `filled`.
    ///
    /// # Panics
    /// If part of that is published, or `filled` lies beyond the cursor.
    pub fn truncate(&mut self, filled: usize) {
        assert!(
            self.published <= filled && filled <= self.filled,
            "cannot take back to {filled}: published {}, filled {}",
            self.published,
            self.filled
        );
        self.filled = filled;
    }

    /// Appends what `read` puts into the next `len` bytes of these blocks, one
    /// behind the other; it returns how many that were, and they alone count.
    ///
    /// # Errors
    /// That of `read`; nothing is appended then.
    ///
    /// # Panics
    /// If `len` bytes don't fit, or `read` claims more than it was given.
    pub fn fill_from<E>(
        writers: &mut [Self],
        len: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut left = len;
        let mut targets = Vec::with_capacity(writers.len());
        for writer in &mut *writers {
            let (start, part) = (writer.filled, left.min(writer.remaining()));
            targets.push(IoSliceMut::new(writer.writable(start..start + part)));
            left -= part;
        }
        assert!(left == 0, "{len} bytes don't fit into {} blocks", targets.len());
        let got = read(&mut targets)?;
        assert!(got <= len, "{got} bytes read into {len}");
        let mut left = got;
        for writer in writers {
            let part = left.min(writer.remaining());
            writer.inner.filled_from_outside.store(true, Ordering::Relaxed);
            writer.filled += part;
            left -= part;
        }
        Ok(got)
    }

    /// Makes everything below the cursor immutable and visible to readers.
    pub fn publish(&mut self) {
        self.published = self.filled;
        // Release: see `Inner::published`.
        self.inner.published.store(self.filled, Ordering::Release);
    }

    /// A handle that reads what is, or will be, published.
    #[must_use]
    pub fn share(&self) -> Block {
        Block { inner: Arc::clone(&self.inner) }
    }

    /// Any bytes at or above the published length, also beyond the cursor.
    fn writable(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(self.published <= range.start && range.start <= range.end);
        assert!(range.end <= BLOCK_BYTES);
        // SAFETY: the range lies within the memory, as asserted, which is
        // initialised and lives as long as `self`. No reader has a slice
        // there: they end at `published`, which only this writer raises, and
        // it is mutably borrowed for as long as the slice lives. There is one
        // writer: it is not `Clone`, and the pool gives out memory anew only
        // when the last handle is gone.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.inner.start().add(range.start),
                range.end - range.start,
            )
        }
    }
}

impl fmt::Debug for BlockWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockWriter({} of {} bytes published)", self.published, self.filled)
    }
}

/// A handle on a block's published bytes. Cheap to clone; keeps the block.
#[derive(Clone)]
pub struct Block {
    inner: Arc<Inner>,
}

impl Block {
    /// Bytes that are published so far.
    #[must_use]
    pub fn published(&self) -> usize {
        self.inner.published.load(Ordering::Acquire)
    }

    /// Whether published bytes came by [`BlockWriter::fill_from`], so that
    /// nobody here knows whether they are what was once written.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        // Ordered by the load of the published length, which comes first.
        self.published() > 0 && self.inner.filled_from_outside.load(Ordering::Relaxed)
    }

    /// The bytes of `range`, if all of them are published.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Option<&[u8]> {
        self.inner.published(range)
    }

    /// The bytes of `range`, if all of them are published, without a copy:
    /// they keep the block.
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> Option<Bytes> {
        self.slice(range.clone())?;
        if self.inner.pins.fetch_add(1, Ordering::Relaxed) == 0 {
            self.inner.pool.pinned.fetch_add(1, Ordering::Relaxed);
        }
        Some(Bytes::from_owner(Part { block: Some(self.clone()), range }))
    }

    /// Whether someone else holds the block too, at this moment: a reader,
    /// its writer, or bytes on their way to a socket.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.inner) > 1
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes published)", self.published())
    }
}

/// What a [`Bytes`] owns.
struct Part {
    /// Taken out in `drop`, and only there.
    block: Option<Block>,
    /// Published when this was made, and so for ever.
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        let block = self.block.as_ref();
        block.and_then(|block| block.slice(self.range.clone())).unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let Some(block) = self.block.take() else { return };
        if block.inner.pins.fetch_sub(1, Ordering::Relaxed) == 1 {
            let pool = Arc::clone(&block.inner.pool);
            pool.pinned.fetch_sub(1, Ordering::Relaxed);
            // Who is told must find it free, or evictable.
            drop(block);
            pool.tell();
        }
    }
}
