//! The disk of the simulated machine: [`MemDisk`] as a [`Disk`] whose
//! operations take time, go through the world's scheduler and its trace, and
//! go wrong in the ways that only a device knows.
//!
//! Every operation suspends its fiber before it begins, so that anything may
//! happen between two of them, a crash too. A write may be taken in two parts,
//! between which a process can die.

use std::{
    io::IoSlice,
    path::Path,
    sync::{Arc, Weak},
};

use millrace_store::{
    BLOCK,
    disk::{
        Access, Disk, DiskCopy, DiskError, DiskFile, DiskLock, File, Mode, Operation, Space,
        memory::{Crash, MemDisk},
    },
};
use parking_lot::Mutex;

use crate::{
    fiber::{self, Rest},
    random::Random,
    world::World,
};

/// How long operations take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At most a tenth of a millisecond.
    Fast,
    /// Milliseconds, as a disk with a flush of its own.
    Usual,
    /// Now and then a second.
    Slow,
}

/// One machine's disk. Clones share it.
#[derive(Clone)]
pub(crate) struct SimDisk {
    machine: MemDisk,
    device: Arc<Device>,
}

/// The device survives the machine's restarts.
struct Device {
    world: World,
    state: Mutex<DeviceState>,
}

struct DeviceState {
    random: Random,
    pace: Pace,
    /// The write after so many more lands elsewhere.
    misdirect: Option<u64>,
    /// Files that were opened for writing.
    written: Vec<(String, Weak<dyn DiskFile>)>,
}

impl SimDisk {
    pub(crate) fn new(world: World, seed: u64, capacity: u64) -> Self {
        let state = DeviceState {
            random: Random::new(seed, 3),
            pace: Pace::Usual,
            misdirect: None,
            written: Vec::new(),
        };
        let device = Arc::new(Device { world, state: Mutex::new(state) });
        Self { machine: MemDisk::with_capacity(seed, capacity), device }
    }

    /// Faults, capacity and crashes of the machine.
    pub(crate) fn machine(&self) -> &MemDisk {
        &self.machine
    }

    pub(crate) fn set_pace(&self, pace: Pace) {
        self.device.state.lock().pace = pace;
    }

    /// Lets the write after `writes` more land elsewhere.
    pub(crate) fn misdirect(&self, writes: u64) {
        self.device.state.lock().misdirect = Some(writes);
    }

    /// The machine that starts on what `crash` leaves.
    pub(crate) fn crash(&self, crash: Crash) -> Self {
        self.device.world.note(format_args!("{crash:?}"));
        Self { machine: self.machine.crash(crash), device: Arc::clone(&self.device) }
    }

    /// Another machine's disk, on the same device.
    pub(crate) fn on(&self, machine: MemDisk) -> Self {
        Self { machine, device: Arc::clone(&self.device) }
    }

    fn file(&self, inner: File) -> File {
        Arc::new(SimFile { inner, device: Arc::clone(&self.device) })
    }
}

impl Device {
    /// Takes the time that `operation` takes.
    fn pass(&self, operation: Operation) {
        if !fiber::is_running() {
            return;
        }
        let us = {
            let mut state = self.state.lock();
            let pace = state.pace;
            let random = &mut state.random;
            match (pace, operation) {
                (_, Operation::Length | Operation::Space | Operation::List) => 0,
                (Pace::Fast, _) => random.within(0, 100),
                (Pace::Slow, _) if random.percent(2) => random.within(100_000, 1_500_000),
                (_, Operation::Sync | Operation::SyncDirectory) => random.within(100, 4_000),
                _ => random.within(0, 500),
            }
        };
        if us == 0 {
            fiber::rest(Rest::Yield);
        } else {
            self.world.rest_until_us(self.world.now_us() + us);
        }
    }

    fn did<T>(
        &self,
        operation: Operation,
        name: &str,
        at: &str,
        result: Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        match &result {
            Ok(_) => self.world.note(format_args!("disk: {operation:?} {name}{at}")),
            Err(error) => self.world.note(format_args!("disk: {operation:?} {name}{at}: {error}")),
        }
        result
    }

