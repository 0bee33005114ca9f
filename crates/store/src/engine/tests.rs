//! The engine over a simulated disk: what a crash, a full disk or a failing
//! one leave.

mod backups;
mod checkpoints;
mod checks;
mod crashes;
mod ending;
mod footers;
mod hidden;
mod measure;
mod memory;
mod rewriting;
mod seals;
mod skips;
mod space;
mod syncing;

use std::{collections::BTreeMap, sync::Arc};

use millrace_log::{
    batch::{self, BatchBuilder, BatchHeader, ProducerStamp},
    index::{Located, Lookup},
    partition::AdmitError,
};
use millrace_types::{
    Incarnation, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId,
    TopicPartition,
};

use self::hidden::Chain;
use super::{
    AppendError, Appended, Class, Engine, EngineOptions, Flush, HiddenState, OpenRequest,
    Partition, ReadError, Synced, writer::WriterState,
};
use crate::{
    disk::{
        Disk, DiskLock, Operation,
        memory::{Crash, Fault, MemDisk, Unsynced},
    },
    env::testing::TestEnv,
};

const TOPIC: TopicId = TopicId([7; 16]);
const POWER_CUT: Crash = Crash::PowerCut(Unsynced::Lost);

/// An engine on a simulated disk, driven step by step.
struct World {
    env: TestEnv,
    disk: MemDisk,
    lock: Arc<DiskLock>,
    engine: Arc<Engine>,
    /// The state of the hidden topic [`TopicId::GROUPS`].
    chain: Arc<Chain>,
    writer: WriterState,
    incarnation: u64,
    options: EngineOptions,
}

impl World {
    fn new() -> Self {
        Self::with(EngineOptions::default(), MemDisk::new(1))
    }

    fn with(options: EngineOptions, disk: MemDisk) -> Self {
        let env = TestEnv::new(1);
        let lock = Arc::new(disk.lock().unwrap());
        let chain = Arc::new(Chain::default());
        let engine = open(&env, &disk, &lock, &options, (1, &chain), Synced::new()).unwrap();
        let writer = WriterState::default();
        Self { env, disk, lock, engine, chain, writer, incarnation: 1, options }
    }

    fn small_files() -> Self {
        let options = EngineOptions { file_bytes: 64 << 10, ..EngineOptions::default() };
        Self::with(options, MemDisk::new(1))
    }

    /// The process dies, perhaps with the power, and starts again.
    fn crash(&mut self, crash: Crash) {
        self.disk = self.disk.crash(crash);
        self.lock = Arc::new(self.disk.lock().unwrap());
        self.reopen(Synced::new()).unwrap();
    }

    fn reopen(&mut self, synced: Synced) -> Result<(), super::OpenError> {
        self.incarnation += 1;
        self.chain = Arc::default();
        let of = (self.incarnation, &self.chain);
        self.engine = open(&self.env, &self.disk, &self.lock, &self.options, of, synced)?;
        self.writer = WriterState::default();
        Ok(())
    }

    fn partition(&self, number: u32) -> Arc<Partition> {
        self.engine.open_nth_partition(TOPIC, number)
    }

    fn append(&self, number: u32, batch: &[u8]) -> Result<Appended, AppendError> {
        let header = batch::check(batch).unwrap();
        let partition = self.partition(number);
        self.env.block_on(self.engine.append(&partition, &header, batch, Class::Client, false))
    }

    fn commit(&mut self) {
        self.engine.write_step(&mut self.writer);
        self.engine.maintain_step();
    }

    /// Appends and commits batches of one record each, with this text.
    fn put(&mut self, number: u32, texts: &[&str]) {
        for text in texts {
            self.append(number, &text_batch(text)).unwrap();
        }
        self.commit();
    }

