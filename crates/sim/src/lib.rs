//! The simulator: the real store and broker over a simulated disk and clock,
//! on one thread, from one seed.
//!
//! A seed decides everything: the settings, who goes next, how long things
//! take, what fails and when, what clients do. The same seed gives the same
//! run, so a failure is found again by its number. `scenario` is one run, top
//! to bottom; `world` has time and tasks, `disk` and `catalog` the drivers,
//! `server` the process, `clients` the load, `nemesis` the faults, `backups` what
//! was copied meanwhile, `book` what clients were told.
//!
//! Invariant: nothing here changes what the server does. The code that runs is
//! the code of a release; it is given another world by the traits that it
//! takes its world from.

mod backups;
mod book;
#[cfg(feature = "canaries")]
pub mod canaries;
mod catalog;
mod clients;
mod disk;
mod fiber;
mod nemesis;
mod plan;
mod random;
mod repairs;
mod scenario;
mod server;
mod world;

pub use book::{Counts, Violation};
pub use scenario::{Report, run};
pub use world::TraceTo;
