use super::*;
use crate::{BLOCK, disk::conformance};

/// A disk with a durable file of two blocks of ones.
fn disk_with_file() -> (MemDisk, File) {
    let disk = MemDisk::new(7);
    let file = disk.create("a", Mode::Buffered).unwrap();
    file.write_at(0, &[IoSlice::new(&[1; 2 * BLOCK])]).unwrap();
    file.sync().unwrap();
    disk.sync_directory().unwrap();
    (disk, file)
}

fn content(disk: &MemDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name, Access::Read, Mode::Buffered).unwrap();
    let mut content = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    assert_eq!(file.read_at(0, &mut content), Ok(content.len()));
    content
}

fn power_cut(disk: &MemDisk, unsynced: Unsynced) -> MemDisk {
    disk.crash(Crash::PowerCut(unsynced))
}

#[test]
fn conforms() {
    conformance::run(|| MemDisk::new(1));
}

#[test]
fn a_power_cut_loses_what_was_not_synced() {
    let (disk, file) = disk_with_file();
    file.write_at(0, &[IoSlice::new(&[2; 3 * BLOCK])]).unwrap();
    disk.create("b", Mode::Buffered).unwrap().sync().unwrap();
    let disk = power_cut(&disk, Unsynced::Lost);
    assert_eq!(disk.list().unwrap(), ["a"], "the directory was not synced");
    assert_eq!(content(&disk, "a"), [1; 2 * BLOCK]);
}

#[test]
fn a_kill_loses_nothing_but_leaves_it_unsynced() {
    let (disk, file) = disk_with_file();
    file.write_at(0, &[IoSlice::new(&[2; BLOCK])]).unwrap();
    let disk = disk.crash(Crash::Kill);
    assert_eq!(content(&disk, "a")[..BLOCK], [2; BLOCK]);
    let disk = power_cut(&disk, Unsynced::Lost);
    assert_eq!(content(&disk, "a")[..BLOCK], [1; BLOCK]);
}

#[test]
fn a_power_cut_may_keep_everything() {
    let (disk, file) = disk_with_file();
    file.write_at(0, &[IoSlice::new(&[2; BLOCK])]).unwrap();
    disk.rename("a", "b").unwrap();
    let disk = power_cut(&disk, Unsynced::Kept);
    assert_eq!(disk.list().unwrap(), ["b"]);
    assert_eq!(content(&disk, "b")[..BLOCK], [2; BLOCK]);
}

#[test]
fn a_power_cut_tears_writes_at_sectors_by_the_seed() {
    let run = |seed| {
        let disk = MemDisk::new(seed);
        let file = disk.create("a", Mode::Buffered).unwrap();
        file.write_at(0, &[IoSlice::new(&[1; 4 * BLOCK])]).unwrap();
        file.sync().unwrap();
        disk.sync_directory().unwrap();
        file.write_at(0, &[IoSlice::new(&[2; 4 * BLOCK])]).unwrap();
        content(&power_cut(&disk, Unsynced::Torn), "a")
    };
    let torn = run(1);
    for sector in torn.chunks(512) {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is old or new");
    }
    assert!(torn.contains(&1) && torn.contains(&2));
    assert_eq!(run(1), torn);
    assert_ne!(run(2), torn);
}

#[test]
fn of_changed_names_a_power_cut_keeps_the_first_ones() {
    for seed in 0..20 {
        let disk = MemDisk::new(seed);
        for name in ["a", "b", "c", "d"] {
            disk.create(name, Mode::Buffered).unwrap();
        }
        let left = power_cut(&disk, Unsynced::Torn).list().unwrap();
        assert_eq!(left, ["a", "b", "c", "d"][..left.len()]);
    }
}

#[test]
fn a_rename_is_atomic_and_an_unlink_waits_for_the_directory() {
    let (disk, _) = disk_with_file();
    disk.rename("a", "b").unwrap();
    assert_eq!(power_cut(&disk, Unsynced::Lost).list().unwrap(), ["a"]);
    let (disk, _) = disk_with_file();
    disk.unlink("a").unwrap();
    let disk = power_cut(&disk, Unsynced::Lost);
    assert_eq!(content(&disk, "a"), [1; 2 * BLOCK]);
}

