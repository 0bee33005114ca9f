//! Waking readers: a [`Watch`] follows any number of partitions and wakes its
//! owner once for a commit, however many of them grew.
//!
//! Invariant: a token is in the list of changes exactly while its entry is
//! marked, so the list is never longer than the number of partitions watched.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use parking_lot::Mutex;

use super::partition::Partition;

/// Follows partitions for one reader. Registration costs what changes: a
/// reader of 10,000 partitions adds each once and is told which ones changed.
#[derive(Debug, Default)]
pub struct Watch {
    shared: Arc<Shared>,
    entries: BTreeMap<u32, (Weak<Partition>, Arc<Entry>)>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    changed: Vec<Arc<Entry>>,
    waker: Option<Waker>,
}

/// One watched partition of one [`Watch`].
#[derive(Debug)]
pub(super) struct Entry {
    shared: Arc<Shared>,
    token: u32,
    marked: AtomicBool,
    removed: AtomicBool,
}

impl Entry {
    /// Says that the partition changed. Returns false when nobody watches
    /// any more, and the entry can be dropped.
    pub(super) fn notify(self: &Arc<Self>) -> bool {
        if self.removed.load(Ordering::Acquire) {
            return false;
        }
        if !self.marked.swap(true, Ordering::AcqRel) {
            let mut state = self.shared.state.lock();
            state.changed.push(Arc::clone(self));
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        true
    }
}

impl Watch {
    /// Follows `partition`; changes from now on are told as `token`. A token
    /// names one partition: adding it again replaces the earlier one.
    pub fn add(&mut self, partition: &Arc<Partition>, token: u32) {
        self.remove(token);
        let entry = Arc::new(Entry {
            shared: Arc::clone(&self.shared),
            token,
            marked: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        });
        partition.add_watcher(Arc::clone(&entry));
        self.entries.insert(token, (Arc::downgrade(partition), entry));
    }

    /// Stops following the partition of `token`.
    pub fn remove(&mut self, token: u32) {
        if let Some((partition, entry)) = self.entries.remove(&token) {
            entry.removed.store(true, Ordering::Release);
            if let Some(partition) = partition.upgrade() {
                partition.remove_watcher(&entry);
            }
        }
    }

    /// Waits until a partition grew, was cut or deleted since the last call,
    /// and returns the tokens of all that did.
    pub async fn changed(&mut self) -> Vec<u32> {
        std::future::poll_fn(|context| {
            let mut state = self.shared.state.lock();
            if state.changed.is_empty() {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(drain(&mut state))
        })
        .await
    }

    /// The tokens of what changed since the last call, without waiting.
    pub fn take_changed(&mut self) -> Vec<u32> {
        drain(&mut self.shared.state.lock())
    }
}

fn drain(state: &mut State) -> Vec<u32> {
    let changed = std::mem::take(&mut state.changed);
    changed
        .into_iter()
        .filter(|entry| {
            // Unmark first: a change from here on is told by the next call. By
            // a swap, so that what came before the last change is seen by who
            // looks at the partition now, whatever guards it.
            entry.marked.swap(false, Ordering::AcqRel);
            !entry.removed.load(Ordering::Acquire)
        })
        .map(|entry| entry.token)
        .collect()
}

impl Drop for Watch {
    fn drop(&mut self) {
        for token in self.entries.keys().copied().collect::<Vec<_>>() {
            self.remove(token);
        }
        // What changed holds the state that holds it.
        let changed = std::mem::take(&mut self.shared.state.lock().changed);
        drop(changed);
    }
}
