//! What goes on beside requests: appending records, keeping deadlines,
//! expiring offsets. Each task ends with the incarnation.

use std::{collections::VecDeque, pin::pin, sync::Arc};

use millrace_coord::groups::{GroupId, GroupRecord, Now, Refusal};

use super::{GroupCoordinator, GroupLog, GroupLogError, Phase, Serving, Unit};

/// Bytes of records that go into one append, unless one call's records are
/// larger.
const APPEND_BYTES_MAX: usize = 256 * 1024;

/// Most bytes of records that become durable as one unit: far above what
/// groups need, far below what the log gathers. (Kafka refuses at the
/// `max.message.bytes` of its offsets topic, 1 MiB by default.)
const UNIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Groups that are looked at for expired offsets while others wait.
const EXPIRE_GROUPS_MAX: usize = 100;

pub(super) fn spawn(
    groups: &Arc<GroupCoordinator>,
    log: &Arc<dyn GroupLog>,
    expire_interval_ms: u64,
) {
    let env = &groups.env;
    let (mine, log_of) = (|| Arc::clone(groups), || Arc::clone(log));
    env.spawn("group records", Box::pin(append_records(mine(), log_of())));
    env.spawn("group deadlines", Box::pin(keep_deadlines(mine(), log_of())));
    env.spawn("group retention", Box::pin(expire(mine(), log_of(), expire_interval_ms)));
}

/// Appends what the groups give out, in order.
async fn append_records(groups: Arc<GroupCoordinator>, log: Arc<dyn GroupLog>) {
    let ended = log.ended();
    tokio::pin!(ended);
    // Clients try again and again: only the first refusal is worth a line.
    let mut refused = false;
    loop {
        let (count, refusal) = match groups.take_queued() {
            Queued::Nothing => tokio::select! {
                biased;
                () = &mut ended => break,
                () = groups.work.notified() => continue,
            },
            Queued::TooLarge => {
                tracing::warn!("records of a group are too large to be stored");
                (1, Refusal::TooLarge)
            }
            Queued::Units(count, records) => match log.append(&records).await {
                Ok(()) => {
                    if std::mem::take(&mut refused) {
                        tracing::info!("records of groups are stored again");
                    }
                    continue;
                }
                Err(GroupLogError::Refused(refusal)) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(count, ?refusal, "records of groups could not be stored");
                    }
                    (count, refusal)
                }
                Err(GroupLogError::Ended) => break,
            },
        };
        // What came before is told first: the groups count on the order.
        tokio::select! {
            biased;
            () = &mut ended => break,
            () = groups.only_newest_left(count) => groups.refuse(count, refusal),
        }
    }
    groups.end();
}

