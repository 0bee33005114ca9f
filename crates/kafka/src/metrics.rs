//! The front's use of the server's metrics: series of the hot path are looked
//! up once and kept.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use millrace_broker::metrics as shared;
use millrace_broker::metrics::{Answered, Counter, Gauge, Histogram, Metrics, NO_ERROR, Reason};

use crate::api::{Api, TABLE};
use crate::codec;
use crate::connection::{Trace, Traffic, Written};
use crate::context::Context;

const FRONT: &str = "kafka";

/// Series of one row of the table.
#[derive(Debug)]
struct Row {
    /// Made when it is first used: most APIs are not.
    latency: OnceLock<Latencies>,
    /// Those without an error, by version from the oldest that is accepted.
    answered: Vec<OnceLock<Arc<Counter>>>,
}

/// Where the time of an API's requests goes.
#[derive(Debug)]
struct Latencies {
    all: Arc<Histogram>,
    queue: Arc<Histogram>,
    log: Arc<Histogram>,
    response: Arc<Histogram>,
}

/// Counts and times of the Kafka front.
#[derive(Debug)]
pub struct FrontMetrics {
    all: Arc<Metrics>,
    /// By API key.
    rows: BTreeMap<i16, Row>,
    received: Arc<Counter>,
    sent: Arc<Counter>,
    connections: Arc<Gauge>,
    opened: Arc<Counter>,
}

impl FrontMetrics {
    /// Looks up the series of every row of the table.
    #[must_use]
    pub fn new(all: Arc<Metrics>) -> Self {
        let front = shared::Front { front: FRONT };
        let row = |api: &Api| {
            let versions = usize::try_from(api.max - api.advertised_min).unwrap_or(0) + 1;
            let answered = (0..versions).map(|_| OnceLock::new()).collect();
            (api.key as i16, Row { latency: OnceLock::new(), answered })
        };
        Self {
            rows: TABLE.iter().map(row).collect(),
            received: all.network_in.with(&front),
            sent: all.network_out.with(&front),
            connections: all.connections.with(&front),
            opened: all.connections_opened.with(&front),
            all,
        }
    }

    fn latencies<'a>(&self, row: &'a Row, api: &Api) -> &'a Latencies {
        row.latency.get_or_init(|| {
            let labels = shared::Api { front: FRONT, api: api.name() };
            Latencies {
                all: self.all.request_latency.with(&labels),
                queue: self.all.request_queue.with(&labels),
                log: self.all.request_log.with(&labels),
                response: self.all.response_time.with(&labels),
            }
        })
    }

    /// A request was answered, by the error of this code (0 for none).
    pub(crate) fn answered(&self, api: &'static Api, version: i16, error: i16, trace: &Trace) {
        let Some(row) = self.rows.get(&(api.key as i16)) else { return };
        let latencies = self.latencies(row, api);
        latencies.all.observe(trace.took());
        latencies.queue.observe(trace.queued());
        if let Some((_, waited)) = trace.awaited() {
            latencies.log.observe(waited);
        }
        let index = usize::try_from(i32::from(version) - i32::from(api.advertised_min));
        let slot = index.ok().and_then(|index| row.answered.get(index));
        let series = |error| {
            let version = slot.map_or(-1, |_| version);
            self.all.requests.with(&shared::Request {
                front: FRONT,
                api: api.name(),
                version,
                error,
            })
        };
        match slot {
            Some(slot) if error == 0 => slot.get_or_init(|| series(NO_ERROR)).increment(),
            _ if error == 0 => series(NO_ERROR).increment(),
            _ => series(codec::error_name(error)).increment(),
        }
    }

    /// A response was written to the socket.
    pub(crate) fn written(&self, written: &Written, context: &Context, client: &str) {
        let Written { api, version, error, trace, bytes, .. } = written;
        let now = Instant::now();
        let spent = trace.spent(now);
        if let Some(row) = self.rows.get(&(api.key as i16)) {
            self.latencies(row, api).response.observe(spent.response);
        }
        let slow = self.all.slow_requests();
        if slow.is_slow(&spent) {
            let labels = shared::Api { front: FRONT, api: api.name() };
            self.all.slow_requests.with(&labels).increment();
            let request = Answered {
                front: FRONT,
                api: api.name(),
                version: *version,
                client,
                peer: &context.peer,
                error: if *error == 0 { NO_ERROR } else { codec::error_name(*error) },
                request_bytes: trace.request_bytes,
                response_bytes: *bytes,
            };
            slow.tell(&request, &spent, now);
        }
    }

    /// A connection or request was refused, for one of few reasons.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.all.request_errors.with(&Reason { reason }).increment();
    }

    pub(crate) fn traffic(&self, traffic: Traffic) {
        if traffic.received > 0 {
            self.received.add(traffic.received);
        }
        if traffic.sent > 0 {
            self.sent.add(traffic.sent);
        }
    }

    pub(crate) fn opened(&self) {
        self.opened.increment();
        self.connections.add(1);
    }

    pub(crate) fn closed(&self) {
        self.connections.add(-1);
    }
}
