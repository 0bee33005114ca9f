//! Rewriting: the live batches of consecutive sealed files become one file,
//! sorted by partition, so that what is small and long-lived does not hold the
//! space of its neighbours, and the index needs one span for many.
//!
//! Invariants: only sealed files are read, and every batch is verified on its
//! way; a file with a batch that fails its checksum is not rewritten. The index
//! points to the new file once that has its name, durably. The inputs stay as
//! long as a kept checkpoint lists them ([`super::release`]), so that a start
//! needs the new file only if its checkpoint names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use millrace_log::{
    frame::{DirectoryEntry, Extent, ExtentKind, FileHeader, FileKind, FooterInfo, FooterWriter},
    index::{IndexEntry, Located, Span},
    retention,
};
use millrace_types::{FileId, Offset, TopicPartition, canary};

use super::{
    Engine, ReadError,
    files::{self, LogFile},
    footers::Tables,
    maintain::Housekeeping,
    reader::read_aligned,
    release::Usage,
    sequential::{CHUNK, Sequential},
};
use crate::{
    BLOCK,
    disk::{DiskError, DiskErrorKind},
};

/// Files that are rewritten at once; bounds the memory for their tables.
const INPUTS_MAX: usize = 16;
/// The largest file that merging for the index makes.
const MERGED_BYTES: u64 = 1 << 30;
/// Bytes a second that rewriting copies at most, beside a running log.
const BYTES_PER_SECOND: u64 = 64 << 20;
/// After a rewriting that failed, so long until the next.
const AFTER_FAILURE_MS: u64 = 60_000;

/// What is known of rewriting.
#[derive(Debug, Default)]
pub(super) struct Rewriting {
    /// Not before this time, on the monotonic clock.
    not_before_ms: u64,
    /// Bytes copied since the log was last looked after.
    debt: u64,
    /// Inputs that the index would not give up.
    pub(super) pinned: BTreeSet<FileId>,
}

/// Why files were not rewritten.
#[derive(Debug, thiserror::Error)]
enum RewriteError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("log file {0} has a batch that fails its checksum")]
    Corrupt(FileId),
    #[error("the engine is stopping")]
    Stopping,
}

/// A file that is being rewritten.
pub(super) struct Input {
    file: Arc<LogFile>,
    pub(super) tables: Arc<Tables>,
}

/// What the new file takes of one partition.
struct Part {
    partition: Arc<super::Partition>,
    /// The log start by which live was told from dead.
    live_from: Offset,
    /// Live extents, each with its input.
    extents: Vec<(usize, Extent)>,
}

impl Engine {
    /// Rewrites the files that are most worth it, if any are.
    pub(super) fn rewrite_if_worth_it(&self, house: &mut Housekeeping, usage: &Usage) {
        if self.env.monotonic_ms() < house.rewriting.not_before_ms {
            // Look again then, even if nothing else happens.
            house.changed |= usage.files.iter().any(retention::FileUse::is_mostly_dead);
            return;
        }
        let mut files = usage.files.clone();
        for file in &mut files {
            file.pinned |= house.rewriting.pinned.contains(&file.file);
        }
        if self.stats.space_exhausted.load(Ordering::Acquire) {
            // The result, and the checkpoints after it, must fit the reserve.
            let fits = self.options.reserve_bytes / 2;
            files.iter_mut().for_each(|file| file.pinned |= file.rewritten_len() > fits);
        }
        let for_index = || {
            let over = usage.spans > self.options.index_entries_max;
            over.then(|| retention::rewrite_for_index(&files, MERGED_BYTES)).flatten()
        };
        let space_max = self.options.file_bytes.min(MERGED_BYTES);
        let Some(mut inputs) = retention::rewrite_for_space(&files, space_max).or_else(for_index)
        else {
            return;
        };
        inputs.truncate(INPUTS_MAX);
        let done = match self.rewrite(&inputs, house) {
            Err(RewriteError::Disk(error))
                if error.kind == DiskErrorKind::Full && self.give_up(house) =>
            {
                self.rewrite(&inputs, house)
            }
            done => done,
        };
        self.stats.rewriting.end();
        house.changed = true;
        match done {
            Ok(()) | Err(RewriteError::Stopping) => {}
            Err(error) => {
                house.rewriting.not_before_ms = self.env.monotonic_ms() + AFTER_FAILURE_MS;
                tracing::warn!(%error, files = inputs.len(), "log files were not rewritten");
            }
        }
    }

