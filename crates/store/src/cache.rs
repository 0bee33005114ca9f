//! Blocks of log files in memory, so that tail readers never touch the disk.
//!
//! Frames enter *hot* as they are written; read-ahead for cold readers enters
//! on *probation*, in a queue of its own. Invariant: a cold scan takes no
//! more than the probation share (an eighth) from the tail, however much it
//! reads: a block leaves probation only when it is wanted again after enough
//! others have come in that it can't be the same scan still working through
//! it. (The idea of 2Q and of LRU-K's correlated references.)
//!
//! Called by the log writer, which inserts, and by readers.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use millrace_types::FileId;
use parking_lot::Mutex;

use crate::blocks::{BLOCK_BYTES, Block, BlockPool, BlockWriter};

/// The part of the capacity that probation may take from the hot queue.
const PROBATION_SHARE: usize = 8;

/// Which part of a log: a file, and the number of its block (position divided
/// by [`BLOCK_BYTES`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    /// The file.
    pub file: FileId,
    /// Its block, from 0.
    pub block: u64,
}

impl BlockKey {
    /// The block of `file` in which the byte at `position` lies, and where
    /// in it.
    #[must_use]
    pub fn of(file: FileId, position: u64) -> (Self, usize) {
        const BYTES: u64 = BLOCK_BYTES as u64;
        let within = usize::try_from(position % BYTES).unwrap_or(0);
        (Self { file, block: position / BYTES }, within)
    }
}

/// A bounded set of blocks.
#[derive(Debug)]
pub struct BlockCache {
    pool: BlockPool,
    blocks_max: usize,
    state: Mutex<State>,
}

/// What a cache did since it was made, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups that found the block.
    pub hits: u64,
    /// Lookups that didn't.
    pub misses: u64,
    /// Blocks that left to make room.
    pub evictions: u64,
    /// Bytes of the blocks in it.
    pub bytes: usize,
    /// Those of them on probation.
    pub probation_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<BlockKey, Entry>,
    /// Keys by the time of their last use: the first is the oldest.
    hot: BTreeMap<u64, BlockKey>,
    /// Keys by the time of their arrival.
    probation: BTreeMap<u64, BlockKey>,
    /// Counts insertions and uses: the queues' clock.
    tick: u64,
    /// Counts insertions on probation.
    arrivals: u64,
    stats: CacheStats,
}

#[derive(Debug)]
struct Entry {
    block: Block,
    /// Its key in its queue.
    tick: u64,
    queue: Queue,
}

#[derive(Clone, Copy, Debug)]
enum Queue {
    Hot,
    /// With the count of arrivals at the block's first hit.
    Probation {
        first_hit: Option<u64>,
    },
}

impl BlockCache {
    /// A cache of at most `capacity_bytes` (at least one block) whose memory
    /// comes from `pool`, which also feeds others.
    #[must_use]
    pub fn new(pool: BlockPool, capacity_bytes: usize) -> Self {
        let blocks_max = (capacity_bytes / BLOCK_BYTES).max(1);
        Self { pool, blocks_max, state: Mutex::default() }
    }

    /// The pool that its blocks come from.
    #[must_use]
    pub const fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// An empty block from the pool. Where as many are in use as the cache may
    /// hold, the oldest block that nobody else holds makes room: what is gathered
    /// takes more memory only while readers, or the disk, hold all of that. `None`
    /// while all of the pool is held: the caller waits until one is done.
    #[must_use]
    pub fn take(&self) -> Option<BlockWriter> {
        if self.pool.usage().in_use >= self.blocks_max * BLOCK_BYTES {
            self.evict_unshared();
        }
        loop {
            if let Some(writer) = self.pool.take() {
                return Some(writer);
            }
            self.evict_unshared()?;
        }
    }

    /// Drops the oldest block that nobody else holds, if there is one.
    fn evict_unshared(&self) -> Option<()> {
        let evicted = self.state.lock().evict_unshared(self.probation_min());
        // Dropped outside of the lock: its memory goes back to the pool.
        evicted.map(drop)
    }

    /// Whether one more block may be handed to a reader for as long as it likes.
    /// What readers hold stays within the cache's capacity, so that the rest of
    /// the pool is always there for what is gathered.
    #[must_use]
    pub fn may_pin(&self) -> bool {
        self.pool.pinned() < self.blocks_max * BLOCK_BYTES
    }

    /// Adds a block of the tail, also one that is still being filled.
    pub fn insert_hot(&self, key: BlockKey, block: Block) {
        self.insert(key, block, Queue::Hot);
    }

    /// Adds a block that was read from the disk. A hot block of the same key
    /// stays hot, with the content given here.
    pub fn insert_cold(&self, key: BlockKey, block: Block) {
        self.insert(key, block, Queue::Probation { first_hit: None });
    }

    /// The block, if it is here. It may have fewer bytes published than the
    /// file has; then the caller reads from the disk and inserts anew.
    #[must_use]
    pub fn get(&self, key: BlockKey) -> Option<Block> {
        let mut state = self.state.lock();
        let Some(block) = state.touch(key, self.promotion_distance()) else {
            state.stats.misses += 1;
            return None;
        };
        state.stats.hits += 1;
        Some(block)
    }