#[test]
fn the_former_machine_is_off() {
    let (disk, file) = disk_with_file();
    let lock = disk.lock().unwrap();
    let next = disk.crash(Crash::Kill);
    assert!(file.sync().unwrap_err().to_string().contains("the machine is off"));
    assert!(disk.list().is_err());
    drop((lock, next.lock().unwrap()));
}

#[test]
fn the_nth_operation_fails_once() {
    let (disk, file) = disk_with_file();
    disk.fail_nth(2, Fault::Io);
    assert!(file.length().is_ok());
    assert_eq!(file.length().unwrap_err().kind, DiskErrorKind::Io);
    assert!(file.length().is_ok());
}

#[test]
fn a_machine_that_stops_does_nothing_more_until_the_next_start() {
    let (disk, file) = disk_with_file();
    disk.stop_at_nth(2);
    file.length().unwrap();
    assert!(file.write_at(0, &[IoSlice::new(&[2; 2 * BLOCK])]).is_err());
    assert!(file.write_at(0, &[IoSlice::new(&[3; 2 * BLOCK])]).is_err());
    assert!(file.sync().is_err());
    assert!(disk.list().is_err());
    let disk = power_cut(&disk, Unsynced::Kept);
    let torn = content(&disk, "a");
    assert!(torn.contains(&1) && torn.contains(&2), "it stopped in the midst of the write");
    assert!(!torn.contains(&3), "and wrote nothing more");
}

#[test]
fn an_operation_fails_until_healed() {
    let (disk, file) = disk_with_file();
    disk.fail_every(Operation::Write, Fault::Full);
    for _ in 0..3 {
        let error = file.write_at(0, &[IoSlice::new(b"x")]).unwrap_err();
        assert_eq!(error.kind, DiskErrorKind::Full);
    }
    disk.heal();
    assert_eq!(file.write_at(0, &[IoSlice::new(b"x")]), Ok(()));
}

#[test]
fn a_failed_write_has_written_any_of_its_sectors() {
    let (disk, file) = disk_with_file();
    disk.fail_nth(1, Fault::Io);
    assert!(file.write_at(0, &[IoSlice::new(&[2; 2 * BLOCK])]).is_err());
    let torn = content(&disk, "a");
    assert!(torn.contains(&1) && torn.contains(&2));
}

#[test]
fn what_a_failed_sync_forgot_reads_back_and_is_never_saved() {
    let (disk, file) = disk_with_file();
    file.write_at(0, &[IoSlice::new(&[2; 2 * BLOCK])]).unwrap();
    disk.fail_nth(1, Fault::Io);
    assert!(file.sync().is_err());
    assert_eq!(content(&disk, "a"), [2; 2 * BLOCK]);
    assert_eq!(file.sync(), Ok(()), "the kernel has nothing left to write");
    let disk = power_cut(&disk, Unsynced::Kept);
    assert!(content(&disk, "a").contains(&1));
}

#[test]
fn a_full_disk_has_room_again_when_files_go() {
    let disk = MemDisk::with_capacity(1, 4 * BLOCK as u64);
    let kept = disk.create("kept", Mode::Buffered).unwrap();
    kept.preallocate(0, 2 * BLOCK as u64).unwrap();
    let file = disk.create("a", Mode::Buffered).unwrap();
    file.write_at(0, &[IoSlice::new(&[1; 2 * BLOCK])]).unwrap();
    assert_eq!(disk.space().unwrap(), Space { total: 4 * BLOCK as u64, free: 0 });
    let more = file.write_at(2 * BLOCK as u64, &[IoSlice::new(&[1])]).unwrap_err();
    assert_eq!(more.kind, DiskErrorKind::Full);
    assert_eq!(kept.preallocate(0, 3 * BLOCK as u64).unwrap_err().kind, DiskErrorKind::Full);
    assert_eq!(kept.write_at(0, &[IoSlice::new(&[1; 2 * BLOCK])]), Ok(()), "its own space");
    disk.unlink("a").unwrap();
    disk.sync_directory().unwrap();
    assert_eq!(disk.space().unwrap().free, 0, "a handle keeps it");
    drop(file);
    assert_eq!(disk.space().unwrap().free, 2 * BLOCK as u64);
    kept.set_length(0).unwrap();
    assert_eq!(disk.space().unwrap().free, 4 * BLOCK as u64);
}

