//! What a person meets at the command line: what is printed and asked, and how
//! it looks on a terminal, in a pipe and as JSON.
//!
//! Beside that, the commands that are clients of any Kafka broker.
//!
//! Invariant: nothing here knows the server. What the binary's own commands
//! print goes through here too, so that all of them have the same manners.

mod clients;
mod cluster;
mod consume;
mod group;
mod produce;
mod topic;

pub mod suggest;
pub mod terminal;

pub use clients::{ClientCommand, run};
pub use terminal::{Failure, Out};
