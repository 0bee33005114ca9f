//! One connection set of a reader: fetch sessions over its share of the
//! partitions, and the verification of what they bring.
//!
//! Invariant: each partition is read from one offset to the next without
//! leaving any out; where the server forces it to, that is a finding. One
//! fetch is on its way to each server at a time, as with Kafka's own clients.
//! Driven by `worker`.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kacrab_protocol::generated::ErrorCode;
use millrace_log::batch::batches;

use crate::conn::Conn;
use crate::error::{self, BenchError};
use crate::fetch::{self, Limits, Session};
use crate::numbers;
use crate::options::Read;
use crate::poller::{Poller, Ready};
use crate::produce;
use crate::schedule::SECOND;
use crate::shared::{ANSWER_MAX, BACKOFF, DRAIN, LEAD, Shared};
use crate::verify::{Findings, Partition, Verifier};
use crate::wire::Malformed;
use crate::worker::{Actor, token};

/// One partition as it is read.
#[derive(Debug)]
struct Part {
    at: Partition,
    link: usize,
    /// Whether the session has to be told its offset.
    is_changed: bool,
}

/// The connection to one server.
#[derive(Debug)]
struct Link {
    node: i32,
    address: Option<SocketAddr>,
    conn: Option<Conn>,
    session: Session,
    /// Parts whose offsets the session has to be told.
    changed: Vec<usize>,
    correlation_id: i32,
    /// When the fetch that is on its way was sent.
    asked_at: Option<u64>,
    next_at: u64,
    out: Vec<u8>,
    written: usize,
}

/// Which part of which reader this is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Of the connections of its reader.
    pub(crate) member: u32,
    /// Among the actors of its worker.
    pub(crate) place: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) who: Identity,
    limits: Limits,
    parts: Vec<Part>,
    by_partition: HashMap<i32, usize>,
    /// Where each part begins, for another pass.
    starts: Vec<i64>,
    /// Where a reader of what was there before ends.
    targets: Option<Vec<i64>>,
    links: Vec<Link>,
    nodes: BTreeMap<i32, usize>,
    generation: u64,
    pub(crate) verifier: Verifier,
    /// Bytes read, and how many a second it may read.
    bytes: u64,
    bytes_per_s: Option<u64>,
    progress_at: u64,
    times: Vec<(u64, u64)>,
    /// Whether it read all that it should, or had time enough.
    is_complete: bool,
}

enum Broken {
    Io,
    Run(BenchError),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

impl From<Malformed> for Broken {
    fn from(why: Malformed) -> Self {
        Self::Run(why.into())
    }
}

impl Reader {
    /// A member of a reader, which reads every `reader_connections`-th
    /// partition from its start (and, if there are targets, to its target).
    pub(crate) fn new(
        who: Identity,
        shared: &Shared,
        starts: &[i64],
        targets: Option<&[i64]>,
    ) -> Self {
        let options = &shared.options;
        let members = options.reader_connections;
        let own = |place: &usize| place % numbers::index(members) == numbers::index(who.member);
        let places: Vec<usize> = (0..shared.ends.len()).filter(own).collect();
        let pick = |of: &[i64]| -> Vec<i64> {
            places.iter().map(|place| of.get(*place).copied().unwrap_or(0)).collect()
        };
        let starts = pick(starts);
        let index = |place: usize| i32::try_from(place).unwrap_or(0);
        let part = |(place, start): (&usize, &i64)| Part {
            at: Partition::new(index(*place), *start),
            link: 0,
            is_changed: false,
        };
        let small = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let share = u64::from(options.readers.max(1)) * u64::from(members.max(1));
        let run = (options.read != Read::Old).then_some(shared.run);
        Self {
            who,
            limits: Limits {
                wait_ms: i32::try_from(options.fetch_wait.as_millis()).unwrap_or(i32::MAX),
                bytes_min: small(options.fetch_bytes_min),
                bytes_max: small(options.fetch_bytes),
                partition_bytes_max: small(options.fetch_partition_bytes),
            },
            parts: places.iter().zip(&starts).map(part).collect(),
            by_partition: places.iter().enumerate().map(|(at, p)| (index(*p), at)).collect(),
            starts,
            targets: targets.map(pick),
            links: Vec::new(),
            nodes: BTreeMap::new(),
            generation: 0,
            verifier: Verifier::new(
                Arc::clone(&shared.filler),
                run,
                options.verify,
                options.record_bytes,
            ),
            bytes: 0,
            bytes_per_s: options.read_rate.map(|rate| (numbers::wide(rate) / share).max(1)),
            progress_at: shared.clock.now(),
            times: Vec::new(),
            is_complete: false,
        }
    }

