//! The log as formats and state machines: record batches, the frames of the
//! write-ahead log, the state of a partition, the index of where its offsets
//! lie, checkpoints, and plans for giving space back. `docs/format.md` draws
//! every stored structure.
//!
//! Invariants: this crate is pure. Time and log positions are arguments, bytes
//! come in as slices, what must be done is a returned value. Decoders take
//! hostile or rotten bytes without panicking, and allocate no more than the
//! bytes that are left justify. `store` does the I/O, `broker` drives the
//! state machines.

pub mod backup;
pub mod batch;
pub mod checkpoint;
pub mod compression;
mod crc;
#[cfg(test)]
mod format_page;
pub mod frame;
#[cfg(test)]
mod golden;
pub mod index;
pub mod partition;
pub mod records;
pub mod retention;
pub mod skips;
mod wire;

/// Log files, frames and footers are aligned to blocks of this many bytes: the
/// unit of direct I/O.
pub const BLOCK: usize = 4096;

/// The version of every stored structure in this build. A data directory of
/// another version is refused at the start.
pub const FORMAT_VERSION: u16 = 1;
