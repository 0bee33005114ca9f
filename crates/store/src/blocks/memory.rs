//! The raw memory of one block. Called by [`super`] alone.

use std::ptr::NonNull;

use super::BLOCK_BYTES;

/// [`BLOCK_BYTES`] of memory, aligned to a page and initialised (to zeros,
/// then to whatever its users leave), owned by this value.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
}

// SAFETY: the memory is plain bytes that belong to this value alone; that it
// is used from one thread at a time, or read only, is the users' to prove.
unsafe impl Send for Memory {}
// SAFETY: a shared reference gives out the address and nothing else.
unsafe impl Sync for Memory {}

impl Memory {
    /// Fresh zeroed memory; `None` when the machine has none left.
    ///
    /// Mapped by itself, so that `drop` really gives it back, whatever the
    /// allocator keeps; pages are not touched here.
    #[cfg(not(miri))]
    pub(super) fn allocate() -> Option<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: an anonymous private mapping at an address of the kernel's
        // choice overlaps nothing.
        let start = unsafe {
            mmap_anonymous(std::ptr::null_mut(), BLOCK_BYTES, protection, MapFlags::PRIVATE)
        };
        NonNull::new(start.ok()?.cast()).map(|start| Self { start })
    }

    /// The same for Miri, which knows no mappings.
    #[cfg(miri)]
    pub(super) fn allocate() -> Option<Self> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { std::alloc::alloc_zeroed(layout()) }).map(|start| Self { start })
    }

    /// Its first byte.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Memory {
    #[cfg(not(miri))]
    fn drop(&mut self) {
        // SAFETY: `allocate` mapped exactly this range, and nothing refers to
        // it any more: the last user gave it up.
        // It fails when the kernel would have to split a mapping and may not;
        // then the memory stays the process's, unused.
        unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), BLOCK_BYTES) }.ok();
    }

    #[cfg(miri)]
    fn drop(&mut self) {
        // SAFETY: `allocate` got it with this layout; nothing refers to it.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), layout()) }
    }
}

#[cfg(miri)]
fn layout() -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(BLOCK_BYTES, crate::BLOCK).unwrap()
}
