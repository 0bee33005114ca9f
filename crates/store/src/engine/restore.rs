//! Reading checkpoints at a start.
//!
//! The newest complete checkpoint is the base of the recovery; one that is
//! damaged counts for nothing, and the older one takes its place. Without any,
//! the log must be there from its first frame on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use millrace_log::{
    checkpoint::{
        self, CheckpointError, CheckpointHeader, Chunk, FileRecord, HiddenRecord, PartitionRecord,
    },
    frame::FileKind,
};
use millrace_types::{FileId, Lsn, Timestamp};

use super::{
    checkpoint::{Checkpoints, Kept},
    files::{self, LogFile},
    recovery::OpenError,
};
use crate::disk::{Access, Disk, Mode};

/// What a recovery builds upon.
#[derive(Default)]
pub(super) struct Base {
    pub(super) checkpoints: Checkpoints,
    /// The newest complete checkpoint.
    pub(super) content: Option<Content>,
    /// A checkpoint that is damaged, and why.
    pub(super) damaged: Option<(String, CheckpointError)>,
}

/// What a checkpoint says.
pub(super) struct Content {
    pub(super) lsn: Lsn,
    pub(super) time: Timestamp,
    pub(super) files: Vec<FileRecord>,
    pub(super) partitions: Vec<PartitionRecord>,
    pub(super) hidden: Vec<HiddenRecord>,
}

impl Base {
    /// The base's number of the last frame that no file needs to be read for.
    pub(super) fn lsn(&self) -> Lsn {
        self.content.as_ref().map_or(Lsn(0), |content| content.lsn)
    }

    /// Whether the base lists the file.
    pub(super) fn lists(&self, id: FileId) -> bool {
        self.content.as_ref().is_some_and(|content| content.files.iter().any(|f| f.file == id))
    }

    /// The largest id that any checkpoint knows.
    pub(super) fn last_file(&self) -> u64 {
        let ids = self.checkpoints.kept.iter().flat_map(|kept| &kept.files);
        ids.map(|id| id.get()).max().unwrap_or(0)
    }

    /// Opens the files that the base lists. Those that are gone are left out:
    /// that is right where nothing in them is live.
    pub(super) fn open_files(
        &self,
        disk: &dyn Disk,
        names: &BTreeSet<String>,
    ) -> Result<Vec<Arc<LogFile>>, OpenError> {
        let mut opened = Vec::new();
        for record in self.content.iter().flat_map(|content| &content.files) {
            let name = files::name(record.file, record.kind);
            let companion = files::name(record.file, FileKind::Companion);
            let whole = record.companion.is_none() || names.contains(&companion);
            if !names.contains(&name) || !whole {
                continue;
            }
            let handle = disk.open(&name, Access::ReadWrite, Mode::Direct)?;
            let length = handle.length()?;
            if length < record.data_end {
                return Err(OpenError::Format {
                    name,
                    detail: format!(
                        "it has {length} bytes where {} were written; restore it from a backup",
                        record.data_end
                    ),
                });
            }
            let file = Arc::new(LogFile::new(record.file, record.kind, handle));
            file.set_incarnation(record.incarnation);
            file.start(record.first_lsn);
            file.set_data_end(record.data_end, record.last_lsn);
            file.set_synced_to(record.len);
            file.seal(record.len);
            if record.companion.is_some() {
                file.set_companion();
            }
            opened.push(file);
        }
        Ok(opened)
    }
}

/// Reads the checkpoints of a directory.
pub(super) fn read_checkpoints(
    disk: &dyn Disk,
    names: &BTreeSet<String>,
    log_id: &[u8; 16],
) -> Result<Base, OpenError> {
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| files::checkpoint_number(name)).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let mut base = Base::default();
    base.checkpoints.next_number = numbers.first().map_or(1, |newest| newest + 1);
    for number in numbers {
        if base.checkpoints.kept.len() == 2 {
            base.checkpoints.useless.push(number);
            continue;
        }
        let name = files::checkpoint_name(number);
        match read(disk, &name, log_id)? {
            Ok((kept, content)) => {
                base.checkpoints.kept.insert(0, Kept { number, ..kept });
                base.content.get_or_insert(content);
            }
            Err(error) => {
                tracing::error!(name, %error, "a checkpoint is damaged; looking for an older one");
                base.checkpoints.useless.push(number);
                base.damaged.get_or_insert((name, error));
            }
        }
    }
    Ok(base)
}

pub(super) type Whole = Result<(Kept, Content), CheckpointError>;

/// Reads one checkpoint whole.
pub(super) fn read(disk: &dyn Disk, name: &str, log_id: &[u8; 16]) -> Result<Whole, OpenError> {
    let refuse = |detail: String| OpenError::Format { name: name.to_owned(), detail };
    let handle = disk.open(name, Access::Read, Mode::Direct)?;
    let length = handle.length()?;
    let (bytes, _) = super::reader::read_aligned(&*handle, 0, length)?;
    let bytes = bytes.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
    let (header, chunks) = match checkpoint::read(bytes) {
        Ok(read) => read,
        Err(error @ CheckpointError::Version(_)) => return Err(refuse(error.to_string())),
        Err(error) => return Ok(Err(error)),
    };
    if header.log_id != *log_id {
        return Err(refuse("it belongs to another data directory".into()));
    }
    Ok(collect(&header, chunks, length))
}

fn collect(header: &CheckpointHeader, chunks: checkpoint::Chunks<'_>, bytes: u64) -> Whole {
    let mut content = Content {
        lsn: header.lsn,
        time: header.time,
        files: Vec::new(),
        partitions: Vec::new(),
        hidden: Vec::new(),
    };
    for chunk in chunks {
        match chunk? {
            Chunk::Files(files) => content.files.extend(files),
            Chunk::Partition(record) => content.partitions.push(*record),
            Chunk::Hidden(record) => content.hidden.push(record),
        }
    }
    let mut hidden = BTreeMap::new();
    for record in &content.hidden {
        hidden.insert(record.topic, record.offset);
    }
    let files = content.files.iter().map(|record| record.file).collect();
    let kept = Kept { number: header.number, lsn: header.lsn, files, hidden, bytes };
    Ok((kept, content))
}