    fn read(&self, number: u32, from: i64) -> Result<Vec<String>, ReadError> {
        let partition = self.partition(number);
        let read = self.engine.read(&partition, Offset(from), 1 << 20, true, false);
        let read = self.env.block_on(read)?;
        let bytes = read.records.concat();
        let mut next = None;
        Ok(batch::batches(&bytes)
            .map(|found| {
                let (header, bytes) = found.unwrap();
                assert!(next.is_none_or(|next| next == header.base_offset), "offsets have a gap");
                next = header.next_offset();
                batch::check_crc(&header, bytes).unwrap();
                text_of(&header, bytes)
            })
            .collect())
    }

    /// All that can be read from `from` on.
    fn read_to_end(&self, number: u32, from: i64) -> Result<Vec<String>, ReadError> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let read = self.read(number, from + i64::try_from(all.len()).unwrap())?;
            if read.is_empty() {
                return Ok(all);
            }
            all.extend(read);
        }
    }

    /// Runs `work`, which waits for a commit, to its end.
    fn committed<T>(&mut self, work: impl Future<Output = T> + 'static) -> T {
        let mut work = Box::pin(work);
        for _ in 0..10 {
            if let Some(done) = poll_once(&mut work) {
                return done;
            }
            self.commit();
        }
        panic!("it waits for more than commits")
    }

    fn move_log_start(&mut self, number: u32, to: i64) -> Result<(), AppendError> {
        let id = self.partition(number).id();
        let engine = Arc::clone(&self.engine);
        self.committed(async move { engine.move_log_starts(&[(id, Offset(to))]).await })
    }

    /// Fills the present file, so that it is sealed.
    fn seal_file(&mut self, number: u32) {
        let before = self.engine.gather.lock().gather.file().id;
        while self.engine.gather.lock().gather.file().id == before {
            self.put(number, &[&"filler ".repeat(3000)]);
        }
        self.commit();
    }

    /// Lets maintenance do all that it wants to do.
    fn maintain(&mut self) {
        for _ in 0..8 {
            self.env.advance(11_000);
            self.engine.maintain_step();
        }
    }

    /// Where a batch lies.
    fn locate(&self, number: u32, offset: i64) -> Located {
        let partition = self.partition(number);
        self.read(number, offset).unwrap();
        let core = partition.lock();
        match core.index.lookup(Offset(offset)) {
            Lookup::Found(mut run) => run.next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Flips a bit of a stored batch.
    fn rot(&mut self, number: u32, offset: i64) -> Located {
        let at = self.locate(number, offset);
        let name = self.engine.files.get(at.file).unwrap().name.clone();
        self.disk.rot(&name, u64::from(at.entry.position + at.entry.len) - 1, 2);
        self.engine.cache.remove_file(at.file);
        at
    }

    fn names(&self, part: &str) -> Vec<String> {
        let names = self.disk.list().unwrap();
        names.into_iter().filter(|name| name.contains(part)).collect()
    }

    /// Bytes of sealed log files on the disk.
    fn log_bytes(&self) -> u64 {
        let files = self.engine.files.all();
        files.iter().filter(|file| file.is_sealed()).map(|file| file.handle.length().unwrap()).sum()
    }

    fn high_watermark(&self, number: u32) -> i64 {
        self.partition(number).offsets().high_watermark.get()
    }
}

fn open(
    env: &TestEnv,
    disk: &MemDisk,
    lock: &Arc<DiskLock>,
    options: &EngineOptions,
    of: (u64, &Arc<Chain>),
    synced: Synced,
) -> Result<Arc<Engine>, super::OpenError> {
    open_with(env, disk, lock, options, of, synced).map(|opened| opened.engine)
}

fn open_all(
    env: &TestEnv,
    disk: &MemDisk,
    lock: &Arc<DiskLock>,
    options: &EngineOptions,
    incarnation: u64,
    synced: Synced,
) -> Result<super::Opened, super::OpenError> {
    open_with(env, disk, lock, options, (incarnation, &Arc::default()), synced)
}

fn open_with(
    env: &TestEnv,
    disk: &MemDisk,
    lock: &Arc<DiskLock>,
    options: &EngineOptions,
    (incarnation, chain): (u64, &Arc<Chain>),
    synced: Synced,
) -> Result<super::Opened, super::OpenError> {
    let chain: Arc<dyn HiddenState> = Arc::clone(chain) as _;
    Engine::open(OpenRequest {
        env: Arc::new(env.clone()),
        disk: Arc::new(disk.clone()),
        lock: Arc::clone(lock),
        options: options.clone(),
        incarnation: Incarnation(incarnation),
        log_id: [5; 16],
        catalog_is_new: incarnation == 1,
        hidden: BTreeMap::from([(TopicId::GROUPS, chain)]),
        synced,
        progress: Arc::default(),
    })
}

fn text_batch(text: &str) -> Vec<u8> {
    let mut builder = BatchBuilder::new(crate::env::testing::START);
    builder.record(0, None, Some(text.as_bytes()), &[]);
    builder.build()
}

fn producer_batch(id: i64, sequence: i32, text: &str) -> Vec<u8> {
    let stamp = ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(sequence),
    };
    let mut builder = BatchBuilder::new(crate::env::testing::START).producer(stamp);
    builder.record(0, None, Some(text.as_bytes()), &[]);
    builder.build()
}

