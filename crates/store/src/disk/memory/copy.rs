//! Directories beside that of a [`MemDisk`], which take copies of its files:
//! each a disk of its own, whose machine stops with the first one's.
//!
//! Linked files are one file under two names, as on a real disk: what is
//! written to one, or rots, is so in the other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Access, Crash, Disk, DiskCopy, DiskError, DiskErrorKind, DiskLock, Fault, File, MemDisk, Mode,
    NameChange, Operation, Space, error,
};

/// What is known of the directories beside a disk.
#[derive(Debug, Default)]
pub(super) struct Copies {
    made: BTreeMap<PathBuf, MemDisk>,
    /// They lie on another file system: nothing can be linked.
    elsewhere: bool,
    /// What befalls the next one that is made.
    fail_nth: Option<(u64, Fault)>,
    stop_at: Option<u64>,
}

impl Copies {
    pub(super) fn crash(&mut self, crash: Crash) {
        for disk in self.made.values_mut() {
            *disk = disk.crash(crash);
        }
    }
}

impl MemDisk {
    /// Lets copies lie on another file system, where nothing can be linked.
    pub fn copy_elsewhere(&self, elsewhere: bool) {
        self.machine.state.lock().copies.elsewhere = elsewhere;
    }

    /// Makes the `nth` operation (from 1) of the next copy fail, once.
    pub fn fail_nth_of_copy(&self, nth: u64, fault: Fault) {
        self.machine.state.lock().copies.fail_nth = Some((nth, fault));
    }

    /// Makes the next copy stop in the midst of its `nth` operation (from 1).
    pub fn stop_copy_at_nth(&self, nth: u64) {
        self.machine.state.lock().copies.stop_at = Some(nth);
    }

    /// The copy that was made at `path`: a disk of its own from now on.
    #[must_use]
    pub fn take_copy(&self, path: &Path) -> Option<MemDisk> {
        self.machine.state.lock().copies.made.remove(path)
    }

    pub(super) fn begin_copy(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError> {
        let name = path.display().to_string();
        let mut state = self.machine.try_begin(Operation::Create, &name)?;
        let found = state.copies.made.get(path);
        if found.is_some_and(|there| there.list().is_ok_and(|names| !names.is_empty())) {
            let detail = "the directory is not empty";
            return Err(error(Operation::Create, &name, DiskErrorKind::Exists, detail));
        }
        let copy = MemDisk::with_capacity(state.random, state.capacity);
        if let Some((nth, fault)) = state.copies.fail_nth.take() {
            copy.fail_nth(nth, fault);
        }
        if let Some(nth) = state.copies.stop_at.take() {
            copy.stop_at_nth(nth);
        }
        state.copies.made.insert(path.to_owned(), copy.clone());
        drop(state);
        Ok(Arc::new(MemCopy { copy, from: self.clone() }))
    }
}

/// One of them, while it takes copies.
struct MemCopy {
    copy: MemDisk,
    from: MemDisk,
}

impl DiskCopy for MemCopy {
    fn link_here(&self, name: &str) -> Result<bool, DiskError> {
        let from = self.from.machine.try_begin(Operation::Link, name)?;
        if from.copies.elsewhere {
            return Ok(false);
        }
        let inode = from.find(Operation::Link, name)?;
        drop(from);
        let mut to = self.copy.machine.try_begin(Operation::Link, name)?;
        to.check_absent(Operation::Link, name)?;
        to.inodes.push(Arc::downgrade(&inode));
        to.change_names(NameChange { removed: None, set: Some((name.to_owned(), inode)) });
        Ok(true)
    }
}

impl Disk for MemCopy {
    fn lock(&self) -> Result<DiskLock, DiskError> {
        self.copy.lock()
    }

    fn create(&self, name: &str, mode: Mode) -> Result<File, DiskError> {
        self.copy.create(name, mode)
    }

    fn open(&self, name: &str, access: Access, mode: Mode) -> Result<File, DiskError> {
        self.copy.open(name, access, mode)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.copy.link(from, to)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.copy.rename(from, to)
    }

    fn unlink(&self, name: &str) -> Result<(), DiskError> {
        self.copy.unlink(name)
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.copy.list()
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.copy.sync_directory()
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.copy.space()
    }

    fn copy_to(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError> {
        self.copy.begin_copy(path)
    }
}
