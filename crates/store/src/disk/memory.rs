//! A [`Disk`] in memory, for tests: it can lose power, fail the n-th
//! operation and run full, and does so in the same way each time.
//!
//! It knows what is durable and what is only cached: bytes and lengths until
//! the file is synced, names until the directory is. A [`MemDisk::crash`]
//! gives the machine that starts afterwards; all handles on the former one
//! fail from then on, so that a test can leave its tasks as they are.

mod content;
mod copy;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::IoSlice,
    path::Path,
    sync::{Arc, Weak},
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    Access, DIRECTORY, Disk, DiskCopy, DiskError, DiskErrorKind, DiskFile, DiskLock, File, Mode,
    Operation, Space, assert_aligned, assert_aligned_memory, assert_name,
};
use crate::env::testing::split_mix;
use content::{Change, Content};

/// One simulated machine's disk. Clones share it.
#[derive(Clone, Debug)]
pub struct MemDisk {
    machine: Arc<Machine>,
}

/// What ends a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; the operating system keeps what it cached, which
    /// stays as unsynced as it was.
    Kill,
    /// The power goes, and with it what was not synced.
    PowerCut(Unsynced),
}

/// What a power cut does to unsynced changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// All had reached the disk.
    Kept,
    /// By the seed: any set of the sectors written, any of the changes of
    /// length, and the first few of the changes of names. Blocks that a file
    /// was first given by an unsynced write may come with what an unlinked
    /// file had left in them.
    Torn,
}

/// How an injected failure looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A failing write has written any of its sectors. A failing sync
    /// has saved any of them and forgets the others, which still read back:
    /// another sync succeeds and does not save them.
    Io,
    /// ENOSPC, with the same effects.
    Full,
}

#[derive(Debug)]
struct Machine {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// It stopped: nothing works until it is started again, by a crash.
    off: bool,
    crashed: bool,
    locked: bool,
    names: BTreeMap<String, Arc<Inode>>,
    durable_names: BTreeMap<String, Arc<Inode>>,
    /// From the durable names to the present ones, in order.
    renames: Vec<NameChange>,
    /// All that may still occupy space.
    inodes: Vec<Weak<Inode>>,
    capacity: u64,
    random: u64,
    operations: u64,
    fail_nth: Option<(u64, Fault)>,
    stop_at: Option<u64>,
    fail_every: BTreeMap<Operation, Fault>,
    /// What stood in the blocks of files that were unlinked, newest last.
    stale: Vec<Content>,
    /// Directories that took copies of files of this one.
    copies: copy::Copies,
}

/// Unlinked files whose blocks are remembered.
const STALE_MAX: usize = 4;

/// A file, by whatever names.
type Inode = Mutex<Content>;

/// One atomic change of names: `removed` goes, then `set` comes.
#[derive(Debug)]
struct NameChange {
    removed: Option<String>,
    set: Option<(String, Arc<Inode>)>,
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Arc<Inode>>) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, inode)) = &self.set {
            names.insert(name.clone(), Arc::clone(inode));
        }
    }
}