fn text_of(header: &BatchHeader, bytes: &[u8]) -> String {
    let body = millrace_log::records::body(header, bytes, 1 << 20).unwrap();
    let record = millrace_log::records::records(header, &body).next().unwrap().unwrap();
    String::from_utf8(record.value.unwrap().to_vec()).unwrap()
}

#[test]
fn what_is_committed_is_read_and_nothing_else() {
    let mut world = World::new();
    world.append(0, &text_batch("one")).unwrap();
    assert_eq!(world.high_watermark(0), 0);
    assert_eq!(world.read(0, 0).unwrap(), Vec::<String>::new());
    world.commit();
    assert_eq!(world.read(0, 0).unwrap(), ["one"]);
    assert_eq!(world.high_watermark(0), 1);
}

#[test]
fn offsets_count_per_partition_and_reads_begin_anywhere() {
    let mut world = World::new();
    world.put(0, &["a", "b", "c"]);
    world.put(1, &["x"]);
    assert_eq!(world.read(0, 1).unwrap(), ["b", "c"]);
    assert_eq!(world.read(1, 0).unwrap(), ["x"]);
    assert!(matches!(world.read(1, 2), Err(ReadError::OutOfRange(_))));
}

#[test]
fn a_power_cut_loses_nothing_that_was_committed() {
    let mut world = World::new();
    world.put(0, &["a", "b"]);
    world.append(0, &text_batch("never acknowledged")).unwrap();
    world.crash(POWER_CUT);
    assert_eq!(world.read(0, 0).unwrap(), ["a", "b"]);
    world.put(0, &["c"]);
    world.crash(POWER_CUT);
    assert_eq!(world.read(0, 0).unwrap(), ["a", "b", "c"]);
}

#[test]
fn many_crashes_and_files_later_all_is_there() {
    let mut world = World::small_files();
    let mut expected = Vec::new();
    let filler = "x".repeat(3000);
    for round in 0..12 {
        for n in 0..round {
            let text = format!("{round}-{n}-{filler}");
            world.put(0, &[&text]);
            expected.push(text);
        }
        let crash = if round % 2 == 0 { POWER_CUT } else { Crash::Kill };
        world.crash(crash);
        assert_eq!(world.high_watermark(0), i64::try_from(expected.len()).unwrap());
    }
    let mut from = 0;
    while from < expected.len() {
        let read = world.read(0, i64::try_from(from).unwrap()).unwrap();
        assert!(!read.is_empty(), "nothing at {from}");
        for text in read {
            assert_eq!(text, expected[from], "at {from}");
            from += 1;
        }
    }
}

