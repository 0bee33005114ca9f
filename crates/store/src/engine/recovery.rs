//! Opening the log: what a dead incarnation left becomes the state of a new
//! one.
//!
//! 1. The newest complete checkpoint tells what its files hold; younger sealed
//!    files tell their extents in footers; a file whose writer died is scanned,
//!    and gets a companion with the footer that it lacks.
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

use millrace_log::{
    checkpoint::HiddenRecord,
    frame::{self, Extent, FileHeader, FileKind, Footer, TRAILER_LEN, Trailer},
};
use millrace_types::{
    FileId, Incarnation, Lsn, Offset, PartitionId, Timestamp, TopicId, TopicPartition, canary,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch as signal};

use super::{
    Engine, EngineOptions, EngineStats, Gathering, HiddenState, INTERNAL_BYTES, Progress,
    ReadError, Step,
    durable::Durable,
    files::{self, Files, LogFile},
    gather::Gather,
    maintain::{Requests, first_size},
    partition::Partition,
    pending_io::PendingIo,
    reader::read_aligned,
    replay::replay,
    reserve, restore,
    scan::{self, ExtentBytes},
    skip,
    sources::{Dead, Found, Source, clean_names, find_gaps, find_sources, next_file_id},
};
use crate::{
    BLOCK,
    blocks::BlockPool,
    cache::BlockCache,
    disk::{Access, Disk, DiskError, DiskErrorKind, DiskLock, Mode},
    env::{Env, lock_over_io},
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
    /// Something that was written is not there.
    #[error("{what} is missing from the data directory ({why}); restore it from a backup")]
    Missing {
        /// The file, or what it should hold.
        what: String,
        /// Who needs it.
        why: String,
    },
    /// Frames are lost that may have held the server's own last records.
    #[error(
        "frames of the log are lost at byte {byte} of {file}, and with them maybe the server's own \
         last records (log starts, deletions, committed offsets); restore the file from a backup, \
         or give them up: millrace repair DIR --skip {file}:{byte}"
    )]
    OwnEndLost {
        /// The file.
        file: String,
        /// Where the frames were.
        byte: u64,
    },
    /// What corruption took must be in the log before anything is served.
    #[error(
        "what corruption took cannot be noted in the log, which a start must do: {0}; free space \
         if the disk is full, and start again"
    )]
    NotNoted(String),
    /// Hidden state is corrupt.
    #[error("the state of the server cannot be read back: {0}")]
    Hidden(ReadError),
}

/// What [`Engine::open`] is given.
#[derive(Clone)]
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
    /// Told how far it is.
    pub progress: Arc<Progress>,
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

