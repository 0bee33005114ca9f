//! Planted bugs, each with the checks that have to catch it: a check that
//! never fails shows nothing.

use millrace_types::canary::{Canary, plant};

use crate::{Report, TraceTo, run};

/// Seeds that a planted bug may survive.
pub const SEEDS_MAX: u64 = 300;

/// What became of a planted bug.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub canary: Canary,
    /// The run that one of its checks failed, if there was one.
    pub caught: Option<Report>,
    /// Seeds that ran.
    pub seeds: u64,
}

/// The checks, by name, of which one has to catch this bug.
#[must_use]
pub const fn checks(canary: Canary) -> &'static [&'static str] {
    match canary {
        Canary::AckBeforeDurable | Canary::NoFsync => &["lost-write", "inconsistent-offset"],
        Canary::DuplicateAnsweredEarly => &["lost-write", "inconsistent-offset", "duplicate"],
        Canary::UnseededChecksum => &["lost-write", "end-went-back", "no-panic", "phantom-record"],
        Canary::CutBelowSynced => &["lost-write", "end-went-back", "inconsistent-offset"],
        Canary::SyncedToAhead => &["false-corruption", "refused-write", "no-start"],
        Canary::OldFileGoesOn => &["lost-write", "end-went-back", "false-corruption", "no-start"],
        Canary::OffsetFetchedEarly | Canary::CommitAckedEarly => &["commit-went-back"],
        Canary::EndToldEarly => &["end-went-back"],
        Canary::CheckpointAhead => &["false-corruption", "gap", "end-went-back", "no-start"],
        Canary::CheckpointWithoutProducers => &["duplicate", "reordered-sends"],
        Canary::IndexOffByOne => &["gap"],
        Canary::RetentionTooFar => &["live-records-deleted"],
        Canary::RewriteDropsExtent => &["gap", "lost-write"],
        Canary::ReadBeforeDurable => &["lost-write", "end-went-back", "inconsistent-offset"],
        Canary::DeletedOffsetsStay => &["reappeared-commit"],
    }
}

/// Plants a bug in one run after the other until one of its checks fails.
#[must_use]
pub fn hunt(canary: Canary, seeds_max: u64) -> Hunt {
    for seed in 0..seeds_max {
        plant(Some(canary));
        let report = run(seed, TraceTo::Hash);
        plant(None);
        if report.violations.iter().any(|found| checks(canary).contains(&found.check))
            && run(seed, TraceTo::Hash).violations.is_empty()
        {
            return Hunt { canary, caught: Some(report), seeds: seed + 1 };
        }
    }
    Hunt { canary, caught: None, seeds: seeds_max }
}