    /// Whether the block is here, without counting as a use of it: for
    /// read-ahead, which asks what it need not read.
    #[must_use]
    pub fn contains(&self, key: BlockKey) -> bool {
        self.state.lock().entries.contains_key(&key)
    }

    /// Drops all blocks of a file that is gone.
    pub fn remove_file(&self, file: FileId) {
        let mut removed = Vec::new();
        let mut state = self.state.lock();
        let keys = BlockKey { file, block: 0 }..=BlockKey { file, block: u64::MAX };
        let keys: Vec<_> = state.entries.range(keys).map(|(key, _)| *key).collect();
        removed.extend(keys.into_iter().filter_map(|key| state.remove(key)));
        drop(state);
        drop(removed);
    }

    /// What it did and holds.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let state = self.state.lock();
        CacheStats {
            bytes: state.entries.len() * BLOCK_BYTES,
            probation_bytes: state.probation.len() * BLOCK_BYTES,
            ..state.stats
        }
    }

    fn insert(&self, key: BlockKey, block: Block, queue: Queue) {
        let mut evicted = Vec::new();
        let mut state = self.state.lock();
        let before = state.remove(key);
        let queue = match before {
            Some(Entry { queue: Queue::Hot, .. }) => Queue::Hot,
            _ => queue,
        };
        while state.entries.len() >= self.blocks_max {
            let probation_min = self.probation_min();
            let Some(entry) = state.evict(probation_min) else { break };
            evicted.push(entry);
        }
        state.insert(key, block, queue);
        drop(state);
        // Outside of the lock: memory goes back to the pool.
        drop((before, evicted));
    }

    /// Blocks that probation keeps even when hot ones want room.
    const fn probation_min(&self) -> usize {
        self.blocks_max / PROBATION_SHARE
    }

    /// How many blocks must have come in on probation since a block's first
    /// hit for another to count as a second use.
    fn promotion_distance(&self) -> u64 {
        (self.probation_min() as u64 / 2).max(2)
    }
}

impl State {
    fn insert(&mut self, key: BlockKey, block: Block, queue: Queue) {
        self.tick += 1;
        let tick = self.tick;
        match queue {
            Queue::Hot => self.hot.insert(tick, key),
            Queue::Probation { .. } => {
                self.arrivals += 1;
                self.probation.insert(tick, key)
            }
        };
        self.entries.insert(key, Entry { block, tick, queue });
    }

    fn remove(&mut self, key: BlockKey) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        match entry.queue {
            Queue::Hot => self.hot.remove(&entry.tick),
            Queue::Probation { .. } => self.probation.remove(&entry.tick),
        };
        Some(entry)
    }

    /// Notes a use of a block.
    fn touch(&mut self, key: BlockKey, promotion_distance: u64) -> Option<Block> {
        let arrivals = self.arrivals;
        let entry = self.entries.get_mut(&key)?;
        let block = entry.block.clone();
        match &mut entry.queue {
            // The newest already, as the tail's mostly is.
            Queue::Hot if entry.tick == self.tick => {}
            Queue::Hot => self.requeue_hot(key),
            Queue::Probation { first_hit: first @ None } => *first = Some(arrivals),
            Queue::Probation { first_hit: Some(first) } => {
                if arrivals - *first >= promotion_distance {
                    self.requeue_hot(key);
                }
            }
        }
        Some(block)
    }

    /// Makes a block the newest of the hot ones.
    fn requeue_hot(&mut self, key: BlockKey) {
        if let Some(entry) = self.remove(key) {
            self.insert(key, entry.block, Queue::Hot);
        }
    }

    /// Removes a block to make room: one that nobody holds, if there is one.
    fn evict(&mut self, probation_min: usize) -> Option<Entry> {
        self.evict_unshared(probation_min).or_else(|| {
            // All are held. This one's memory stays with its holders.
            let (_, key) = self.probation.first_key_value().or(self.hot.first_key_value())?;
            self.evict_key(*key)
        })
    }

    /// Removes the oldest block that nobody else holds: from probation where
    /// that has more than its share, else from the hot ones.
    fn evict_unshared(&mut self, probation_min: usize) -> Option<Entry> {
        let unshared = |queue: &BTreeMap<u64, BlockKey>| {
            let free = |key: &&BlockKey| {
                self.entries.get(key).is_some_and(|entry| !entry.block.is_shared())
            };
            queue.values().find(free).copied()
        };
        let key = if self.probation.len() > probation_min {
            unshared(&self.probation).or_else(|| unshared(&self.hot))
        } else {
            unshared(&self.hot).or_else(|| unshared(&self.probation))
        };
        self.evict_key(key?)
    }

    fn evict_key(&mut self, key: BlockKey) -> Option<Entry> {
        let entry = self.remove(key)?;
        self.stats.evictions += 1;
        Some(entry)
    }
}
