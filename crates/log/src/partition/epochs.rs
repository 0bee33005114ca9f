//! Leader epochs and the offsets at which they begin: what lets a client find
//! out whether its position is of this log.

use millrace_types::{LeaderEpoch, Offset};

/// The offset at which a leader epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Its first offset (the log start, if that has passed it).
    pub start: Offset,
}

/// The epochs of one partition that have records, oldest first; both columns
/// increase. The newest one stays when its records are gone, so that no epoch
/// is opened twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Epochs(Vec<EpochStart>);

impl Epochs {
    pub(super) const fn restore(starts: Vec<EpochStart>) -> Self {
        Self(starts)
    }

    pub(super) fn starts(&self) -> &[EpochStart] {
        &self.0
    }

    pub(super) fn last(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|last| last.epoch)
    }

    /// Records of `epoch` begin at `start`, if it is a new one. In recovery
    /// that may lie below a log start that was replayed first.
    pub(super) fn open(&mut self, epoch: LeaderEpoch, start: Offset, log_start: Offset) {
        if self.last().is_none_or(|last| last < epoch) {
            self.0.push(EpochStart { epoch, start });
            self.trim(log_start);
        }
    }

    /// Forgets epochs that end at or below the log start.
    pub(super) fn trim(&mut self, log_start: Offset) {
        let begun = self.0.partition_point(|e| e.start <= log_start);
        self.0.drain(..begun.saturating_sub(1));
        if let Some(first) = self.0.first_mut() {
            first.start = first.start.max(log_start);
        }
    }

    pub(super) fn end(
        &self,
        epoch: LeaderEpoch,
        current: LeaderEpoch,
        high_watermark: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        if epoch > current || epoch < LeaderEpoch(0) {
            return None;
        }
        if epoch == current {
            return Some((epoch, high_watermark));
        }
        let after = self.0.partition_point(|e| e.epoch <= epoch);
        let end = self.0.get(after).map_or(high_watermark, |next| next.start);
        let floor = after.checked_sub(1).and_then(|at| self.0.get(at));
        Some((floor.map_or(epoch, |e| e.epoch), end))
    }
}
