//! Offsets that a person gave up: skip files at a start.
//!
//! A start takes what a skip file says into memory at once, makes it a durable
//! record of the engine's own before it serves, and only then removes the file.
//! What was taken in twice is so once. Invariants: readers pass what is given up
//! and nothing else; a partition whose end nothing proves takes records again
//! only behind every offset that it can have given out.

use std::io::IoSlice;

use millrace_log::skips::{Skip, Skips};
use millrace_types::{Offset, canary};

use super::{
    Engine, OpenError, Partition, meta::MetaRecord, partition::Quarantined, sequential::temporary,
};
use crate::disk::{Access, Disk, DiskError, DiskErrorKind, Mode};

const NAME: &str = "skips-";

/// The number that a skip file's name says.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(NAME)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The name of skip file `number`.
pub(crate) fn name(number: u64) -> String {
    format!("{NAME}{number}")
}

/// The name of a skip file that is not there yet.
pub(crate) fn new_name(disk: &dyn Disk) -> Result<String, DiskError> {
    let last = disk.list()?.iter().filter_map(|name| number(name)).max();
    Ok(name(last.unwrap_or(0) + 1))
}

/// Skip files of a directory, by name.
pub(super) fn read(
    disk: &dyn Disk,
    log_id: &[u8; 16],
) -> Result<Vec<(String, Vec<Skip>)>, OpenError> {
    let mut all = Vec::new();
    for name in disk.list()?.into_iter().filter(|name| number(name).is_some()) {
        let file = disk.open(&name, Access::Read, Mode::Buffered)?;
        let mut bytes = vec![0; usize::try_from(file.length()?).unwrap_or(0)];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        let refuse = |detail: String| OpenError::Format { name: name.clone(), detail };
        let again = "remove it, and run `millrace repair` again";
        let skips = Skips::decode(&bytes).map_err(|error| refuse(format!("{error}; {again}")))?;
        if skips.log_id != *log_id {
            return Err(refuse(format!("it belongs to another data directory; {again}")));
        }
        all.push((name, skips.entries));
    }
    Ok(all)
}

impl Engine {
    /// Takes in what skip files say, in memory.
    pub(super) fn apply_skips(&self, skips: &[(String, Vec<Skip>)]) {
        for skip in skips.iter().flat_map(|(_, entries)| entries) {
            let end = match canary!(RepairGivesMore) {
                true => Offset(skip.end.get().saturating_add(20)),
                false => skip.end,
            };
            let range = Quarantined { first: skip.first, end, file: skip.file, byte: skip.byte };
            self.give_up_range(&self.open_partition(skip.partition), range, skip.ends);
        }
    }

    /// Lets readers of `partition` pass `range`. Where its end was lost with it
    /// (`ends`), the partition goes on behind, and takes records again: unless
    /// what this start found to be lost is something else, of which nothing was
    /// given up.
    pub(super) fn give_up_range(&self, partition: &Partition, range: Quarantined, ends: bool) {
        let lost = *self.lost.lock();
        let mut core = partition.lock();
        if ends {
            core.state.go_on_at(range.end);
            if !core.lost_now || lost == Some((range.file, range.byte)) {
                (core.end_unproven, core.lost_now) = (false, false);
            }
        }
        if range.end <= core.state.log_start() || core.given_up.contains(&(range, ends)) {
            return;
        }
        core.quarantined.retain(|lost| !range.covers(lost));
        core.given_up.push((range, ends));
    }

    /// Removes skip files: the log has what they said. What is read before the
    /// records that say so is needed until a checkpoint has passed it, and stays
    /// by itself: other entries could outlive their topic.
    pub(super) fn forget_skips(&self, skips: Vec<(String, Vec<Skip>)>) -> Result<(), DiskError> {
        if skips.is_empty() {
            return Ok(());
        }
        for (name, mut entries) in skips {
            let all = entries.len();
            entries.retain(|skip| {
                let id = skip.partition;
                id.topic.is_hidden() && self.log_start(id).is_none_or(|start| start < skip.end)
            });
            if entries.is_empty() {
                unlink(&*self.disk, &name)?;
            } else if entries.len() < all {
                write(&*self.disk, &name, &Skips { log_id: self.log_id, entries })?;
            }
        }
        self.disk.sync_directory()
    }
}

/// Writes a skip file, whole or not at all: in the place of one of its name.
pub(crate) fn write(disk: &dyn Disk, name: &str, skips: &Skips) -> Result<(), DiskError> {
    let unfinished = temporary(name);
    // What an earlier try left.
    unlink(disk, &unfinished)?;
    let written = disk.create(&unfinished, Mode::Buffered).and_then(|file| {
        file.write_at(0, &[IoSlice::new(&skips.encode())])?;
        file.sync()?;
        disk.rename(&unfinished, name)
    });
    if written.is_err() {
        // On a full disk it would be in the way of the next try.
        unlink(disk, &unfinished).ok();
    }
    written
}

fn unlink(disk: &dyn Disk, name: &str) -> Result<(), DiskError> {
    match disk.unlink(name) {
        Err(error) if error.kind != DiskErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Partition {
    /// The records that make durable what was lost of the partition and given up.
    pub(super) fn losses(&self) -> Vec<MetaRecord> {
        let (id, core) = (self.id(), self.lock());
        let given_up = core.given_up.iter();
        let mut records: Vec<MetaRecord> =
            given_up.map(|(range, ends)| MetaRecord::GivenUp(id, *range, *ends)).collect();
        records.extend(core.quarantined.iter().map(|range| MetaRecord::Quarantined(id, *range)));
        // Behind what was given up, which says that the end is not lost.
        if core.end_unproven {
            records.push(MetaRecord::EndUnproven(id));
        }
        records
    }
}

/// An offset that no record of the partition can have had, whose last known end
/// is `end`: `lost` bytes of the log are not known, and each batch in them,
/// whose header alone takes 61 bytes, may have had as many records as a batch
/// can count.
pub(crate) fn beyond(end: Offset, lost: u64) -> Option<Offset> {
    let batches = i64::try_from(lost / 61 + 1).ok()?;
    let records = batches.checked_mul(1 << 31)?;
    // Round, so that a person sees that it was made.
    let unit = 1_000_000_000_000i64;
    let at = end.get().checked_add(records)?.checked_add(unit)?;
    Some(Offset(at - at % unit))
}
