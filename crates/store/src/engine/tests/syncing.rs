//! Syncs behind the writer, with `flush=os`.

use super::*;
use crate::disk::memory::Fault;

fn flush_os() -> World {
    World::with(EngineOptions { flush: Flush::Os, ..EngineOptions::default() }, MemDisk::new(1))
}

fn present(world: &World) -> Arc<super::super::files::LogFile> {
    Arc::clone(world.engine.gather.lock().gather.file())
}

#[test]
fn an_acknowledgement_waits_for_no_sync() {
    let mut world = flush_os();
    let synced = present(&world).synced_to();
    world.put(0, &["a"]);
    assert_eq!(world.read(0, 0).unwrap(), ["a"]);
    assert_eq!(present(&world).synced_to(), synced);
}

#[test]
fn what_was_synced_behind_outlives_a_power_cut() {
    let mut world = flush_os();
    world.put(0, &["a"]);
    world.engine.sync(&present(&world)).unwrap();
    assert_eq!(present(&world).unsynced(), 0);
    world.put(0, &["b"]);
    world.crash(POWER_CUT);
    assert_eq!(world.read(0, 0).unwrap(), ["a"]);
    assert!(world.partition(0).quarantined().is_empty(), "that it was not synced is no rot");
}

#[test]
fn a_running_syncer_leaves_nothing_unsynced() {
    let mut world = flush_os();
    let bytes = "x".repeat(1 << 20);
    std::thread::scope(|scope| {
        let engine = Arc::clone(&world.engine);
        let syncer = scope.spawn(move || engine.run_syncer());
        while present(&world).synced_to() < 8 << 20 {
            assert!(world.high_watermark(0) < 1000, "nothing is synced");
            world.put(0, &[&bytes]);
        }
        world.engine.stop();
        syncer.join().unwrap();
    });
}

#[test]
fn after_a_failed_sync_none_counts() {
    let mut world = flush_os();
    world.put(0, &["a"]);
    let (file, synced) = (present(&world), present(&world).synced_to());
    world.disk.fail_every(Operation::Sync, Fault::Io);
    let error = world.engine.sync(&file).unwrap_err();
    world.disk.heal();
    assert_eq!(world.engine.sync(&file).unwrap_err(), error, "the disk forgot, the log did not");
    assert_eq!(file.synced_to(), synced);
}

#[test]
fn a_disk_slower_than_the_writes_holds_them_up() {
    let mut world = flush_os();
    let bytes = "x".repeat(1 << 20);
    let mut most = 0;
    for _ in 0..100 {
        world.put(0, &[&bytes]);
        most = most.max(present(&world).unsynced());
    }
    assert!((4 << 20..=64 << 20).contains(&most), "{most} bytes were unsynced");
}
