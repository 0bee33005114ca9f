//! Reading all that has a checksum; see [`crate::check`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use millrace_log::{
    checkpoint::CheckpointError,
    frame::{self, Extent, ExtentKind, FileHeader, FileKind, FooterError},
};
use millrace_types::{FileId, Timestamp, TopicId};

use super::{
    Engine, EngineOptions, HiddenState, OpenError, OpenRequest, Progress, Synced,
    files::{self, LogFile},
    footers::Tables,
    partition::Quarantined,
    reader::read_aligned,
    recovery::Opened,
    restore,
    scan::{self, Scan},
    sequential::CHUNK,
};
use crate::{
    BLOCK, backup,
    check::{
        CheckError, CheckProgress, CheckRequest, Checked, Finding, FindingKind, LostOffsets,
        unknown_topic,
    },
    disk::{Access, Disk, Mode, overlay::Overlay},
};

/// Verifies a directory, and tells each finding as it comes.
///
/// # Errors
/// See [`CheckError`]: the disk fails, so that nothing can be said.
pub fn check(
    request: &CheckRequest,
    progress: &CheckProgress,
    each: &mut dyn FnMut(Finding),
) -> Result<Checked, CheckError> {
    let disk = &*request.disk;
    let names: BTreeSet<String> = disk.list()?.into_iter().collect();
    let wanted = |name: &&String| request.only.as_ref().is_none_or(|only| only == *name);
    let files = names.iter().filter(|name| super::is_log_file(name)).filter(wanted);
    let files: Vec<&String> = files.collect();
    let mut checked = Checked::default();
    for name in &files {
        let len = disk.open(name, Access::Read, Mode::Buffered)?.length()?;
        checked.bytes += len;
        progress.expect(len);
    }
    checked.files = files.len() as u64;
    let mut check = Check {
        request,
        names: &names,
        progress,
        each,
        checked,
        known: None,
        told: BTreeSet::new(),
        ends_told: false,
        file_read: 0,
        bytes: 0,
    };
    check.backup()?;
    check.recover();
    for name in files {
        if let Some((id, kind)) = files::parse_name(name) {
            check.log_file(id, kind)?;
        } else {
            check.checkpoint(name)?;
        }
        let len = disk.open(name, Access::Read, Mode::Buffered)?.length()?;
        progress.read(len.saturating_sub(std::mem::take(&mut check.file_read)));
    }
    check.rest();
    Ok(check.checked)
}

/// State that nobody asks for.
struct Ignored;

impl HiddenState for Ignored {
    fn apply(&self, _: &[u8], _: Timestamp) {}

    fn snapshot(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

struct Check<'a> {
    request: &'a CheckRequest,
    names: &'a BTreeSet<String>,
    progress: &'a CheckProgress,
    each: &'a mut dyn FnMut(Finding),
    checked: Checked,
    /// The log as a start would have it.
    known: Option<Arc<Engine>>,
    /// What was told of, so that nothing is told of twice.
    told: BTreeSet<(FileId, u64)>,
    /// Whether partitions whose end is unproven were told of.
    ends_told: bool,
    /// Bytes of the present file that were told as read.
    file_read: u64,
    /// Bytes that the next finding concerns.
    bytes: u64,
}

impl Check<'_> {
    fn find(
        &mut self,
        kind: FindingKind,
        (file, byte): (&str, u64),
        detail: String,
        lost: Vec<LostOffsets>,
    ) {
        if let Some((id, _)) = files::parse_name(file) {
            self.told.insert((id, byte));
        }
        self.checked.findings += 1;
        let bytes = std::mem::take(&mut self.bytes);
        (self.each)(Finding { file: file.to_owned(), byte, kind, detail, bytes, lost });
    }

    fn backup(&mut self) -> Result<(), CheckError> {
        match backup::admit(&*self.request.disk) {
            Ok(_) => Ok(()),
            Err(backup::AdmitError::Disk(error)) => Err(error.into()),
            Err(error) => {
                self.find(FindingKind::Backup, (backup::MANIFEST, 0), error.to_string(), vec![]);
                Ok(())
            }
        }
    }

