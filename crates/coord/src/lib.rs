//! Coordinators: consumer groups and their committed offsets; the hash ranges
//! of partitions.
//!
//! Everything here is pure: no clock, no randomness, no I/O. The caller (the
//! broker) gives times and random parts of ids as arguments, and carries out
//! what is returned: replies to waiting requests, and records to be made
//! durable. That is what lets a test replay any history.

pub mod groups;
pub mod ranges;
