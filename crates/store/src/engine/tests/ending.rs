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
