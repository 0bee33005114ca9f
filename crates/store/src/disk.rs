//! Files of one data directory, behind a trait.
//!
//! Everything that the log reads or writes passes [`Disk`]: the operating
//! system's files in a server ([`os::OsDisk`]), memory in tests
//! (`memory::MemDisk`), a fault model in a simulation. The trait is
//! small, blocking and says what is durable when; `conformance` holds every
//! driver to that. (SQLite does its own file access.)
//!
//! Durability, which callers build on:
//! - What was written is durable once a later [`DiskFile::sync`] returned; so
//!   are the file's length and its allocation.
//! - A name that was created, linked, renamed or unlinked is durable once a
//!   later [`Disk::sync_directory`] returned.
//! - After a failed write or sync nothing unsynced of that file is known: it
//!   may read back and yet be lost. The caller ends its incarnation.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod os;
pub mod overlay;

use std::{
    fmt,
    io::{IoSlice, IoSliceMut},
    path::Path,
    sync::Arc,
};

use millrace_types::ErrorKind;

use crate::BLOCK;

/// The files of one data directory. Names are single path components in
/// UTF-8. All operations block, and may be called from any thread.
pub trait Disk: Send + Sync + 'static {
    /// Takes the directory for this process until the lock is dropped.
    ///
    /// # Errors
    /// [`DiskErrorKind::Locked`] while another holder lives; the detail names
    /// the directory and, where known, the process.
    fn lock(&self) -> Result<DiskLock, DiskError>;

    /// Creates an empty file for reading and writing.
    ///
    /// # Errors
    /// [`DiskErrorKind::Exists`] if the name is taken.
    fn create(&self, name: &str, mode: Mode) -> Result<File, DiskError>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// [`DiskErrorKind::NotFound`] if there is none of that name.
    fn open(&self, name: &str, access: Access, mode: Mode) -> Result<File, DiskError>;

    /// Gives the file `from` the second name `to`.
    ///
    /// # Errors
    /// [`DiskErrorKind::NotFound`], or [`DiskErrorKind::Exists`] if `to` is
    /// taken.
    fn link(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Renames a file, replacing what `to` named.
    ///
    /// # Errors
    /// [`DiskErrorKind::NotFound`] if `from` names nothing.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a name. Open handles still read the file; its space comes back
    /// when the last is dropped.
    ///
    /// # Errors
    /// [`DiskErrorKind::NotFound`] if there is none of that name.
    fn unlink(&self, name: &str) -> Result<(), DiskError>;

    /// The names of all regular files, sorted. Some are not the log's (the
    /// catalog, the lock).
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`].
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Makes all earlier changes of names durable.
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`]; which changes are durable is then unknown.
    fn sync_directory(&self) -> Result<(), DiskError>;

    /// Space of the file system that holds the directory.
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`].
    fn space(&self) -> Result<Space, DiskError>;

    /// The directory `path`, for copies of files of this one: made durably, or
    /// there already and empty.
    ///
    /// # Errors
    /// [`DiskErrorKind::Exists`] if something is in it, or if it is no
    /// directory.
    fn copy_to(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError>;
}

/// A directory that takes copies of files of another; see [`Disk::copy_to`].
pub trait DiskCopy: Disk {
    /// Gives the file `name` of that other directory the same name here too.
    /// False where it lies on another file system: then only its bytes can be
    /// copied. What was linked must never be written to again, by either name.
    ///
    /// # Errors
    /// [`DiskErrorKind::NotFound`], [`DiskErrorKind::Exists`].
    fn link_here(&self, name: &str) -> Result<bool, DiskError>;
}

/// An open file; keeps its content readable after an unlink.
pub type File = Arc<dyn DiskFile>;

/// One open file of a [`Disk`].
///
/// Of a file opened with [`Mode::Direct`], every position, length and memory
/// address given must be a multiple of [`BLOCK`]; each driver asserts it,
/// also one that falls back to the page cache.
pub trait DiskFile: Send + Sync + 'static {
    /// The name by which it was created or opened.
    fn name(&self) -> &str;

    /// Writes all of `data`, back to back, at `position`; the file grows as
    /// needed.
    ///
    /// # Errors
    /// [`DiskErrorKind::Full`] or [`DiskErrorKind::Io`]; any part may have
    /// been written.
    ///
    /// # Panics
    /// If the file is direct and something is not aligned.
    fn write_at(&self, position: u64, data: &[IoSlice<'_>]) -> Result<(), DiskError>;

    /// Reads from `position` until `buffer` is full or the file ends; returns
    /// the number of bytes read. What `buffer` holds beyond them is open.
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`].
    ///
    /// # Panics
    /// If the file is direct and something is not aligned.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// [`DiskFile::read_at`] into several buffers, one behind the other; by
    /// one call where the driver can.
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`].
    ///
    /// # Panics
    /// If the file is direct and something is not aligned.
    fn read_vectored_at(
        &self,
        position: u64,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Result<usize, DiskError> {
        let mut read = 0;
        for buffer in buffers {
            let got = self.read_at(position + read as u64, buffer)?;
            read += got;
            if got < buffer.len() {
                break;
            }
        }
        Ok(read)
    }

    /// Makes everything written before the call durable (fdatasync).
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`] (or `Full`). What was not synced is lost or not,
    /// whatever reads say; a second sync proves nothing.
    fn sync(&self) -> Result<(), DiskError>;

    /// Allocates the blocks of `length` bytes at `position`: later writes
    /// there do not fail for want of space. The file's length grows to
    /// include them; new bytes read as zeros.
    ///
    /// # Errors
    /// [`DiskErrorKind::Full`].
    fn preallocate(&self, position: u64, length: u64) -> Result<(), DiskError>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`].
    fn length(&self) -> Result<u64, DiskError>;

    /// Cuts the file, or extends it with zeros that occupy no space.
    ///
    /// # Errors
    /// [`DiskErrorKind::Io`].
    fn set_length(&self, length: u64) -> Result<(), DiskError>;
}

/// How a file's bytes pass the page cache. One file is used in one mode at a
/// time: mixing them is slow and, on some file systems, incoherent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Past it where the file system allows, else through it. The caller
    /// aligns either way.
    Direct,
    /// Through it; nothing need be aligned.
    Buffered,
}

/// What an existing file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only; writes fail.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// Space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total: u64,
    /// What this process may still allocate.
    pub free: u64,
}

/// Holds a data directory for one process; dropping it releases the
/// directory.
#[must_use = "the directory is released when the lock is dropped"]
pub struct DiskLock {
    _held: Box<dyn Send + Sync>,
}

impl DiskLock {
    /// A lock that lasts as long as `held`.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskLock")
    }
}

/// A failed operation of a [`Disk`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {operation} {name}: {detail}{}", kind.advice())]
pub struct DiskError {
    /// What was tried.
    pub operation: Operation,
    /// The file it was tried on, or "the data directory".
    pub name: Box<str>,
    /// What kind of failure.
    pub kind: DiskErrorKind,
    /// The driver's words.
    pub detail: Box<str>,
}

impl DiskError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self.kind {
            DiskErrorKind::Full | DiskErrorKind::Io => ErrorKind::Unavailable,
            DiskErrorKind::NotFound => ErrorKind::NotFound,
            DiskErrorKind::Exists | DiskErrorKind::Locked => ErrorKind::Conflict,
        }
    }
}

/// The kinds of [`DiskError`] that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskErrorKind {
    /// No space, or no quota, is left.
    Full,
    /// No file of that name.
    NotFound,
    /// The name is taken.
    Exists,
    /// Another process holds the directory.
    Locked,
    /// Anything else: the device, the file system, permissions.
    Io,
}

impl DiskErrorKind {
    /// What a person can do, to follow the driver's words.
    const fn advice(self) -> &'static str {
        match self {
            Self::Full => "; free space on the file system of the data directory",
            Self::Locked => "; stop that process, or use another data directory",
            Self::NotFound | Self::Exists | Self::Io => "",
        }
    }
}

/// The operations of [`Disk`] and [`DiskFile`], for errors and for fault
/// injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each names the method of the same name")]
pub enum Operation {
    Lock,
    Create,
    Open,
    Link,
    Rename,
    Unlink,
    List,
    SyncDirectory,
    Space,
    Write,
    Read,
    Sync,
    Preallocate,
    Length,
    SetLength,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "lock",
            Self::Create => "create",
            Self::Open => "open",
            Self::Link => "link",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::List => "list",
            Self::SyncDirectory => "sync",
            Self::Space => "ask for the free space of",
            Self::Write => "write",
            Self::Read => "read",
            Self::Sync => "sync",
            Self::Preallocate => "allocate space for",
            Self::Length => "ask for the length of",
            Self::SetLength => "set the length of",
        })
    }
}

/// The name that errors give to the directory itself.
pub(crate) const DIRECTORY: &str = "the data directory";

/// Stops a caller that named something outside of the data directory.
fn assert_name(name: &str) {
    assert!(
        !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']),
        "a file of the data directory is named by one path component, not by {name:?}"
    );
}

/// Stops a caller that broke the alignment of a direct file: the same code
/// would fail on another file system.
fn assert_aligned(what: &str, value: u64) {
    assert!(
        value.is_multiple_of(BLOCK as u64),
        "direct I/O wants multiples of {BLOCK}, not {what} {value}"
    );
}

/// [`assert_aligned`] for one piece of memory that is written or read into.
fn assert_aligned_memory(memory: &[u8]) {
    if memory.is_empty() {
        return;
    }
    assert_aligned("a length of", memory.len() as u64);
    assert_aligned("memory at", memory.as_ptr().addr() as u64);
}
