//! The [`Disk`] of a server: a directory of the operating system (Linux).
//!
//! Direct I/O is used where it works, which is tried and not guessed: an
//! aligned block is written to and read from a probe file on first use. A
//! start logs [`OsDisk::direct_io`].

#[cfg(test)]
mod tests;

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustix::{
    fs::{self, AtFlags, FallocateFlags, FileType, FlockOperation, OFlags},
    io::Errno,
};

use super::{
    Access, DIRECTORY, Disk, DiskCopy, DiskError, DiskErrorKind, DiskFile, DiskLock, File, Mode,
    Operation, Space, assert_aligned, assert_aligned_memory, assert_name,
};
use crate::{BLOCK, aligned::AlignedBuffer};

/// File that a process locks to own the directory; holds its process id.
const LOCK_FILE: &str = "LOCK";
/// File in which direct I/O is tried; gone again afterwards.
const PROBE_FILE: &str = "direct-io.probe";
/// Most pieces of memory in one call (Linux's `UIO_MAXIOV`).
const SLICES_MAX: usize = 1024;
/// Mode of new files: the log holds other people's data.
const PERMISSIONS: fs::Mode = fs::Mode::RUSR.union(fs::Mode::WUSR).union(fs::Mode::RGRP);

/// One directory of the operating system.
#[derive(Debug)]
pub struct OsDisk {
    path: PathBuf,
    directory: OwnedFd,
    direct_io: OnceLock<DirectIo>,
}

/// Whether files opened with [`Mode::Direct`] pass the page cache by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectIo {
    /// They do.
    Works,
    /// They go through it, for the reason given (one line, for the log).
    Unavailable(String),
}

