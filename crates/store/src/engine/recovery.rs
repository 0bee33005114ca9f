//! Opening the log: what a dead incarnation left becomes the state of a new
//! one.
//!
//! 1. Sealed files tell their extents in footers; a file whose writer died is
//!    scanned, and gets a companion with the footer that it lacks.
//! 2. Frames that no sync is known to cover may live in a cache only. They are
//!    copied into one frame of a new file, and synced, before anyone sees
//!    them; in the old file they are void from then on.
//! 3. Partitions replay their extents, then hidden state its records.
//!
//! Invariant: nothing is served before all of this is durable, so a second
//! crash at any point finds at least as much as the first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use millrace_log::frame::{
    self, Extent, FileHeader, FileKind, Footer, FooterInfo, TRAILER_LEN, Trailer,
};
use millrace_types::{
    FileId, Incarnation, Lsn, Offset, PartitionId, Timestamp, TopicId, TopicPartition,
};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, watch as signal};

use super::{
    Engine, EngineOptions, EngineStats, Gathering, HiddenState, ReadError,
    durable::Durable,
    files::{self, Files, LogFile},
    gather::Gather,
    maintain::Requests,
    partition::{Partition, Quarantined},
    reader::read_aligned,
    scan::{self, ExtentBytes, Found, Hole},
};
use crate::{
    BLOCK,
    aligned::AlignedBuffer,
    blocks::BlockPool,
    cache::BlockCache,
    disk::{Access, Disk, DiskError, DiskLock, Mode},
    env::Env,
};

/// Why the log could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is a log, but the catalog knows nothing.
    #[error(
        "the data directory has log files ({0} is one) beside an empty catalog; restore the \
         catalog, or use an empty directory"
    )]
    CatalogLost(String),
    /// A file that this version cannot read.
    #[error("log file {name} cannot be read: {detail}")]
    Format {
        /// The file.
        name: String,
        /// Why.
        detail: String,
    },
    /// Hidden state is corrupt.
    #[error("the state of the server cannot be read back: {0}")]
    Hidden(ReadError),
}

/// What [`Engine::open`] is given.
pub struct OpenRequest {
    /// Clocks, randomness, tasks.
    pub env: Arc<dyn Env>,
    /// The data directory.
    pub disk: Arc<dyn Disk>,
    /// The hold on it.
    pub lock: Arc<DiskLock>,
    /// Settings.
    pub options: EngineOptions,
    /// The number of the new incarnation: larger than any before.
    pub incarnation: Incarnation,
    /// The id of the data directory.
    pub log_id: [u8; 16],
    /// The catalog is new: there can be no log.
    pub catalog_is_new: bool,
    /// State kept in hidden partitions; the engine's own is not among it.
    pub hidden: BTreeMap<TopicId, Arc<dyn HiddenState>>,
    /// After a failed write, in the same process: what is known to be synced.
    pub synced: Synced,
}

/// How far the files that were being written are synced, when their incarnation
/// ends in this process: the first byte of each that no returned sync covers.
/// What reads back beyond it may be in a cache that lost its way to the disk.
pub type Synced = BTreeMap<FileId, u64>;

/// A log that was opened.
pub struct Opened {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Topics whose deletion is durable; the catalog may still list them.
    pub tombstones: BTreeSet<TopicId>,
    /// Bytes of log that were read.
    pub files: usize,
    /// Frames that were copied since no sync was known to cover them.
    pub frames_copied: usize,
}

/// One file's part of the log, as recovery found it.
struct Source {
    file: Arc<LogFile>,
    incarnation: Incarnation,
    /// What counts, in an order in which each partition's offsets rise.
    extents: Vec<Extent>,
    holes: Vec<Hole>,
    /// Set where the file has no footer yet.
    dead: Option<Dead>,
}

/// A file whose writer died.
struct Dead {
    frames: Vec<Found>,
    synced_to: u64,
}

impl Engine {
    /// Opens the log of a data directory, in a new incarnation. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(request: OpenRequest) -> Result<Opened, OpenError> {
        let disk = &*request.disk;
        let mut sources = find_sources(disk, &request)?;
        let next_file = next_file_id(disk)?;
        let copied = settle(&mut sources, &request.synced)?;
        let frames_copied = copied.frames;

