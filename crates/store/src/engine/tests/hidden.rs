//! State in a hidden partition: a restart finds it as it was acknowledged,
//! from a checkpoint and what follows it.

use std::sync::atomic::Ordering;

use millrace_types::Timestamp;
use parking_lot::Mutex;

use super::*;

/// A chain of numbered links, of which the length and a hash are kept: a link
/// that is lost, applied twice or out of order breaks it for good.
#[derive(Default)]
pub(super) struct Chain {
    state: Mutex<(u64, u64)>,
}

impl Chain {
    /// Its length.
    pub(super) fn links(&self, context: &str) -> u64 {
        let (links, hash) = *self.state.lock();
        let whole = (0..links).fold(0, linked);
        assert_eq!(hash, whole, "{context}: the chain of {links} is broken");
        links
    }
}

fn linked(hash: u64, link: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(link + 1)
}

impl HiddenState for Chain {
    fn apply(&self, record: &[u8], _: Timestamp) {
        let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
        let mut state = self.state.lock();
        *state = match record.len() {
            8 => (state.0 + 1, linked(state.1, number(0))),
            _ => (number(0), number(8)),
        };
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let (links, hash) = *self.state.lock();
        vec![[links.to_le_bytes(), hash.to_le_bytes()].concat()]
    }
}

impl World {
    /// Adds a link and waits until it is durable.
    pub(super) fn link(&mut self, number: u64) -> Result<(), AppendError> {
        let engine = Arc::clone(&self.engine);
        let record = number.to_le_bytes().to_vec();
        self.committed(async move {
            let lsn = engine.append_hidden(TopicId::GROUPS, &[record], Class::Client).await?;
            Ok(engine.durable(lsn).await?)
        })
    }
}

/// A chain of `links`, with much else in between.
fn chained(links: u64) -> World {
    let mut world = World::small_files();
    for number in 0..links {
        world.link(number).unwrap();
        world.put(0, &[&"filler ".repeat(1000)]);
    }
    world
}

#[test]
fn state_outlives_the_log_files_that_it_was_written_to() {
    let mut world = chained(60);
    let first = world.names(".wal").remove(0);
    let end = world.high_watermark(0);
    world.move_log_start(0, end).unwrap();
    world.maintain();
    world.seal_file(1);
    world.maintain();
    assert!(!world.names(".wal").contains(&first), "the files of the first links stay");
    let start = world.engine.hidden_partition(TopicId::GROUPS).offsets().log_start;
    assert!(start > Offset(0), "a start reads every link again");
    for number in 60..70 {
        world.link(number).unwrap();
    }
    for crash in [Crash::Kill, POWER_CUT, POWER_CUT] {
        world.crash(crash);
        assert_eq!(world.chain.links("restarted"), 70);
    }
    world.link(70).unwrap();
    world.crash(POWER_CUT);
    assert_eq!(world.chain.links("gone on"), 71);
}

#[test]
fn state_is_whole_wherever_the_work_around_a_checkpoint_is_cut_off() {
    let checkpoints = |world: &World| world.engine.stats().checkpoints.load(Ordering::Relaxed);
    let mut world = chained(40);
    let (before, from) = (checkpoints(&world), world.disk.operations());
    world.maintain();
    assert!(checkpoints(&world) > before, "no checkpoint is taken");
    let operations = world.disk.operations() - from;
    assert!(operations > 10, "{operations}");
    for crash in [Crash::Kill, POWER_CUT, Crash::PowerCut(Unsynced::Torn)] {
        for nth in 1..=operations {
            let context = format!("operation {nth} of {operations}, {crash:?}");
            let mut world = chained(40);
            world.disk.stop_at_nth(nth);
            world.maintain();
            // One link more may be under way when the process goes.
            let linked = world.link(40).is_ok();
            world.crash(crash);
            let links = world.chain.links(&context);
            assert!(links == 41 || links == 40 && !linked, "{context}: {links} links");
            world.link(links).unwrap();
            world.crash(POWER_CUT);
            assert_eq!(world.chain.links(&context), links + 1, "{context}");
        }
    }
}