#[test]
fn what_a_restart_served_outlives_a_power_cut_after_it() {
    // Killed after the write, before the sync: the frame lives in the cache.
    let mut world = World::with(
        EngineOptions { flush: Flush::Os, ..EngineOptions::default() },
        MemDisk::new(1),
    );
    world.put(0, &["cached"]);
    world.crash(Crash::Kill);
    assert_eq!(world.read(0, 0).unwrap(), ["cached"]);
    world.crash(POWER_CUT);
    assert_eq!(world.read(0, 0).unwrap(), ["cached"]);
}

#[test]
fn a_retry_after_a_restart_stands_once() {
    let mut world = World::new();
    let first = world.append(0, &producer_batch(9, 0, "a")).unwrap();
    world.commit();
    world.crash(POWER_CUT);
    let again = world.append(0, &producer_batch(9, 0, "a")).unwrap();
    assert!(again.duplicate);
    assert_eq!(again.base_offset, first.base_offset);
    let gap = world.append(0, &producer_batch(9, 5, "b")).unwrap_err();
    assert!(matches!(gap, AppendError::Admit(AdmitError::OutOfOrderSequence { .. })));
    world.append(0, &producer_batch(9, 1, "b")).unwrap();
    world.commit();
    assert_eq!(world.read(0, 0).unwrap(), ["a", "b"]);
}

#[test]
fn an_incarnation_opens_a_new_epoch() {
    let mut world = World::new();
    assert_eq!(world.partition(0).leader_epoch(), LeaderEpoch(0));
    world.put(0, &["a"]);
    world.crash(POWER_CUT);
    assert_eq!(world.partition(0).leader_epoch(), LeaderEpoch(1));
    world.put(0, &["b"]);
    assert_eq!(world.partition(0).epoch_end(LeaderEpoch(0)), Some((LeaderEpoch(0), Offset(1))));
}

#[test]
fn log_starts_and_deletions_are_durable() {
    let mut world = World::new();
    world.put(0, &["a", "b", "c"]);
    world.put(1, &["other"]);
    let id = TopicPartition::new(TOPIC, PartitionId(0));
    let moved = {
        let engine = Arc::clone(&world.engine);
        async move { engine.move_log_starts(&[(id, Offset(2))]).await }
    };
    let mut moved = Box::pin(moved);
    assert!(poll_once(&mut moved).is_none());
    world.commit();
    world.env.block_on(moved).unwrap();
    assert!(matches!(world.read(0, 1), Err(ReadError::OutOfRange(_))));
    assert_eq!(world.read(0, 2).unwrap(), ["c"]);
    world.crash(POWER_CUT);
    assert_eq!(world.partition(0).offsets().log_start, Offset(2));

    let engine = Arc::clone(&world.engine);
    let mut deleted = Box::pin(async move { engine.delete_topic(TOPIC).await });
    assert!(poll_once(&mut deleted).is_none());
    world.commit();
    world.env.block_on(deleted).unwrap();
    world.crash(POWER_CUT);
    assert_eq!(world.high_watermark(0), 0);
    assert_eq!(world.high_watermark(1), 0);
}

#[test]
fn a_failed_sync_ends_the_incarnation_and_the_next_keeps_what_was_synced() {
    let mut world = World::new();
    world.put(0, &["safe"]);
    world.disk.fail_every(Operation::Sync, Fault::Io);
    let lost = world.append(0, &text_batch("lost")).unwrap();
    world.commit();
    assert!(world.engine.is_ended());
    assert!(world.env.block_on(world.engine.durable(lost.lsn)).is_err());
    world.disk.heal();
    let synced = world.engine.synced();
    world.reopen(synced).unwrap();
    assert_eq!(world.read(0, 0).unwrap(), ["safe"]);
    world.put(0, &["after"]);
    assert_eq!(world.read(0, 0).unwrap(), ["safe", "after"]);
    world.crash(POWER_CUT);
    assert_eq!(world.read(0, 0).unwrap(), ["safe", "after"]);
}