    fn run<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl FnOnce() -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        self.pass(operation);
        self.did(operation, name, "", work())
    }

    /// Where a write lands that goes astray, if this one does.
    fn astray(&self) -> Option<(File, u64)> {
        let mut state = self.state.lock();
        match state.misdirect.as_mut()? {
            0 => state.misdirect = None,
            left => {
                *left -= 1;
                return None;
            }
        }
        state.written.retain(|(_, file)| file.strong_count() > 0);
        let files = state.written.len();
        let nth = state.random.index(files);
        let file = state.written.get(nth).and_then(|(_, file)| file.upgrade())?;
        let blocks = file.length().ok()? / BLOCK as u64;
        let position = state.random.below(blocks) * BLOCK as u64;
        Some((file, position))
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> Result<DiskLock, DiskError> {
        self.machine.lock()
    }

    fn create(&self, name: &str, mode: Mode) -> Result<File, DiskError> {
        let work = || self.machine.create(name, mode);
        let file = self.device.run(Operation::Create, name, work)?;
        self.device.state.lock().written.push((name.to_owned(), Arc::downgrade(&file)));
        Ok(self.file(file))
    }

    fn open(&self, name: &str, access: Access, mode: Mode) -> Result<File, DiskError> {
        let work = || self.machine.open(name, access, mode);
        let file = self.device.run(Operation::Open, name, work)?;
        Ok(self.file(file))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.device.run(Operation::Link, from, || self.machine.link(from, to))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.device.run(Operation::Rename, from, || self.machine.rename(from, to))
    }

    fn unlink(&self, name: &str) -> Result<(), DiskError> {
        self.device.run(Operation::Unlink, name, || self.machine.unlink(name))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.device.run(Operation::List, "", || self.machine.list())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.device.run(Operation::SyncDirectory, "", || self.machine.sync_directory())
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.device.run(Operation::Space, "", || self.machine.space())
    }

    fn copy_to(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError> {
        let name = path.display().to_string();
        let inner = self.device.run(Operation::Create, &name, || self.machine.copy_to(path))?;
        Ok(Arc::new(SimCopy { inner, device: Arc::clone(&self.device) }))
    }
}

/// A directory beside a [`SimDisk`], on the same device.
struct SimCopy {
    inner: Arc<dyn DiskCopy>,
    device: Arc<Device>,
}

impl SimCopy {
    fn file(&self, inner: File) -> File {
        Arc::new(SimFile { inner, device: Arc::clone(&self.device) })
    }
}

impl DiskCopy for SimCopy {
    fn link_here(&self, name: &str) -> Result<bool, DiskError> {
        self.device.run(Operation::Link, name, || self.inner.link_here(name))
    }
}

impl Disk for SimCopy {
    fn lock(&self) -> Result<DiskLock, DiskError> {
        self.inner.lock()
    }

    fn create(&self, name: &str, mode: Mode) -> Result<File, DiskError> {
        let file = self.device.run(Operation::Create, name, || self.inner.create(name, mode))?;
        Ok(self.file(file))
    }

    fn open(&self, name: &str, access: Access, mode: Mode) -> Result<File, DiskError> {
        let work = || self.inner.open(name, access, mode);
        Ok(self.file(self.device.run(Operation::Open, name, work)?))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.device.run(Operation::Link, from, || self.inner.link(from, to))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.device.run(Operation::Rename, from, || self.inner.rename(from, to))
    }

    fn unlink(&self, name: &str) -> Result<(), DiskError> {
        self.device.run(Operation::Unlink, name, || self.inner.unlink(name))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.device.run(Operation::List, "", || self.inner.list())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.device.run(Operation::SyncDirectory, "", || self.inner.sync_directory())
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.device.run(Operation::Space, "", || self.inner.space())
    }

    fn copy_to(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError> {
        self.inner.copy_to(path)
    }
}

/// An open file of a [`SimDisk`].
struct SimFile {
    inner: File,
    device: Arc<Device>,
}

impl SimFile {
    /// Whole blocks of a write that a dying process still gets done.
    fn first_part(&self, data: &[IoSlice<'_>]) -> Option<usize> {
        let aligned = |piece: &IoSlice<'_>| piece.len().is_multiple_of(BLOCK);
        if data.len() < 2 || !data.iter().all(aligned) || !fiber::is_running() {
            return None;
        }
        let random = &mut self.device.state.lock().random;
        random.percent(20).then(|| 1 + random.index(data.len() - 1))
    }

    fn write(&self, position: u64, data: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let bytes: usize = data.iter().map(|piece| piece.len()).sum();
        let name = self.inner.name();
        self.device.pass(Operation::Write);
        let at = format!(" {bytes} at {position}");
        // What goes through a page cache reaches the disk in blocks, whatever
        // its length; only whole blocks can take another's place.
        if bytes.is_multiple_of(BLOCK)
            && let Some((other, elsewhere)) = self.device.astray()
        {
            let at = format!("{at}, which lands in {} at {elsewhere}", other.name());
            let result = other.write_at(elsewhere, data).and_then(|()| other.sync());
            return self.device.did(Operation::Write, name, &at, result);
        }
        self.device.did(Operation::Write, name, &at, self.inner.write_at(position, data))
    }
}

impl DiskFile for SimFile {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn write_at(&self, position: u64, data: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let Some(first) = self.first_part(data) else { return self.write(position, data) };
        let (first, second) = data.split_at(first);
        let bytes: usize = first.iter().map(|piece| piece.len()).sum();
        self.write(position, first)?;
        self.write(position + bytes as u64, second)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.device.pass(Operation::Read);
        let at = format!(" {} at {position}", buffer.len());
        let result = self.inner.read_at(position, buffer);
        self.device.did(Operation::Read, self.inner.name(), &at, result)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.device.run(Operation::Sync, self.inner.name(), || self.inner.sync())
    }

    fn preallocate(&self, position: u64, length: u64) -> Result<(), DiskError> {
        self.device.pass(Operation::Preallocate);
        let at = format!(" {length} at {position}");
        let result = self.inner.preallocate(position, length);
        self.device.did(Operation::Preallocate, self.inner.name(), &at, result)
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.device.run(Operation::Length, self.inner.name(), || self.inner.length())
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.device.pass(Operation::SetLength);
        let result = self.inner.set_length(length);
        self.device.did(Operation::SetLength, self.inner.name(), &format!(" {length}"), result)
    }
}
