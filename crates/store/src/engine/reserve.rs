//! Space set aside so that a full disk can be emptied: rewriting a file, a
//! checkpoint and a new log file for the server's own records need some.
//!
//! The reserve is a file of really allocated blocks. It is given up when
//! maintenance or a start meets a full disk, and made again, before anything else, once
//! there is room. Invariant: the log grows for clients only while the reserve
//! stands, so that produce is refused before deletion is.

use super::{Engine, maintain::Housekeeping};
use crate::{
    BLOCK,
    disk::{Access, Disk, DiskError, DiskErrorKind, Mode},
};

/// Its name.
pub(super) const NAME: &str = "reserve";
/// What is known of the reserve.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// It has its blocks.
    stands: bool,
}

impl Engine {
    /// Makes sure that the reserve stands.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub(super) fn keep_reserve(&self, house: &mut Housekeeping) -> Result<(), DiskError> {
        let bytes = self.options.reserve_bytes.next_multiple_of(BLOCK as u64);
        if !house.reserve.stands && bytes > 0 {
            self.make_reserve(bytes)?;
            house.reserve.stands = true;
            self.reserve_gone.store(false, std::sync::atomic::Ordering::Release);
        }
        Ok(())
    }

    fn make_reserve(&self, bytes: u64) -> Result<(), DiskError> {
        // One of another size, or half made, is made anew.
        if self.disk.list()?.iter().any(|name| name == NAME) {
            let file = self.disk.open(NAME, Access::Read, Mode::Buffered)?;
            if file.length()? == bytes {
                return Ok(());
            }
            self.disk.unlink(NAME)?;
        }
        let file = self.disk.create(NAME, Mode::Buffered)?;
        let made = file.preallocate(0, bytes).and_then(|()| file.sync());
        if made.is_err() {
            self.disk.unlink(NAME)?;
        }
        made
    }

    /// Does `work`; if the disk is full, once more with the reserve's space.
    pub(super) fn with_reserve<T>(
        &self,
        house: &mut Housekeeping,
        mut work: impl FnMut(&mut Housekeeping) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        match work(house) {
            Err(error) if error.kind == DiskErrorKind::Full && self.give_up(house) => work(house),
            done => done,
        }
    }

    /// Gives the reserve's space up. Whether there was any.
    pub(super) fn give_up(&self, house: &mut Housekeeping) -> bool {
        if !std::mem::take(&mut house.reserve.stands) {
            return false;
        }
        match use_up(&*self.disk) {
            Ok(there_was) => there_was,
            Err(error) => {
                tracing::warn!(%error, "the reserve cannot be given up");
                false
            }
        }
    }
}

/// Gives the space of a reserve back to the disk. Whether there was any.
///
/// # Errors
/// Where it cannot be removed.
pub(super) fn use_up(disk: &dyn Disk) -> Result<bool, DiskError> {
    let file = match disk.open(NAME, Access::ReadWrite, Mode::Buffered) {
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    // Cut first: an unlink alone may give the space back later.
    file.set_length(0)?;
    disk.unlink(NAME)?;
    disk.sync_directory()?;
    tracing::warn!("the disk is full: the reserve is in use");
    Ok(true)
}
