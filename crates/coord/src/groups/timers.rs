//! Deadlines of all groups in one queue.
//!
//! A heartbeat moves a deadline later thousands of times before it fires once.
//! So the queue is allowed to be early: an entry stands at or before its
//! timer's deadline, a move to a later time leaves it where it is, and an entry
//! that comes up too early is queued again at its real time. Moving a deadline
//! costs nothing, whatever the number of groups and members.
//!
//! Invariant: each armed timer has exactly one entry, at `queued`, never after
//! `due`; a timer that is dropped was cancelled first.

use std::collections::BTreeSet;

use super::ids::{GroupId, MemberId};

/// What of a group comes due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// The end of a join phase.
    Join,
    /// The end of a sync phase.
    Sync,
    /// A member's session, or a pending member's time to join.
    Member(MemberId),
}

/// One deadline; kept by what it belongs to, armed and cancelled by
/// [`Timers`].
#[derive(Debug, Default)]
pub(crate) struct Timer {
    due: Option<u64>,
    queued: Option<u64>,
}

/// What became of a timer whose queue entry came up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fired {
    /// It is due and no longer armed.
    Yes,
    /// It was moved or cancelled meanwhile.
    No,
}

/// The queue. Times are monotonic milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(u64, GroupId, TimerKey)>,
}

impl Timers {
    /// When [`Timers::pop`] next has something, at the earliest.
    pub(crate) fn next(&self) -> Option<u64> {
        self.queue.first().map(|(at, ..)| *at)
    }

    /// Lets `timer` fire `delay_ms` after `now`, instead of whenever it was to
    /// fire. At least one millisecond lies between, so that a timer which arms
    /// itself again can't keep a tick from ending.
    pub(crate) fn arm(
        &mut self,
        timer: &mut Timer,
        group: &GroupId,
        key: TimerKey,
        now: u64,
        delay_ms: u64,
    ) {
        let due = now.saturating_add(delay_ms.max(1));
        timer.due = Some(due);
        match timer.queued {
            Some(queued) if queued <= due => {}
            Some(queued) => {
                self.queue.remove(&(queued, group.clone(), key.clone()));
                self.enqueue(timer, group, key, due);
            }
            None => self.enqueue(timer, group, key, due),
        }
    }

    /// Keeps `timer` from firing.
    pub(crate) fn cancel(&mut self, timer: &mut Timer, group: &GroupId, key: TimerKey) {
        timer.due = None;
        if let Some(queued) = timer.queued.take() {
            self.queue.remove(&(queued, group.clone(), key));
        }
    }

    /// The first entry at or before `now`.
    pub(crate) fn pop(&mut self, now: u64) -> Option<(GroupId, TimerKey)> {
        if self.next()? > now {
            return None;
        }
        let (_, group, key) = self.queue.pop_first()?;
        Some((group, key))
    }

    /// Tells whether the timer that a popped entry stood for is due, and
    /// queues it again if it was moved.
    pub(crate) fn fire(
        &mut self,
        timer: &mut Timer,
        group: &GroupId,
        key: TimerKey,
        now: u64,
    ) -> Fired {
        timer.queued = None;
        match timer.due {
            Some(due) if due <= now => {
                timer.due = None;
                Fired::Yes
            }
            Some(due) => {
                self.enqueue(timer, group, key, due);
                Fired::No
            }
            None => Fired::No,
        }
    }

    fn enqueue(&mut self, timer: &mut Timer, group: &GroupId, key: TimerKey, at: u64) {
        timer.queued = Some(at);
        self.queue.insert((at, group.clone(), key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(timers: &mut Timers, timer: &mut Timer, now: u64) -> bool {
        let mut fired = false;
        while let Some((group, key)) = timers.pop(now) {
            fired |= timers.fire(timer, &group, key, now) == Fired::Yes;
        }
        fired
    }

    #[test]
    fn a_deadline_moved_later_fires_once_at_the_later_time() {
        let (mut timers, mut timer, group) = (Timers::default(), Timer::default(), "g".into());
        timers.arm(&mut timer, &group, TimerKey::Join, 0, 10);
        timers.arm(&mut timer, &group, TimerKey::Join, 5, 10);
        assert!(!tick(&mut timers, &mut timer, 10));
        assert_eq!(timers.next(), Some(15));
        assert!(tick(&mut timers, &mut timer, 15));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_moved_earlier_fires_at_the_earlier_time() {
        let (mut timers, mut timer, group) = (Timers::default(), Timer::default(), "g".into());
        timers.arm(&mut timer, &group, TimerKey::Join, 0, 100);
        timers.arm(&mut timer, &group, TimerKey::Join, 0, 10);
        assert!(tick(&mut timers, &mut timer, 10));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cancelled_deadline_leaves_nothing() {
        let (mut timers, mut timer, group) = (Timers::default(), Timer::default(), "g".into());
        timers.arm(&mut timer, &group, TimerKey::Join, 0, 100);
        timers.cancel(&mut timer, &group, TimerKey::Join);
        assert_eq!(timers.next(), None);
        assert!(!tick(&mut timers, &mut timer, 1000));
    }
}