#[test]
fn rot_changes_one_bit_for_good() {
    let (disk, _) = disk_with_file();
    disk.rot("a", 5, 3);
    let disk = power_cut(&disk, Unsynced::Lost);
    let content = content(&disk, "a");
    assert_eq!(content[5], 1 ^ 8);
    assert_eq!(content.iter().filter(|byte| **byte != 1).count(), 1);
}

/// Replaces the file "a" by one of three blocks of `byte`, durably.
fn replace(disk: &MemDisk, byte: u8) -> Result<(), DiskError> {
    // What a failed attempt left behind.
    if disk.list()?.iter().any(|name| name == "new") {
        disk.unlink("new")?;
    }
    let file = disk.create("new", Mode::Buffered)?;
    file.preallocate(0, 3 * BLOCK as u64)?;
    for block in 0..3 {
        file.write_at(block * BLOCK as u64, &[IoSlice::new(&[byte; BLOCK])])?;
    }
    file.sync()?;
    disk.rename("new", "a")?;
    disk.sync_directory()
}

#[test]
fn what_was_acknowledged_outlives_every_failure_and_crash() {
    let operations = {
        let disk = MemDisk::new(0);
        replace(&disk, 1).unwrap();
        disk.operations()
    };
    let crashes = [
        Crash::Kill,
        Crash::PowerCut(Unsynced::Lost),
        Crash::PowerCut(Unsynced::Kept),
        Crash::PowerCut(Unsynced::Torn),
    ];
    for seed in 0..20 {
        for nth in 1..=operations {
            for crash in crashes {
                let disk = MemDisk::new(seed);
                replace(&disk, 1).unwrap();
                if seed % 2 == 0 {
                    disk.fail_nth(nth, Fault::Io);
                } else {
                    disk.stop_at_nth(nth);
                }
                assert!(replace(&disk, 2).is_err(), "operation {nth} fails");
                let disk = disk.crash(crash);
                let left = content(&disk, "a");
                assert!(
                    left == [1; 3 * BLOCK] || left == [2; 3 * BLOCK],
                    "seed {seed}, operation {nth}, {crash:?}: neither the old nor the new file"
                );
                replace(&disk, 3).unwrap();
                let disk = disk.crash(Crash::PowerCut(Unsynced::Lost));
                assert_eq!(content(&disk, "a"), [3; 3 * BLOCK]);
            }
        }
    }
}

/// The same without the sync of the file: the simulation must show the hole.
#[test]
fn a_rename_of_an_unsynced_file_is_found_out() {
    let torn = (0..20).any(|seed| {
        let disk = MemDisk::new(seed);
        replace(&disk, 1).unwrap();
        let file = disk.create("new", Mode::Buffered).unwrap();
        file.write_at(0, &[IoSlice::new(&[2; 3 * BLOCK])]).unwrap();
        disk.rename("new", "a").unwrap();
        disk.sync_directory().unwrap();
        let left = content(&power_cut(&disk, Unsynced::Torn), "a");
        left != [1; 3 * BLOCK] && left != [2; 3 * BLOCK]
    });
    assert!(torn);
}

#[test]
fn new_blocks_may_come_back_with_what_an_older_file_had_left() {
    let stale = |seed| {
        let (disk, old) = {
            let disk = MemDisk::new(seed);
            let file = disk.create("old", Mode::Buffered).unwrap();
            file.write_at(0, &[IoSlice::new(&[7; 2 * BLOCK])]).unwrap();
            file.sync().unwrap();
            (disk, file)
        };
        drop(old);
        disk.unlink("old").unwrap();
        let file = disk.create("new", Mode::Buffered).unwrap();
        file.write_at(0, &[IoSlice::new(&[1; BLOCK])]).unwrap();
        disk.sync_directory().unwrap();
        content(&power_cut(&disk, Unsynced::Torn), "new")
    };
    let seen: Vec<Vec<u8>> = (0..40).map(stale).collect();
    assert!(seen.iter().any(|content| *content == [7; BLOCK]), "an older file's block");
    assert!(seen.iter().any(|content| content.contains(&1)), "its own");
    assert!(seen.iter().flatten().all(|byte| [0, 1, 7].contains(byte)));
}