    fn rewrite(&self, ids: &[FileId], house: &mut Housekeeping) -> Result<(), RewriteError> {
        let inputs = ids.iter().filter_map(|id| self.files.get(*id));
        let inputs: Vec<Input> = inputs.map(|file| self.input(file)).collect::<Result<_, _>>()?;
        let mut parts = self.parts(&inputs)?;
        let id = FileId(self.next_file.fetch_add(1, Ordering::Relaxed));
        let mut output = self.begin_file(&files::name(id, FileKind::Sorted))?;
        let info = FooterInfo {
            file: id,
            incarnation: self.incarnation,
            data_end: 0,
            first_lsn: inputs.iter().map(|input| input.file.first_lsn()).min().unwrap_or_default(),
            last_lsn: inputs.iter().map(|input| input.file.last_lsn()).max().unwrap_or_default(),
        };
        let live: u64 =
            parts.values().flat_map(|part| &part.extents).map(|(_, e)| u64::from(e.len)).sum();
        // The space first: a full disk is met before anything is copied.
        let allocate = (BLOCK as u64 + live).next_multiple_of(BLOCK as u64);
        output.handle().preallocate(0, allocate)?;
        let header = FileHeader {
            kind: FileKind::Sorted,
            log_id: self.log_id,
            incarnation: self.incarnation,
            file: id,
            first_lsn: info.first_lsn,
            created: self.env.wall(),
        };
        output.push(&header.encode())?;
        self.stats.rewriting.begin(live);
        for part in parts.values_mut() {
            self.copy(&inputs, part, &mut output, house)?;
        }
        let info = FooterInfo { data_end: output.position(), ..info };
        output.pad()?;
        let mut footer = FooterWriter::new(output.position());
        let mut bytes = Vec::new();
        for part in parts.values() {
            let extents: Vec<Extent> = part.extents.iter().map(|(_, extent)| *extent).collect();
            footer.extents(&extents, &mut bytes);
            output.push(&bytes)?;
            bytes.clear();
        }
        let ids: Vec<FileId> = inputs.iter().map(|input| input.file.id).collect();
        footer.finish(info, &ids, &mut bytes);
        output.push(&bytes)?;
        let (handle, length) = output.finish()?;

        let file = Arc::new(LogFile::new(id, FileKind::Sorted, handle));
        file.set_incarnation(self.incarnation);
        file.start(info.first_lsn);
        file.set_data_end(info.data_end, info.last_lsn);
        file.set_synced_to(length);
        file.seal(length);
        file.add_live(live);
        file.add_payload(live);
        self.files.insert(Arc::clone(&file));
        self.take_over(&file, &inputs, &parts, house);
        self.stats.files_rewritten.fetch_add(inputs.len() as u64, Ordering::Relaxed);
        self.stats.bytes_rewritten.fetch_add(length, Ordering::Relaxed);
        tracing::info!(inputs = inputs.len(), file = %id, bytes = length, "log files were rewritten");
        Ok(())
    }

    pub(super) fn input(&self, file: Arc<LogFile>) -> Result<Input, ReadError> {
        let tables = self.tables(&file)?;
        Ok(Input { file, tables })
    }

    /// What is live in the inputs, by partition.
    fn parts(&self, inputs: &[Input]) -> Result<BTreeMap<TopicPartition, Part>, ReadError> {
        let mut parts: BTreeMap<TopicPartition, Part> = BTreeMap::new();
        for (number, input) in inputs.iter().enumerate() {
            for entry in &input.tables.footer.directory {
                let Some(partition) = self.partitions.read().get(&entry.partition).cloned() else {
                    continue;
                };
                let span = {
                    let core = partition.lock();
                    core.index.spans().find(|span| span.file == input.file.id).copied()
                };
                let Some(span) = span else { continue };
                let part = parts.entry(entry.partition).or_insert_with(|| {
                    let live_from = partition.offsets().log_start;
                    Part { partition, live_from, extents: Vec::new() }
                });
                // Seals and the like live on in checkpoints, which come before.
                let live = input.extents(entry)?.into_iter().filter(|extent| {
                    extent.kind == ExtentKind::Batch
                        && extent.last_offset() >= part.live_from
                        && extent.base_offset >= span.base_offset
                        && extent.last_offset() <= span.last_offset
                });
                part.extents.extend(live.map(|extent| (number, extent)));
            }
        }
        if canary!(RewriteDropsExtent) {
            parts.values_mut().for_each(|part| part.extents.truncate(part.extents.len() - 1));
        }
        parts.retain(|_, part| !part.extents.is_empty());
        Ok(parts)
    }

