//! A [`Disk`] that is only looked at: what is changed stays in memory and goes
//! with it.
//!
//! On one the engine recovers a directory as a start would, so that a check
//! tells what a start does from recovery's own word. Invariant: nothing is
//! opened for writing below, no lock is taken there, and what is held in memory
//! is what was written.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IoSlice,
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    Access, Disk, DiskCopy, DiskError, DiskErrorKind, DiskFile, DiskLock, File, Mode, Operation,
    Space,
};
use crate::BLOCK;

/// Changes over a disk that stays as it is. Clones share them.
#[derive(Clone)]
pub struct Overlay {
    below: Arc<dyn Disk>,
    changes: Arc<Mutex<Changes>>,
}

#[derive(Default)]
struct Changes {
    /// Files that were opened or made here, by name.
    files: BTreeMap<String, Arc<Layer>>,
    /// Names that are there below and gone here.
    gone: BTreeSet<String>,
}

/// One file: what was changed over what it was.
struct Layer {
    below: Option<File>,
    content: Mutex<Content>,
}

struct Content {
    length: u64,
    /// Bytes from here on are not those below: the file was cut once.
    below_until: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// An overlay without changes.
    #[must_use]
    pub fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, changes: Arc::default() }
    }

    fn find(&self, operation: Operation, name: &str) -> Result<Arc<Layer>, DiskError> {
        let mut changes = self.changes.lock();
        if let Some(layer) = changes.files.get(name) {
            return Ok(Arc::clone(layer));
        }
        if changes.gone.contains(name) {
            return Err(error(operation, name, DiskErrorKind::NotFound, "no such file"));
        }
        let below = self.below.open(name, Access::Read, Mode::Buffered)?;
        let length = below.length()?;
        let content = Content { length, below_until: length, blocks: BTreeMap::new() };
        let layer = Arc::new(Layer { below: Some(below), content: Mutex::new(content) });
        changes.files.insert(name.to_owned(), Arc::clone(&layer));
        Ok(layer)
    }

    fn exists(&self, name: &str) -> Result<bool, DiskError> {
        Ok(self.list()?.iter().any(|there| there == name))
    }
}

impl Disk for Overlay {
    fn lock(&self) -> Result<DiskLock, DiskError> {
        Ok(DiskLock::new(()))
    }

    fn create(&self, name: &str, _: Mode) -> Result<File, DiskError> {
        if self.exists(name)? {
            return Err(error(Operation::Create, name, DiskErrorKind::Exists, "the file exists"));
        }
        let content = Content { length: 0, below_until: 0, blocks: BTreeMap::new() };
        let layer = Arc::new(Layer { below: None, content: Mutex::new(content) });
        self.changes.lock().files.insert(name.to_owned(), Arc::clone(&layer));
        Ok(Arc::new(OverlayFile { name: name.into(), layer }))
    }

    fn open(&self, name: &str, _: Access, _: Mode) -> Result<File, DiskError> {
        let layer = self.find(Operation::Open, name)?;
        Ok(Arc::new(OverlayFile { name: name.into(), layer }))
    }

    fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let layer = self.find(Operation::Link, from)?;
        self.changes.lock().files.insert(to.to_owned(), layer);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.link(from, to)?;
        self.unlink(from)
    }

    fn unlink(&self, name: &str) -> Result<(), DiskError> {
        let mut changes = self.changes.lock();
        changes.files.remove(name);
        changes.gone.insert(name.to_owned());
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let changes = self.changes.lock();
        let below = self.below.list()?.into_iter().filter(|name| !changes.gone.contains(name));
        let names: BTreeSet<String> = below.chain(changes.files.keys().cloned()).collect();
        Ok(names.into_iter().collect())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn space(&self) -> Result<Space, DiskError> {
        self.below.space()
    }

    fn copy_to(&self, path: &Path) -> Result<Arc<dyn DiskCopy>, DiskError> {
        let name = path.display().to_string();
        Err(error(Operation::Create, &name, DiskErrorKind::Io, "the directory is only looked at"))
    }
}

/// An open file of an [`Overlay`].
struct OverlayFile {
    name: Box<str>,
    layer: Arc<Layer>,
}

