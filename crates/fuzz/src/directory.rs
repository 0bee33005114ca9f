//! A whole data directory, damaged: what a start makes of it.
//!
//! The directories are made by the engine itself, on a simulated disk and
//! clock, and are the same each time. An input says which of them, and what is
//! overwritten, cut or missing; checksums may be put right afterwards, so that
//! the damage is believed.
//!
//! ```text
//! directory u8 | mend u8 | damage...
//! damage: file u8 | 0..=251: position u24 | count u8, its low three bits + 1 | bytes
//!                   252, 253: cut at the block u8     254, 255: the file is gone
//! ```

use std::{
    collections::BTreeMap,
    io::IoSlice,
    sync::{Arc, LazyLock},
};

use millrace_log::{
    BLOCK,
    batch::{self, BatchBuilder},
};
use millrace_store::{
    disk::{
        Access, Disk, Mode,
        memory::{Crash, MemDisk},
    },
    engine::{Class, Engine, EngineOptions, OpenError, OpenRequest, Opened, Synced},
    env::testing::{START, TestEnv},
};
use millrace_types::{Incarnation, Offset, TopicId, TopicPartition};

use crate::{
    memory::bounded,
    stored::{mend, partition_of, producer_stamp},
};

const TOPIC: TopicId = TopicId([7; 16]);
/// Memory of an open log: its cache, its frames and its copies of files.
const MEMORY: usize = 96 << 20;
/// Incarnation of the first start on a damaged directory.
const NEXT: u64 = 100;

/// Files by name.
type Directory = BTreeMap<String, Content>;

/// A file.
#[derive(Clone, Debug)]
struct Content {
    /// Its blocks up to the last that was written to.
    bytes: Vec<u8>,
    /// Its length; what was allocated behind the blocks is zeros.
    len: u64,
}

/// Opens a damaged directory. A start may refuse it, saying why; what it
/// serves, the next start serves too, unless checksums were put right.
pub fn open(bytes: &[u8]) {
    let [which, mended, damage @ ..] = bytes else { return };
    let mut directory = DIRECTORIES[usize::from(*which) % DIRECTORIES.len()].clone();
    let touched = inflict(&mut directory, damage);
    if mended % 2 == 1 {
        for name in touched {
            let content = directory.get_mut(&name);
            content.into_iter().for_each(|content| put_right(&name, &mut content.bytes));
        }
    }
    let disk = write_out(&directory);
    bounded(MEMORY, || check(disk, mended % 2 == 1));
}

/// Lies under a checksum that holds are believed, at one start more than at
/// the other: what is served is compared only where none were told.
fn check(disk: MemDisk, lies: bool) {
    let env = TestEnv::new(1);
    let Ok(first) = open_log(&env, &disk, NEXT) else { return };
    if first.engine.all_opened().is_err() {
        return;
    }
    let served = read_all(&env, &first.engine);
    // Killed before it wrote anything more.
    let disk = disk.crash(Crash::Kill);
    let second = match open_log(&env, &disk, NEXT + 1) {
        Ok(second) => second,
        Err(_) if lies => return,
        Err(error) => panic!("the second start is refused: {error}"),
    };
    let again = read_all(&env, &second.engine);
    if lies {
        return;
    }
    for (number, (first, second)) in served.iter().zip(&again).enumerate() {
        assert_eq!((first.start, first.end), (second.start, second.end), "partition {number}");
        assert!(first.reads == second.reads, "other records of partition {number}");
    }
}

fn open_log(env: &TestEnv, disk: &MemDisk, incarnation: u64) -> Result<Opened, OpenError> {
    let request = OpenRequest {
        env: Arc::new(env.clone()),
        disk: Arc::new(disk.clone()),
        lock: Arc::new(disk.lock().unwrap()),
        options: options(),
        incarnation: Incarnation(incarnation),
        log_id: [5; 16],
        catalog_is_new: incarnation == 1,
        hidden: BTreeMap::new(),
        synced: Synced::new(),
        progress: Arc::default(),
    };
    Engine::open(request)
}

fn options() -> EngineOptions {
    EngineOptions {
        file_bytes: 32 << 10,
        cache_bytes: 1 << 20,
        pending_bytes_max: 1 << 20,
        reserve_bytes: 0,
        ..EngineOptions::default()
    }
}

/// What is read of each partition: where its offsets are, and what lies there.
#[derive(Debug)]
struct Served {
    start: Offset,
    end: Offset,
    /// `None` where it is told to be corrupt, or lost.
    reads: Vec<Option<Vec<u8>>>,
}

fn read_all(env: &TestEnv, engine: &Arc<Engine>) -> Vec<Served> {
    let read = |id: TopicPartition| {
        let partition = engine.open_partition(id);
        let offsets = partition.offsets();
        let mut at = offsets.log_start;
        let mut found = Vec::new();
        while at < offsets.high_watermark {
            let read = env.block_on(engine.read(&partition, at, 1 << 20, true, false));
            let Ok(read) = read else {
                found.push(None);
                break;
            };
            let records = read.records.concat();
            let next = batch::batches(&records)
                .map(|batch| batch.expect("what is served is no batch").0)
                .filter_map(|header| header.next_offset())
                .max();
            found.push(Some(records));
            // A gap at the end of what is stored.
            let Some(next) = next.filter(|next| *next > at) else { break };
            at = next;
        }
        Served { start: offsets.log_start, end: offsets.high_watermark, reads: found }
    };
    (0..3).map(|number| read(partition_of(number))).collect()
}