impl Engine {
    /// Opens the log of a data directory, in a new incarnation; on a full disk
    /// with the space of the reserve. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(request: OpenRequest) -> Result<Opened, OpenError> {
        let disk = Arc::clone(&request.disk);
        match Self::try_open(request.clone(), FirstSize::Usual) {
            Err(OpenError::Disk(error)) if error.kind == DiskErrorKind::Full => {
                // An earlier try may have used it up already.
                reserve::use_up(&*disk)?;
                Self::try_open(request, FirstSize::Least)
            }
            done => done,
        }
    }

    fn try_open(request: OpenRequest, size: FirstSize) -> Result<Opened, OpenError> {
        let disk = &*request.disk;
        let progress = Arc::clone(&request.progress);
        progress.restart(Step::Checkpoint);
        let names = clean_names(disk, &request)?;
        let mut base = restore::read_checkpoints(disk, &names, &request.log_id)?;
        let listed = base.open_files(disk, &names)?;
        progress.enter(Step::Log);
        let Found { mut sources, superseded } = find_sources(disk, &request, &names, &base)?;
        let next_file = next_file_id(&names).max(base.last_file() + 1);
        progress.enter(Step::Copying);
        let copied = settle(&mut sources, &request.synced, base.lsn())?;
        find_gaps(&mut sources, base.lsn())?;
        let frames_copied = copied.frames;

        let engine = Arc::new(build(request, next_file, &copied, size)?);
        engine.write_first_frame(&copied)?;
        engine.write_companions(&mut sources, false)?;

        progress.enter(Step::State);
        let content = base.content.take();
        let (records, hidden) =
            content.map(|content| (content.partitions, (content.hidden, content.time))).unzip();
        for source in &sources {
            // Hidden partitions are read before it can be sealed.
            source.tell_ends();
        }
        *engine.lost.lock() = sources.iter().rev().find_map(Source::last_hole);
        let partitions = replay(records.unwrap_or_default(), &sources, &engine);
        let files = sources.len();
        for file in listed.into_iter().chain(superseded) {
            engine.files.insert(file);
        }
        engine.count_live(&partitions);
        for source in &sources {
            source.file.add_payload(source.extents.iter().map(|e| u64::from(e.len)).sum());
            engine.files.insert(Arc::clone(&source.file));
        }
        engine.look_at_space();
        *engine.partitions.write() = partitions;
        engine.housekeeping.lock().checkpoints = base.checkpoints;
        let skips = skip::read(&*engine.disk, &engine.log_id)?;
        // Hidden partitions are read right after, and may need it.
        engine.apply_skips(&skips);
        *engine.skips.lock() = skips;
        let tombstones = engine.recover_hidden(hidden.unwrap_or_default())?;
        // Of what an earlier start noted as lost too.
        engine.apply_skips(&engine.skips.lock());
        engine.tell_losses();
        engine.check_files()?;
        sources.retain(|source| source.dead.is_some());
        *engine.holed.lock() = sources;
        Ok(Opened { engine, tombstones, files, frames_copied })
    }

    /// Counts what lives in the files of a checkpoint. (What lies in others
    /// was counted extent by extent.)
    fn count_live(&self, partitions: &HashMap<TopicPartition, Arc<Partition>>) {
        for partition in partitions.values() {
            for (id, bytes) in partition.lock().index.live_bytes() {
                if let Some(file) = self.files.get(id).filter(|file| file.is_sealed()) {
                    file.add_live(bytes);
                }
            }
        }
    }

    /// Refuses a log with offsets whose file is gone.
    fn check_files(&self) -> Result<(), OpenError> {
        for partition in self.partitions_by_id() {
            let core = partition.lock();
            let missing = core.index.spans().find(|span| self.files.get(span.file).is_none());
            if let Some(span) = missing {
                let (id, first, last) = (partition.id(), span.base_offset, span.last_offset);
                return Err(OpenError::Missing {
                    what: format!("log file {}", span.file),
                    why: format!("it holds offsets {first} to {last} of partition {id}"),
                });
            }
        }
        Ok(())
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
        // The room made above was for one extent: the table behind the payload
        // may need more blocks.
        gathering.gather.make_room(0, || self.take_block()).map_err(no_memory)?;
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
    /// gives back what was allocated behind its end. A file with holes waits
    /// until what they took is remembered: its footer would not tell.
    pub(super) fn write_companions(
        &self,
        sources: &mut Vec<Source>,
        holed: bool,
    ) -> Result<(), OpenError> {
        let mut changed = false;
        let mut unused = BTreeSet::new();
        for source in sources.iter_mut().filter(|source| holed || source.holes.is_empty()) {
            if source.dead.is_none() {
                continue;
            }
            changed = true;
            let info = source.info();
            source.dead = None;
            let Some(info) = info else {
                // Nothing of it counts: it was made ready and never used, or
                // all of it was copied.
                self.disk.unlink(&source.file.name)?;
                unused.insert(source.file.id);
                continue;
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
            let bytes = [&header.encode()[..], &footer].concat();
            let mut companion =
                self.begin_file(&files::name(source.file.id, FileKind::Companion))?;
            companion.push(&bytes)?;
            companion.finish()?;
            source.file.set_companion();
            // One that was sealed has nothing allocated behind its end, and may
            // be a backup's too: it never changes.
            if !source.was_sealed {
                // Nothing would cut it again, should a power cut give it back.
                source.file.handle.set_length(info.data_end)?;
                source.file.handle.sync()?;
            }
            source.file.set_incarnation(source.incarnation);
            source.file.start(info.first_lsn);
            source.file.set_data_end(info.data_end, info.last_lsn);
            source.file.seal(info.data_end);
        }
        sources.retain(|source| !unused.contains(&source.file.id));
        if changed {
            self.disk.sync_directory()?;
        }
        Ok(())
    }

    /// Applies the state and the records of hidden partitions, the engine's
    /// own first.
    fn recover_hidden(
        &self,
        (records, time): (Vec<HiddenRecord>, Timestamp),
    ) -> Result<BTreeSet<TopicId>, OpenError> {
        let kept = self.housekeeping.lock().checkpoints.kept.clone();
        let mut topics = vec![TopicId::META];
        topics.extend(self.hidden.keys());
        for topic in topics {
            let partition = self.hidden_partition(topic);
            // Where the older checkpoint's replay begins: what lies before
            // may be gone.
            let needed = kept.iter().filter_map(|kept| kept.hidden.get(&topic)).min();
            self.cut(&partition, needed.copied().unwrap_or_default());
            let mut from = partition.offsets().log_start;
            for record in records.iter().filter(|record| record.topic == topic) {
                from = from.max(record.offset);
                if !record.state.is_empty() {
                    self.apply_state(topic, &record.state, time);
                }
            }
            let id = partition.id();
            self.read_all(&partition, from, |time, bytes| self.apply_hidden(id, time, bytes))
                .map_err(OpenError::Hidden)?;
        }
        Ok(self.tombstones.lock().keys().copied().collect())
    }
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
fn settle(sources: &mut [Source], synced: &Synced, covered: Lsn) -> Result<Copied, OpenError> {
    let mut copied =
        Copied { extents: Vec::new(), frames: 0, lsn: Lsn(0), last_append: Timestamp(0) };
    let mut kept = covered;
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
        check_order(&source.file, dead)?;
        let known = synced.get(&source.file.id);
        let synced_to = match (known, void_from) {
            // This process saw what was synced, and a write or sync fail.
            (Some(position), _) => *position,
            // The newer incarnation left here only what it found synced.
            (None, Some(_)) => u64::MAX,
            (None, None) if canary!(OldFileGoesOn) => u64::MAX,
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

/// Refuses frames whose checksums hold and whose offsets contradict each other:
/// in one file they only rise.
fn check_order(file: &LogFile, dead: &Dead) -> Result<(), OpenError> {
    let mut last: HashMap<TopicPartition, Offset> = HashMap::new();
    for extent in dead.frames.iter().flat_map(|found| &found.extents) {
        let before = last.insert(extent.partition, extent.last_offset());
        if let Some(before) = before.filter(|before| *before >= extent.base_offset) {
            return Err(OpenError::Format {
                name: file.name.clone(),
                detail: format!(
                    "offset {} of partition {} follows {before}; restore the file from a backup",
                    extent.base_offset, extent.partition
                ),
            });
        }
    }
    Ok(())
}

/// The engine around a new, empty file.
fn build(
    request: OpenRequest,
    next_file: u64,
    copied: &Copied,
    size: FirstSize,
) -> Result<Engine, OpenError> {
    let OpenRequest { env, disk, lock, options, incarnation, log_id, hidden, .. } = request;
    let id = FileId(next_file);
    let name = files::name(id, FileKind::Wal);
    let handle = disk.create(&name, Mode::Direct)?;
    let file = Arc::new(LogFile::new(id, FileKind::Wal, handle));
    let bytes: u64 = copied.extents.iter().map(|(extent, _)| u64::from(extent.len)).sum();
    let size = size.of(bytes + frame::front_len(copied.extents.len()) as u64 * 2);
    if let Err(error) = file.handle.preallocate(0, size) {
        // Some of it may be allocated, which the next try will need.
        disk.unlink(&file.name)?;
        return Err(error.into());
    }
    file.reserve(size);
    file.set_incarnation(incarnation);
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
    let (work, requested, unsynced) = (env.bell(), env.bell(), env.bell());
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
            ahead: 0,
            writer_wants: None,
            ended: false,
            stopping: false,
        }),
        work,
        room: Notify::new(),
        durable: Durable::new(copied.lsn),
        files,
        partitions: RwLock::new(HashMap::from([(meta.id(), meta)])),
        hidden,
        tombstones: Mutex::default(),
        unproven: AtomicBool::new(false),
        lost: Mutex::default(),
        producers: AtomicUsize::new(0),
        next_file: AtomicU64::new(next_file + 1),
        ended,
        requests: Mutex::new(Requests::default()),
        requested,
        housekeeping: Mutex::default(),
        housekeeping_wanted: AtomicUsize::new(0),
        unsynced,
        sync_failed: Mutex::default(),
        writing: Mutex::default(),
        unmarked: AtomicBool::new(false),
        hidden_order: Mutex::default(),
        changed: AtomicBool::new(true),
        reserve_gone: AtomicBool::new(false),
        entries_loaded: AtomicUsize::new(0),
        skips: Mutex::default(),
        holed: Mutex::default(),
        stats: EngineStats::default(),
        pending_io: PendingIo::default(),
        _lock: lock,
    })
}