    /// Copies the batches of one partition, verified; their extents then say
    /// where they lie in the new file.
    fn copy(
        &self,
        inputs: &[Input],
        part: &mut Part,
        output: &mut Sequential<'_>,
        house: &mut Housekeeping,
    ) -> Result<(), RewriteError> {
        let mut rest = part.extents.as_mut_slice();
        while let Some((first, _)) = rest.split_first() {
            let Some(input) = inputs.get(first.0) else { break };
            let together = adjacent(rest);
            let (run, later) = rest.split_at_mut(together.min(rest.len()));
            rest = later;
            let start = u64::from(run.first().map_or(0, |(_, extent)| extent.position));
            let len: u64 = run.iter().map(|(_, extent)| u64::from(extent.len)).sum();
            let (buffer, skip) = read_aligned(&*input.file.handle, start, start + len)?;
            let mut bytes = buffer.get(skip..).unwrap_or_default();
            for (_, extent) in run {
                let (batch, behind) = bytes
                    .split_at_checked(extent.len as usize)
                    .unwrap_or((bytes, Default::default()));
                bytes = behind;
                if crc32c::crc32c(batch) != extent.crc {
                    let entry = IndexEntry::of(extent);
                    self.quarantine(&part.partition, &Located { file: input.file.id, entry });
                    return Err(RewriteError::Corrupt(input.file.id));
                }
                extent.position = u32::try_from(output.position()).unwrap_or(u32::MAX);
                output.push(batch)?;
            }
            self.stats.rewriting.did(len);
            self.breathe(len, house)?;
        }
        Ok(())
    }

    /// Between two pieces of work: the log comes first.
    fn breathe(&self, bytes: u64, house: &mut Housekeeping) -> Result<(), RewriteError> {
        let pace = &mut house.rewriting.debt;
        *pace += bytes;
        if *pace < CHUNK as u64 {
            return Ok(());
        }
        let debt = std::mem::take(pace);
        if house.paced
            && !self.wait_for_requests(Duration::from_millis(debt * 1000 / BYTES_PER_SECOND))
        {
            return Err(RewriteError::Stopping);
        }
        self.serve_log(house);
        if self.is_ended() { Err(RewriteError::Stopping) } else { Ok(()) }
    }

    /// Makes the index point to the new file; the inputs are useless then.
    fn take_over(
        &self,
        file: &LogFile,
        inputs: &[Input],
        parts: &BTreeMap<TopicPartition, Part>,
        house: &mut Housekeeping,
    ) {
        let ids: Vec<FileId> = inputs.iter().map(|input| input.file.id).collect();
        let mut refused = false;
        for part in parts.values() {
            let spans = part.extents.iter().map(|(_, extent)| Span::of_extent(file.id, extent));
            let Some(span) = spans.reduce(Span::joined) else { continue };
            let mut core = part.partition.lock();
            if core.deleted {
                file.remove_live(span.bytes);
                continue;
            }
            match core.index.replace(&ids, Some(span), part.live_from, None) {
                Ok(dead) => file.remove_live(dead),
                Err(error) => {
                    tracing::error!(partition = %part.partition.id(), %error,
                        "a rewritten file does not fit the index");
                    file.remove_live(span.bytes);
                    refused = true;
                }
            }
        }
        if refused {
            // Some of the index still points to them: nothing may go.
            house.rewriting.pinned.extend(ids);
            return;
        }
        for input in inputs {
            input.file.supersede();
            self.cache.remove_file(input.file.id);
        }
    }
}

impl Input {
    /// The extents of one partition.
    pub(super) fn extents(&self, entry: &DirectoryEntry) -> Result<Vec<Extent>, ReadError> {
        self.tables.extents(entry).map_err(|error| {
            ReadError::Unavailable(format!("log file {}: {error}", self.file.name))
        })
    }
}

/// How many of the first extents lie back to back in one file, so that one
/// read brings them.
fn adjacent(extents: &[(usize, Extent)]) -> usize {
    let mut len = 0u64;
    let pairs = extents.windows(2).take_while(|pair| {
        let [(file, before), (next_file, next)] = pair else { return false };
        len += u64::from(before.len);
        let end = u64::from(before.position) + u64::from(before.len);
        file == next_file
            && end == u64::from(next.position)
            && len + u64::from(next.len) <= CHUNK as u64
    });
    1 + pairs.count()
}