impl MemDisk {
    /// An empty disk without bound, whose faults follow `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_capacity(seed, u64::MAX)
    }

    /// An empty disk for `capacity` bytes of files.
    #[must_use]
    pub fn with_capacity(seed: u64, capacity: u64) -> Self {
        let state = State { random: seed, capacity, ..State::default() };
        Self { machine: Arc::new(Machine { state: Mutex::new(state) }) }
    }

    /// Changes the room for files; those there stay.
    pub fn set_capacity(&self, capacity: u64) {
        self.machine.state.lock().capacity = capacity;
    }

    /// Ends this machine and returns the one that starts on what is left.
    /// Faults that were set up are gone.
    ///
    /// # Panics
    /// If this machine was crashed before: another has its disk.
    #[must_use]
    pub fn crash(&self, crash: Crash) -> Self {
        let mut state = self.machine.state.lock();
        assert!(!state.crashed, "this machine has crashed before; its successor has the disk");
        let mut left = std::mem::take(&mut *state);
        (state.off, state.crashed, left.off) = (true, true, false);
        drop(state);
        (left.locked, left.fail_nth, left.stop_at) = (false, None, None);
        left.fail_every.clear();
        if let Crash::PowerCut(unsynced) = crash {
            left.cut_power(unsynced);
        }
        left.copies.crash(crash);
        // What only the dead process held open is gone.
        left.inodes = left.names.values().map(Arc::downgrade).collect();
        Self { machine: Arc::new(Machine { state: Mutex::new(left) }) }
    }

    /// Operations tried so far, of all kinds.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.machine.state.lock().operations
    }

    /// Makes the `nth` operation from now (from 1) fail, once.
    pub fn fail_nth(&self, nth: u64, fault: Fault) {
        let mut state = self.machine.state.lock();
        state.fail_nth = Some((state.operations + nth, fault));
    }

    /// Makes the machine stop in the midst of the `nth` operation from now
    /// (from 1): that one fails, perhaps half done, and so do all after it.
    /// [`MemDisk::crash`] gives the machine that starts next.
    pub fn stop_at_nth(&self, nth: u64) {
        let mut state = self.machine.state.lock();
        state.stop_at = Some(state.operations + nth);
    }

    /// Makes every `operation` fail until [`MemDisk::heal`].
    pub fn fail_every(&self, operation: Operation, fault: Fault) {
        self.machine.state.lock().fail_every.insert(operation, fault);
    }

    /// Ends all faults set up.
    pub fn heal(&self) {
        let mut state = self.machine.state.lock();
        state.fail_nth = None;
        state.fail_every.clear();
    }

    /// Bytes of a file that both the disk and reads have; 0 without the file.
    #[must_use]
    pub fn settled_length(&self, name: &str) -> u64 {
        let state = self.machine.state.lock();
        state.names.get(name).map_or(0, |inode| inode.lock().settled_length())
    }

    /// Flips one bit of the byte at `position`, as rot does: on the disk and
    /// in what reads bring.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn rot(&self, name: &str, position: u64, bit: u8) {
        let state = self.machine.state.lock();
        let inode = state.names.get(name).unwrap_or_else(|| panic!("no file {name} to rot"));
        inode.lock().rot(position, 1 << (bit % 8));
    }
}

impl State {
    /// Leaves what a power cut leaves.
    fn cut_power(&mut self, unsynced: Unsynced) {
        let mut random = self.random;
        let mut coin = || match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Torn => split_mix(&mut random) & 1 == 1,
        };
        let stale = if unsynced == Unsynced::Torn { self.stale.as_slice() } else { &[] };
        let mut names = std::mem::take(&mut self.durable_names);
        // Metadata is journaled in order, so some first changes survive.
        for change in std::mem::take(&mut self.renames) {
            if !coin() {
                break;
            }
            change.apply(&mut names);
        }
        for inode in names.values() {
            // A second name of a file finds nothing unsynced any more.
            inode.lock().forget_cache(&mut coin, stale);
        }
        self.random = random;
        self.durable_names.clone_from(&names);
        self.names = names;
    }

    /// Bytes that all files occupy, unlinked but open ones included.
    fn used(&mut self) -> u64 {
        let mut used = 0;
        self.inodes.retain(|inode| {
            let Some(inode) = inode.upgrade() else { return false };
            used += inode.lock().allocated;
            true
        });
        used
    }

    /// Gives `content` room up to `end`, which then counts as its own.
    fn allocate(&mut self, inode: &Inode, end: u64) -> Result<(), Fault> {
        let before = inode.lock().allocated;
        let after = content::whole_pages(end).max(before);
        if after > before && self.used().saturating_add(after - before) > self.capacity {
            return Err(Fault::Full);
        }
        inode.lock().allocated = after;
        Ok(())
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.renames.push(change);
    }

    /// Remembers what stands in the blocks of a file that goes: they may be
    /// given to another one.
    fn bury(&mut self, inode: &Inode) {
        if self.stale.len() >= STALE_MAX {
            self.stale.remove(0);
        }
        self.stale.push(inode.lock().remains());
    }

    fn find(&self, operation: Operation, name: &str) -> Result<Arc<Inode>, DiskError> {
        let absent = || error(operation, name, DiskErrorKind::NotFound, "no such file");
        self.names.get(name).cloned().ok_or_else(absent)
    }

    fn check_absent(&self, operation: Operation, name: &str) -> Result<(), DiskError> {
        if self.names.contains_key(name) {
            return Err(error(operation, name, DiskErrorKind::Exists, "the file exists"));
        }
        Ok(())
    }
}

