//! Backups of a log that is in use, and what a start makes of them.

use std::path::Path;

use super::*;
use crate::backup::{
    AdmitError, Backup, BackupError, BackupFigures, BackupProgress, INCARNATIONS_SKIPPED, MANIFEST,
    UNFINISHED, admit, forget,
};
use crate::{
    disk::{Access, Mode},
    engine::is_log_file,
};

const PATH: &str = "/backup";
const CATALOG: &[u8] = b"the catalog";

impl World {
    pub(super) fn back_up(&self) -> Result<BackupFigures, BackupError> {
        Backup::begin(&self.engine, Path::new(PATH), Arc::default())?.finish(CATALOG)
    }

    /// A world on the backup, as a start makes it.
    pub(super) fn restored(&self) -> World {
        let disk = self.disk.take_copy(Path::new(PATH)).unwrap();
        admit(&disk).unwrap().expect("a manifest");
        forget(&disk).unwrap();
        self.on(disk, self.incarnation + INCARNATIONS_SKIPPED)
    }

    fn on(&self, disk: MemDisk, incarnation: u64) -> World {
        let lock = Arc::new(disk.lock().unwrap());
        let chain = Arc::new(Chain::default());
        let (env, options) = (self.env.clone(), self.options.clone());
        let of = (incarnation + 1, &chain);
        let engine = open(&env, &disk, &lock, &options, of, Synced::new()).unwrap();
        engine.all_opened().unwrap();
        let writer = WriterState::default();
        World { env, disk, lock, engine, chain, writer, incarnation: incarnation + 1, options }
    }
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n}-{}", "x".repeat(1500))).collect()
}

fn filled(count: usize) -> (World, Vec<String>) {
    let mut world = World::small_files();
    let texts = texts(count);
    for text in &texts {
        world.put(0, &[text]);
    }
    (world, texts)
}

#[test]
fn a_backup_serves_all_that_was_acknowledged() {
    for elsewhere in [false, true] {
        let (mut world, mut texts) = filled(100);
        world.link(0).unwrap();
        world.disk.copy_elsewhere(elsewhere);
        let figures = world.back_up().unwrap();
        assert_eq!(figures.files, figures.files_total);
        assert_eq!(figures.bytes, figures.bytes_total);
        assert_eq!(figures.linked > 0, !elsewhere);
        let mut copy = world.restored();
        assert_eq!(copy.read_to_end(0, 0).unwrap(), texts);
        assert_eq!(copy.chain.links("restored"), 1);
        assert!(copy.partition(0).quarantined().is_empty());
        // Both go on, each for itself.
        copy.put(0, &["of the copy"]);
        world.put(0, &["of the original"]);
        let mut others = texts.clone();
        others.push("of the copy".into());
        texts.push("of the original".into());
        for crash in [POWER_CUT, Crash::Kill] {
            world.crash(crash);
            copy.crash(crash);
            assert_eq!(world.read_to_end(0, 0).unwrap(), texts);
            assert_eq!(copy.read_to_end(0, 0).unwrap(), others);
        }
    }
}

#[test]
fn what_a_checkpoint_knows_is_in_the_backup_too() {
    let (mut world, texts) = filled(40);
    // Gathered, and not written: the backup writes it.
    world.append(0, &text_batch("gathered")).unwrap();
    world.back_up().unwrap();
    let copy = world.restored();
    let mut wanted = texts;
    wanted.push("gathered".into());
    assert_eq!(copy.read_to_end(0, 0).unwrap(), wanted);
    assert_eq!(world.read_to_end(0, 0).unwrap(), wanted, "it was published as ever");
    // A log that is quiet does not begin one file after the other.
    let files = world.names(".wal").len();
    world.back_up().unwrap();
    assert_eq!(world.names(".wal").len(), files);
    world.commit();
}

#[test]
fn rewritten_and_deleted_files_make_no_difference() {
    let (mut world, texts) = filled(300);
    world.move_log_start(0, 290).unwrap();
    world.maintain();
    world.back_up().unwrap();
    let copy = world.restored();
    assert_eq!(copy.partition(0).offsets().log_start, Offset(290));
    assert_eq!(copy.read_to_end(0, 290).unwrap(), texts[290..]);
    // The original may delete what the copy has: the copy keeps it.
    world.move_log_start(0, 300).unwrap();
    world.maintain();
    world.put(0, &["more"]);
    world.maintain();
    copy.engine.cache.remove_file(copy.locate(0, 290).file);
    assert_eq!(copy.read_to_end(0, 290).unwrap(), texts[290..]);
}

/// The files are the original's too.
#[test]
fn a_start_on_a_backup_changes_no_file_of_it() {
    let (world, _) = filled(300);
    world.back_up().unwrap();
    let disk = world.disk.take_copy(Path::new(PATH)).unwrap();
    let content = |disk: &MemDisk, name: &str| {
        let file = disk.open(name, Access::Read, Mode::Buffered).unwrap();
        let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    };
    let names = disk.list().unwrap().into_iter().filter(|name| is_log_file(name));
    let before: Vec<_> = names.map(|name| (content(&disk, &name), name)).collect();
    assert!(before.len() > 2);
    forget(&disk).unwrap();
    let mut copy = world.on(disk, 1 << 20);
    copy.crash(POWER_CUT);
    for (bytes, name) in before {
        assert!(content(&world.disk, &name) == bytes, "{name} has changed");
    }
}