    /// Starts on the directory, in memory.
    fn recover(&mut self) {
        let catalog = &self.request.catalog;
        let disk: Arc<dyn Disk> = Arc::new(Overlay::new(Arc::clone(&self.request.disk)));
        let Ok(lock) = disk.lock() else { return };
        let hidden: Arc<dyn HiddenState> = Arc::new(Ignored);
        let opened = Engine::open(OpenRequest {
            env: Arc::clone(&self.request.env),
            disk,
            lock: Arc::new(lock),
            options: EngineOptions::default(),
            incarnation: catalog.incarnation.next(),
            log_id: catalog.identity.as_ref().map(|identity| identity.log_id).unwrap_or_default(),
            catalog_is_new: catalog.is_new(),
            hidden: BTreeMap::from([(TopicId::GROUPS, hidden)]),
            synced: Synced::new(),
            progress: Arc::new(Progress::default()),
        });
        match opened {
            Ok(Opened { engine, tombstones, .. }) => {
                let topics: BTreeSet<TopicId> = engine
                    .partitions_by_id()
                    .iter()
                    .map(|partition| partition.id().topic)
                    .collect();
                let unknown = topics.into_iter().filter(|topic| {
                    let known = catalog.topics.contains_key(topic) || tombstones.contains(topic);
                    !topic.is_hidden() && !known
                });
                for finding in unknown.map(unknown_topic) {
                    self.checked.findings += 1;
                    (self.each)(finding);
                }
                // Of those that left no trace it is told here what was lost.
                for topic in catalog.topics.values() {
                    for number in 0..topic.partitions {
                        engine.open_nth_partition(topic.id, number);
                    }
                }
                self.known = Some(engine);
            }
            Err(error) => {
                let file = match &error {
                    OpenError::Format { name, .. } => name.clone(),
                    OpenError::CatalogLost(name) => name.clone(),
                    _ => "the log".to_owned(),
                };
                self.find(FindingKind::Start, (&file, 0), error.to_string(), vec![]);
            }
        }
    }

