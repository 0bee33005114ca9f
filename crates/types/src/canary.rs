//! Planted bugs, by which the checks are checked: each breaks one promise, and
//! a simulation that does not notice is worth nothing.
//!
//! Compiled in only by the feature `canary`, which no release has (a test
//! says so). Even then nothing is planted until a thread plants it.

use std::cell::Cell;

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Producers are answered before their batch is durable.
    AckBeforeDurable,
    /// The log is written and never synced.
    NoFsync,
    /// Frames prove neither incarnation nor file nor position.
    UnseededChecksum,
    /// What is invalid below `synced_to` counts as a torn tail.
    CutBelowSynced,
    /// `synced_to` names bytes that are just being written.
    SyncedToAhead,
    /// What a dead incarnation left unsynced stays in its file, and the log
    /// goes on behind it.
    OldFileGoesOn,
    /// A producer's retry is answered before the original is durable.
    DuplicateAnsweredEarly,
    /// A group's offset is told before it is durable.
    OffsetFetchedEarly,
    /// The log's end is told before it is durable.
    EndToldEarly,
    /// A checkpoint holds what is not durable yet.
    CheckpointAhead,
    /// A checkpoint leaves out the state of producers.
    CheckpointWithoutProducers,
    /// The index finds the batch behind the one that was asked for.
    IndexOffByOne,
    /// Retention deletes one batch too many.
    RetentionTooFar,
    /// Rewriting leaves out the last live batch of a partition.
    RewriteDropsExtent,
    /// A group's commit is answered before it is durable.
    CommitAckedEarly,
    /// Records are served before they are durable.
    ReadBeforeDurable,
    /// Groups keep the offsets of deleted topics.
    DeletedOffsetsStay,
    /// A sealed partition remembers nothing of the batches that go elsewhere.
    RerouteForgotten,
    /// A backup seals the present file before it takes its checkpoint, which
    /// then knows of records that no file of it has.
    BackupSealsFirst,
    /// A backup has no catalog.
    BackupWithoutCatalog,
    /// Readers pass more than a repair gave up.
    RepairGivesMore,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::AckBeforeDurable,
        Self::NoFsync,
        Self::UnseededChecksum,
        Self::CutBelowSynced,
        Self::SyncedToAhead,
        Self::OldFileGoesOn,
        Self::DuplicateAnsweredEarly,
        Self::OffsetFetchedEarly,
        Self::EndToldEarly,
        Self::CheckpointAhead,
        Self::CheckpointWithoutProducers,
        Self::IndexOffByOne,
        Self::RetentionTooFar,
        Self::RewriteDropsExtent,
        Self::CommitAckedEarly,
        Self::ReadBeforeDurable,
        Self::DeletedOffsetsStay,
        Self::RerouteForgotten,
        Self::BackupSealsFirst,
        Self::BackupWithoutCatalog,
        Self::RepairGivesMore,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Canary>> = const { Cell::new(None) };
}

/// Plants a bug in all that this thread runs from now on, or none.
pub fn plant(canary: Option<Canary>) {
    PLANTED.set(canary);
}

/// Whether this thread has planted it.
#[must_use]
pub fn is_planted(canary: Canary) -> bool {
    PLANTED.get() == Some(canary)
}
