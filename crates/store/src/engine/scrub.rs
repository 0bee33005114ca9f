//! Reading every sealed file now and then, so that rot is told while a backup
//! still has the bytes.
//!
//! Invariant: no more bytes a second than the setting allows, and each file
//! once a period. When a file's turn comes in each period of the wall clock is
//! given by its id, since nothing is stored about it: restarts put nothing off,
//! but for what was due while there was no server.

use std::collections::{BTreeMap, VecDeque};

use millrace_log::{
    frame::{Extent, ExtentKind},
    index::{IndexEntry, Located},
};
use millrace_types::FileId;

use super::{Engine, ReadError, maintain::Housekeeping, reader::read_aligned, sequential::CHUNK};

/// What is known of scrubbing. Times are on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// When each file is due.
    due_ms: BTreeMap<FileId, u64>,
    /// The file that is being read, and what of it is left, by position.
    current: Option<(FileId, VecDeque<Extent>)>,
    /// Bytes that may be read now.
    budget: u64,
    last_ms: u64,
}

impl Engine {
    /// Reads and verifies as much as the time since the last step allows.
    pub(super) fn scrub_step(&self, house: &mut Housekeeping) {
        let (period, rate) = (self.options.scrub_period_ms, self.options.scrub_bytes_per_second);
        if period == 0 || rate == 0 {
            return;
        }
        let now = self.env.monotonic_ms();
        let scrub = &mut house.scrub;
        let since = now.saturating_sub(std::mem::replace(&mut scrub.last_ms, now));
        scrub.budget = (scrub.budget + rate.saturating_mul(since) / 1000).min(rate);
        while scrub.budget > 0 {
            if scrub.current.is_none() {
                scrub.current = self.next_to_scrub(&mut scrub.due_ms, now, period);
            }
            let Some((id, left)) = &mut scrub.current else { return };
            let read = self.verify(*id, left);
            scrub.budget = scrub.budget.saturating_sub(read);
            if left.is_empty() {
                tracing::debug!(file = %id, "a log file was verified");
                scrub.current = None;
            }
        }
    }

    /// The file whose turn it is, with the extents that are live in it.
    fn next_to_scrub(
        &self,
        due_ms: &mut BTreeMap<FileId, u64>,
        now: u64,
        period: u64,
    ) -> Option<(FileId, VecDeque<Extent>)> {
        let mut files = self.files.all();
        files.retain(|file| file.is_sealed() && !file.is_superseded());
        due_ms.retain(|id, _| files.iter().any(|file| file.id == *id));
        let wall = u64::try_from(self.env.wall().get()).unwrap_or(0) % period;
        for file in &files {
            // Neighbours of one age shall not all be due at once.
            let turn = file.id.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) % period;
            let wait = if turn >= wall { turn - wall } else { period - (wall - turn) };
            due_ms.entry(file.id).or_insert(now + wait);
        }
        let (id, _) = due_ms.iter().filter(|(_, due)| **due <= now).min_by_key(|(_, due)| **due)?;
        let id = *id;
        due_ms.insert(id, now + period);
        match self.live_extents(id) {
            Ok(extents) => Some((id, extents)),
            Err(error) => {
                tracing::error!(file = %id, %error, "a log file cannot be verified");
                None
            }
        }
    }

    fn live_extents(&self, id: FileId) -> Result<VecDeque<Extent>, ReadError> {
        let Some(file) = self.files.get(id) else { return Ok(VecDeque::new()) };
        let input = self.input(file)?;
        let mut live = Vec::new();
        for entry in &input.tables.footer.directory {
            let partition = self.partitions.read().get(&entry.partition).cloned();
            let Some(partition) = partition else { continue };
            let start = partition.offsets().log_start;
            let extents = input.extents(entry)?;
            live.extend(extents.into_iter().filter(|extent| {
                extent.kind == ExtentKind::Batch && extent.last_offset() >= start
            }));
        }
        live.sort_by_key(|extent| extent.position);
        Ok(live.into())
    }

    /// Verifies the next piece of a file. The bytes that were read.
    fn verify(&self, id: FileId, left: &mut VecDeque<Extent>) -> u64 {
        let Some(file) = self.files.get(id) else {
            left.clear();
            return 0;
        };
        let Some(first) = left.front() else { return 0 };
        let start = u64::from(first.position);
        let end_of = |extent: &Extent| u64::from(extent.position) + u64::from(extent.len);
        let mut end = end_of(first);
        let mut piece = Vec::new();
        while let Some(next) =
            left.pop_front_if(|next| piece.is_empty() || end_of(next) - start <= CHUNK as u64)
        {
            end = end.max(end_of(&next));
            piece.push(next);
        }
        let (buffer, skip) = match read_aligned(&*file.handle, start, end) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "a log file cannot be verified");
                left.clear();
                return end - start;
            }
        };
        let bytes = buffer.get(skip..).unwrap_or_default();
        for extent in piece {
            let from = usize::try_from(u64::from(extent.position) - start).unwrap_or(usize::MAX);
            let batch = bytes.get(from..).and_then(|rest| rest.get(..extent.len as usize));
            if batch.is_some_and(|batch| crc32c::crc32c(batch) == extent.crc) {
                continue;
            }
            let Some(partition) = self.partitions.read().get(&extent.partition).cloned() else {
                continue;
            };
            // A log start that moved since needs no batch below it.
            if extent.last_offset() >= partition.offsets().log_start && !file.is_superseded() {
                self.quarantine(&partition, &Located { file: id, entry: IndexEntry::of(&extent) });
            }
        }
        end - start
    }
}
