//! What corruption took, made durable at a start before anything is served.
//!
//! Invariant: a file that is corrupt gets its footer only after the log holds
//! what was lost in it: nothing else would tell the next start. Called by
//! recovery.

use std::fmt;

use millrace_log::frame::FileKind;
use millrace_types::TopicId;

use super::{
    Class, Ended, Engine, OpenError, append::TryAppendError, files, partition::Quarantined,
    writer::WriterState,
};
use crate::env::lock_over_io;

impl Engine {
    /// Makes durable what corruption took, and only then gives the files that
    /// are corrupt the footers that they lack: nothing else would tell the
    /// next start.
    pub(super) fn remember_corruption(&self) -> Result<(), OpenError> {
        let mut holed = std::mem::take(&mut *self.holed.lock());
        let skips = std::mem::take(&mut *self.skips.lock());
        if holed.is_empty() && skips.is_empty() {
            return Ok(());
        }
        // Those that never were written to have no end that could be lost,
        // once it is given up.
        self.apply_skips(&skips);
        self.refuse_own_loss()?;
        let partitions = self.partitions_by_id();
        let records: Vec<Vec<u8>> = partitions
            .iter()
            .flat_map(|partition| partition.losses())
            .map(|record| record.encode())
            .collect();
        for chunk in records.chunks(1000) {
            self.append_now(TopicId::META, chunk)?;
        }
        self.write_companions(&mut holed, true)?;
        for partition in self.partitions_by_id() {
            let mut core = partition.lock();
            holed.iter().for_each(|source| core.index.seal(source.file.id));
        }
        self.forget_skips(skips)?;
        Ok(())
    }

    /// Says what is not served, once it is known what was given up.
    pub(super) fn tell_losses(&self) {
        for partition in self.partitions_by_id() {
            for Quarantined { first, end, file, byte } in &partition.lock().quarantined {
                tracing::error!(partition = %partition.id(), %first, %end, %file, byte,
                    "a range of the log is corrupt and not served");
            }
        }
    }

    /// Refuses to go on where frames are lost that may have held the server's own
    /// records: what they said is not to be forgotten without a word.
    fn refuse_own_loss(&self) -> Result<(), OpenError> {
        let mut hidden = self.partitions_by_id();
        hidden.retain(|partition| partition.id().topic.is_hidden());
        if !hidden.iter().any(|partition| partition.lock().end_unproven) {
            return Ok(());
        }
        let (file, byte) = (*self.lost.lock()).unwrap_or_default();
        let kind = self.files.get(file).map_or(FileKind::Wal, |file| file.kind);
        Err(OpenError::OwnEndLost { file: files::name(file, kind), byte })
    }

    /// Appends records and makes them durable, before the writer runs.
    fn append_now(&self, topic: TopicId, records: &[Vec<u8>]) -> Result<(), OpenError> {
        let partition = self.hidden_partition(topic);
        let (header, batch) = self.batch_of(records);
        let mut house = lock_over_io(&*self.env, &self.housekeeping);
        let failed = |error: &dyn fmt::Display| OpenError::NotNoted(error.to_string());
        for _ in 0..TRIES {
            match self.try_append(&partition, &header, &batch, Class::Internal, false) {
                Ok(appended) => {
                    self.write_step(&mut WriterState::default());
                    let durable = self.durable.reached() >= appended.lsn;
                    return if durable { Ok(()) } else { Err(failed(&Ended)) };
                }
                Err(TryAppendError::Refused(error)) => return Err(failed(&error)),
                // Neither the writer nor maintenance runs yet, which would make
                // room: the first file may be full of what was recovered.
                Err(TryAppendError::Behind | TryAppendError::NoMemory) => {
                    self.write_step(&mut WriterState::default());
                    self.serve_log(&mut house);
                }
            }
        }
        Err(failed(&"there is no room for it"))
    }
}

/// So often room is made for what is noted: for the file to grow or for another
/// one, on a full disk out of the reserve, and some more.
const TRIES: usize = 8;
