//! Writing a file from its start to its end, in large aligned pieces: rewritten
//! files and checkpoints, whose writers make them piece by piece.
//!
//! Invariant: a file has its own name only once all of it is durable. It is
//! written under a temporary one, which a start removes.

use std::io::IoSlice;

use super::Engine;
use crate::{
    BLOCK,
    aligned::AlignedBuffer,
    disk::{DiskError, File, Mode},
};

/// Bytes that are written at once.
pub(super) const CHUNK: usize = 1 << 20;
/// What ends a name under which a file is being written.
const ENDING: &str = ".new";

/// Whether a file was being written when its process died.
pub(super) fn is_temporary(name: &str) -> bool {
    name.ends_with(ENDING)
}

/// The name under which `name` is written.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}{ENDING}")
}

/// A file that is being written.
pub(super) struct Sequential<'a> {
    engine: &'a Engine,
    name: String,
    handle: File,
    buffer: AlignedBuffer,
    filled: usize,
    written: u64,
    done: bool,
}

impl Engine {
    /// Begins the file `name`; what a failed try left is removed.
    pub(super) fn begin_file(&self, name: &str) -> Result<Sequential<'_>, DiskError> {
        let temporary = temporary(name);
        if self.disk.list()?.contains(&temporary) {
            self.disk.unlink(&temporary)?;
        }
        let handle = self.disk.create(&temporary, Mode::Direct)?;
        Ok(Sequential {
            engine: self,
            name: name.to_owned(),
            handle,
            buffer: AlignedBuffer::zeroed(CHUNK),
            filled: 0,
            written: 0,
            done: false,
        })
    }
}

impl Sequential<'_> {
    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.written + self.filled as u64
    }

    /// The file under its temporary name.
    pub(super) fn handle(&self) -> &File {
        &self.handle
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(CHUNK - self.filled));
            if let Some(target) = self.buffer.get_mut(self.filled..self.filled + part.len()) {
                target.copy_from_slice(part);
            }
            self.filled += part.len();
            bytes = rest;
            if self.filled == CHUNK {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends zeros up to a block's end.
    pub(super) fn pad(&mut self) -> Result<(), DiskError> {
        let missing = self.filled.next_multiple_of(BLOCK) - self.filled;
        self.push([0; BLOCK].get(..missing).unwrap_or_default())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let full = self.buffer.get(..self.filled).unwrap_or_default();
        if !full.is_empty() {
            self.handle.write_at(self.written, &[IoSlice::new(full)])?;
        }
        self.written += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    /// Ends the file and gives it its name, all of it durable. Its length.
    pub(super) fn finish(mut self) -> Result<(File, u64), DiskError> {
        self.pad()?;
        self.flush()?;
        // Space may have been allocated for more.
        self.handle.set_length(self.written)?;
        self.handle.sync()?;
        self.engine.disk.rename(&temporary(&self.name), &self.name)?;
        self.done = true;
        self.engine.disk.sync_directory()?;
        Ok((File::clone(&self.handle), self.written))
    }
}

impl Drop for Sequential<'_> {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = self.engine.disk.unlink(&temporary(&self.name))
        {
            tracing::warn!(%error, "an unfinished file stays until the next start");
        }
    }
}
