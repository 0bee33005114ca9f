//! The protocol-free core that the fronts call. For now only a stand-in that
//! keeps everything in memory, so that the fronts compile and can be tried.

pub mod config;
pub mod groups;
pub mod metrics;
mod standin;

pub use standin::*;
