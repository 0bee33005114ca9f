//! The fetch sessions of all connections (KIP-227).
//!
//! Invariant: at most `max.incremental.fetch.session.cache.slots` sessions are
//! kept, of a bounded number of partitions together; a session is in the hands
//! of one fetch at a time, and comes back when that is answered; a fetch that is
//! not ends it, since what it had looked at is lost. Sessions are dropped outside
//! of the lock, for they take the locks of their partitions. Called by the handler.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use millrace_broker::Broker;
use parking_lot::Mutex;

use super::session::Session;
use crate::codec::ErrorCode;
use crate::context::Front;

/// `min.incremental.fetch.session.eviction.ms`: a session unused for so long
/// gives way to any other, and only one that old gives way to a larger one.
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// The epoch of a request that opens a session.
pub(super) const EPOCH_FULL: i32 = 0;
/// The epoch of a request that wants none.
pub(super) const EPOCH_NONE: i32 = -1;

#[derive(Debug)]
struct Entry {
    /// Absent while a fetch has it.
    session: Option<Box<Session>>,
    /// What the next request of the session must say.
    epoch: i32,
    by_id: bool,
    /// The incarnation whose partitions it holds.
    broker: Weak<Broker>,
    created: Instant,
    used: Instant,
    size: usize,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    entries: Mutex<HashMap<i32, Entry>>,
    max: usize,
    partitions_max: usize,
}

impl Sessions {
    /// Room for `max` sessions of `partitions_max` partitions together.
    #[must_use]
    pub fn new(max: usize, partitions_max: usize) -> Self {
        Self { entries: Mutex::default(), max, partitions_max }
    }

    /// Sessions kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether no session is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends a session.
    pub(super) fn remove(&self, id: i32) {
        let gone = self.entries.lock().remove(&id);
        drop(gone);
    }

    /// Ends the sessions of an incarnation that is over: they hold what was its
    /// memory.
    pub(crate) fn forget(&self, broker: &Arc<Broker>) {
        let gone = Arc::as_ptr(broker);
        let of_it = |_: &i32, entry: &mut Entry| std::ptr::eq(entry.broker.as_ptr(), gone);
        let sessions: Vec<_> = self.entries.lock().extract_if(of_it).collect();
        drop(sessions);
    }

    /// Keeps a new session if there is room for it or an older one gives way.
    pub(super) fn insert(
        &self,
        session: Box<Session>,
        by_id: bool,
        broker: &Arc<Broker>,
        random: impl Fn() -> u64,
    ) -> Option<i32> {
        let (now, size) = (Instant::now(), session.len());
        let _gone;
        let mut entries = self.entries.lock();
        let id = loop {
            let [.., a, b, c, d] = random().to_le_bytes();
            let id = i32::from_le_bytes([a, b, c, d]) & i32::MAX;
            if id != 0 && !entries.contains_key(&id) {
                break id;
            }
        };
        if entries.len() >= self.max {
            let victim = victim(&entries, now, (size, id))?;
            _gone = entries.remove(&victim);
        }
        if partitions(&entries).saturating_add(size) > self.partitions_max {
            return None;
        }
        let broker = Arc::downgrade(broker);
        let (session, epoch) = (Some(session), next_epoch(EPOCH_FULL));
        entries.insert(id, Entry { session, epoch, by_id, broker, created: now, used: now, size });
        Some(id)
    }

    /// Counts the partitions that a request has added to its session; whether
    /// there is room for them.
    pub(super) fn grow(&self, taken: &Taken) -> bool {
        let size = taken.session.len();
        if size <= taken.size {
            return true;
        }
        let mut entries = self.entries.lock();
        // Where it had to give way meanwhile, it goes with its request.
        let Some(entry) = entries.get_mut(&taken.id) else { return true };
        entry.size = size;
        partitions(&entries) <= self.partitions_max
    }

    /// Hands a session to the request with this epoch.
    pub(super) fn take(
        front: &Arc<Front>,
        broker: &Arc<Broker>,
        id: i32,
        epoch: i32,
        by_id: bool,
    ) -> Result<Taken, ErrorCode> {
        let _gone;
        let mut entries = front.sessions.entries.lock();
        let entry = entries.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if !std::ptr::eq(entry.broker.as_ptr(), Arc::as_ptr(broker)) {
            _gone = entries.remove(&id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if entry.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if entry.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let session = entry.session.take().ok_or(ErrorCode::InvalidFetchSessionEpoch)?;
        entry.epoch = next_epoch(epoch);
        entry.used = Instant::now();
        Ok(Taken { front: Arc::clone(front), id, size: entry.size, session, answered: false })
    }
}

/// Partitions of all sessions.
fn partitions(entries: &HashMap<i32, Entry>) -> usize {
    entries.values().map(|entry| entry.size).sum()
}

/// Which session gives way to a new one of this size and id, by Kafka's rules.
fn victim(entries: &HashMap<i32, Entry>, now: Instant, newcomer: (usize, i32)) -> Option<i32> {
    let (unused, oldest) = entries.iter().min_by_key(|(id, entry)| (entry.used, **id))?;
    if now.duration_since(oldest.used) > EVICTION_AGE {
        return Some(*unused);
    }
    let aged = entries.iter().filter(|(_, e)| now.duration_since(e.created) > EVICTION_AGE);
    let smallest = aged.map(|(id, entry)| (entry.size, *id)).min()?;
    (smallest < newcomer).then_some(smallest.1)
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

/// A session in the hands of one fetch.
pub(super) struct Taken {
    front: Arc<Front>,
    pub(super) id: i32,
    /// Partitions when it was taken.
    size: usize,
    pub(super) session: Box<Session>,
    answered: bool,
}

impl Taken {
    /// Ends the session: its request is answered without one.
    pub(super) fn end(mut self) -> Box<Session> {
        std::mem::take(&mut self.session)
    }

    /// Gives the session back, since its request is answered; its id.
    pub(super) fn give_back(mut self) -> i32 {
        self.answered = true;
        self.id
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.answered {
            return self.front.sessions.remove(self.id);
        }
        let mut session = std::mem::take(&mut self.session);
        session.settle();
        // Gone if it had to give way meanwhile, or the client asked for another.
        if let Some(entry) = self.front.sessions.entries.lock().get_mut(&self.id) {
            entry.size = session.len();
            entry.session = Some(session);
        }
    }
}

#[cfg(test)]
mod tests;