    /// Whether it read all that it should, or had time enough; reading what
    /// was there before, that is so as soon as it ends.
    pub(crate) const fn is_complete(&self) -> bool {
        self.is_complete || self.targets.is_some()
    }

    /// Judges what was not read, given what was acknowledged in each
    /// partition; returns the findings.
    pub(crate) fn finish(mut self, acked: &[Vec<(u32, u64)>]) -> Findings {
        // What there was no time to read is not lost.
        if self.targets.is_some() || !self.is_complete {
            self.parts.iter().for_each(|part| self.verifier.passed_over(&part.at));
            return self.verifier.findings;
        }
        let mut count = 0;
        for part in &self.parts {
            let place = usize::try_from(part.at.index).unwrap_or(usize::MAX);
            let acked = acked.get(place).map_or(&[][..], Vec::as_slice);
            count += acked.iter().map(|(_, acked)| acked).sum::<u64>();
            self.verifier.end(&part.at, acked);
        }
        self.verifier.end_by_count(count);
        self.verifier.findings
    }

    fn follow_routes(&mut self, shared: &Shared) {
        let Some(routes) = shared.routes(&mut self.generation) else { return };
        for part in &mut self.parts {
            let leader = usize::try_from(part.at.index).ok();
            let leader = leader.and_then(|at| routes.leaders.get(at)).copied().unwrap_or(-1);
            if leader < 0 && !self.links.is_empty() {
                continue;
            }
            part.link = *self.nodes.entry(leader).or_insert_with(|| {
                self.links.push(Link::new(leader));
                self.links.len() - 1
            });
        }
        for place in 0..self.links.len() {
            self.reset(place);
        }
        for link in &mut self.links {
            link.address = routes.addresses.get(&link.node).copied();
        }
    }

    /// Begins a new session, which has to be told everything.
    fn reset(&mut self, place: usize) {
        let Some(link) = self.links.get_mut(place) else { return };
        link.session = Session::default();
        link.changed.clear();
        for (at, part) in self.parts.iter_mut().enumerate() {
            part.is_changed = part.link == place;
            if part.is_changed {
                link.changed.push(at);
            }
        }
    }

    fn disconnect(&mut self, place: usize, now: u64, shared: &Shared) {
        if let Some(link) = self.links.get_mut(place) {
            link.conn = None;
            link.asked_at = None;
            link.out.clear();
            link.written = 0;
            link.next_at = now + BACKOFF;
        }
        self.reset(place);
        shared.counters.disconnects.add(1);
        shared.want_routes();
    }

    /// When the next fetch may leave by the rate.
    fn allowed_at(&self) -> u64 {
        let Some(rate) = self.bytes_per_s else { return 0 };
        let ns = u128::from(self.bytes) * u128::from(SECOND) / u128::from(rate);
        u64::try_from(ns).unwrap_or(u64::MAX).saturating_add(LEAD)
    }

    fn ask(&mut self, place: usize, now: u64, shared: &Shared, poller: &Poller) -> io::Result<u64> {
        let allowed_at = self.allowed_at();
        let Some(link) = self.links.get_mut(place) else { return Ok(u64::MAX) };
        if link.conn.is_none() {
            let Some(address) = link.address.filter(|_| now >= link.next_at) else {
                return Ok(link.next_at.max(now + BACKOFF));
            };
            link.conn = Some(Conn::begin(poller, address, token(self.who.place, place))?);
        }
        let Some(conn) = link.conn.as_mut().filter(|conn| conn.is_open()) else {
            return Ok(u64::MAX);
        };
        if let Some(asked_at) = link.asked_at {
            if asked_at + ANSWER_MAX < now {
                return Err(io::ErrorKind::TimedOut.into());
            }
        } else {
            let next_at = link.next_at.max(allowed_at);
            if now < next_at {
                return Ok(next_at);
            }
            let parts = &mut self.parts;
            for at in &link.changed {
                if let Some(part) = parts.get_mut(*at) {
                    part.is_changed = false;
                }
            }
            let changed = link.changed.iter().map(|at| {
                parts.get(*at).map_or((0, 0), |part| (part.at.index, part.at.next_offset))
            });
            link.correlation_id = link.correlation_id.wrapping_add(1);
            let (version, id) = (shared.fetch_version, link.correlation_id);
            let topic = &shared.topic;
            fetch::encode(&mut link.out, version, id, link.session, &self.limits, topic, changed);
            link.changed.clear();
            link.written = 0;
            link.asked_at = Some(now);
        }
        let rest = link.out.get(link.written..).unwrap_or_default();
        if !rest.is_empty() {
            link.written += conn.write(poller, &[IoSlice::new(rest)])?;
        }
        Ok(u64::MAX)
    }

