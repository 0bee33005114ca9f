//! Planted bugs, each with the checks that have to catch it: a check that
//! never fails shows nothing.

use millrace_log::frame::{self, FrameHeader, Seed};
use millrace_types::{
    FileId, Incarnation, Lsn, Timestamp,
    canary::{Canary, plant},
};

use crate::{TraceTo, Violation, run};

/// Seeds that a planted bug may survive.
pub const SEEDS_MAX: u64 = 2000;

/// What became of a planted bug.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub canary: Canary,
    /// What one of its checks found.
    pub caught: Option<Violation>,
    /// Seeds that ran.
    pub seeds: u64,
}

/// The checks, by name, of which one has to catch this bug.
#[must_use]
pub const fn checks(canary: Canary) -> &'static [&'static str] {
    match canary {
        Canary::AckBeforeDurable | Canary::NoFsync => &["lost-write", "inconsistent-offset"],
        Canary::DuplicateAnsweredEarly => &["lost-write", "inconsistent-offset", "duplicate"],
        Canary::UnseededChecksum => &["stale-frame"],
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
        Canary::RerouteForgotten => &["reshard", "refused-write"],
        Canary::BackupSealsFirst | Canary::BackupWithoutCatalog => &["backup"],
        Canary::RepairGivesMore => &["gap", "lost-write"],
    }
}

/// What runs hardly show: a frame that comes back elsewhere than it was written
/// is none. (Where it is one, it mostly says again what is known; a void frame
/// of an older incarnation would take an offset that was given again.)
fn stale_frame() -> Option<Violation> {
    let at = Seed { incarnation: Incarnation(3), file: FileId(7), position: 4096 };
    let elsewhere = [
        Seed { incarnation: Incarnation(4), ..at },
        Seed { file: FileId(8), ..at },
        Seed { position: 8192, ..at },
    ];
    let header = FrameHeader::new(Lsn(9), at, 0, Timestamp(0), frame::front_len(0), 0, 0)?;
    let mut front = vec![0; frame::front_len(0)];
    frame::encode_front(&header, &[], &mut front);
    let found = elsewhere.iter().find(|seed| frame::decode_front(&front, **seed).is_ok())?;
    let what = format!("a frame written at {at:?} is one at {found:?}");
    Some(Violation { check: "stale-frame", at_us: 0, what })
}

/// Plants a bug in one run after the other until one of its checks fails.
#[must_use]
pub fn hunt(canary: Canary, seeds_max: u64) -> Hunt {
    plant(Some(canary));
    let stale = stale_frame();
    plant(None);
    if let Some(violation) = stale.filter(|_| stale_frame().is_none()) {
        return Hunt { canary, caught: Some(violation), seeds: 0 };
    }
    for seed in 0..seeds_max {
        plant(Some(canary));
        let report = run(seed, TraceTo::Hash);
        plant(None);
        let found = report.violations.into_iter().find(|v| checks(canary).contains(&v.check));
        // It has to be the planted bug's doing.
        if found.is_some() && run(seed, TraceTo::Hash).violations.is_empty() {
            return Hunt { canary, caught: found, seeds: seed + 1 };
        }
    }
    Hunt { canary, caught: None, seeds: seeds_max }
}