impl OsDisk {
    /// Opens the directory `path`; where it or a parent is missing, creates
    /// it durably.
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`] if it is no directory or may not be used.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        create_directories(path)
            .map_err(|e| failed(Operation::Create, &path.display().to_string(), e))?;
        let directory = open_directory(path)
            .map_err(|e| failed(Operation::Open, &path.display().to_string(), e))?;
        Ok(Self { path: path.to_owned(), directory, direct_io: OnceLock::new() })
    }

    /// Lets [`Mode::Direct`] go through the page cache. A write then returns
    /// without the disk, and a sync has more to do.
    ///
    /// # Panics
    /// If direct I/O was tried or a file opened before.
    #[must_use]
    pub fn through_page_cache(self, reason: &str) -> Self {
        let unavailable = DirectIo::Unavailable(reason.to_owned());
        assert!(self.direct_io.set(unavailable).is_ok(), "files are open already");
        self
    }

    /// Holds the directory against a server, beside others who only look;
    /// `None` where no server ever ran there. Writes nothing.
    ///
    /// # Errors
    /// [`DiskErrorKind::Locked`] while a server has it.
    pub fn lock_shared(&self) -> Result<Option<DiskLock>, DiskError> {
        let error = |e| failed(Operation::Lock, DIRECTORY, e);
        let fd = match self.open_at(LOCK_FILE, OFlags::RDONLY) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(error(e)),
        };
        match fs::flock(&fd, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(DiskLock::new(fd))),
            Err(Errno::WOULDBLOCK) => Err(self.locked_by(&fd)),
            Err(e) => Err(error(e)),
        }
    }

    fn locked_by(&self, lock: &OwnedFd) -> DiskError {
        DiskError {
            operation: Operation::Lock,
            name: self.path.display().to_string().into(),
            kind: DiskErrorKind::Locked,
            detail: format!("{} has it open", holder(lock)).into(),
        }
    }

    /// Whether direct I/O works here, tried once. Call it with the lock held.
    pub fn direct_io(&self) -> &DirectIo {
        self.direct_io.get_or_init(|| match self.probe() {
            Ok(()) => DirectIo::Works,
            Err(reason) => DirectIo::Unavailable(reason),
        })
    }

    /// Writes and reads back one aligned block past the page cache.
    fn probe(&self) -> Result<(), String> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR | OFlags::DIRECT;
        let outcome = self.open_at(PROBE_FILE, flags).map_err(|e| match e {
            Errno::INVAL => "the file system refuses O_DIRECT".to_owned(),
            e => format!("the probe file cannot be opened: {e}"),
        });
        let outcome = outcome.and_then(|fd| {
            let mut block = AlignedBuffer::zeroed(BLOCK);
            block.fill(0x5a);
            match rustix::io::pwrite(&fd, &block, BLOCK as u64) {
                Ok(BLOCK) => {}
                Ok(n) => return Err(format!("an aligned write of {BLOCK} bytes wrote {n}")),
                // A full disk can't be tried; that the open passed must do.
                Err(Errno::NOSPC | Errno::DQUOT) => return Ok(()),
                Err(e) => return Err(format!("an aligned write failed: {e}")),
            }
            block.fill(0);
            match rustix::io::pread(&fd, &mut *block, BLOCK as u64) {
                Ok(BLOCK) if block.iter().all(|b| *b == 0x5a) => Ok(()),
                Ok(n) => Err(format!("an aligned read of {BLOCK} bytes brought {n}, or others")),
                Err(e) => Err(format!("an aligned read failed: {e}")),
            }
        });
        // Best effort: a start truncates what is left behind.
        fs::unlinkat(&self.directory, PROBE_FILE, AtFlags::empty()).ok();
        outcome
    }

    fn open_at(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        retry(|| fs::openat(&self.directory, name, flags, PERMISSIONS))
    }

    fn file(
        &self,
        operation: Operation,
        name: &str,
        flags: OFlags,
        mode: Mode,
    ) -> Result<File, DiskError> {
        assert_name(name);
        let direct = mode == Mode::Direct && *self.direct_io() == DirectIo::Works;
        let flags = if direct { flags | OFlags::DIRECT } else { flags };
        let fd = self.open_at(name, flags).map_err(|e| failed(operation, name, e))?;
        Ok(Arc::new(OsFile { name: name.into(), fd, aligned: mode == Mode::Direct }))
    }
}

impl Disk for OsDisk {
    fn lock(&self) -> Result<DiskLock, DiskError> {
        let error = |e| failed(Operation::Lock, DIRECTORY, e);
        let fd = self.open_at(LOCK_FILE, OFlags::CREATE | OFlags::RDWR).map_err(error)?;
        // flock goes with the open file: it ends with the process, however
        // that ends, and refuses a second opener in this process too.
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(self.locked_by(&fd)),
            Err(e) => return Err(error(e)),
        }
        // For the message above alone, so a full disk may refuse it.
        let text = format!("{}\n", std::process::id());
        fs::ftruncate(&fd, 0).and_then(|()| rustix::io::pwrite(&fd, text.as_bytes(), 0)).ok();
        Ok(DiskLock::new(fd))
    }

    fn create(&self, name: &str, mode: Mode) -> Result<File, DiskError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
        self.file(Operation::Create, name, flags, mode)
    }

    fn open(&self, name: &str, access: Access, mode: Mode) -> Result<File, DiskError> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        self.file(Operation::Open, name, flags, mode)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        assert_name(from);
        assert_name(to);
        fs::linkat(&self.directory, from, &self.directory, to, AtFlags::empty())
            .map_err(|e| failed(Operation::Link, &format!("{from} to {to}"), e))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        assert_name(from);
        assert_name(to);
        fs::renameat(&self.directory, from, &self.directory, to)
            .map_err(|e| failed(Operation::Rename, &format!("{from} to {to}"), e))
    }

    fn unlink(&self, name: &str) -> Result<(), DiskError> {
        assert_name(name);
        fs::unlinkat(&self.directory, name, AtFlags::empty())
            .map_err(|e| failed(Operation::Unlink, name, e))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let error = |e| failed(Operation::List, DIRECTORY, e);
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.directory).map_err(error)? {
            let entry = entry.map_err(error)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let kind = match entry.file_type() {
                // Some file systems leave the type to a second question.
                FileType::Unknown => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    match fs::statat(&self.directory, name, flags) {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        Err(Errno::NOENT) => continue,
                        Err(e) => return Err(error(e)),
                    }
                }
                known => known,
            };
            if kind == FileType::RegularFile {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        fs::fsync(&self.directory).map_err(|e| failed(Operation::SyncDirectory, DIRECTORY, e))
    }

    fn space(&self) -> Result<Space, DiskError> {
        let stat =
            fs::fstatvfs(&self.directory).map_err(|e| failed(Operation::Space, DIRECTORY, e))?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn copy_to(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError> {
        let name = path.display().to_string();
        let refused = |detail: &str| DiskError {
            operation: Operation::Create,
            name: name.as_str().into(),
            kind: DiskErrorKind::Exists,
            detail: detail.into(),
        };
        if path.exists() && !path.is_dir() {
            return Err(refused("a file of that name is there"));
        }
        let disk = Self::open(path)?;
        // Anything at all, also what is no file.
        let listed = fs::Dir::read_from(&disk.directory);
        let failed_to_list = |e| failed(Operation::List, &name, e);
        for entry in listed.map_err(failed_to_list)? {
            let entry = entry.map_err(failed_to_list)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Err(refused("the directory is not empty"));
            }
        }
        let from = retry(|| rustix::io::fcntl_dupfd_cloexec(&self.directory, 0));
        let from = from.map_err(|e| failed(Operation::Open, DIRECTORY, e))?;
        Ok(Arc::new(OsCopy { disk, from }))
    }
}

/// A directory that takes copies of files of another.
#[derive(Debug)]
struct OsCopy {
    disk: OsDisk,
    from: OwnedFd,
}

impl DiskCopy for OsCopy {
    fn link_here(&self, name: &str) -> Result<bool, DiskError> {
        assert_name(name);
        match fs::linkat(&self.from, name, &self.disk.directory, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            // Another file system, one without links, or a file that has as
            // many as it may have.
            Err(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                Ok(false)
            }
            Err(e) => Err(failed(Operation::Link, name, e)),
        }
    }
}

impl Disk for OsCopy {
    fn lock(&self) -> Result<DiskLock, DiskError> {
        self.disk.lock()
    }

    fn create(&self, name: &str, mode: Mode) -> Result<File, DiskError> {
        self.disk.create(name, mode)
    }

    fn open(&self, name: &str, access: Access, mode: Mode) -> Result<File, DiskError> {
        self.disk.open(name, access, mode)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.link(from, to)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> Result<(), DiskError> {
        self.disk.unlink(name)
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.disk.list()
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.disk.sync_directory()
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.disk.space()
    }

    fn copy_to(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError> {
        self.disk.copy_to(path)
    }
}

/// An open file of an [`OsDisk`].
#[derive(Debug)]
struct OsFile {
    name: Box<str>,
    fd: OwnedFd,
    /// Whether the caller promised to align, also where the page cache is
    /// used all the same.
    aligned: bool,
}

impl OsFile {
    fn failed(&self, operation: Operation, errno: Errno) -> DiskError {
        failed(operation, &self.name, errno)
    }

    /// How far a call that was cut short after `bytes` really got: a direct
    /// one goes on at a block's begin, or not at all.
    fn progress(&self, bytes: usize) -> usize {
        if self.aligned { bytes - bytes % BLOCK } else { bytes }
    }

    /// Goes on after a short write.
    fn write_rest(
        &self,
        mut position: u64,
        data: &[IoSlice<'_>],
        written: usize,
    ) -> Result<(), DiskError> {
        let mut data = data.to_vec();
        let mut rest = data.as_mut_slice();
        let mut done = self.progress(written);
        loop {
            position += done as u64;
            IoSlice::advance_slices(&mut rest, done);
            if rest.is_empty() {
                return Ok(());
            }
            let some = rest.get(..rest.len().min(SLICES_MAX)).unwrap_or(rest);
            let n = retry(|| rustix::io::pwritev(&self.fd, some, position))
                .map_err(|e| self.failed(Operation::Write, e))?;
            done = self.progress(n);
            if done == 0 {
                // Short by less than a block: the next byte has no room.
                return Err(self.failed(Operation::Write, Errno::NOSPC));
            }
        }
    }

    /// Does what fallocate does, where the file system can't: by writing.
    fn write_zeros(&self, position: u64, end: u64) -> Result<(), DiskError> {
        let zeros = AlignedBuffer::zeroed(64 * BLOCK);
        let mut at = self.length()?.max(position);
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(zeros.len());
            let piece = zeros.get(..len).unwrap_or(&zeros);
            self.write_at(at, &[IoSlice::new(piece)])?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

impl DiskFile for OsFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn write_at(&self, position: u64, data: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let mut total = 0;
        for piece in data {
            if self.aligned {
                assert_aligned_memory(piece);
            }
            total += piece.len();
        }
        if self.aligned {
            assert_aligned("a position of", position);
        }
        if total == 0 {
            return Ok(());
        }
        let some = data.get(..data.len().min(SLICES_MAX)).unwrap_or(data);
        let written = retry(|| rustix::io::pwritev(&self.fd, some, position))
            .map_err(|e| self.failed(Operation::Write, e))?;
        if written == total { Ok(()) } else { self.write_rest(position, data, written) }
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        if self.aligned {
            assert_aligned("a position of", position);
            assert_aligned_memory(buffer);
        }
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let n = retry(|| rustix::io::pread(&self.fd, &mut *rest, position + filled as u64))
                .map_err(|e| self.failed(Operation::Read, e))?;
            filled += n;
            // Within a block, a direct read stops only where the file does.
            if n == 0 || self.progress(n) != n {
                break;
            }
        }
        Ok(filled)
    }

    fn read_vectored_at(
        &self,
        position: u64,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Result<usize, DiskError> {
        let mut buffers = buffers.get_mut(..buffers.len().min(SLICES_MAX)).unwrap_or_default();
        if self.aligned {
            assert_aligned("a position of", position);
            buffers.iter().for_each(|buffer| assert_aligned_memory(buffer));
        }
        let mut filled = 0;
        while !buffers.is_empty() {
            let n = retry(|| rustix::io::preadv(&self.fd, buffers, position + filled as u64))
                .map_err(|e| self.failed(Operation::Read, e))?;
            filled += n;
            // Within a block, a direct read stops only where the file does.
            if n == 0 || self.progress(n) != n {
                break;
            }
            IoSliceMut::advance_slices(&mut buffers, n);
        }
        Ok(filled)
    }

    fn sync(&self) -> Result<(), DiskError> {
        // Not repeated on EINTR: what an interrupted sync left undone is
        // unknown, and a second one that succeeds proves nothing.
        fs::fdatasync(&self.fd).map_err(|e| self.failed(Operation::Sync, e))
    }

    fn preallocate(&self, position: u64, length: u64) -> Result<(), DiskError> {
        let end = position.saturating_add(length);
        if self.aligned {
            assert_aligned("a position of", position);
            assert_aligned("a length of", length);
        }
        if length == 0 {
            return Ok(());
        }
        let before = self.length()?;
        match retry(|| fs::fallocate(&self.fd, FallocateFlags::empty(), position, length)) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(position, end),
            Err(e) => {
                // A full disk has given all that it had, which others need.
                fs::ftruncate(&self.fd, before).ok();
                Err(self.failed(Operation::Preallocate, e))
            }
        }
    }

    fn length(&self) -> Result<u64, DiskError> {
        let stat = fs::fstat(&self.fd).map_err(|e| self.failed(Operation::Length, e))?;
        u64::try_from(stat.st_size).map_err(|_| self.failed(Operation::Length, Errno::OVERFLOW))
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        retry(|| fs::ftruncate(&self.fd, length)).map_err(|e| self.failed(Operation::SetLength, e))
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    // A name like "data" lies in the directory "".
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry(|| fs::open(path, flags, fs::Mode::empty()))
}

/// Creates what is missing of `path`. Each new name is synced into its
/// directory: else a power cut could take the whole data directory, synced
/// files and all.
fn create_directories(path: &Path) -> Result<(), Errno> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    create_directories(parent)?;
    match fs::mkdir(path, fs::Mode::RWXU | fs::Mode::RGRP | fs::Mode::XGRP) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    fs::fsync(open_directory(parent)?)
}

/// Repeats a call that a signal interrupted before it did anything.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

fn failed(operation: Operation, name: &str, errno: Errno) -> DiskError {
    let kind = match errno {
        Errno::NOSPC | Errno::DQUOT => DiskErrorKind::Full,
        Errno::NOENT => DiskErrorKind::NotFound,
        Errno::EXIST => DiskErrorKind::Exists,
        _ => DiskErrorKind::Io,
    };
    DiskError { operation, name: name.into(), kind, detail: errno.to_string().into() }
}

/// Who holds the lock file, as far as its content tells.
fn holder(lock: &OwnedFd) -> String {
    let mut text = [0; 20];
    let read = rustix::io::pread(lock, &mut text, 0).unwrap_or(0);
    let pid = text.get(..read).and_then(|t| std::str::from_utf8(t).ok()).map(str::trim);
    match pid.and_then(|pid| pid.parse::<u32>().ok()) {
        Some(pid) => match command_of(pid) {
            Some(command) => format!("process {pid} ({command})"),
            None => format!("process {pid}"),
        },
        None => "another process".to_owned(),
    }
}

/// The command line of a process, as far as the system tells.
fn command_of(pid: u32) -> Option<String> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    let words: String = words.trim().chars().filter(|c| !c.is_control()).take(100).collect();
    (!words.is_empty()).then_some(words)
}
