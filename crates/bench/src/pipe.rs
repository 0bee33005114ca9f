//! A producer's connection to one server: batches that are ready, requests on
//! their way, and the answers to them in order.
//!
//! Invariant: every batch that goes in comes out exactly once, answered or
//! failed. Called by `producer`.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use crate::batch::Batch;
use crate::conn::{Conn, PIECES_MAX};
use crate::options::Acks;
use crate::poller::{Poller, Ready};
use crate::produce::{self, Head};
use crate::shared::{ANSWER_MAX, BACKOFF, Shared};
use crate::wire::Malformed;

/// One request.
#[derive(Debug)]
struct Flight {
    correlation_id: i32,
    head: Head,
    batches: Vec<Batch>,
    /// The partition of each.
    partitions: Vec<i32>,
    len: usize,
    begun_at: u64,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) batch: Batch,
    /// Kafka's error code; [`LOST`] if there was no answer.
    pub(crate) error: i16,
    pub(crate) base_offset: i64,
    /// When its answer came, in ns of the run.
    pub(crate) at: u64,
    pub(crate) message: String,
}

impl Outcome {
    const fn lost(batch: Batch) -> Self {
        Self { batch, error: LOST, base_offset: -1, at: 0, message: String::new() }
    }
}

/// The code of a batch whose connection broke: Kafka's NETWORK_EXCEPTION.
pub(crate) const LOST: i16 = 13;