        let engine = Arc::new(build(request, next_file, &copied)?);
        engine.write_first_frame(&copied)?;
        engine.write_companions(&mut sources)?;

        let partitions = replay(&sources, &engine);
        let files = sources.len();
        for source in sources {
            engine.files.insert(source.file);
        }
        *engine.partitions.write() = partitions;
        let tombstones = engine.recover_hidden()?;
        Ok(Opened { engine, tombstones, files, frames_copied })
    }

    /// Writes what recovery copied, in one frame of a new file, and syncs it:
    /// older frames from its number on are void once it stands.
    fn write_first_frame(&self, copied: &Copied) -> Result<(), OpenError> {
        let mut gathering = self.gather.lock();
        let file = Arc::clone(gathering.gather.file());
        let bytes: usize = copied.extents.iter().map(|(_, bytes)| bytes.len()).sum();
        gathering.gather.reserve_front(copied.extents.len());
        let no_memory = |_| OpenError::Format {
            name: file.name.clone(),
            detail: format!("cache_bytes is too small to recover {bytes} bytes at once"),
        };
        gathering.gather.make_room(bytes, || self.take_block()).map_err(no_memory)?;
        for (extent, bytes) in &copied.extents {
            let partition = self.open_partition(extent.partition);
            gathering.gather.push_recovered(&partition, extent, bytes);
        }
        gathering.gather.seal(self.env.wall(), || self.take_block()).map_err(no_memory)?;
        for frame in gathering.gather.take_sealed() {
            let blocks = frame.blocks.iter().map(|(number, block)| (*number, block)).collect();
            let pieces = super::writer::pieces(&blocks, frame.position, frame.position + frame.len);
            let slices: Vec<IoSlice<'_>> = pieces.into_iter().map(IoSlice::new).collect();
            file.handle.write_at(frame.position, &slices)?;
            file.set_data_end(frame.position + frame.len, frame.lsn);
        }
        file.handle.sync()?;
        self.disk.sync_directory()?;
        gathering.gather.synced_to = file.data_end();
        file.set_synced_to(file.data_end());
        Ok(())
    }

    /// Gives each dead file the footer that it lacks, in a companion, and
    /// gives back what was allocated behind its end.
    fn write_companions(&self, sources: &mut [Source]) -> Result<(), OpenError> {
        let mut changed = false;
        for source in sources.iter_mut() {
            let Some(dead) = source.dead.take() else { continue };
            changed = true;
            let (Some(first), Some(last)) = (dead.frames.first(), dead.frames.last()) else {
                // Nothing of it counts: it was made ready and never used, or
                // all of it was copied.
                self.disk.unlink(&source.file.name)?;
                continue;
            };
            let info = FooterInfo {
                file: source.file.id,
                incarnation: source.incarnation,
                data_end: last.header.end(),
                first_lsn: first.header.lsn,
                last_lsn: last.header.lsn,
            };
            let mut extents = source.extents.clone();
            extents.sort_by_key(Extent::order);
            let header = FileHeader {
                kind: FileKind::Companion,
                log_id: self.log_id,
                incarnation: self.incarnation,
                file: source.file.id,
                first_lsn: info.first_lsn,
                created: self.env.wall(),
            };
            let footer = frame::encode_footer(BLOCK as u64, info, &extents, &[]);
            let bytes = AlignedBuffer::padded(&[&header.encode()[..], &footer].concat());
            let name = files::name(source.file.id, FileKind::Companion);
            let temporary = format!("{name}.new");
            if self.disk.list()?.contains(&temporary) {
                self.disk.unlink(&temporary)?;
            }
            let companion = self.disk.create(&temporary, Mode::Direct)?;
            companion.write_at(0, &[IoSlice::new(&bytes)])?;
            companion.sync()?;
            self.disk.rename(&temporary, &name)?;
            self.disk.sync_directory()?;
            source.file.handle.set_length(info.data_end)?;
            source.file.start(info.first_lsn);
            source.file.set_data_end(info.data_end, info.last_lsn);
            source.file.seal(info.data_end);
        }
        if changed {
            self.disk.sync_directory()?;
        }
        Ok(())
    }

    /// Applies the records of hidden partitions, the engine's own first.
    fn recover_hidden(&self) -> Result<BTreeSet<TopicId>, OpenError> {
        let mut topics = vec![TopicId::META];
        topics.extend(self.hidden.keys());
        for topic in topics {
            let partition = self.hidden_partition(topic);
            let from = partition.offsets().log_start;
            let id = partition.id();
            self.read_all(&partition, from, |time, bytes| self.apply_hidden(id, time, bytes))
                .map_err(OpenError::Hidden)?;
        }
        Ok(self.tombstones.lock().clone())
    }
}