#[test]
fn a_backup_that_broke_off_is_refused() {
    let mut nth = 1;
    loop {
        let (world, _) = filled(60);
        world.disk.copy_elsewhere(nth % 2 == 0);
        world.disk.stop_copy_at_nth(nth);
        let made = world.back_up();
        let disk = world.disk.take_copy(Path::new(PATH)).unwrap().crash(POWER_CUT);
        match admit(&disk) {
            Ok(Some(_)) => {
                forget(&disk).unwrap();
                let copy = world.on(disk, 1 << 20);
                assert_eq!(copy.read_to_end(0, 0).unwrap().len(), 60, "operation {nth}");
                if made.is_ok() {
                    return;
                }
            }
            Ok(None) => {
                let names = disk.list().unwrap();
                assert!(
                    !names.iter().any(|name| crate::engine::is_log_file(name)),
                    "{nth}: {names:?}"
                );
            }
            Err(error) => assert_eq!(error, AdmitError::Unfinished, "operation {nth}"),
        }
        assert!(made.is_err(), "operation {nth}");
        nth += 1;
    }
}

#[test]
fn a_backup_that_fails_leaves_nothing_and_the_server_goes_on() {
    for fault in [Fault::Io, Fault::Full] {
        let mut nth = 1;
        loop {
            let (mut world, texts) = filled(60);
            world.disk.copy_elsewhere(nth % 2 == 0);
            world.disk.fail_nth_of_copy(nth, fault);
            let Err(error) = world.back_up() else { break };
            let disk = world.disk.take_copy(Path::new(PATH)).unwrap();
            let left = disk.list().unwrap();
            if !left.contains(&MANIFEST.to_owned()) && !left.is_empty() {
                assert!(left.contains(&UNFINISHED.to_owned()), "operation {nth}: {left:?}");
            }
            assert!(matches!(error, BackupError::Target(_)), "operation {nth}: {error}");
            world.put(0, &["more"]);
            assert_eq!(world.read_to_end(0, 0).unwrap().len(), texts.len() + 1);
            nth += 1;
        }
        assert!(nth > 10, "{nth} operations are too few");
    }
}

/// The operations of the original's own disk, one after the other.
#[test]
fn a_disk_that_fails_under_a_backup_keeps_its_word() {
    for fault in [Fault::Io, Fault::Full] {
        let mut nth = 1;
        loop {
            let (mut world, texts) = filled(60);
            world.disk.copy_elsewhere(nth % 2 == 0);
            let before = world.disk.operations();
            world.disk.fail_nth(nth, fault);
            let made = world.back_up();
            let over = world.disk.operations() - before < nth;
            world.disk.heal();
            if world.engine.is_ended() {
                let synced = world.engine.synced();
                world.reopen(synced).unwrap();
            }
            assert_eq!(world.read_to_end(0, 0).unwrap(), texts, "operation {nth}");
            if made.is_ok() {
                assert_eq!(world.restored().read_to_end(0, 0).unwrap(), texts, "operation {nth}");
            }
            if over {
                break;
            }
            nth += 1;
        }
    }
}

#[test]
fn only_a_whole_copy_of_a_backup_is_admitted() {
    let (world, _) = filled(100);
    world.back_up().unwrap();
    let disk = world.disk.take_copy(Path::new(PATH)).unwrap();
    let manifest = admit(&disk).unwrap().unwrap();
    assert_eq!(manifest.entries.len() + 1, disk.list().unwrap().len());
    let name = crate::backup::file_name(&manifest.entries[1]);
    let file = disk.open(&name, Access::ReadWrite, Mode::Buffered).unwrap();
    file.set_length(4096).unwrap();
    let error = admit(&disk).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("has 4096 bytes of"), "{error}");
    disk.unlink(&name).unwrap();
    let error = admit(&disk).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("is missing"), "{error}");
    disk.rot(MANIFEST, 20, 1);
    assert!(matches!(admit(&disk), Err(AdmitError::Manifest(_))));
}

#[test]
fn a_directory_with_something_in_it_takes_no_backup() {
    let (world, _) = filled(60);
    world.back_up().unwrap();
    let error = world.back_up().unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert!(admit(&world.disk.take_copy(Path::new(PATH)).unwrap()).unwrap().is_some());
}

#[test]
fn who_leaves_stops_the_backup() {
    let (world, _) = filled(60);
    world.disk.copy_elsewhere(true);
    let progress = Arc::new(BackupProgress::default());
    let backup = Backup::begin(&world.engine, Path::new(PATH), Arc::clone(&progress)).unwrap();
    progress.stop();
    assert_eq!(backup.finish(CATALOG), Err(BackupError::Stopped));
    let left = world.disk.take_copy(Path::new(PATH)).unwrap().list().unwrap();
    assert!(left.is_empty(), "{left:?}");
}