/// Damages files; the names of those that were overwritten.
fn inflict(directory: &mut Directory, mut damage: &[u8]) -> Vec<String> {
    let mut touched = Vec::new();
    while let [file, kind, rest @ ..] = damage {
        let names: Vec<&String> = directory.keys().collect();
        let Some(name) = names.get(usize::from(*file) % names.len().max(1)).copied().cloned()
        else {
            break;
        };
        let content = directory.get_mut(&name).unwrap();
        damage = match (kind, rest) {
            (254.., rest) => {
                directory.remove(&name);
                rest
            }
            (252.., [block, rest @ ..]) => {
                content.bytes.truncate(usize::from(*block) * BLOCK);
                content.len = content.bytes.len() as u64;
                rest
            }
            (high, [middle, low, count, rest @ ..]) => {
                let at = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
                let count = usize::from(count & 7) + 1;
                let (bytes, rest) = rest.split_at(count.min(rest.len()));
                let at = at % content.bytes.len().max(1);
                for (place, byte) in content.bytes.iter_mut().skip(at).zip(bytes) {
                    *place = *byte;
                }
                touched.push(name);
                rest
            }
            _ => break,
        };
    }
    touched
}

fn put_right(name: &str, content: &mut Vec<u8>) {
    if name.starts_with("checkpoint") {
        *content = mend::checkpoint(content);
    } else {
        mend::log_file(content);
    }
}

fn write_out(directory: &Directory) -> MemDisk {
    let disk = MemDisk::new(1);
    for (name, content) in directory {
        let file = disk.create(name, Mode::Buffered).unwrap();
        file.write_at(0, &[IoSlice::new(&content.bytes)]).unwrap();
        file.set_length(content.len).unwrap();
        file.sync().unwrap();
    }
    disk.sync_directory().unwrap();
    disk
}

static DIRECTORIES: LazyLock<[Directory; 3]> =
    LazyLock::new(|| [young(), sealed(false), sealed(true)]);

/// One file whose writer died.
fn young() -> Directory {
    let life = Life::new();
    life.append(0, None, "first");
    life.append(1, Some((9, 0)), "second");
    life.commit();
    life.append(0, Some((9, 1)), "third");
    life.commit();
    life.end()
}

/// Files with footers, checkpoints where they were asked for, a companion, and
/// the file of the life that followed.
fn sealed(checkpoints: bool) -> Directory {
    let mut life = Life::new();
    for sequence in 0..24 {
        life.append(0, Some((9, sequence)), &"filler ".repeat(300));
        life.append(1, None, "small");
        life.commit();
        if checkpoints && sequence % 8 == 7 {
            life.let_time_pass();
        }
    }
    life.crash();
    life.append(2, None, "of the second life");
    life.commit();
    if checkpoints {
        life.let_time_pass();
    }
    life.append(0, Some((9, 24)), "the last");
    life.commit();
    life.end()
}

/// A log that is driven step by step.
struct Life {
    env: TestEnv,
    disk: MemDisk,
    engine: Arc<Engine>,
    incarnation: u64,
}

impl Life {
    fn new() -> Self {
        let (env, disk) = (TestEnv::new(1), MemDisk::new(1));
        let engine = open_log(&env, &disk, 1).unwrap().engine;
        Self { env, disk, engine, incarnation: 1 }
    }

    fn append(&self, number: u32, producer: Option<(i64, i32)>, text: &str) {
        let mut builder = BatchBuilder::new(START);
        if let Some((id, sequence)) = producer {
            builder = builder.producer(producer_stamp(id, sequence));
        }
        builder.record(0, None, Some(text.as_bytes()), &[]);
        let bytes = builder.build();
        let header = batch::check(&bytes).unwrap();
        let partition = self.engine.open_nth_partition(TOPIC, number);
        let append = self.engine.append(&partition, &header, &bytes, Class::Client, false);
        self.env.block_on(append).unwrap();
    }

    fn commit(&self) {
        self.engine.write_step(&mut Default::default());
        self.engine.maintain_step();
    }

    fn let_time_pass(&self) {
        for _ in 0..8 {
            self.env.advance(11_000);
            self.engine.maintain_step();
        }
    }

    fn crash(&mut self) {
        self.disk = self.disk.crash(Crash::Kill);
        self.incarnation += 1;
        self.engine = open_log(&self.env, &self.disk, self.incarnation).unwrap().engine;
    }

    /// Kills it; what is left.
    fn end(self) -> Directory {
        let disk = self.disk.crash(Crash::Kill);
        let read = |name: String| {
            let file = disk.open(&name, Access::Read, Mode::Buffered).unwrap();
            let len = file.length().unwrap();
            let mut bytes = vec![0; len as usize];
            file.read_at(0, &mut bytes).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used.next_multiple_of(BLOCK));
            (name, Content { bytes, len })
        };
        disk.list().unwrap().into_iter().map(read).collect()
    }
}

/// No damage, and one of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for which in 0..3 {
        seeds.push(vec![which, 0]);
        for file in 0..8 {
            seeds.push(vec![which, 0, file, 254]);
            seeds.push(vec![which, 0, file, 252, 2]);
            // A byte of the first header, and one of the first table.
            seeds.push(vec![which, 1, file, 0, 0, 48, 0, 255]);
            seeds.push(vec![which, 1, file, 0, 16, 144, 0, 255]);
            seeds.push(vec![which, 0, file, 0, 16, 8, 3, 0, 0, 0, 0]);
        }
    }
    seeds
}
