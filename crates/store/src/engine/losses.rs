//! What corruption took, made durable at a start before anything is served.
//!
//! Invariant: a file that is corrupt gets its footer only after the log holds
//! what was lost in it: nothing else would tell the next start. Called by
//! recovery.

use std::sync::Arc;

use millrace_log::skips::Skip;
use millrace_types::{FileId, TopicId};

use super::{Class, Engine, OpenError, Partition, meta::MetaRecord, writer::WriterState};

impl Engine {
    /// Partitions whose end this start could not prove.
    pub(super) fn unproven_now(&self) -> Vec<Arc<Partition>> {
        let mut all = self.partitions_by_id();
        all.retain(|partition| partition.lock().end_unproven);
        all
    }

    /// What was given up of an older loss proves nothing of the one that was
    /// just found, at the place `lost`.
    pub(super) fn keep_unproven(&self, unproven: Vec<Arc<Partition>>, lost: Option<(FileId, u64)>) {
        for partition in unproven {
            let mut core = partition.lock();
            let settled = core
                .given_up
                .iter()
                .any(|(range, ends)| *ends && Some((range.file, range.byte)) == lost);
            core.end_unproven |= !settled;
        }
    }

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
        let mut records = Vec::new();
        for partition in self.partitions_by_id() {
            records.extend(partition.given_up());
            let core = partition.lock();
            let id = partition.id();
            records.extend(core.quarantined.iter().map(|r| MetaRecord::Quarantined(id, *r)));
            if core.end_unproven {
                records.push(MetaRecord::EndUnproven(id));
            }
        }
        let records: Vec<Vec<u8>> = records.iter().map(MetaRecord::encode).collect();
        for chunk in records.chunks(1000) {
            self.append_now(TopicId::META, chunk)?;
        }
        self.write_companions(&mut holed, true)?;
        for partition in self.partitions_by_id() {
            let mut core = partition.lock();
            holed.iter().for_each(|source| core.index.seal(source.file.id));
        }
        // What is read before the records that say so is needed until then.
        let stays = |skip: &Skip| {
            let id = skip.partition;
            id.topic.is_hidden() && self.log_start(id).is_none_or(|start| start < skip.end)
        };
        let mut names = Vec::new();
        for (name, entries) in skips {
            if !entries.iter().any(stays) {
                names.push(name);
            }
        }
        self.forget_skips(&names)?;
        Ok(())
    }

    /// Appends records and makes them durable, before the writer runs.
    fn append_now(&self, topic: TopicId, records: &[Vec<u8>]) -> Result<(), OpenError> {
        let partition = self.hidden_partition(topic);
        let (header, batch) = self.batch_of(records);
        let appended = self.try_append(&partition, &header, &batch, Class::Internal, false);
        self.write_step(&mut WriterState::default());
        let durable = appended.is_ok_and(|appended| self.durable.reached() >= appended.lsn);
        if durable {
            return Ok(());
        }
        Err(OpenError::Format {
            name: self.gather.lock().gather.file().name.clone(),
            detail: "what corruption took cannot be noted in it; free space and retry".into(),
        })
    }
}
