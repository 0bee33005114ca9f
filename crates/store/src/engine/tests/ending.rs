//! An incarnation that has ended lets go before the next one looks.

use std::sync::mpsc::{Sender, channel};

use millrace_types::Timestamp;
use parking_lot::Mutex;

use super::*;
use crate::{
    disk::{DiskError, DiskErrorKind},
    env::{BoxFuture, Env},
};

/// A [`TestEnv`] that tells when blocking work meets a lock that is held.
struct Told {
    env: TestEnv,
    tell: Mutex<Sender<Event>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Waits,
    Done,
}

impl Env for Told {
    fn wall(&self) -> Timestamp {
        self.env.wall()
    }

    fn monotonic_ms(&self) -> u64 {
        self.env.monotonic_ms()
    }

    fn random_u64(&self) -> u64 {
        self.env.random_u64()
    }

    fn sleep_until(&self, monotonic_ms: u64) -> BoxFuture<'static, ()> {
        self.env.sleep_until(monotonic_ms)
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.env.spawn(name, task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.env.blocking(work);
    }

    fn stand_aside(&self) -> bool {
        self.tell.lock().send(Event::Waits).unwrap();
        false
    }
}

/// Who holds a lock while the log ends.
#[derive(Clone, Copy)]
enum Busy {
    Writer,
    Syncer,
    Maintenance,
}

fn what_was_synced_is_asked_for_only_when_nobody_is_busy(busy: Busy) {
    let (tell, told) = channel();
    let disk = MemDisk::new(1);
    let env = Told { env: TestEnv::new(1), tell: Mutex::new(tell.clone()) };
    let engine = Engine::open(OpenRequest {
        env: Arc::new(env),
        disk: Arc::new(disk.clone()),
        lock: Arc::new(disk.lock().unwrap()),
        options: EngineOptions::default(),
        incarnation: Incarnation(1),
        log_id: [5; 16],
        catalog_is_new: true,
        hidden: BTreeMap::new(),
        synced: Synced::new(),
        progress: Arc::default(),
    });
    let engine = engine.unwrap().engine;
    let file = Arc::clone(engine.gather.lock().gather.file());
    std::thread::scope(|scope| {
        // In the midst of a sync when the other one ends the log.
        let writing = matches!(busy, Busy::Writer).then(|| engine.writing.lock());
        let syncing = matches!(busy, Busy::Syncer).then(|| engine.sync_failed.lock());
        let maintaining = matches!(busy, Busy::Maintenance).then(|| engine.housekeeping.lock());
        engine.end(&DiskError {
            kind: DiskErrorKind::Io,
            operation: Operation::Sync,
            name: file.name.as_str().into(),
            detail: "".into(),
        });
        let asked = scope.spawn(|| {
            let synced = engine.synced();
            tell.send(Event::Done).unwrap();
            synced
        });
        assert_eq!(told.recv().unwrap(), Event::Waits);
        file.set_synced_to(1 << 20);
        drop((writing, syncing, maintaining));
        assert_eq!(asked.join().unwrap().get(&file.id), Some(&(1 << 20)));
    });
}

#[test]
fn the_next_incarnation_waits_for_the_writer_of_the_last() {
    what_was_synced_is_asked_for_only_when_nobody_is_busy(Busy::Writer);
}

#[test]
fn the_next_incarnation_waits_for_the_syncer_of_the_last() {
    what_was_synced_is_asked_for_only_when_nobody_is_busy(Busy::Syncer);
}

#[test]
fn the_next_incarnation_waits_for_the_maintenance_of_the_last() {
    what_was_synced_is_asked_for_only_when_nobody_is_busy(Busy::Maintenance);
}

/// Hidden state with a bug.
struct Broken;

impl HiddenState for Broken {
    fn apply(&self, _: &[u8], _: Timestamp) {
        panic!("a bug");
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

#[test]
fn a_writer_that_panics_ends_the_log() {
    let (env, disk) = (TestEnv::new(1), MemDisk::new(1));
    let engine = Engine::open(OpenRequest {
        env: Arc::new(env.clone()),
        disk: Arc::new(disk.clone()),
        lock: Arc::new(disk.lock().unwrap()),
        options: EngineOptions::default(),
        incarnation: Incarnation(1),
        log_id: [5; 16],
        catalog_is_new: true,
        hidden: BTreeMap::from([(TopicId::GROUPS, Arc::new(Broken) as Arc<dyn HiddenState>)]),
        synced: Synced::new(),
        progress: Arc::default(),
    });
    let engine = engine.unwrap().engine;
    let record = [b"one".to_vec()];
    let lsn = env.block_on(engine.append_hidden(TopicId::GROUPS, &record, Class::Client)).unwrap();
    let writer = Arc::clone(&engine);
    assert!(std::thread::spawn(move || writer.run_writer()).join().is_err());
    assert!(engine.is_ended());
    assert!(env.block_on(engine.durable(lsn)).is_err(), "who waits is told");
}

#[test]
fn a_log_that_was_closed_refuses_and_tells() {
    let mut world = World::new();
    world.put(0, &["a"]);
    world.engine.stop();
    world.engine.run_writer();
    let refused = world.append(0, &text_batch("late"));
    assert_eq!(refused, Err(AppendError::Ended(super::super::Ended)), "nobody would write it");
    world.engine.close();
    world.env.block_on(world.engine.ended());
    let names = world.disk.list().unwrap();
    assert!(names.iter().any(|name| name.starts_with("checkpoint")), "{names:?}");
}
