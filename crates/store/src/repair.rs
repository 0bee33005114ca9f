//! Giving up offsets that corruption took: writes the skip file that the next
//! start takes in ([`crate::engine`] does).
//!
//! Invariant: one new file, whole or not there; nothing else changes. Called by
//! the binary, on the directory of a stopped server.

use millrace_log::skips::{Skip, Skips};

use crate::{
    check::Finding,
    disk::{Disk, DiskError},
    engine::{log_file_id, new_skips_name, offset_beyond, write_skips},
};

/// What is given up of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The offsets.
    pub skip: Skip,
    /// The partition's end was lost: it goes on behind these offsets.
    pub ends: bool,
}

/// What giving up a finding means; `None` where offsets run out.
#[must_use]
pub fn skips_of(finding: &Finding) -> Option<Vec<Given>> {
    let file = log_file_id(&finding.file)?;
    let given = finding.lost.iter().map(|lost| {
        let (end, ends) = match lost.end {
            Some(end) => (end, false),
            None => (offset_beyond(lost.first, finding.bytes)?, true),
        };
        let (partition, first) = (lost.partition, lost.first);
        Some(Given { skip: Skip { partition, first, end, ends, file, byte: finding.byte }, ends })
    });
    given.collect()
}

/// Writes a skip file. Its name.
///
/// # Errors
/// What the disk says; nothing is given up then.
pub fn give_up(disk: &dyn Disk, log_id: [u8; 16], given: &[Given]) -> Result<String, DiskError> {
    let name = new_skips_name(disk)?;
    let entries = given.iter().map(|given| given.skip).collect();
    write_skips(disk, &name, &Skips { log_id, entries })?;
    if let Err(error) = disk.sync_directory() {
        // Not to be found after a power cut, or to be found: neither was said.
        disk.unlink(&name).ok();
        return Err(error);
    }
    Ok(name)
}