impl DiskFile for OverlayFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn write_at(&self, position: u64, data: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let bytes = data.iter().map(|piece| &**piece).collect::<Vec<_>>().concat();
        let size = BLOCK as u64;
        let end = position + bytes.len() as u64;
        let (mut at, mut rest) = (position, bytes.as_slice());
        while !rest.is_empty() {
            let within = usize::try_from(at % size).unwrap_or(0);
            let (piece, later) = rest.split_at((BLOCK - within).min(rest.len()));
            let mut block = vec![0; BLOCK];
            if piece.len() < BLOCK {
                self.read_at(at - at % size, &mut block)?;
            }
            if let Some(target) = block.get_mut(within..within + piece.len()) {
                target.copy_from_slice(piece);
            }
            self.layer.content.lock().blocks.insert(at / size, block.into());
            at += piece.len() as u64;
            rest = later;
        }
        let mut content = self.layer.content.lock();
        content.length = content.length.max(end);
        Ok(())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let content = self.layer.content.lock();
        let there = content.length.saturating_sub(position);
        let len = usize::try_from(there).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..len) else { return Ok(0) };
        let below = usize::try_from(content.below_until.saturating_sub(position));
        let (old, new) = buffer.split_at_mut(below.unwrap_or(usize::MAX).min(len));
        let read = match &self.layer.below {
            Some(below) if !old.is_empty() => below.read_at(position, old)?,
            _ => 0,
        };
        old.iter_mut().skip(read).chain(new).for_each(|byte| *byte = 0);
        let size = BLOCK as u64;
        for (number, block) in content.blocks.range(position / size..) {
            let start = number * size;
            if start >= position + len as u64 {
                break;
            }
            // Where the block begins in the buffer, or the buffer in it.
            let skip = usize::try_from(position.saturating_sub(start)).unwrap_or(BLOCK);
            let at = usize::try_from(start.saturating_sub(position)).unwrap_or(len);
            let target = buffer.get_mut(at..).unwrap_or_default();
            for (to, from) in target.iter_mut().zip(block.iter().skip(skip)) {
                *to = *from;
            }
        }
        Ok(len)
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn preallocate(&self, position: u64, length: u64) -> Result<(), DiskError> {
        let mut content = self.layer.content.lock();
        content.length = content.length.max(position.saturating_add(length));
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.layer.content.lock().length)
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        let mut content = self.layer.content.lock();
        content.blocks.split_off(&length.div_ceil(BLOCK as u64));
        content.below_until = content.below_until.min(length);
        let within = usize::try_from(length % BLOCK as u64).unwrap_or(0);
        if let Some(last) = content.blocks.get_mut(&(length / BLOCK as u64)) {
            last.iter_mut().skip(within).for_each(|byte| *byte = 0);
        }
        content.length = length;
        Ok(())
    }
}

fn error(operation: Operation, name: &str, kind: DiskErrorKind, detail: &str) -> DiskError {
    DiskError { operation, name: name.into(), kind, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemDisk;

    #[test]
    fn what_is_changed_above_is_not_changed_below() {
        let below = MemDisk::new(1);
        let file = below.create("a", Mode::Buffered).unwrap();
        file.write_at(0, &[IoSlice::new(&[1; 3 * BLOCK])]).unwrap();
        below.create("b", Mode::Buffered).unwrap();
        let above = Overlay::new(Arc::new(below.clone()));
        let changed = above.open("a", Access::ReadWrite, Mode::Direct).unwrap();
        changed.write_at(BLOCK as u64 - 2, &[IoSlice::new(&[2; 4])]).unwrap();
        changed.set_length(2 * BLOCK as u64 + 10).unwrap();
        changed.preallocate(0, 4 * BLOCK as u64).unwrap();
        let mut bytes = vec![9; 5 * BLOCK];
        assert_eq!(changed.read_at(0, &mut bytes).unwrap(), 4 * BLOCK);
        assert_eq!(bytes[BLOCK - 3..BLOCK + 3], [1, 2, 2, 2, 2, 1]);
        assert_eq!(bytes[2 * BLOCK + 9..2 * BLOCK + 12], [1, 0, 0], "what was cut is gone");
        let mut piece = [0; 3];
        assert_eq!(changed.read_at(BLOCK as u64 + 1, &mut piece).unwrap(), 3);
        assert_eq!(piece, [2, 1, 1]);
        above.unlink("b").unwrap();
        above.create("c", Mode::Buffered).unwrap();
        above.rename("c", "d").unwrap();
        assert_eq!(above.list().unwrap(), ["a", "d"]);
        assert!(above.open("b", Access::Read, Mode::Buffered).is_err());

        assert_eq!(below.list().unwrap(), ["a", "b"]);
        let mut bytes = vec![0; 3 * BLOCK];
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), 3 * BLOCK);
        assert!(bytes.iter().all(|byte| *byte == 1));
    }
}