    fn checkpoint(&mut self, name: &str) -> Result<(), CheckError> {
        let identity = self.request.catalog.identity.as_ref();
        let log_id = identity.map(|identity| identity.log_id).unwrap_or_default();
        match restore::read(&*self.request.disk, name, &log_id) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let byte = match error {
                    CheckpointError::Chunk { position }
                    | CheckpointError::Content { position }
                    | CheckpointError::Incomplete { position } => position as u64,
                    CheckpointError::Header | CheckpointError::Version(_) => 0,
                };
                self.find(FindingKind::Checkpoint, (name, byte), error.to_string(), vec![]);
            }
            Err(OpenError::Disk(error)) => return Err(error.into()),
            Err(error) => {
                self.find(FindingKind::Checkpoint, (name, 0), error.to_string(), vec![]);
            }
        }
        Ok(())
    }

    fn log_file(&mut self, id: FileId, kind: FileKind) -> Result<(), CheckError> {
        let disk = &*self.request.disk;
        let name = files::name(id, kind);
        let handle = disk.open(&name, Access::Read, Mode::Buffered)?;
        self.header(&name, &*handle)?;
        if kind == FileKind::Companion {
            // Its footer is looked at with the file that it describes.
            return Ok(());
        }
        let file = LogFile::new(id, kind, handle);
        let tables = self.footer(&file)?;
        let mut by_footer = tables.as_ref().map(|tables| tables.all());
        if kind == FileKind::Wal {
            let scan = scan::scan(&*file.handle, id, &Progress::default())?;
            let end = tables.as_ref().map(|tables| tables.footer.trailer.info.data_end);
            self.frames(&file, &scan, end)?;
            let found = within(&scan, end.unwrap_or(scan.synced_to));
            match &by_footer {
                Some(extents) => self.compare(&file, extents, &scan, end.unwrap_or(0)),
                None => by_footer = Some(found),
            }
        }
        self.batches(&file, by_footer.unwrap_or_default())
    }

    fn header(&mut self, name: &str, handle: &dyn crate::disk::DiskFile) -> Result<(), CheckError> {
        let (bytes, _) = read_aligned(handle, 0, BLOCK as u64)?;
        // One that was made ready and never used is all zeros.
        let unused = bytes.iter().all(|byte| *byte == 0);
        if let Err(error) = FileHeader::decode(&bytes)
            && !unused
        {
            self.find(FindingKind::Spare, (name, 0), error.to_string(), vec![]);
        }
        Ok(())
    }

    /// The footer of a file with its extents, as it is stored, or as a start
    /// makes it again; `None` where there is none.
    fn footer(&mut self, file: &LogFile) -> Result<Option<Arc<Tables>>, CheckError> {
        let companion = files::name(file.id, FileKind::Companion);
        if self.names.contains(&companion) {
            file.set_companion();
        }
        let stored = file.stored_tables(&*self.request.disk)?;
        let rot = match &stored {
            Ok(tables) => tables.rot(),
            Err(rot) => Some(*rot),
        };
        let Some(rot) = rot else { return Ok(stored.ok().map(Arc::new)) };
        let none = matches!(rot.error, FooterError::Magic | FooterError::Truncated { .. });
        if none && !file.has_companion() && !self.must_be_sealed(file) {
            // It is the one that was being written.
            return Ok(None);
        }
        let known = self.known.as_ref();
        let made = known.and_then(|known| {
            let file = known.files.get(file.id).filter(|file| file.is_sealed())?;
            known.tables(&file).ok()
        });
        let holder = if file.has_companion() { companion } else { file.name.clone() };
        let (lost, what) = match &made {
            Some(_) => (self.ranges_at(file.id, rot.byte), "; it is made again from the rest"),
            None => (Vec::new(), ""),
        };
        self.find(FindingKind::Footer, (&holder, rot.byte), format!("{rot}{what}"), lost);
        Ok(made)
    }

    /// Whether the file cannot be the one that was being written.
    fn must_be_sealed(&self, file: &LogFile) -> bool {
        let known = self.known.as_ref().and_then(|known| known.files.get(file.id));
        // A start gives what it finds without a footer a companion.
        file.kind == FileKind::Sorted
            || known.is_some_and(|known| known.is_sealed() && !known.has_companion())
    }

    /// Both tables of each frame, and what is missing between them.
    fn frames(&mut self, file: &LogFile, scan: &Scan, end: Option<u64>) -> Result<(), CheckError> {
        for found in &scan.frames {
            let header = &found.header;
            if end.is_some_and(|end| header.end() > end) {
                // Void: a later start did not take it over, or has it elsewhere.
                continue;
            }
            self.checked.frames += 1;
            let front = header.position + header.table_len() as u64;
            let (bytes, skip) = read_aligned(&*file.handle, header.position, front)?;
            let bytes = bytes.get(skip..).unwrap_or_default();
            if let Err(error) = frame::decode_front(bytes, header.seed()) {
                let what = format!("{error}; the table behind the frame stands in for it");
                self.find(FindingKind::Spare, (&file.name, header.position), what, vec![]);
            }
            let back = header.end() - header.table_len() as u64;
            let (bytes, skip) = read_aligned(&*file.handle, back, header.end())?;
            let len = skip + header.table_len();
            let bytes = bytes.get(skip..len).unwrap_or_default();
            let unproven = end.is_none() && header.end() > scan.synced_to;
            let decoded = frame::decode_back(bytes, header.incarnation, file.id, header.end());
            if let Err(error) = decoded
                && !unproven
            {
                let what = format!("{error}; the table before the frame stands in for it");
                self.find(FindingKind::Spare, (&file.name, back), what, vec![]);
            }
        }
        let last = scan.frames.last().map_or(BLOCK as u64, |found| found.header.end());
        let cut = end.filter(|end| *end > last).map(|_| last);
        for byte in scan.holes.iter().map(|hole| hole.byte).chain(cut) {
            if end.is_some_and(|end| byte >= end) {
                continue;
            }
            let what = "both tables of a frame fail their checksums".to_owned();
            let lost = self.lost_at(file.id, byte);
            if lost.is_empty() && self.known.is_some() {
                let what = format!("{what}; no offsets that can be read are lost with it");
                self.find(FindingKind::DeadBatch, (&file.name, byte), what, lost);
                continue;
            }
            let next = scan.frames.iter().map(|found| found.header.position);
            let next = next.filter(|next| *next > byte).min().or(end).unwrap_or(byte);
            self.bytes = next - byte;
            self.ends_told = true;
            self.find(FindingKind::Frames, (&file.name, byte), what, lost);
        }
        Ok(())
    }

    /// What a start knows to be lost at this place.
    fn ranges_at(&self, file: FileId, byte: u64) -> Vec<LostOffsets> {
        let mut lost = Vec::new();
        for partition in self.known.iter().flat_map(|known| known.partitions_by_id()) {
            let core = partition.lock();
            let partition = partition.id();
            let at = |range: &&Quarantined| range.file == file && range.byte == byte;
            for range in core.quarantined.iter().filter(at) {
                lost.push(LostOffsets { partition, first: range.first, end: Some(range.end) });
            }
        }
        lost
    }

    /// The same with the ends that nothing proves.
    fn lost_at(&self, file: FileId, byte: u64) -> Vec<LostOffsets> {
        let mut lost = self.ranges_at(file, byte);
        for partition in self.known.iter().flat_map(|known| known.partitions_by_id()) {
            let core = partition.lock();
            if core.end_unproven {
                let (partition, first) = (partition.id(), core.state.high_watermark());
                lost.push(LostOffsets { partition, first, end: None });
            }
        }
        lost
    }

    /// A footer and the frames that it was made of say the same.
    fn compare(&mut self, file: &LogFile, footer: &[Extent], scan: &Scan, end: u64) {
        let by_footer: BTreeMap<_, &Extent> =
            footer.iter().map(|extent| (extent.order(), extent)).collect();
        let found = within(scan, end);
        for extent in &found {
            if by_footer.get(&extent.order()).is_none_or(|other| *other != extent) {
                let (id, first) = (extent.partition, extent.base_offset);
                let what = format!(
                    "the footer does not have offset {first} of partition {id} as the frame has it"
                );
                let byte = u64::from(extent.position);
                self.find(FindingKind::Index, (&file.name, byte), what, vec![]);
                return;
            }
        }
        if scan.holes.is_empty() && found.len() < footer.len() {
            let what = format!(
                "the footer has {} batches, and the frames have {}",
                footer.len(),
                found.len()
            );
            self.find(FindingKind::Index, (&file.name, end), what, vec![]);
        }
    }

    /// The bytes of each batch.
    fn batches(&mut self, file: &LogFile, mut extents: Vec<Extent>) -> Result<(), CheckError> {
        extents.retain(|extent| extent.kind == ExtentKind::Batch);
        extents.sort_by_key(|extent| extent.position);
        let end_of = |extent: &Extent| u64::from(extent.position) + u64::from(extent.len);
        let mut rest = extents.as_slice();
        while let Some(first) = rest.first() {
            let start = u64::from(first.position);
            let together = rest
                .iter()
                .take_while(|extent| end_of(extent) <= start + CHUNK as u64)
                .count()
                .max(1);
            let (piece, later) = rest.split_at(together.min(rest.len()));
            rest = later;
            let end = piece.iter().map(end_of).max().unwrap_or(start);
            let (buffer, skip) = read_aligned(&*file.handle, start, end)?;
            self.progress.read(end - start);
            self.file_read += end - start;
            let bytes = buffer.get(skip..).unwrap_or_default();
            for extent in piece {
                self.checked.batches += 1;
                let from = usize::try_from(u64::from(extent.position) - start).unwrap_or(0);
                let batch = bytes.get(from..).and_then(|rest| rest.get(..extent.len as usize));
                if batch.is_none_or(|batch| crc32c::crc32c(batch) != extent.crc) {
                    self.rotten(file, extent);
                }
            }
        }
        Ok(())
    }

    fn rotten(&mut self, file: &LogFile, extent: &Extent) {
        let lost = LostOffsets {
            partition: extent.partition,
            first: extent.base_offset,
            end: Some(extent.next_offset()),
        };
        let kind = match self.is_asked_for(file.id, extent) {
            true => FindingKind::Batch,
            false => FindingKind::DeadBatch,
        };
        let what = "a batch fails its checksum".to_owned();
        let at = (file.name.as_str(), u64::from(extent.position));
        self.find(kind, at, what, vec![lost]);
    }

    /// Whether a reader would look for the batch there.
    fn is_asked_for(&self, file: FileId, extent: &Extent) -> bool {
        // Without a start nobody knows.
        let Some(known) = &self.known else { return true };
        let Some(partition) = known.partitions.read().get(&extent.partition).cloned() else {
            return false;
        };
        let core = partition.lock();
        let in_span = core.index.spans().any(|span| {
            span.base_offset <= extent.base_offset
                && extent.last_offset() <= span.last_offset
                && (span.file == file || known.files.get(span.file).is_none())
        });
        let given_up = core.given_up.iter().any(|(range, _)| {
            range.first <= extent.base_offset && extent.last_offset() < range.end
        });
        in_span && !given_up && extent.last_offset() >= core.state.log_start()
    }

    /// What a start knows to be lost and nothing above told of.
    fn rest(&mut self) {
        let Some(known) = self.known.clone() else { return };
        let mut lost: BTreeMap<(FileId, u64), Vec<LostOffsets>> = BTreeMap::new();
        let mut unproven = Vec::new();
        for partition in known.partitions_by_id() {
            let core = partition.lock();
            let id = partition.id();
            for range in &core.quarantined {
                let of = LostOffsets { partition: id, first: range.first, end: Some(range.end) };
                lost.entry((range.file, range.byte)).or_default().push(of);
            }
            if core.end_unproven {
                let first = core.state.high_watermark();
                unproven.push(LostOffsets { partition: id, first, end: None });
            }
        }
        lost.retain(|at, _| !self.told.contains(at));
        if !self.ends_told && !unproven.is_empty() {
            // By this place it is given up.
            let at = (*known.lost.lock()).unwrap_or_default();
            lost.entry(at).or_default().extend(unproven);
        }
        for ((file, byte), lost) in lost {
            let kind = known.files.get(file).map_or(FileKind::Wal, |file| file.kind);
            let what = "offsets are lost, as an earlier start found".to_owned();
            self.find(FindingKind::Lost, (&files::name(file, kind), byte), what, lost);
        }
    }
}

/// What the frames hold that end at `end` or before.
fn within(scan: &Scan, end: u64) -> Vec<Extent> {
    let frames = scan.frames.iter().filter(|found| found.header.end() <= end);
    frames.flat_map(|found| found.extents.clone()).collect()
}