/// Everything on the disk that belongs to the log, oldest first.
fn find_sources(disk: &dyn Disk, request: &OpenRequest) -> Result<Vec<Source>, OpenError> {
    let names = disk.list()?;
    let companions: BTreeSet<FileId> = names
        .iter()
        .filter_map(|name| files::parse_name(name))
        .filter_map(|(id, kind)| (kind == FileKind::Companion).then_some(id))
        .collect();
    let mut sources = Vec::new();
    for name in &names {
        let Some((id, kind)) = files::parse_name(name) else { continue };
        if kind == FileKind::Companion {
            continue;
        }
        if request.catalog_is_new {
            return Err(OpenError::CatalogLost(name.clone()));
        }
        let handle = disk.open(name, Access::ReadWrite, Mode::Direct)?;
        let file = Arc::new(LogFile::new(id, kind, handle));
        check_version(&file, &request.log_id)?;
        let footer = match request.synced.contains_key(&id) {
            true => None,
            false => file.read_footer(disk, companions.contains(&id))?,
        };
        sources.push(match footer {
            Some(footer) => sealed(disk, file, &footer)?,
            None => dead(file)?,
        });
    }
    // Oldest records first: a rewritten file has a late id and early frames.
    sources.sort_by_key(|source| (source.file.first_lsn(), source.file.id));
    drop_replaced(disk, &mut sources)?;
    Ok(sources)
}

/// Files whose content a rewritten file took over are unlinked now, where the
/// process died before it could.
fn drop_replaced(disk: &dyn Disk, sources: &mut Vec<Source>) -> Result<(), OpenError> {
    let mut replaced = BTreeSet::new();
    for source in &*sources {
        if source.file.kind == FileKind::Sorted {
            replaced.extend(source.file.footer(disk).map_err(OpenError::Hidden)?.inputs.clone());
        }
    }
    for source in sources.extract_if(.., |source| replaced.contains(&source.file.id)) {
        disk.unlink(&source.file.name)?;
    }
    Ok(())
}