    fn answer(&mut self, place: usize, frame: &[u8], shared: &Shared) -> Result<(), Broken> {
        let now = shared.clock.now();
        let (correlation_id, mut reader) = produce::header(frame)?;
        let top = fetch::top(&mut reader)?;
        let Some(link) = self.links.get_mut(place) else { return Ok(()) };
        if link.asked_at.take().is_none() || link.correlation_id != correlation_id {
            return Err(Malformed.into());
        }
        shared.counters.fetches.add(1);
        shared.counters.wire_bytes_out.add(numbers::wide(frame.len()));
        let throttle = u64::try_from(top.throttle_ms).unwrap_or(0);
        shared.counters.throttled_ms.add(throttle);
        link.next_at = if throttle > 0 { now + throttle * 1_000_000 } else { 0 };
        if top.error != 0 {
            return self.session_failed(place, top.error, now);
        }
        let is_session = top.session != 0;
        link.session = if is_session {
            // Epochs wrap to 1; 0 begins a new session.
            Session { id: top.session, epoch: link.session.epoch.checked_add(1).unwrap_or(1) }
        } else {
            Session::default()
        };
        let mut failed = false;
        let mut times = std::mem::take(&mut self.times);
        fetch::partitions(&mut reader, shared.fetch_version, |answer| {
            failed |= self.take(place, &answer, now, shared, &mut times);
        })?;
        if !times.is_empty() {
            shared.end_to_end.record(times.drain(..));
        }
        self.times = times;
        if !is_session {
            self.reset(place);
        }
        if failed {
            shared.want_routes();
            if let Some(link) = self.links.get_mut(place) {
                link.next_at = now + BACKOFF;
            }
        }
        Ok(())
    }

    fn session_failed(&mut self, place: usize, code: i16, now: u64) -> Result<(), Broken> {
        let is_session = matches!(
            ErrorCode::from(code),
            ErrorCode::FetchSessionIdNotFound
                | ErrorCode::InvalidFetchSessionEpoch
                | ErrorCode::FetchSessionTopicIdError
        );
        if !is_session && !error::is_retriable(code) {
            return Err(Broken::Run(BenchError::refused("a fetch", code, "")));
        }
        self.reset(place);
        if let Some(link) = self.links.get_mut(place) {
            link.next_at = now + if is_session { 0 } else { BACKOFF };
        }
        Ok(())
    }

    /// Takes one partition of an answer; true if it has to be asked for again
    /// later.
    fn take(
        &mut self,
        place: usize,
        answer: &fetch::Answer<'_>,
        now: u64,
        shared: &Shared,
        times: &mut Vec<(u64, u64)>,
    ) -> bool {
        let Some(&at) = self.by_partition.get(&answer.partition) else { return false };
        let Some(part) = self.parts.get_mut(at) else { return false };
        let before = part.at.next_offset;
        match ErrorCode::from(answer.error) {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange if answer.log_start > before => {
                // What expired meanwhile is a gap: the verifier counts it with the next batch.
                part.at.next_offset = answer.log_start;
                let gap = u64::try_from(answer.log_start - before).unwrap_or(0);
                self.verifier.findings.offset_gaps += gap;
            }
            _ if error::is_retriable(answer.error) => return true,
            _ => {
                let what = format!("a fetch of {}-{}", shared.topic.name, answer.partition);
                shared.fail(BenchError::refused(what, answer.error, ""));
                return true;
            }
        }
        let target = self.targets.as_ref().and_then(|targets| targets.get(at)).copied();
        let now_micros = shared.clock.micros(now);
        let (from, until) = (shared.clock.micros(shared.from), shared.clock.micros(shared.until));
        let is_tail = shared.options.read == Read::Tail;
        let (mut records, mut bytes) = (0, 0);
        for batch in batches(answer.records) {
            // The last batch may be cut off: it comes whole with the next answer.
            let Ok((header, batch)) = batch else { break };
            if target.is_some_and(|target| header.base_offset.get() >= target) {
                break;
            }
            self.verifier.batch(&mut part.at, &header, batch, |len, time| {
                records += 1;
                bytes += numbers::wide(len);
                let time = time.filter(|time| is_tail && (from..until).contains(time));
                if let Some(micros) = time.map(|time| now_micros.saturating_sub(time)) {
                    match times.last_mut() {
                        Some((last, count)) if *last == micros => *count += 1,
                        _ => times.push((micros, 1)),
                    }
                }
            });
        }
        if part.at.next_offset != before {
            self.progress_at = now;
            self.bytes += bytes;
            shared.counters.records_out.add(records);
            shared.counters.bytes_out.add(bytes);
            if !std::mem::replace(&mut part.is_changed, true)
                && let Some(link) = self.links.get_mut(place)
            {
                link.changed.push(at);
            }
        }
        false
    }

