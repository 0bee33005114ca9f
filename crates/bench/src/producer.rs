//! One producer: what is due becomes batches, batches become requests, and
//! what failed is sent again in order.
//!
//! Invariant: within a partition batches are acknowledged in the order of
//! their sequences. After a failure nothing more of that partition leaves
//! until all that was on its way has come back; then it is sent again from the
//! first that failed. Driven by `worker`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;

use kacrab_protocol::generated::ErrorCode;

use crate::batch::{Batch, ProducerId, key_bytes, partition_of};
use crate::error::{self, BenchError};
use crate::numbers::{self, Random};
use crate::options::Acks;
use crate::pipe::{LOST, Outcome, Pipe};
use crate::poller::{Poller, Ready};
use crate::schedule::{SECOND, Schedule};
use crate::shared::{BACKOFF, LEAD, Shared};
use crate::worker::{Actor, token};

/// How often records with keys are sorted into batches, in ns.
const KEYED_TICK: u64 = SECOND / 10_000;

/// One partition as its producer knows it.
#[derive(Debug)]
struct Part {
    partition: i32,
    pipe: usize,
    next_sequence: u64,
    /// The sequence after the last acknowledged record.
    acked: u64,
    in_flight: usize,
    /// Batches to send again, once nothing is on its way.
    failed: Vec<Batch>,
    retry_at: u64,
}

/// What a producer is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Among all producers of the run.
    pub(crate) index: u32,
    /// Among those of its worker.
    pub(crate) place: usize,
    pub(crate) id: ProducerId,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Producer {
    who: Identity,
    schedule: Option<Schedule>,
    /// Records put into batches, and those of them that are measured.
    issued: u64,
    issued_measured: u64,
    /// Measured records to send, where their number ends the run.
    limit: Option<u64>,
    parts: Vec<Part>,
    turn: usize,
    pipes: Vec<Pipe>,
    /// Pipes by their nodes.
    nodes: BTreeMap<i32, usize>,
    generation: u64,
    /// Parts with failed batches.
    blocked: Vec<usize>,
    spare: Vec<Batch>,
    /// Batches that fill, by part, and when each has waited long enough.
    open: Vec<Option<Batch>>,
    open_count: usize,
    deadlines: VecDeque<(u64, usize)>,
    random: Random,
    outcomes: Vec<Outcome>,
    /// Reused for times that are recorded together.
    times: Vec<(u64, u64)>,
}

impl Producer {
    pub(crate) fn new(who: Identity, shared: &Shared) -> Self {
        let options = &shared.options;
        let partitions = shared.ends.len();
        let own =
            options.partitions_per_producer.map_or(partitions, numbers::index).min(partitions);
        let first = numbers::index(who.index).wrapping_mul(own);
        let part = |n: usize| Part {
            partition: i32::try_from((first + n) % partitions.max(1)).unwrap_or(0),
            pipe: 0,
            next_sequence: 0,
            acked: 0,
            in_flight: 0,
            failed: Vec::new(),
            retry_at: 0,
        };
        let producers = u64::from(options.producers.max(1));
        let limit = options
            .records
            .map(|all| all / producers + u64::from(u64::from(who.index) < all % producers));
        let rate = options.records_per_s();
        Self {
            who,
            schedule: rate.map(|rate| Schedule::new(rate, who.index, options.producers)),
            issued: 0,
            issued_measured: 0,
            limit,
            parts: (0..own).map(part).collect(),
            turn: if own == partitions { numbers::index(who.index) % own.max(1) } else { 0 },
            pipes: Vec::new(),
            nodes: BTreeMap::new(),
            generation: 0,
            blocked: Vec::new(),
            spare: Vec::new(),
            open: (0..own).map(|_| None).collect(),
            open_count: 0,
            deadlines: VecDeque::new(),
            random: Random::new(u64::from(who.index) + 2),
            outcomes: Vec::new(),
            times: Vec::new(),
        }
    }

