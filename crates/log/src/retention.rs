//! Plans for giving space back: what of a partition expires, which files are
//! unlinked, which are rewritten. Plans only: the engine moves the log start
//! durably first, and deletes after.
//!
//! Invariant: a rewritten file is never worth rewriting again until more of it
//! has died, so that rewriting ends. Called by the engine's background work.

use millrace_types::{FileId, Offset, Timestamp, canary};

use crate::{
    BLOCK,
    frame::{DIRECTORY_ENTRY_LEN, EXTENT_LEN, FILE_HEADER_LEN, TRAILER_LEN},
    index::{PartitionIndex, Piece},
};

#[cfg(test)]
mod tests;

/// How much of a partition is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// `retention.ms`: older batches expire; `None` keeps them for ever.
    pub age_ms: Option<u64>,
    /// `retention.bytes`: what exceeds it expires, but never so much that less
    /// than this stays; `None` knows no limit.
    pub bytes: Option<u64>,
}

/// The log start that the limits allow at the time `now`; `None` where nothing
/// expires. Extents expire one by one where their entries are in memory, else
/// span by span; only from the oldest on, as in Kafka.
#[must_use]
pub fn expired(index: &PartitionIndex, limits: RetentionLimits, now: Timestamp) -> Option<Offset> {
    let limit = limits.age_ms.and_then(|age| i64::try_from(age).ok());
    let by_age = limit.and_then(|age| {
        let oldest = now.plus_ms(age.saturating_neg());
        index.pieces().take_while(|piece| piece.retention_time < oldest).last()
    });
    let by_bytes = limits.bytes.and_then(|keep| {
        let mut spare = index.bytes().checked_sub(keep)?;
        let fits =
            |piece: &Piece| spare.checked_sub(piece.bytes).map(|left| spare = left).is_some();
        index.pieces().take_while(fits).last()
    });
    let end = |piece: Piece| {
        let too_far = || index.pieces().find(|p| p.next_offset > piece.next_offset);
        let piece = if canary!(RetentionTooFar) { too_far().unwrap_or(piece) } else { piece };
        piece.next_offset
    };
    let start = by_age.map(end).max(by_bytes.map(end))?;
    (start > index.log_start()).then_some(start)
}

/// How a sealed file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileUse {
    /// The file.
    pub file: FileId,
    /// Bytes that it (with its companion) takes on the disk.
    pub len: u64,
    /// Bytes of batches in it that are live.
    pub live_bytes: u64,
    /// Live extents in it (an upper bound will do).
    pub live_extents: u64,
    /// Partitions with live batches in it.
    pub partitions: u64,
    /// Whether it may not go or change: it holds bytes that fail their
    /// checksum and whose log start has not passed them, or a checkpoint that
    /// is kept still needs it.
    pub pinned: bool,
}

impl FileUse {
    /// Bytes of the file that would hold what is live in this one.
    #[must_use]
    pub const fn rewritten_len(&self) -> u64 {
        let data = (FILE_HEADER_LEN as u64).saturating_add(self.live_bytes);
        let table = self.live_extents.saturating_mul(EXTENT_LEN as u64);
        let directory = self.partitions.saturating_mul(DIRECTORY_ENTRY_LEN as u64);
        let block = BLOCK as u64;
        let footer = table.saturating_add(directory).saturating_add(TRAILER_LEN as u64);
        padded(data, block).saturating_add(padded(footer, block))
    }

    /// Whether more than half of its bytes are dead: batches that expired or
    /// were deleted, padding, and tables that are there twice.
    #[must_use]
    pub const fn is_mostly_dead(&self) -> bool {
        !self.pinned && self.len / 2 > self.rewritten_len()
    }

    /// Whether nothing in it is live, so that it can be unlinked.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        !self.pinned && self.live_bytes == 0
    }
}

const fn padded(len: u64, block: u64) -> u64 {
    match len.checked_next_multiple_of(block) {
        Some(len) => len,
        None => u64::MAX,
    }
}

/// The sealed files (oldest first) in which nothing is live.
pub fn dead_files(files: &[FileUse]) -> impl Iterator<Item = FileId> + '_ {
    files.iter().filter(|file| file.is_dead()).map(|file| file.file)
}

/// The consecutive files (of the sealed ones, oldest first) whose rewriting
/// into one of at most `len_max` bytes gives back the most space: files that
/// are mostly dead. `None` where there is none. Files without anything live are
/// no reason to stop: they vanish anyway.
#[must_use]
pub fn rewrite_for_space(files: &[FileUse], len_max: u64) -> Option<Vec<FileId>> {
    let freed = |run: &[FileUse]| {
        run.iter().map(|file| file.len.saturating_sub(file.rewritten_len())).sum::<u64>()
    };
    let runs = runs(files, len_max, FileUse::is_mostly_dead);
    best(runs, freed).map(|run| run.iter().map(|file| file.file).collect())
}

/// The consecutive files whose rewriting into one of at most `len_max` bytes
/// takes the most files (and their spans) out of the index: for an index beyond
/// its budget. `None` where no two fit.
#[must_use]
pub fn rewrite_for_index(files: &[FileUse], len_max: u64) -> Option<Vec<FileId>> {
    let mut found: Option<Vec<FileUse>> = None;
    let candidates: Vec<FileUse> = files.iter().filter(|file| !file.is_dead()).copied().collect();
    for from in 0..candidates.len() {
        let rest = candidates.get(from..).unwrap_or_default();
        let Some(run) = runs(rest, len_max, |file| !file.pinned).into_iter().next() else { break };
        if run.len() > found.as_ref().map_or(1, Vec::len) {
            found = Some(run);
        }
    }
    found.map(|run| run.iter().map(|file| file.file).collect())
}

/// Cuts the live files into maximal runs of wanted ones whose result keeps
/// within `len_max`.
fn runs(files: &[FileUse], len_max: u64, wanted: fn(&FileUse) -> bool) -> Vec<Vec<FileUse>> {
    let mut runs: Vec<Vec<FileUse>> = Vec::new();
    let mut len = u64::MAX;
    for file in files.iter().filter(|file| !file.is_dead()) {
        if !wanted(file) {
            len = u64::MAX;
            continue;
        }
        match runs.last_mut() {
            Some(run) if len.saturating_add(file.rewritten_len()) <= len_max => {
                len += file.rewritten_len();
                run.push(*file);
            }
            _ => {
                len = file.rewritten_len();
                runs.push(vec![*file]);
            }
        }
    }
    runs
}

/// The run with the largest gain, the oldest of equals.
fn best(runs: Vec<Vec<FileUse>>, gain: impl Fn(&[FileUse]) -> u64) -> Option<Vec<FileUse>> {
    let mut best: Option<(u64, Vec<FileUse>)> = None;
    for run in runs {
        let gained = gain(&run);
        if best.as_ref().is_none_or(|(most, _)| gained > *most) {
            best = Some((gained, run));
        }
    }
    best.map(|(_, run)| run)
}