impl Machine {
    /// Counts an operation, and fails it if that is its turn.
    fn begin(
        &self,
        operation: Operation,
        name: &str,
    ) -> Result<MutexGuard<'_, State>, (MutexGuard<'_, State>, DiskError)> {
        let mut state = self.state.lock();
        state.off |= state.stop_at.is_some_and(|at| state.operations >= at);
        if state.off {
            let error = error(operation, name, DiskErrorKind::Io, "the machine is off");
            return Err((state, error));
        }
        state.operations += 1;
        let nth = state.fail_nth.filter(|(at, _)| *at == state.operations).map(|(_, fault)| fault);
        let stop = (state.stop_at == Some(state.operations)).then_some(Fault::Io);
        match stop.or(nth).or_else(|| state.fail_every.get(&operation).copied()) {
            None => Ok(state),
            Some(fault) => {
                let detail = fault.words(", injected");
                Err((state, error(operation, name, fault.kind(), &detail)))
            }
        }
    }

    /// [`Machine::begin`] for operations that a failure leaves undone.
    fn try_begin(
        &self,
        operation: Operation,
        name: &str,
    ) -> Result<MutexGuard<'_, State>, DiskError> {
        self.begin(operation, name).map_err(|(_, error)| error)
    }
}

impl Fault {
    const fn kind(self) -> DiskErrorKind {
        match self {
            Self::Io => DiskErrorKind::Io,
            Self::Full => DiskErrorKind::Full,
        }
    }

    fn words(self, addition: &str) -> String {
        let words = match self {
            Self::Io => "input/output error",
            Self::Full => "no space left",
        };
        format!("{words}{addition}")
    }
}

impl Disk for MemDisk {
    fn lock(&self) -> Result<DiskLock, DiskError> {
        let mut state = self.machine.try_begin(Operation::Lock, DIRECTORY)?;
        if state.locked {
            let detail = "this process has it open";
            return Err(error(Operation::Lock, DIRECTORY, DiskErrorKind::Locked, detail));
        }
        state.locked = true;
        Ok(DiskLock::new(Held(Arc::clone(&self.machine))))
    }

    fn create(&self, name: &str, mode: Mode) -> Result<File, DiskError> {
        assert_name(name);
        let mut state = self.machine.try_begin(Operation::Create, name)?;
        state.check_absent(Operation::Create, name)?;
        let inode = Arc::new(Inode::default());
        state.inodes.push(Arc::downgrade(&inode));
        let set = Some((name.to_owned(), Arc::clone(&inode)));
        state.change_names(NameChange { removed: None, set });
        drop(state);
        Ok(self.handle(name, inode, Access::ReadWrite, mode))
    }

    fn open(&self, name: &str, access: Access, mode: Mode) -> Result<File, DiskError> {
        assert_name(name);
        let state = self.machine.try_begin(Operation::Open, name)?;
        let inode = state.find(Operation::Open, name)?;
        drop(state);
        Ok(self.handle(name, inode, access, mode))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        assert_name(from);
        assert_name(to);
        let mut state = self.machine.try_begin(Operation::Link, from)?;
        let inode = state.find(Operation::Link, from)?;
        state.check_absent(Operation::Link, to)?;
        state.change_names(NameChange { removed: None, set: Some((to.to_owned(), inode)) });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        assert_name(from);
        assert_name(to);
        let mut state = self.machine.try_begin(Operation::Rename, from)?;
        let inode = state.find(Operation::Rename, from)?;
        let same = state.names.get(to).is_some_and(|other| Arc::ptr_eq(other, &inode));
        // As POSIX has it: two names of one file both stay.
        if !same {
            let removed = Some(from.to_owned());
            state.change_names(NameChange { removed, set: Some((to.to_owned(), inode)) });
        }
        Ok(())
    }

    fn unlink(&self, name: &str) -> Result<(), DiskError> {
        assert_name(name);
        let mut state = self.machine.try_begin(Operation::Unlink, name)?;
        let inode = state.find(Operation::Unlink, name)?;
        state.bury(&inode);
        state.change_names(NameChange { removed: Some(name.to_owned()), set: None });
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let state = self.machine.try_begin(Operation::List, DIRECTORY)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        let mut state = self.machine.try_begin(Operation::SyncDirectory, DIRECTORY)?;
        state.renames.clear();
        let names = state.names.clone();
        state.durable_names = names;
        Ok(())
    }