    /// For each partition the sequence after the last acknowledged record.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (i32, u32, u64)> {
        self.parts.iter().map(|part| (part.partition, self.who.index, part.acked))
    }

    /// Records that were due and never sent, because the server was too slow.
    pub(crate) fn unsent(&self, shared: &Shared) -> u64 {
        let stopped = shared.stopped_at.load(Ordering::Relaxed);
        let end = if stopped == 0 { shared.until } else { shared.until.min(stopped) };
        self.due(end.min(shared.clock.now())).saturating_sub(self.issued)
    }

    /// Records sent and not acknowledged.
    pub(crate) fn unanswered(&self) -> u64 {
        self.parts.iter().map(|part| part.next_sequence.saturating_sub(part.acked)).sum()
    }

    /// Records that are due before `now` by the rate.
    fn due(&self, now: u64) -> u64 {
        match (&self.schedule, now.checked_sub(LEAD + 1)) {
            (Some(schedule), Some(now)) => schedule.due(now),
            _ => 0,
        }
    }

    /// How many more records may be sent in all; `None` if time ends it.
    fn left(&self, now: u64, shared: &Shared) -> Option<u64> {
        let limit = self.limit?;
        match &self.schedule {
            Some(_) => Some((self.due(shared.from) + limit).saturating_sub(self.issued)),
            None if now >= shared.from => Some(limit.saturating_sub(self.issued_measured)),
            None => None,
        }
    }

    /// How many records are to be put into batches now.
    fn available(&self, now: u64, shared: &Shared) -> u64 {
        if shared.is_stopped() || now < LEAD {
            return 0;
        }
        let available = if self.schedule.is_some() {
            self.due((now + 1).min(shared.until)).saturating_sub(self.issued)
        } else if now < shared.until {
            u64::MAX
        } else {
            0
        };
        available.min(self.left(now, shared).unwrap_or(u64::MAX))
    }

    /// Whether no record will ever be due again.
    fn is_exhausted(&self, now: u64, shared: &Shared) -> bool {
        shared.is_stopped()
            || self.left(now, shared) == Some(0)
            || (now >= shared.until && self.available(now, shared) == 0)
    }

    /// When record `k` is due; without a rate, now.
    fn due_at(&self, k: u64, now: u64) -> u64 {
        self.schedule.map_or(now, |schedule| schedule.at(k).saturating_add(LEAD))
    }

    /// Finds the servers of its partitions anew, if somebody moved.
    fn follow_routes(&mut self, shared: &Shared) {
        let Some(routes) = shared.routes(&mut self.generation) else { return };
        for part in &mut self.parts {
            let leader = usize::try_from(part.partition).ok();
            let leader = leader.and_then(|at| routes.leaders.get(at)).copied().unwrap_or(-1);
            if leader < 0 && !self.pipes.is_empty() {
                continue; // it has none now: stay, and ask again
            }
            part.pipe = *self.nodes.entry(leader).or_insert_with(|| {
                self.pipes.push(Pipe::new(leader, token(self.who.place, self.pipes.len())));
                self.pipes.len() - 1
            });
        }
        for pipe in &mut self.pipes {
            pipe.set_address(routes.addresses.get(&pipe.node).copied());
        }
        // What is ready goes to where its partition is now, in the same order.
        let ready: Vec<Batch> =
            self.pipes.iter_mut().flat_map(|pipe| pipe.ready.drain(..)).collect();
        for batch in ready {
            if let Some(pipe) = pipe_of(&self.parts, &mut self.pipes, batch.part) {
                pipe.ready.push_back(batch);
            }
        }
    }

    /// Sends again what failed, where everything else has come back.
    fn recover(&mut self, now: u64) -> u64 {
        let mut wake = u64::MAX;
        let mut place = 0;
        while let Some(&at) = self.blocked.get(place) {
            let Some(part) = self.parts.get_mut(at) else { break };
            if part.in_flight > 0 || now < part.retry_at {
                // What is on its way comes back by an event.
                if part.in_flight == 0 {
                    wake = wake.min(part.retry_at);
                }
                place += 1;
                continue;
            }
            let mut failed = std::mem::take(&mut part.failed);
            failed.sort_by_key(|batch| std::cmp::Reverse(batch.first));
            if let Some(pipe) = pipe_of(&self.parts, &mut self.pipes, at) {
                failed.into_iter().for_each(|batch| pipe.ready.push_front(batch));
            }
            self.blocked.swap_remove(place);
        }
        wake
    }

    /// The next part in turn whose server takes a batch now.
    fn next_part(&mut self, shared: &Shared) -> Option<usize> {
        let room: Vec<bool> = self.pipes.iter().map(|pipe| pipe.room(shared) > 0).collect();
        if !room.contains(&true) {
            return None;
        }
        for _ in 0..self.parts.len() {
            let at = self.turn;
            self.turn = (self.turn + 1) % self.parts.len();
            let part = self.parts.get(at)?;
            if part.failed.is_empty() && room.get(part.pipe) == Some(&true) {
                return Some(at);
            }
        }
        None
    }

    fn begin(&mut self, at: usize, shared: &Shared) -> Batch {
        let mut batch = self.spare.pop().unwrap_or_else(|| Batch::new(&shared.template));
        batch.begin(at, self.parts.get(at).map_or(0, |part| part.next_sequence));
        batch
    }

    fn push(&mut self, batch: &mut Batch, now: u64, shared: &Shared, key: Option<u64>) {
        let due = self.due_at(self.issued, now);
        batch.push(self.who.index, due, shared.clock.micros(due), key);
        self.issued += 1;
        self.issued_measured += u64::from(due >= shared.from);
    }

    /// A batch is complete: it may leave.
    fn close(&mut self, mut batch: Batch, now: u64, shared: &Shared) -> Result<(), BenchError> {
        let millis = i64::try_from(shared.clock.micros(now) / 1000).unwrap_or(i64::MAX);
        batch.finish(self.who.id, millis).map_err(BenchError::system("compress a batch"))?;
        let at = batch.part;
        if let Some(part) = self.parts.get_mut(at) {
            part.next_sequence += numbers::wide(batch.len());
        }
        if let Some(pipe) = pipe_of(&self.parts, &mut self.pipes, at) {
            pipe.ready.push_back(batch);
        }
        Ok(())
    }

    /// Records without keys: one batch at a time, for each partition in turn.
    fn gather(&mut self, now: u64, shared: &Shared) -> Result<u64, BenchError> {
        let full = numbers::wide(shared.template.records_max());
        let linger = u64::try_from(shared.options.linger.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let available = self.available(now, shared);
            if available == 0 {
                let may_follow = self.schedule.is_some() && !self.is_exhausted(now, shared);
                let next = self.due_at(self.issued, now);
                return Ok(if may_follow && next < shared.until { next } else { u64::MAX });
            }
            let first = self.due_at(self.issued, now);
            let waited = first.saturating_add(linger).min(shared.until);
            if available < full && now < waited && self.left(now, shared) != Some(available) {
                return Ok(waited.min(self.due_at(self.issued + full - 1, now)));
            }
            let Some(at) = self.next_part(shared) else { return Ok(u64::MAX) };
            let mut batch = self.begin(at, shared);
            for _ in 0..available.min(full) {
                self.push(&mut batch, now, shared, None);
            }
            self.close(batch, now, shared)?;
        }
    }

    /// Records with keys: many batches fill at once.
    fn gather_keyed(&mut self, now: u64, shared: &Shared) -> Result<u64, BenchError> {
        let linger = u64::try_from(shared.options.linger.as_nanos()).unwrap_or(u64::MAX);
        let mut available = self.available(now, shared);
        let parts = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        while available > 0 && self.pipes.iter().any(|pipe| pipe.room(shared) > 0) {
            let key = self.random.below(shared.options.keys);
            let at = numbers::index(partition_of(&key_bytes(key), parts));
            let mut batch = match self.open.get_mut(at).and_then(Option::take) {
                Some(batch) => batch,
                None => {
                    self.open_count += 1;
                    let deadline = self.due_at(self.issued, now).saturating_add(linger);
                    self.deadlines.push_back((deadline, at));
                    self.begin(at, shared)
                }
            };
            self.push(&mut batch, now, shared, Some(key));
            if batch.is_full() {
                self.open_count -= 1;
                self.close(batch, now, shared)?;
            } else if let Some(open) = self.open.get_mut(at) {
                *open = Some(batch);
            }
            available -= 1;
        }
        let is_over = self.is_exhausted(now, shared);
        while let Some(&(deadline, at)) = self.deadlines.front() {
            // Without a rate, batches fill.
            if !is_over && (now < deadline || self.schedule.is_none()) {
                break;
            }
            self.deadlines.pop_front();
            // The batch of this deadline may have left full, and another be open.
            let is_due = |batch: &mut Batch| {
                let first = batch.times.first().copied().unwrap_or(0);
                is_over || first.saturating_add(linger) <= deadline
            };
            if let Some(batch) = self.open.get_mut(at).and_then(|open| open.take_if(is_due)) {
                self.open_count -= 1;
                self.close(batch, now, shared)?;
            }
        }
        if self.schedule.is_none() || is_over {
            return Ok(u64::MAX);
        }
        let deadline = self.deadlines.front().map_or(u64::MAX, |deadline| deadline.0);
        let next = self.due_at(self.issued, now).max(now + KEYED_TICK);
        Ok(deadline.min(next))
    }

    /// Takes what came back, whether answered or lost.
    fn settle(&mut self, now: u64, shared: &Shared) -> Result<(), BenchError> {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for pipe in &mut self.pipes {
            outcomes.append(&mut pipe.outcomes);
        }
        for outcome in outcomes.drain(..) {
            let Some(part) = self.parts.get_mut(outcome.batch.part) else { continue };
            part.in_flight = part.in_flight.saturating_sub(1);
            let code = ErrorCode::from(outcome.error);
            if matches!(code, ErrorCode::None | ErrorCode::DuplicateSequenceNumber) {
                acknowledge(part, &outcome, shared, &mut self.times);
                self.spare.push(outcome.batch);
                continue;
            }
            // After a failure the batches behind it are out of order: that is no news.
            let follows = code == ErrorCode::OutOfOrderSequenceNumber && !part.failed.is_empty();
            if !follows && !error::is_retriable(outcome.error) {
                let what = format!("records for {}-{}", shared.topic.name, part.partition);
                return Err(BenchError::refused(what, outcome.error, &outcome.message));
            }
            if part.failed.is_empty() {
                self.blocked.push(outcome.batch.part);
            }
            part.retry_at = now + BACKOFF;
            part.failed.push(outcome.batch);
            shared.counters.retries.add(1);
            if outcome.error != LOST {
                shared.want_routes();
            }
        }
        self.outcomes = outcomes;
        if !self.times.is_empty() {
            shared.latency.record(self.times.drain(..));
        }
        Ok(())
    }
}

