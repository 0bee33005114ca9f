//! An open-loop load generator for any Kafka or Kinesis endpoint: `millrace
//! bench`.
//!
//! It knows nothing of the server beside it but the format of record batches
//! (`millrace-log`). `run` drives one run, `compare` two endpoints in turn;
//! `worker` is one thread of `producer`s or `reader`s over `poller`, `pipe`
//! and `conn`; `schedule` says when records are due, `batch` makes them,
//! `verify` judges what was read, `report` tells it. `kinesis` is all of that
//! for the other protocol.
//!
//! Invariants: latency counts from when a record was due, not from when it was
//! sent; what was acknowledged is looked for by readers; the generator is
//! light, so that what it measures is the server (`docs/adr`).

mod batch;
mod cluster;
mod compare;
mod conn;
mod control;
mod cost;
mod error;
mod fetch;
mod kinesis;
mod meter;
mod numbers;
mod options;
mod pipe;
mod poller;
mod produce;
mod producer;
mod reader;
mod report;
mod run;
mod schedule;
mod setup;
mod shared;
mod verify;
mod wire;
mod worker;

use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

pub use crate::compare::{Comparison, Figure};
pub use crate::error::BenchError;
pub use crate::options::{Acks, BenchArgs, Codec, Protocol, Rate, Read};
pub use crate::report::{Cost, Latency, Phase, Report, ServerCost, Verified};
pub use crate::verify::{Depth, Findings};

/// What the generator calls itself to servers.
pub(crate) const CLIENT_ID: &str = "millrace-bench";

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// One endpoint.
    One(Box<Report>),
    /// Two in turn.
    Two(Box<Comparison>),
}

impl Outcome {
    /// Whether everything that was read is what was written.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let is_clean = |round: &Report| round.verified.as_ref().is_none_or(|v| v.is_clean);
        match self {
            Self::One(report) => is_clean(report),
            Self::Two(both) => both.a_rounds.iter().chain(&both.b_rounds).all(is_clean),
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(report) => report.fmt(f),
            Self::Two(comparison) => comparison.fmt(f),
        }
    }
}

fn run_once(
    endpoint: &str,
    options: &BenchArgs,
    pids: &[u32],
    stop: &AtomicBool,
) -> Result<Report, BenchError> {
    match options.protocol {
        Protocol::Kafka => run::run(endpoint, options, pids, stop),
        Protocol::Kinesis => kinesis::run(endpoint, options, pids, stop),
    }
}

/// Runs what the options say. Setting `stop` ends it early, with what there is
/// so far.
///
/// # Errors
/// Options that can't be, a server that can't be reached or refuses, and
/// everything else that [`BenchError`] lists.
pub fn run(options: &BenchArgs, stop: &AtomicBool) -> Result<Outcome, BenchError> {
    options.check()?;
    let [a, b] = options.compare.as_slice() else {
        let report = run_once(&options.bootstrap, options, &options.server_pid, stop)?;
        return Ok(Outcome::One(Box::new(report)));
    };
    let (mut a_rounds, mut b_rounds) = (Vec::new(), Vec::new());
    for number in 0..options.rounds.saturating_mul(2) {
        let is_second = compare::is_second(number);
        let (endpoint, place) = if is_second { (b, 1) } else { (a, 0) };
        let pids = options.server_pid.get(place..=place).unwrap_or_default();
        let report = run_once(endpoint, options, pids, stop)?;
        if stop.load(Ordering::Relaxed) {
            break; // a round that was cut short says nothing
        }
        eprint!("round {}: {report}", number / 2 + 1);
        if is_second { &mut b_rounds } else { &mut a_rounds }.push(report);
    }
    let comparison = Comparison::new(a.clone(), b.clone(), a_rounds, b_rounds);
    Ok(Outcome::Two(Box::new(comparison)))
}