/// Why a connection ended.
#[derive(Debug)]
enum Broken {
    Io,
    Malformed,
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) node: i32,
    address: Option<SocketAddr>,
    token: u64,
    conn: Option<Conn>,
    pub(crate) ready: VecDeque<Batch>,
    flights: VecDeque<Flight>,
    /// Flights from this one on are not wholly written, and how much of it is.
    unwritten: usize,
    written: usize,
    correlation_id: i32,
    connect_at: u64,
    muted_until: u64,
    spare_heads: Vec<Head>,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Pipe {
    pub(crate) fn new(node: i32, token: u64) -> Self {
        Self {
            node,
            address: None,
            token,
            conn: None,
            ready: VecDeque::new(),
            flights: VecDeque::new(),
            unwritten: 0,
            written: 0,
            correlation_id: 0,
            connect_at: 0,
            muted_until: 0,
            spare_heads: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    pub(crate) fn set_address(&mut self, address: Option<SocketAddr>) {
        self.address = address;
    }

    /// Whether nothing is ready or on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.flights.is_empty()
    }

    /// How many more batches would leave at once.
    pub(crate) fn room(&self, shared: &Shared) -> usize {
        if self.conn.as_ref().is_none_or(|conn| !conn.is_open()) {
            return 0;
        }
        let free = shared.options.in_flight.saturating_sub(self.flights.len());
        (free * shared.options.batches_per_request).saturating_sub(self.ready.len())
    }

    /// Connects, sends what is ready, and writes as far as there is room.
    /// `may_send` says whether a partition's batches may leave now. Returns
    /// when to call again at the latest.
    pub(crate) fn send(
        &mut self,
        now: u64,
        shared: &Shared,
        poller: &Poller,
        mut partition_of: impl FnMut(&Batch) -> Option<i32>,
        mut left: impl FnMut(usize),
    ) -> u64 {
        if self.conn.is_none() {
            let Some(address) = self.address.filter(|_| now >= self.connect_at) else {
                return self.connect_at.max(now + BACKOFF);
            };
            match Conn::begin(poller, address, self.token) {
                Ok(conn) => self.conn = Some(conn),
                Err(_) => {
                    self.fail(now, shared);
                    return self.connect_at;
                }
            }
        }
        if self.conn.as_ref().is_none_or(|conn| !conn.is_open()) {
            return u64::MAX;
        }
        if self.flights.front().is_some_and(|flight| flight.begun_at + ANSWER_MAX < now) {
            self.fail(now, shared);
            return self.connect_at;
        }
        let is_muted = now < self.muted_until;
        while !is_muted
            && self.flights.len() < shared.options.in_flight
            && self.begin_flight(now, shared, &mut partition_of, &mut left)
        {}
        if self.flush(poller).is_err() {
            self.fail(now, shared);
            return self.connect_at;
        }
        if shared.options.acks == Acks::None {
            self.settle_written(shared.clock.now());
        }
        if is_muted { self.muted_until } else { u64::MAX }
    }

    /// Makes a request of the first batches that are ready, one a partition.
    fn begin_flight(
        &mut self,
        now: u64,
        shared: &Shared,
        partition_of: &mut impl FnMut(&Batch) -> Option<i32>,
        left: &mut impl FnMut(usize),
    ) -> bool {
        let mut batches: Vec<Batch> = Vec::with_capacity(shared.options.batches_per_request);
        let mut partitions: Vec<i32> = Vec::with_capacity(shared.options.batches_per_request);
        let mut place = 0;
        while batches.len() < shared.options.batches_per_request {
            let Some(batch) = self.ready.get(place) else { break };
            match partition_of(batch).filter(|partition| !partitions.contains(partition)) {
                Some(partition) => {
                    partitions.push(partition);
                    left(batch.part);
                    batches.extend(self.ready.remove(place));
                }
                None => place += 1,
            }
        }
        if batches.is_empty() {
            return false;
        }
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let mut head = self.spare_heads.pop().unwrap_or_default();
        let lens = batches.iter().map(|batch| batch.wire().len());
        let sizes = partitions.iter().copied().zip(lens);
        let version = shared.produce_version;
        let acks = shared.options.acks.wire();
        head.encode(version, self.correlation_id, acks, &shared.topic, sizes);
        let payload: usize = batches.iter().map(|batch| batch.wire().len()).sum();
        self.flights.push_back(Flight {
            correlation_id: self.correlation_id,
            len: head.len() + payload,
            head,
            batches,
            partitions,
            begun_at: now,
        });
        true
    }

    fn flush(&mut self, poller: &Poller) -> io::Result<()> {
        let Some(conn) = self.conn.as_mut() else { return Ok(()) };
        while self.unwritten < self.flights.len() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let mut count = 0;
            let mut skip = self.written;
            let mut offered = 0;
            let unwritten = self.flights.iter().skip(self.unwritten);
            let all = unwritten
                .flat_map(|flight| flight.head.pieces(flight.batches.iter().map(Batch::wire)));
            for piece in all {
                let Some(rest) = piece.get(skip..) else {
                    skip -= piece.len();
                    continue;
                };
                skip = 0;
                let Some(place) = pieces.get_mut(count) else { break };
                *place = IoSlice::new(rest);
                offered += rest.len();
                count += 1;
            }
            let written = conn.write(poller, pieces.get(..count).unwrap_or_default())?;
            self.written += written;
            while let Some(flight) = self.flights.get(self.unwritten) {
                let Some(beyond) = self.written.checked_sub(flight.len) else { break };
                self.written = beyond;
                self.unwritten += 1;
            }
            if written < offered {
                break;
            }
        }
        Ok(())
    }

    /// Requests that get no answer are over once they are written.
    fn settle_written(&mut self, at: u64) {
        for flight in self.flights.drain(..self.unwritten.min(self.flights.len())) {
            let batches = flight.batches.into_iter();
            self.outcomes.extend(batches.map(|batch| Outcome {
                batch,
                error: 0,
                base_offset: -1,
                at,
                message: String::new(),
            }));
            self.spare_heads.push(flight.head);
        }
        self.unwritten = 0;
    }

    /// The socket has something.
    pub(crate) fn event(&mut self, ready: Ready, now: u64, shared: &Shared, poller: &Poller) {
        let Some(mut conn) = self.conn.take() else { return };
        let mut is_broken = ready.writable && conn.opened(poller).is_err();
        if !is_broken && ready.readable && conn.is_open() {
            let received = conn.receive(|frame| self.answer(frame, now, shared));
            if matches!(received, Err(Broken::Malformed)) {
                shared.fail(Malformed.into());
            }
            is_broken = received.is_err();
        }
        self.conn = Some(conn);
        if is_broken {
            self.fail(now, shared);
        }
    }

    fn answer(&mut self, frame: &[u8], now: u64, shared: &Shared) -> Result<(), Broken> {
        let at = shared.clock.now();
        let (correlation_id, mut reader) = produce::header(frame)?;
        let is_next = |flight: &Flight| flight.correlation_id == correlation_id;
        if self.unwritten == 0 || !self.flights.front().is_some_and(is_next) {
            return Err(Broken::Malformed);
        }
        let Some(flight) = self.flights.pop_front() else { return Err(Broken::Malformed) };
        self.unwritten -= 1;
        let (mut batches, mut partitions) = (flight.batches, flight.partitions);
        let outcomes = &mut self.outcomes;
        let throttle = produce::decode(&mut reader, shared.produce_version, |answer| {
            // Kafka answers in an order of its own.
            if let Some(place) = partitions.iter().position(|asked| *asked == answer.partition) {
                partitions.swap_remove(place);
                let message = String::from_utf8_lossy(answer.message).into_owned();
                let (error, base_offset) = (answer.error, answer.base_offset);
                outcomes.push(Outcome {
                    batch: batches.swap_remove(place),
                    error,
                    base_offset,
                    at,
                    message,
                });
            }
        })?;
        // What was not answered counts as lost.
        outcomes.extend(batches.into_iter().map(Outcome::lost));
        self.spare_heads.push(flight.head);
        shared.counters.requests.add(1);
        if let Some(throttle) = u64::try_from(throttle).ok().filter(|ms| *ms > 0) {
            shared.counters.throttled_ms.add(throttle);
            self.muted_until = now + throttle * 1_000_000;
        }
        Ok(())
    }

    /// The connection is over: what was on its way is lost, or may be.
    fn fail(&mut self, now: u64, shared: &Shared) {
        self.conn = None;
        self.unwritten = 0;
        self.written = 0;
        self.connect_at = now + BACKOFF;
        for flight in self.flights.drain(..) {
            self.outcomes.extend(flight.batches.into_iter().map(Outcome::lost));
        }
        shared.counters.disconnects.add(1);
        shared.want_routes();
    }
}