/// What is allocated to the first file of an incarnation.
#[derive(Clone, Copy)]
enum FirstSize {
    Usual,
    /// On a full disk: what deleting takes and nothing for clients, so that
    /// one start after the other finds room in what was the reserve.
    Least,
}

impl FirstSize {
    /// Bytes, where the file begins with `bytes` of records and tables.
    fn of(self, bytes: u64) -> u64 {
        match self {
            Self::Usual => first_size(bytes),
            // A block each for the file's header and the frame's three parts.
            Self::Least => {
                (bytes + INTERNAL_BYTES).next_multiple_of(BLOCK as u64) + 4 * BLOCK as u64
            }
        }
    }
}

impl LogFile {
    /// The footer, from the file's end or from its companion; `None` where
    /// it has none that is whole.
    pub(super) fn read_footer(
        &self,
        disk: &dyn Disk,
        companion: bool,
    ) -> Result<Option<Footer>, OpenError> {
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
    /// follows a failed write. Waits until writer and maintenance have let go
    /// of the directory: what they publish later would be lost again, and what
    /// they unlink the next incarnation may need. Blocks.
    ///
    /// # Panics
    /// If the engine has not ended: they would go on.
    #[must_use]
    pub fn synced(&self) -> Synced {
        assert!(self.is_ended(), "an engine that goes on is not recovered");
        let _maintenance = lock_over_io(&*self.env, &self.housekeeping);
        let _writing = lock_over_io(&*self.env, &self.writing);
        let _syncing = lock_over_io(&*self.env, &self.sync_failed);
        let files = self.files.all().into_iter().filter(|file| !file.is_sealed());
        files.map(|file| (file.id, file.synced_to())).collect()
    }

    /// A partition whose log nobody ever wrote starts at 0, unless corruption
    /// may have taken what was written.
    pub(super) fn new_partition(&self, id: TopicPartition) -> Partition {
        let partition = Partition::new(id);
        let unproven = self.unproven.load(Ordering::Acquire) && !id.topic.is_hidden();
        {
            let mut core = partition.lock();
            (core.end_unproven, core.lost_now) = (unproven, unproven);
        }
        partition
    }

    /// From now on new partitions are really new: all that existed before the
    /// start were opened.
    ///
    /// # Errors
    /// If it cannot be stored what corruption took.
    pub fn all_opened(&self) -> Result<(), OpenError> {
        self.remember_corruption()?;
        self.unproven.store(false, Ordering::Release);
        Ok(())
    }

    /// Offsets before which nothing is left of a partition.
    #[must_use]
    pub fn log_start(&self, id: TopicPartition) -> Option<Offset> {
        self.partitions.read().get(&id).map(|partition| partition.offsets().log_start)
    }
}
