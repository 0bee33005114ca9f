//! What a person meets at the command line: what is printed and asked, and how
//! it looks on a terminal, in a pipe and as JSON.
//!
//! Invariant: nothing here knows the server. What the binary's own commands
//! print goes through here too, so that all of them have the same manners.

pub mod suggest;
pub mod terminal;

pub use terminal::{Failure, Out};