/// The pipe to the leader of a part.
fn pipe_of<'a>(parts: &[Part], pipes: &'a mut [Pipe], at: usize) -> Option<&'a mut Pipe> {
    pipes.get_mut(parts.get(at)?.pipe)
}

fn acknowledge(part: &mut Part, outcome: &Outcome, shared: &Shared, times: &mut Vec<(u64, u64)>) {
    let batch = &outcome.batch;
    let count = numbers::wide(batch.len());
    part.acked = part.acked.max(batch.first + count);
    shared.counters.records_in.add(count);
    shared.counters.bytes_in.add(count * numbers::wide(shared.options.record_bytes));
    shared.counters.batches.add(1);
    shared.counters.wire_bytes_in.add(numbers::wide(batch.wire().len()));
    if shared.options.acks == Acks::None {
        shared.counters.requests.add(1);
    }
    shared.last_ack.fetch_max(outcome.at, Ordering::Relaxed);
    let place = usize::try_from(part.partition).unwrap_or(usize::MAX);
    if let Some(end) = shared.ends.get(place).filter(|_| outcome.base_offset >= 0) {
        let after = outcome.base_offset.saturating_add(i64::try_from(count).unwrap_or(0));
        end.fetch_max(after, Ordering::Relaxed);
    }
    for due in batch.times.iter().copied().filter(|due| shared.is_measured(*due)) {
        let micros = outcome.at.saturating_sub(due) / 1000;
        match times.last_mut() {
            Some((last, count)) if *last == micros => *count += 1,
            _ => times.push((micros, 1)),
        }
    }
}

