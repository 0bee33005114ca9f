//! The raw memory of blocks. Called by [`super`] alone.
//!
//! Blocks are cut from slabs of [`SLAB_BYTES`], the size of a huge page of
//! most machines. Where the kernel has one to give, what is gathered, summed
//! and handed to the disk is one page instead of hundreds: fewer misses when
//! it is copied to, and fewer pages to pin and list for direct I/O
//! (docs/perf/0006-memory-and-waking.md).

use std::{ptr::NonNull, sync::Arc};

use super::BLOCK_BYTES;

/// What is asked of the operating system at once.
const SLAB_BYTES: usize = 2 << 20;

/// Memory of several blocks, given back with the last of them.
#[derive(Debug)]
struct Slab {
    start: NonNull<u8>,
}

// SAFETY: a slab gives its address to the blocks cut from it and nothing else.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

/// [`BLOCK_BYTES`] of memory, aligned to a page and initialised (to zeros,
/// then to whatever its users leave), owned by this value.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    _slab: Arc<Slab>,
}

// SAFETY: the memory is plain bytes that belong to this value alone; that it
// is used from one thread at a time, or read only, is the users' to prove.
unsafe impl Send for Memory {}
// SAFETY: a shared reference gives out the address and nothing else.
unsafe impl Sync for Memory {}

impl Memory {
    /// Fresh zeroed memory of several blocks, in falling order of addresses
    /// (the last is to be used first); none when the machine has none left.
    pub(super) fn allocate() -> Vec<Self> {
        let Some(slab) = Slab::map().map(Arc::new) else { return Vec::new() };
        let starts = (0..SLAB_BYTES / BLOCK_BYTES).rev().map(|n| n * BLOCK_BYTES);
        starts
            .map(|offset| {
                // SAFETY: the offset lies within the slab.
                let start = unsafe { slab.start.add(offset) };
                Self { start, _slab: Arc::clone(&slab) }
            })
            .collect()
    }

    /// Its first byte.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

#[cfg(not(miri))]
impl Slab {
    /// Mapped by itself, so that `drop` really gives it back, whatever the
    /// allocator keeps; pages are not touched here.
    fn map() -> Option<Self> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let (null, length) = (std::ptr::null_mut(), 2 * SLAB_BYTES);
        // SAFETY: an anonymous private mapping at an address of the kernel's
        // choice overlaps nothing.
        let mapped = unsafe { mmap_anonymous(null, length, protection, MapFlags::PRIVATE) };
        let mapped: NonNull<u8> = NonNull::new(mapped.ok()?.cast())?;
        // Twice as much, of which the part that is aligned stays.
        let before = mapped.as_ptr().align_offset(SLAB_BYTES);
        let after = SLAB_BYTES - before;
        // SAFETY: all within what was mapped above; nobody has these addresses
        // yet. Unmapping fails where the kernel would have to split a mapping
        // and may not; then the addresses stay taken, which costs no memory.
        let start = unsafe {
            let start = mapped.add(before);
            munmap(mapped.as_ptr().cast(), before).ok();
            munmap(start.add(SLAB_BYTES).as_ptr().cast(), after).ok();
            // A wish: kernels without huge pages refuse it.
            madvise(start.as_ptr().cast(), SLAB_BYTES, Advice::LinuxHugepage).ok();
            start
        };
        Some(Self { start })
    }
}

#[cfg(not(miri))]
impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: `map` left exactly this range mapped, and nothing refers to
        // it any more: each block holds the slab.
        unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), SLAB_BYTES) }.ok();
    }
}

/// The same for Miri, which knows no mappings.
#[cfg(miri)]
impl Slab {
    const LAYOUT: std::alloc::Layout =
        match std::alloc::Layout::from_size_align(SLAB_BYTES, crate::BLOCK) {
            Ok(layout) => layout,
            Err(_) => panic!("a slab is a whole number of pages"),
        };

    fn map() -> Option<Self> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { std::alloc::alloc_zeroed(Self::LAYOUT) }).map(|start| Self { start })
    }
}

#[cfg(miri)]
impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: `map` got it with this layout; nothing refers to it.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), Self::LAYOUT) }
    }
}