/// Wakes the groups when something is due.
async fn keep_deadlines(groups: Arc<GroupCoordinator>, log: Arc<dyn GroupLog>) {
    let ended = log.ended();
    tokio::pin!(ended);
    while let Some(armed) = groups.arm() {
        let due = async {
            match armed {
                Some(at) => groups.env.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut ended => return,
            () = groups.sooner.notified() => {}
            () = due => groups.tick(),
        }
    }
}

/// Expires offsets, a few groups at a time.
async fn expire(groups: Arc<GroupCoordinator>, log: Arc<dyn GroupLog>, interval_ms: u64) {
    let ended = log.ended();
    tokio::pin!(ended);
    let clock = ExpiryClock::new(groups.started);
    let mut after: Option<GroupId> = None;
    loop {
        // Between two turns of a pass others get theirs.
        let pause_ms = if after.is_some() { 1 } else { interval_ms };
        let at = groups.env.monotonic_ms().saturating_add(pause_ms);
        tokio::select! {
            biased;
            () = &mut ended => return,
            () = groups.env.sleep_until(at) => {
                after = groups.expire_some(after, &clock, log.as_ref());
            }
        }
    }
}

/// What is to be appended next.
enum Queued {
    Nothing,
    /// So many units, and their records.
    Units(usize, Vec<Vec<u8>>),
    /// One unit that no append takes.
    TooLarge,
}

/// The wall clock, but never ahead of the monotonic clock since the start: a
/// clock that jumps ahead expires nothing.
struct ExpiryClock {
    started: Now,
}

impl ExpiryClock {
    const fn new(started: Now) -> Self {
        Self { started }
    }

    fn believed(&self, now: Now) -> Now {
        let passed_ms = now.monotonic_ms.saturating_sub(self.started.monotonic_ms);
        let latest = self.started.wall.plus_ms(i64::try_from(passed_ms).unwrap_or(i64::MAX));
        Now { wall: now.wall.min(latest), ..now }
    }
}

impl GroupCoordinator {
    /// Moves what is to be appended next to what is being appended.
    fn take_queued(&self) -> Queued {
        let mut phase = self.phase.lock();
        let Phase::Serving(serving) = &mut *phase else { return Queued::Nothing };
        let (mut count, mut bytes, mut records) = (0, 0, Vec::new());
        while bytes < APPEND_BYTES_MAX {
            let Some(unit) = serving.queue.pop_front() else { break };
            let encoded: Vec<_> = unit.persist.records().iter().map(GroupRecord::encode).collect();
            let length: usize = encoded.iter().map(Vec::len).sum();
            if length > UNIT_BYTES_MAX && count > 0 {
                // Its turn comes after those before it.
                serving.queue.push_front(unit);
                break;
            }
            serving.appended.push_back(unit);
            if length > UNIT_BYTES_MAX {
                return Queued::TooLarge;
            }
            bytes += length;
            count += 1;
            records.extend(encoded);
        }
        if count == 0 { Queued::Nothing } else { Queued::Units(count, records) }
    }

    /// Resolves when all that was appended is durable but the newest `count`
    /// units.
    async fn only_newest_left(&self, count: usize) {
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            let left = match &*self.phase.lock() {
                Phase::Serving(serving) => serving.appended.len(),
                Phase::Recovering(..) | Phase::Over(_) => 0,
            };
            if left <= count {
                return;
            }
            settled.await;
        }
    }

    /// The newest `count` units were not appended.
    fn refuse(&self, count: usize, refusal: Refusal) {
        for unit in self.take_refused(count) {
            let now = self.now();
            if self.with(|groups| ((), groups.refused(unit.persist, refusal, now))).is_err() {
                return;
            }
            // Who is gone does not hear it.
            for watcher in unit.watchers {
                watcher.send(()).ok();
            }
        }
    }

    fn take_refused(&self, count: usize) -> VecDeque<Unit> {
        let mut phase = self.phase.lock();
        let Phase::Serving(serving) = &mut *phase else { return VecDeque::new() };
        let first = serving.appended.len().saturating_sub(count);
        serving.appended.split_off(first)
    }

    /// The deadline to wait for from now on; `None` when there is nothing to
    /// wait for any more.
    fn arm(&self) -> Option<Option<u64>> {
        match &mut *self.phase.lock() {
            Phase::Serving(serving) => {
                let Serving { groups, armed, .. } = serving.as_mut();
                *armed = groups.next_deadline();
                Some(*armed)
            }
            Phase::Recovering(..) | Phase::Over(_) => None,
        }
    }

    fn tick(&self) {
        let now = self.now();
        // Where the incarnation is over, the next round ends the task.
        self.with(|groups| ((), groups.tick(now))).ok();
    }

    /// One turn of a pass over all groups; the group to go on behind.
    fn expire_some(
        &self,
        after: Option<GroupId>,
        clock: &ExpiryClock,
        log: &dyn GroupLog,
    ) -> Option<GroupId> {
        let now = clock.believed(self.now());
        let turn = self.with(|groups| {
            let name = |topic| log.topic_name(topic);
            let (effects, next) = groups.expire(now, after.as_ref(), EXPIRE_GROUPS_MAX, name);
            (next, effects)
        });
        turn.unwrap_or(None)
    }

    /// The incarnation is over: whoever waits hears it.
    fn end(&self) {
        let mut phase = self.phase.lock();
        if let Phase::Serving(serving) = &*phase {
            *phase = Phase::Over(serving.groups.durable_groups().clone());
        }
    }
}