impl Actor for Producer {
    fn pump(&mut self, now: u64, shared: &Shared, poller: &Poller) -> Result<u64, BenchError> {
        self.settle(now, shared)?;
        self.follow_routes(shared);
        let mut wake = self.recover(now);
        wake = wake.min(if shared.options.keys > 0 {
            self.gather_keyed(now, shared)?
        } else {
            self.gather(now, shared)?
        });
        for place in 0..self.pipes.len() {
            let Some(pipe) = self.pipes.get_mut(place) else { continue };
            let parts = std::cell::RefCell::new(&mut self.parts);
            let may_leave = |batch: &Batch| {
                let parts = parts.borrow();
                let part = parts.get(batch.part).filter(|part| part.failed.is_empty())?;
                Some(part.partition)
            };
            let left = |at: usize| {
                if let Some(part) = parts.borrow_mut().get_mut(at) {
                    part.in_flight += 1;
                }
            };
            wake = wake.min(pipe.send(now, shared, poller, may_leave, left));
        }
        if self.pipes.iter().any(|pipe| !pipe.outcomes.is_empty()) {
            // Requests without answers, or a connection that broke while writing.
            self.settle(now, shared)?;
            wake = now;
        }
        Ok(wake)
    }

    fn event(
        &mut self,
        link: usize,
        ready: Ready,
        now: u64,
        shared: &Shared,
        poller: &Poller,
    ) -> Result<(), BenchError> {
        if let Some(pipe) = self.pipes.get_mut(link) {
            pipe.event(ready, now, shared, poller);
        }
        Ok(())
    }

    fn is_done(&mut self, now: u64, shared: &Shared) -> bool {
        let is_idle =
            self.open_count == 0 && self.blocked.is_empty() && self.pipes.iter().all(Pipe::is_idle);
        shared.is_overdue(now) || (is_idle && self.is_exhausted(now, shared))
    }
}
