//! What Millrace keeps: the log on a disk, and the catalog beside it.
//!
//! The drivers come first: [`disk`] (files), [`catalog`] (what people
//! administer), [`mod@env`] (time, randomness, tasks), [`blocks`] and [`cache`]
//! (memory). Above them stands the log: [`engine`]; [`backup`] copies it.
//! Invariant: nothing here
//! knows a protocol, and nothing outside the drivers does I/O of its own, so
//! that a simulation which replaces them runs the same code.

pub mod aligned;
pub mod backup;
pub mod blocks;
pub mod cache;
pub mod catalog;
pub mod check;
pub mod disk;
pub mod engine;
pub mod env;
pub mod repair;

/// Bytes of the unit that everything in a log file is aligned to: what direct
/// I/O asks of positions, lengths and memory on every disk in use.
pub const BLOCK: usize = 4096;

/// The version of the log's format on disk that is written and read.
pub const LOG_FORMAT_VERSION: u16 = millrace_log::FORMAT_VERSION;