    fn space(&self) -> Result<Space, DiskError> {
        let mut state = self.machine.try_begin(Operation::Space, DIRECTORY)?;
        let total = state.capacity;
        Ok(Space { total, free: total.saturating_sub(state.used()) })
    }

    fn copy_to(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError> {
        self.begin_copy(path)
    }
}

impl MemDisk {
    fn handle(&self, name: &str, inode: Arc<Inode>, access: Access, mode: Mode) -> File {
        let machine = Arc::clone(&self.machine);
        Arc::new(MemFile { name: name.into(), machine, inode, access, mode })
    }
}

/// The lock of a [`MemDisk`].
struct Held(Arc<Machine>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state.lock().locked = false;
    }
}

/// An open file of a [`MemDisk`].
struct MemFile {
    name: Box<str>,
    machine: Arc<Machine>,
    inode: Arc<Inode>,
    access: Access,
    mode: Mode,
}

impl MemFile {
    fn failed(&self, operation: Operation, kind: DiskErrorKind, detail: &str) -> DiskError {
        error(operation, &self.name, kind, detail)
    }

    fn check_writable(&self, operation: Operation) -> Result<(), DiskError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => {
                Err(self.failed(operation, DiskErrorKind::Io, "it is open for reading only"))
            }
        }
    }
}

impl DiskFile for MemFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn write_at(&self, position: u64, data: &[IoSlice<'_>]) -> Result<(), DiskError> {
        if self.mode == Mode::Direct {
            assert_aligned("a position of", position);
            data.iter().for_each(|piece| assert_aligned_memory(piece));
        }
        let bytes = data.iter().map(|piece| &**piece).collect::<Vec<_>>().concat();
        let end = position + bytes.len() as u64;
        match self.machine.begin(Operation::Write, &self.name) {
            Ok(mut state) => {
                self.check_writable(Operation::Write)?;
                state.allocate(&self.inode, end).map_err(|fault| {
                    self.failed(Operation::Write, fault.kind(), &fault.words(""))
                })?;
                self.inode.lock().change(Change::Write { position, bytes });
                Ok(())
            }
            Err((mut state, error)) => {
                if !state.off && state.allocate(&self.inode, end).is_ok() {
                    let change = Change::Write { position, bytes };
                    self.inode.lock().change_torn(change, &mut state.coin());
                }
                Err(error)
            }
        }
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        if self.mode == Mode::Direct {
            assert_aligned("a position of", position);
            assert_aligned_memory(buffer);
        }
        let _state = self.machine.try_begin(Operation::Read, &self.name)?;
        Ok(self.inode.lock().read(position, buffer))
    }

    fn sync(&self) -> Result<(), DiskError> {
        match self.machine.begin(Operation::Sync, &self.name) {
            Ok(_state) => {
                self.inode.lock().sync();
                Ok(())
            }
            Err((mut state, error)) => {
                if !state.off {
                    self.inode.lock().sync_torn(&mut state.coin());
                }
                Err(error)
            }
        }
    }

    fn preallocate(&self, position: u64, length: u64) -> Result<(), DiskError> {
        if self.mode == Mode::Direct {
            assert_aligned("a position of", position);
            assert_aligned("a length of", length);
        }
        let end = position.saturating_add(length);
        let mut state = self.machine.try_begin(Operation::Preallocate, &self.name)?;
        self.check_writable(Operation::Preallocate)?;
        if length == 0 {
            return Ok(());
        }
        state
            .allocate(&self.inode, end)
            .map_err(|fault| self.failed(Operation::Preallocate, fault.kind(), &fault.words("")))?;
        let mut content = self.inode.lock();
        let longer = content.length().max(end);
        content.change(Change::Length(longer));
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        let _state = self.machine.try_begin(Operation::Length, &self.name)?;
        Ok(self.inode.lock().length())
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        let _state = self.machine.try_begin(Operation::SetLength, &self.name)?;
        self.check_writable(Operation::SetLength)?;
        self.inode.lock().change(Change::Length(length));
        Ok(())
    }
}

impl State {
    /// Decides by the seed what survives.
    fn coin(&mut self) -> impl FnMut() -> bool {
        || split_mix(&mut self.random) & 1 == 1
    }
}

fn error(operation: Operation, name: &str, kind: DiskErrorKind, detail: &str) -> DiskError {
    DiskError { operation, name: name.into(), kind, detail: detail.into() }
}