#[test]
fn a_full_disk_refuses_clients_and_heals() {
    let mut world = World::with(EngineOptions::default(), MemDisk::with_capacity(1, 12 << 20));
    world.put(0, &["first"]);
    let large = text_batch(&"x".repeat(500_000));
    let mut appended = 0;
    let refused = loop {
        match world.append(0, &large) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        world.commit();
        assert!(appended < 100, "the disk never filled");
    };
    assert_eq!(refused, AppendError::StorageFull);
    assert_eq!(world.read(0, 0).unwrap()[0], "first");
    assert!(!world.engine.is_ended());
    // Deletion goes on: its records may use the last of the space.
    let engine = Arc::clone(&world.engine);
    let mut deleted = Box::pin(async move { engine.delete_topic(TopicId([9; 16])).await });
    assert!(poll_once(&mut deleted).is_none());
    world.commit();
    world.env.block_on(deleted).unwrap();
    world.disk.set_capacity(1 << 30);
    world.engine.maintain_step();
    world.append(0, &large).unwrap();
}

#[test]
fn a_torn_tail_is_cut_and_rot_below_it_is_told() {
    let mut world = World::new();
    world.put(0, &["one"]);
    world.put(0, &["two"]);
    world.put(0, &["three"]);
    // Rot in the payload of the second frame, which the third says is synced.
    let name = "00000000000000000001.wal";
    let partition = world.partition(0);
    let second = {
        let core = partition.lock();
        match core.index.lookup(Offset(1)) {
            millrace_log::index::Lookup::Found(mut run) => run.next().unwrap().entry,
            other => panic!("{other:?}"),
        }
    };
    world.disk.rot(name, u64::from(second.position) + 70, 3);
    world.crash(POWER_CUT);
    assert_eq!(world.high_watermark(0), 3);
    let read = world.read(0, 0).unwrap();
    assert_eq!(read, ["one"]);
    assert!(matches!(world.read(0, 1), Err(ReadError::Corrupt { .. })));
    assert_eq!(world.read(0, 2).unwrap(), ["three"]);
}

#[test]
fn files_beside_a_new_catalog_are_refused() {
    let mut world = World::new();
    world.put(0, &["a"]);
    let disk = world.disk.crash(POWER_CUT);
    let lock = Arc::new(disk.lock().unwrap());
    let refused =
        open_all(&world.env, &disk, &lock, &world.options, 1, Synced::new()).err().unwrap();
    assert!(matches!(refused, super::OpenError::CatalogLost(_)));
}

#[test]
fn every_failing_operation_leaves_a_log_that_opens() {
    for nth in 1..60 {
        let mut world = World::small_files();
        world.put(0, &["a"]);
        world.disk.fail_nth(nth, Fault::Io);
        let mut acknowledged = vec!["a".to_owned()];
        for n in 0..8 {
            let text = format!("{n}-{}", "y".repeat(9000));
            match world.append(0, &text_batch(&text)) {
                Ok(appended) => {
                    world.commit();
                    let durable = Box::pin(world.engine.durable(appended.lsn));
                    if let Some(Ok(())) = poll_once(&mut { durable }) {
                        acknowledged.push(text);
                    }
                }
                Err(AppendError::Ended(_)) => {
                    let synced = world.engine.synced();
                    world.disk.heal();
                    world.reopen(synced).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        world.disk.heal();
        world.crash(POWER_CUT);
        let mut kept = Vec::new();
        while let Ok(more) = world.read(0, i64::try_from(kept.len()).unwrap()) {
            if more.is_empty() {
                break;
            }
            kept.extend(more);
        }
        for text in &acknowledged {
            assert!(kept.contains(text), "operation {nth}: lost {}", &text[..2.min(text.len())]);
        }
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let waker = std::task::Waker::noop();
    match std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