    /// Whether every partition was read to its end.
    fn has_all(&self, shared: &Shared) -> bool {
        self.parts.iter().enumerate().all(|(at, part)| {
            let place = usize::try_from(part.at.index).unwrap_or(usize::MAX);
            let target = match &self.targets {
                Some(targets) => targets.get(at).copied(),
                None => shared.ends.get(place).map(|end| end.load(Ordering::Relaxed)),
            };
            target.is_none_or(|target| part.at.next_offset >= target)
        })
    }

    /// Reads what was there before once more.
    fn again(&mut self) {
        for (part, start) in self.parts.iter_mut().zip(&self.starts) {
            self.verifier.passed_over(&part.at);
            part.at = Partition::new(part.at.index, *start);
        }
        for place in 0..self.links.len() {
            self.reset(place);
        }
    }
}

impl Link {
    const fn new(node: i32) -> Self {
        Self {
            node,
            address: None,
            conn: None,
            session: Session { id: 0, epoch: 0 },
            changed: Vec::new(),
            correlation_id: 0,
            asked_at: None,
            next_at: 0,
            out: Vec::new(),
            written: 0,
        }
    }
}

impl Actor for Reader {
    fn pump(&mut self, now: u64, shared: &Shared, poller: &Poller) -> Result<u64, BenchError> {
        self.follow_routes(shared);
        let mut wake = u64::MAX;
        for place in 0..self.links.len() {
            match self.ask(place, now, shared, poller) {
                Ok(at) => wake = wake.min(at),
                Err(_) => {
                    self.disconnect(place, now, shared);
                    wake = wake.min(now + BACKOFF);
                }
            }
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
        let Some(mut conn) = self.links.get_mut(link).and_then(|link| link.conn.take()) else {
            return Ok(());
        };
        let mut is_broken = ready.writable && conn.opened(poller).is_err();
        if !is_broken && ready.readable && conn.is_open() {
            match conn.receive(|frame| self.answer(link, frame, shared)) {
                Ok(()) => {}
                Err(Broken::Io) => is_broken = true,
                Err(Broken::Run(why)) => return Err(why),
            }
        }
        if let Some(link) = self.links.get_mut(link) {
            link.conn = Some(conn);
        }
        if is_broken {
            self.disconnect(link, now, shared);
        }
        Ok(())
    }

    fn is_done(&mut self, now: u64, shared: &Shared) -> bool {
        if self.is_complete {
            return true;
        }
        if self.targets.is_some() {
            let is_over = shared.producers_done.load(Ordering::Acquire);
            let beside = shared.options.producers > 0;
            if shared.is_stopped() || (beside && is_over) {
                return true;
            }
            if self.has_all(shared) {
                if !beside {
                    self.is_complete = true;
                    return true;
                }
                self.again();
            }
            return false;
        }
        if !shared.producers_done.load(Ordering::Acquire) {
            return false;
        }
        if self.has_all(shared) {
            self.is_complete = true;
            return true;
        }
        if now.saturating_sub(self.progress_at) > DRAIN {
            // There was time enough: what did not come is lost.
            self.is_complete = true;
            return true;
        }
        let stopped = shared.stopped_at.load(Ordering::Relaxed);
        stopped != 0 && now > stopped + crate::shared::DRAIN_STOPPED
    }
}
