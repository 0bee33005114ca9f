//! Which partition takes which hash of a key: the map of a topic whose
//! partitions share out the hashes of 128 bits.
//!
//! A topic that is *splittable* keeps its map, and changes it by splitting and
//! merging; a topic that is only ever extended has equal ranges over however
//! many partitions it has, recomputed, and keeps none.
//!
//! Invariant: the ranges of the open partitions are disjoint and cover every
//! hash. A partition's number is never used again, and one that is sealed
//! stays so. Called by the broker, and by fronts through it.

use std::fmt;

use millrace_types::{Offset, PartitionId};

mod reshard;
#[cfg(test)]
mod tests;

pub use reshard::{MalformedReshard, Reshard, ReshardError, Step};

/// Hashes from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRange {
    /// The least.
    pub first: u128,
    /// The greatest.
    pub last: u128,
}

impl HashRange {
    /// Every hash.
    pub const ALL: Self = Self { first: 0, last: u128::MAX };

    /// Whether `hash` lies in it.
    #[must_use]
    pub const fn contains(self, hash: u128) -> bool {
        self.first <= hash && hash <= self.last
    }
}

/// Whether a partition takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeState {
    /// It takes what hashes into its range.
    Open,
    /// It takes nothing more; its children do.
    Sealed {
        /// The offset after its last record, for ever.
        end: Offset,
    },
}

/// What is known of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRange {
    /// The hashes that it takes, or took.
    pub range: HashRange,
    /// What it was split or merged from: none, one or two.
    pub parents: Vec<PartitionId>,
    /// When it was made, in seconds since 1970; later than its parents were.
    pub created_secs: u64,
    /// Whether it takes records.
    pub state: RangeState,
}

/// The map of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeMap {
    splittable: bool,
    partitions: Vec<PartitionRange>,
    /// The open partitions, by the first hash of each.
    open: Vec<(u128, PartitionId)>,
}

/// A stored map that says nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeMapError {
    /// A line that is not of the form that is written.
    #[error("line {line} of the stored map of hash ranges is malformed")]
    Malformed {
        /// From 1.
        line: usize,
    },
    /// Its open partitions leave out hashes, or share some.
    #[error("the stored map of hash ranges does not cover every hash once")]
    Coverage,
}

impl RangeMap {
    /// `partitions` equal ranges; the last takes what division leaves over.
    #[must_use]
    pub fn uniform(partitions: u32, created_secs: u64, splittable: bool) -> Self {
        let width = width(partitions);
        let range = |n: u32| {
            let first = u128::from(n) * width;
            let last = if n + 1 == partitions { u128::MAX } else { first + (width - 1) };
            PartitionRange {
                range: HashRange { first, last },
                parents: Vec::new(),
                created_secs,
                state: RangeState::Open,
            }
        };
        Self::of((0..partitions).map(range).collect(), splittable)
    }

    fn of(partitions: Vec<PartitionRange>, splittable: bool) -> Self {
        let mut open: Vec<_> = (0i32..)
            .zip(&partitions)
            .filter(|(_, of)| of.state == RangeState::Open)
            .map(|(n, of)| (of.range.first, PartitionId(n)))
            .collect();
        open.sort_unstable();
        Self { splittable, partitions, open }
    }

    /// Whether its partitions can be split and merged; else they can only
    /// become more.
    #[must_use]
    pub const fn is_splittable(&self) -> bool {
        self.splittable
    }

    /// Number of partitions, sealed ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Number of partitions that take records.
    #[must_use]
    pub fn open_len(&self) -> usize {
        self.open.len()
    }

    /// One partition.
    #[must_use]
    pub fn get(&self, id: PartitionId) -> Option<&PartitionRange> {
        self.partitions.get(usize::try_from(id.get()).ok()?)
    }

    /// All partitions, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (PartitionId, &PartitionRange)> {
        let ids = (0..i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)).map(PartitionId);
        ids.zip(&self.partitions)
    }

    /// The partitions that were split or merged from `id`, in order.
    pub fn children(
        &self,
        id: PartitionId,
    ) -> impl Iterator<Item = (PartitionId, &PartitionRange)> {
        self.iter().filter(move |(_, of)| of.parents.contains(&id))
    }

    /// The last second in which a sealed partition took records: that in which
    /// its first child was made.
    #[must_use]
    pub fn sealed_secs(&self, id: PartitionId) -> Option<u64> {
        self.children(id).map(|(_, child)| child.created_secs).min()
    }

    /// The open partition that takes `hash`; none only where there is none at
    /// all.
    #[must_use]
    pub fn of_hash(&self, hash: u128) -> Option<PartitionId> {
        let after = self.open.partition_point(|(first, _)| *first <= hash);
        self.open.get(after.checked_sub(1)?).map(|(_, id)| *id)
    }

    /// The text in which a splittable map is stored: a line for each
    /// partition.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for of in &self.partitions {
            // Writing to a string does not fail.
            fmt::Write::write_fmt(&mut text, format_args!("{of}\n")).ok();
        }
        text
    }

    /// What [`RangeMap::encode`] wrote.
    ///
    /// # Errors
    /// Where it can't have.
    pub fn decode(text: &str) -> Result<Self, RangeMapError> {
        let mut partitions = Vec::new();
        for (n, line) in text.lines().enumerate() {
            partitions.push(decode_line(line).ok_or(RangeMapError::Malformed { line: n + 1 })?);
        }
        let map = Self::of(partitions, true);
        if map.covers_all() { Ok(map) } else { Err(RangeMapError::Coverage) }
    }

    /// Whether the open ranges are disjoint and cover every hash.
    fn covers_all(&self) -> bool {
        let mut next = Some(0u128);
        for (first, id) in &self.open {
            let Some(of) = self.get(*id) else { return false };
            if next != Some(*first) || of.range.last < *first {
                return false;
            }
            next = of.range.last.checked_add(1);
        }
        next.is_none()
    }
}

/// 2^128 divided by `partitions`, rounded down.
fn width(partitions: u32) -> u128 {
    let n = u128::from(partitions.max(1));
    // 2^128 itself does not fit: its quotient is that of 2^128 - 1 unless the
    // division of 2^128 leaves nothing over.
    let quotient = u128::MAX / n;
    if n > 1 && u128::MAX % n == n - 1 { quotient + 1 } else { quotient }
}

impl fmt::Display for PartitionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HashRange { first, last } = self.range;
        write!(f, "{first:032x}-{last:032x} {} ", self.created_secs)?;
        match self.state {
            RangeState::Open => f.write_str("open")?,
            RangeState::Sealed { end } => write!(f, "sealed@{end}")?,
        }
        for parent in &self.parents {
            write!(f, " {parent}")?;
        }
        Ok(())
    }
}

fn decode_line(line: &str) -> Option<PartitionRange> {
    let mut words = line.split(' ');
    let (first, last) = words.next()?.split_once('-')?;
    let hash = |text| u128::from_str_radix(text, 16).ok();
    let range = HashRange { first: hash(first)?, last: hash(last)? };
    let created_secs = words.next()?.parse().ok()?;
    let state = match words.next()? {
        "open" => RangeState::Open,
        sealed => {
            let end = sealed.strip_prefix("sealed@")?.parse().ok()?;
            RangeState::Sealed { end: Offset(end) }
        }
    };
    let parents = words.map(|word| word.parse().ok().map(PartitionId)).collect::<Option<_>>()?;
    Some(PartitionRange { range, parents, created_secs, state })
}
