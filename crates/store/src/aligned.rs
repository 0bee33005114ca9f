//! Memory that direct I/O takes, of any length. (The pooled kind, of one
//! length, is in [`crate::blocks`].) For footers and checkpoints, on both
//! sides of the [`crate::disk::Disk`] trait.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use crate::BLOCK;

/// Bytes whose first stands at an address that is a multiple of [`BLOCK`].
/// The length is what the caller asked for, of any size.
pub struct AlignedBuffer {
    /// Longer than asked by up to a block; never grows, since that would
    /// move it.
    memory: Box<[u8]>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let memory = vec![0; len + BLOCK].into_boxed_slice();
        let start = memory.as_ptr().addr().next_multiple_of(BLOCK) - memory.as_ptr().addr();
        Self { memory, start, len }
    }

    /// `content`, followed by zeros up to a multiple of [`BLOCK`].
    #[must_use]
    pub fn padded(content: &[u8]) -> Self {
        let mut buffer = Self::zeroed(content.len().next_multiple_of(BLOCK));
        if let Some(head) = buffer.get_mut(..content.len()) {
            head.copy_from_slice(content);
        }
        buffer
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_at_a_blocks_begin_and_is_padded_with_zeros() {
        let buffer = AlignedBuffer::padded(b"content");
        assert_eq!(buffer.as_ptr().addr() % BLOCK, 0);
        assert_eq!(buffer.len(), BLOCK);
        assert_eq!(buffer.strip_prefix(b"content").unwrap(), &[0; BLOCK - 7]);
        assert!(AlignedBuffer::padded(b"").is_empty());
    }
}
