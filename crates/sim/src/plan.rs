//! What a seed decides before its run begins: the server's settings, which
//! faults may come, how much is done.

use millrace_broker::{EngineOptions, Flush};

use crate::{book::Promise, disk::Pace, random::Random};

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) engine: EngineOptions,
    /// Room on the disk, in bytes.
    pub(crate) capacity: u64,
    pub(crate) pace: Pace,
    /// What the faults of this run leave of what is promised.
    pub(crate) promise: Promise,
    /// Faults to come.
    pub(crate) rounds: u64,
    /// Which faults those are.
    pub(crate) faults: Vec<Fault>,
    /// Longest time between two faults, in milliseconds.
    pub(crate) between_ms: u64,
    /// Batches of each producer.
    pub(crate) batches: u64,
    /// Largest values.
    pub(crate) value_bytes_max: u64,
    /// Longest pause of a client, in milliseconds.
    pub(crate) think_ms: u64,
}

/// What may happen to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies; the page cache stays.
    Kill,
    /// The power goes: unsynced writes are lost, torn or kept.
    PowerCut,
    /// The process dies, another serves for a while, then the power goes.
    KillThenPowerCut,
    /// The process is stopped in good order.
    Stop,
    /// One operation of the disk fails with EIO.
    FailOnce,
    /// One operation of the disk fails with ENOSPC.
    FullOnce,
    /// Every sync fails for a while.
    FailSyncs,
    /// The disk is full for a while.
    Full,
    /// The wall clock jumps.
    Clock,
    /// The disk becomes slow, or fast.
    Pace,
    /// The catalog does not answer, or fails to say what it did.
    Catalog,
    /// A bit of a stored file flips.
    Rot,
    /// The process dies, and a bit flips in the file that it was writing, below
    /// what a frame says is synced.
    KillAndRot,
    /// A write lands elsewhere.
    Misdirect,
    /// The process dies, and a person gives up what a check finds to be lost.
    Repair,
    /// A backup is made.
    Backup,
    /// A backup is being made when the process dies.
    BackupAndKill,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, 6);
        let promise = match random.below(100) {
            0..75 => Promise::Everything,
            75..90 => Promise::Detection,
            _ => Promise::NothingWrong,
        };
        let flush = if random.percent(12) { Flush::Os } else { Flush::Fsync };
        let kib = |random: &mut Random, from, to| random.within(from, to) << 10;
        let engine = EngineOptions {
            flush,
            file_bytes: kib(&mut random, 16, 256),
            cache_bytes: kib(&mut random, 1_024, 4_096),
            commits_per_second_max: *random.pick(&[50, 200, 1_000, 1_000_000]),
            pending_bytes_max: kib(&mut random, 64, 1_024),
            producers_max: 10_000,
            index_entries_max: *random.pick(&[20, 200, 10_000]),
            // What a start takes at least, and more.
            reserve_bytes: kib(&mut random, 2_048, 4_096),
            scrub_period_ms: *random.pick(&[0, 5_000, 60_000]),
            scrub_bytes_per_second: 1 << 20,
            ..EngineOptions::default()
        };
        let mut faults = vec![Fault::Kill, Fault::Stop, Fault::Pace, Fault::Catalog];
        if flush == Flush::Fsync {
            faults.extend([Fault::PowerCut, Fault::PowerCut, Fault::KillThenPowerCut]);
        }
        for (fault, chance) in [
            (Fault::FailOnce, 60),
            (Fault::FullOnce, 40),
            (Fault::FailSyncs, 30),
            (Fault::Full, 40),
            (Fault::Clock, 30),
            (Fault::Backup, 50),
            (Fault::BackupAndKill, 20),
        ] {
            // With flush=os a failed sync may lose what was acknowledged: the
            // operating system promised nothing.
            let lossy = matches!(fault, Fault::FailOnce | Fault::FullOnce | Fault::FailSyncs);
            if random.percent(chance) && !(flush == Flush::Os && lossy) {
                faults.push(fault);
            }
        }
        match promise {
            Promise::Everything => {}
            Promise::Detection => {
                faults.extend([Fault::Rot, Fault::Rot, Fault::KillAndRot]);
                faults.extend([Fault::Repair; 2]);
            }
            Promise::NothingWrong => faults.extend([Fault::Misdirect; 3]),
        }
        Self {
            engine,
            capacity: random.within(48, 96) << 20,
            pace: *random.pick(&[Pace::Fast, Pace::Usual, Pace::Usual]),
            promise,
            rounds: random.within(2, 10),
            faults,
            between_ms: *random.pick(&[500, 3_000, 10_000]),
            batches: random.within(40, 200),
            value_bytes_max: *random.pick(&[100, 1_000, 6_000]),
            think_ms: *random.pick(&[5, 100, 400]),
        }
    }
}
