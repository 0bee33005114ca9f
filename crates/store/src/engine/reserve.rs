//! Space set aside so that a full disk can be emptied: rewriting a file, a
//! checkpoint and a new log file for the server's own records need some.
//!
//! The reserve is a file of really allocated blocks. It is given up when
//! maintenance meets a full disk, and made again, before anything else, once
//! there is room. Invariant: the log grows for clients only while the reserve
//! stands, so that produce is refused before deletion is.

use super::{Engine, maintain::Housekeeping};
use crate::{
    BLOCK,
    disk::{Access, DiskError, DiskErrorKind, Mode},
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
        // Cut first: an unlink alone may give the space back later.
        let cut = self.disk.open(NAME, Access::ReadWrite, Mode::Buffered).and_then(|file| {
            file.set_length(0)?;
            self.disk.unlink(NAME)
        });
        match cut.and_then(|()| self.disk.sync_directory()) {
            Ok(()) => {
                tracing::warn!("the disk is full: the reserve is in use");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the reserve cannot be given up");
                false
            }
        }
    }
}