/// Refuses files of another format or another directory. A header that is not
/// there at all says nothing: the file may never have been used.
fn check_version(file: &LogFile, log_id: &[u8; 16]) -> Result<(), OpenError> {
    let (bytes, _) = read_aligned(&*file.handle, 0, BLOCK as u64)?;
    let refuse = |detail: String| Err(OpenError::Format { name: file.name.clone(), detail });
    match FileHeader::decode(&bytes) {
        Err(error @ frame::FileError::Version(_)) => refuse(error.to_string()),
        Ok(header) if header.log_id != *log_id => {
            refuse("it belongs to another data directory".into())
        }
        Ok(header) => {
            file.start(header.first_lsn);
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

fn sealed(disk: &dyn Disk, file: Arc<LogFile>, footer: &Footer) -> Result<Source, OpenError> {
    let info = footer.trailer.info;
    let mut extents = Vec::with_capacity(footer.trailer.extents as usize);
    let table = footer.trailer.table_position..footer.trailer.directory_range().start;
    let bytes = file.read_footer_bytes(disk, table).map_err(OpenError::Hidden)?;
    for entry in &footer.directory {
        let range = entry.extents_range(&footer.trailer);
        let from = usize::try_from(range.start - footer.trailer.table_position).unwrap_or(0);
        let to = from + usize::try_from(range.end - range.start).unwrap_or(0);
        let decoded =
            frame::decode_extents(&footer.trailer, entry, bytes.get(from..to).unwrap_or_default());
        extents.extend(decoded.map_err(|error| OpenError::Format {
            name: file.name.clone(),
            detail: error.to_string(),
        })?);
    }
    file.start(info.first_lsn);
    file.set_data_end(info.data_end, info.last_lsn);
    file.seal(file.handle.length()?);
    Ok(Source { file, incarnation: info.incarnation, extents, holes: Vec::new(), dead: None })
}

fn dead(file: Arc<LogFile>) -> Result<Source, OpenError> {
    let scan = scan::scan(&*file.handle, file.id)?;
    let incarnation = scan.frames.first().map_or(Incarnation(0), |found| found.header.incarnation);
    if let Some(first) = scan.frames.first() {
        file.start(first.header.lsn);
    }
    let dead = Dead { frames: scan.frames, synced_to: scan.synced_to };
    Ok(Source { file, incarnation, extents: Vec::new(), holes: scan.holes, dead: Some(dead) })
}

fn next_file_id(disk: &dyn Disk) -> Result<u64, OpenError> {
    let names = disk.list()?;
    let last =
        names.iter().filter_map(|name| files::parse_name(name)).map(|(id, _)| id.get()).max();
    Ok(last.map_or(1, |last| last + 1))
}

/// What moves from dead files into the first frame of the new one.
struct Copied {
    extents: Vec<ExtentBytes>,
    frames: usize,
    /// The number of the new first frame.
    lsn: Lsn,
    last_append: Timestamp,
}

/// Decides which frames of dead files count where: those that were synced stay,
/// those that may live in a cache only are copied, torn and void ones go.
fn settle(sources: &mut [Source], synced: &Synced) -> Result<Copied, OpenError> {
    let mut copied =
        Copied { extents: Vec::new(), frames: 0, lsn: Lsn(0), last_append: Timestamp(0) };
    let mut kept = Lsn(0);
    let starts: Vec<(Incarnation, Lsn)> = sources
        .iter()
        // A file without one whole frame voids nothing.
        .filter(|source| source.dead.as_ref().is_none_or(|dead| !dead.frames.is_empty()))
        .map(|source| (source.incarnation, source.file.first_lsn()))
        .collect();
    for source in sources.iter_mut() {
        let Some(dead) = &mut source.dead else {
            kept = kept.max(source.file.last_lsn());
            continue;
        };
        // A newer incarnation took over from here: what follows is void.
        let void_from = starts
            .iter()
            .filter(|(incarnation, _)| *incarnation > source.incarnation)
            .map(|(_, first)| *first)
            .min();
        dead.frames.retain(|found| void_from.is_none_or(|lsn| found.header.lsn < lsn));
        let known = synced.get(&source.file.id);
        let synced_to = match (known, void_from) {
            // This process saw what was synced, and a write or sync fail.
            (Some(position), _) => *position,
            // The newer incarnation left here only what it found synced.
            (None, Some(_)) => u64::MAX,
            (None, None) => dead.synced_to,
        };
        let split = dead.frames.partition_point(|found| found.header.end() <= synced_to);
        let unsynced = dead.frames.split_off(split);
        if let Some(last) = dead.frames.last() {
            kept = kept.max(last.header.lsn);
        }
        source.extents = dead.frames.iter().flat_map(|found| found.extents.clone()).collect();
        if known.is_some() {
            continue;
        }
        for found in unsynced {
            let Some(extents) = scan::payload(&*source.file.handle, &found)? else { break };
            copied.extents.extend(extents);
            copied.frames += 1;
        }
    }
    copied.lsn = kept.next();
    Ok(copied)
}

/// The engine around a new, empty file.
fn build(request: OpenRequest, next_file: u64, copied: &Copied) -> Result<Engine, OpenError> {
    let OpenRequest { env, disk, lock, options, incarnation, log_id, hidden, .. } = request;
    let id = FileId(next_file);
    let name = files::name(id, FileKind::Wal);
    let handle = disk.create(&name, Mode::Direct)?;
    let file = Arc::new(LogFile::new(id, FileKind::Wal, handle));
    let bytes: u64 = copied.extents.iter().map(|(extent, _)| u64::from(extent.len)).sum();
    let size =
        super::maintain::first_size(bytes + frame::front_len(copied.extents.len()) as u64 * 2);
    file.handle.preallocate(0, size)?;
    file.reserve(size);
    file.start(copied.lsn);
    let header = FileHeader {
        kind: FileKind::Wal,
        log_id,
        incarnation,
        file: id,
        first_lsn: copied.lsn,
        created: env.wall(),
    };
    let files = Files::default();
    files.insert(Arc::clone(&file));
    let gather = Gather::new(file, header, copied.lsn, copied.last_append);
    let capacity = usize::try_from(options.cache_bytes).unwrap_or(usize::MAX);
    let pool = BlockPool::new(capacity.saturating_add(super::pending_capacity(&options)));
    let meta = Arc::new(Partition::new(TopicPartition::new(TopicId::META, PartitionId(0))));
    let (ended, _) = signal::channel(false);
    Ok(Engine {
        cache: BlockCache::new(pool, capacity),
        env,
        disk,
        options,
        incarnation,
        log_id,
        gather: Mutex::new(Gathering {
            gather,
            next: None,
            finished: Vec::new(),
            writer_waits: false,
            ended: false,
            stopping: false,
        }),
        work: Condvar::new(),
        room: Notify::new(),
        durable: Durable::new(copied.lsn),
        files,
        partitions: RwLock::new(HashMap::from([(meta.id(), meta)])),
        hidden,
        tombstones: Mutex::default(),
        unproven: AtomicBool::new(false),
        producers: AtomicUsize::new(0),
        next_file: AtomicU64::new(next_file + 1),
        ended,
        requests: Mutex::new(Requests::default()),
        requested: Condvar::new(),
        stats: EngineStats::default(),
        _lock: lock,
    })
}

/// Partitions from their extents, oldest first.
fn replay(sources: &[Source], engine: &Engine) -> HashMap<TopicPartition, Arc<Partition>> {
    let present = Arc::clone(engine.gather.lock().gather.file());
    let new_extents = engine.gather.lock().gather.file_extents.clone();
    let mut partitions: BTreeMap<TopicPartition, Replayed> = BTreeMap::new();
    let mut last_hole = None;
    for source in sources {
        for extent in &source.extents {
            let hole = source.holes.iter().rfind(|hole| hole.byte <= u64::from(extent.position));
            let gap = hole.map(|hole| (source.file.id, *hole)).or(last_hole);
            partitions.entry(extent.partition).or_default().extent(&source.file, extent, gap);
        }
        if let Some(hole) = source.holes.last() {
            last_hole = Some((source.file.id, *hole));
        }
    }
    for extent in &new_extents {
        partitions.entry(extent.partition).or_default().extent(&present, extent, last_hole);
    }
    let rotten = last_hole.is_some();
    engine.unproven.store(rotten, Ordering::Release);
    // Every id that was opened while copying is the same partition.
    let mut all: HashMap<TopicPartition, Arc<Partition>> = HashMap::new();
    for (id, replayed) in partitions {
        if let Some((file, _)) = last_hole
            && replayed.last_file < Some(file)
        {
            tracing::error!(partition = %id, "the end of the partition cannot be proven");
        }
        let unproven = last_hole.is_some_and(|(file, _)| replayed.last_file < Some(file));
        engine.producers.fetch_add(replayed.state.producer_count(), Ordering::Relaxed);
        all.insert(id, Arc::new(replayed.finish(id, unproven)));
    }
    all
}

/// A partition while its extents are replayed.
#[derive(Default)]
struct Replayed {
    state: millrace_log::partition::Partition,
    index: millrace_log::index::PartitionIndex,
    quarantined: Vec<Quarantined>,
    last_file: Option<FileId>,
}

impl Replayed {
    fn extent(&mut self, file: &LogFile, extent: &Extent, gap: Option<(FileId, Hole)>) {
        let expected = self.state.next_offset();
        if let Some((file, hole)) = gap
            && extent.base_offset > expected
        {
            let range =
                Quarantined { first: expected, end: extent.base_offset, file, byte: hole.byte };
            tracing::error!(partition = %extent.partition, first = %range.first, end = %range.end,
                %file, byte = hole.byte, "a range of the log is corrupt and not served");
            self.quarantined.push(range);
        }
        if self.state.replay(extent) {
            self.index.push(file.id, extent);
            file.add_live(u64::from(extent.len));
        }
        self.last_file = Some(file.id);
    }

    fn finish(self, id: TopicPartition, unproven: bool) -> Partition {
        let partition = Partition::restored(id, self.state, self.index);
        {
            let mut core = partition.lock();
            core.quarantined = self.quarantined;
            core.end_unproven = unproven;
        }
        partition
    }
}

impl LogFile {
    /// The footer, from the file's end or from its companion; `None` where
    /// it has none that is whole.
    fn read_footer(&self, disk: &dyn Disk, companion: bool) -> Result<Option<Footer>, OpenError> {
        let decode = |error: frame::FooterError| match error {
            frame::FooterError::Version(_) => {
                Err(OpenError::Format { name: self.name.clone(), detail: error.to_string() })
            }
            // Torn while it was written: the frames tell.
            _ => Ok(None),
        };
        let handle = match companion {
            true => {
                let name = files::name(self.id, FileKind::Companion);
                self.set_companion();
                disk.open(&name, Access::Read, Mode::Direct)?
            }
            false => Arc::clone(&self.handle),
        };
        let length = handle.length()?;
        let Some(start) = length.checked_sub(TRAILER_LEN as u64) else { return Ok(None) };
        let (bytes, skip) = read_aligned(&*handle, start, length)?;
        let bytes = bytes.get(skip..skip + TRAILER_LEN).unwrap_or_default();
        let trailer = match Trailer::decode(bytes, length) {
            Ok(trailer) => trailer,
            Err(error) => return decode(error),
        };
        let range = trailer.summary_range();
        let (bytes, skip) = read_aligned(&*handle, range.start, range.end)?;
        match Footer::decode(trailer, bytes.get(skip..).unwrap_or_default()) {
            Ok(footer) => Ok(Some(footer)),
            Err(error) => decode(error),
        }
    }

    /// The footer of a sealed file.
    pub(super) fn footer(&self, disk: &dyn Disk) -> Result<Footer, ReadError> {
        let footer = self
            .read_footer(disk, self.has_companion())
            .map_err(|error| ReadError::Unavailable(error.to_string()))?;
        footer.ok_or_else(|| {
            ReadError::Unavailable(format!(
                "the footer of log file {} fails its checksum; restore it from a backup",
                self.name
            ))
        })
    }

    /// Bytes of the file that holds the footer.
    pub(super) fn read_footer_bytes(
        &self,
        disk: &dyn Disk,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, ReadError> {
        let handle = if self.has_companion() {
            disk.open(&files::name(self.id, FileKind::Companion), Access::Read, Mode::Direct)?
        } else {
            Arc::clone(&self.handle)
        };
        let (bytes, skip) = read_aligned(&*handle, range.start, range.end)?;
        let len = usize::try_from(range.end - range.start).unwrap_or(0);
        Ok(bytes.get(skip..skip + len).unwrap_or_default().to_vec())
    }
}

impl Engine {
    /// How far the files of this incarnation are synced, for the recovery that
    /// follows a failed write.
    #[must_use]
    pub fn synced(&self) -> Synced {
        let files = self.files.all().into_iter().filter(|file| !file.is_sealed());
        files.map(|file| (file.id, file.synced_to())).collect()
    }

    /// A partition whose log nobody ever wrote starts at 0, unless corruption
    /// may have taken what was written.
    pub(super) fn new_partition(&self, id: TopicPartition) -> Partition {
        let partition = Partition::new(id);
        partition.lock().end_unproven =
            self.unproven.load(Ordering::Acquire) && !id.topic.is_hidden();
        partition
    }

    /// From now on new partitions are really new: all that existed before the
    /// start were opened.
    pub fn all_opened(&self) {
        self.unproven.store(false, Ordering::Release);
    }

    /// Offsets before which nothing is left of a partition.
    #[must_use]
    pub fn log_start(&self, id: TopicPartition) -> Option<Offset> {
        self.partitions.read().get(&id).map(|partition| partition.offsets().log_start)
    }
}
