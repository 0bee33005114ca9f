//! What a run found, as JSON and as a table for people.
//!
//! Invariant: the names in the JSON are an interface: scripts read them. Units
//! come last in each; MB and GB are 10^6 and 10^9 bytes of values.

use std::fmt::{self, Display, Formatter};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cost::{Server, Usage};
use crate::error::BenchError;
use crate::meter::{Counted, Counters};
use crate::options::BenchArgs;
use crate::verify::Findings;

/// One run against one endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the generator.
    pub version: &'static str,
    /// The bootstrap address.
    pub endpoint: String,
    /// The topic that was written or read.
    pub topic: String,
    /// Its partitions.
    pub partitions: usize,
    /// Milliseconds since 1970 at the start.
    pub started_at_ms: u64,
    /// Whether it was stopped before its end.
    pub is_interrupted: bool,
    /// What was measured: one phase, or two where readers begin after the
    /// producers.
    pub phases: Vec<Phase>,
    /// Records that were due by the rate and never sent: the server was too slow.
    pub unsent_records: u64,
    /// Records sent and never acknowledged.
    pub unacknowledged_records: u64,
    /// Batches that were sent again.
    pub retried_batches: u64,
    /// Connections that broke.
    pub disconnects: u64,
    /// ms for which the server asked to be left alone.
    pub throttled_ms: u64,
    /// What the readers found, if there were any.
    pub verified: Option<Verified>,
    /// As they were given.
    pub options: BenchArgs,
}

/// What readers found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// Nothing is wrong.
    pub is_clean: bool,
    /// All that was acknowledged was waited for; otherwise what was not read
    /// does not count as lost.
    pub is_complete: bool,
    /// The counts of all readers together.
    #[serde(flatten)]
    pub findings: Findings,
}

/// One stretch of time that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// `produce`, `produce+read` or `read`.
    pub name: &'static str,
    /// How long it was.
    pub seconds: f64,
    /// Acknowledged.
    pub records_in: u64,
    /// Of their values.
    pub bytes_in: u64,
    /// Acknowledged.
    pub batches_in: u64,
    /// Answered.
    pub produce_requests: u64,
    /// Records acknowledged a second.
    pub records_in_per_s: f64,
    /// Bytes acknowledged a second.
    pub mb_in_per_s: f64,
    /// Bytes of the batches as sent, for each byte of values.
    pub wire_bytes_per_byte_in: f64,
    /// Read, by all readers together.
    pub records_out: u64,
    /// Of their values.
    pub bytes_out: u64,
    /// Answered.
    pub fetch_requests: u64,
    /// Records read a second.
    pub records_out_per_s: f64,
    /// Bytes read a second.
    pub mb_out_per_s: f64,
    /// From when a record was due to its acknowledgement.
    pub latency_ms: Option<Latency>,
    /// From when a record was due to a reader having it.
    pub end_to_end_ms: Option<Latency>,
    /// What this generator took.
    pub client: Cost,
    /// What the server took, where its processes are known.
    pub server: Option<ServerCost>,
}

/// Percentiles in ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Records that count.
    pub records: u64,
    /// The mean.
    pub mean: f64,
    /// Half are below.
    pub p50: f64,
    /// Nine of ten are below.
    pub p90: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// 999 of 1000 are below.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// CPU of a process.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// User and system.
    pub cpu_s: f64,
    /// For each GB written; `None` if nothing was.
    pub cpu_s_per_gb_in: Option<f64>,
    /// For each GB read by any reader; `None` if nothing was.
    pub cpu_s_per_gb_out: Option<f64>,
}

/// What a server took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerCost {
    /// CPU.
    #[serde(flatten)]
    pub cost: Cost,
    /// Produce and fetch requests answered for each CPU second.
    pub requests_per_cpu_s: f64,
    /// CPU for each batch written, in µs.
    pub cpu_us_per_batch_in: Option<f64>,
    /// The most anonymous memory that it had, in any phase so far.
    pub anonymous_peak_bytes: u64,
    /// Bytes that it wrote to a disk for each byte of values written.
    pub disk_bytes_per_byte_in: Option<f64>,
    /// Its calls of the read and write family.
    pub io_calls: u64,
}

/// Everything that counts, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: u64,
    counted: Counted,
    own_cpu_s: f64,
    server: Option<Usage>,
}

impl Sample {
    pub(crate) fn take(
        at: u64,
        counters: &Counters,
        server: Option<&Server>,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            at,
            counted: counters.now(),
            own_cpu_s: crate::cost::own_cpu_s(),
            server: server.map(Server::usage).transpose()?,
        })
    }
}

const GB: f64 = 1e9;

fn ratio(of: f64, to: f64) -> Option<f64> {
    (to > 0.0).then(|| of / to)
}

impl Cost {
    fn new(cpu_s: f64, counted: &Counted) -> Self {
        Self {
            cpu_s,
            cpu_s_per_gb_in: ratio(cpu_s, counted.bytes_in as f64 / GB),
            cpu_s_per_gb_out: ratio(cpu_s, counted.bytes_out as f64 / GB),
        }
    }
}

impl Phase {
    /// What happened between two samples; `end` is when the last of it did.
    pub(crate) fn new(
        name: &'static str,
        from: &Sample,
        to: &Sample,
        end: u64,
        server: Option<&Server>,
    ) -> Self {
        let counted = to.counted.since(&from.counted);
        let seconds = end.saturating_sub(from.at) as f64 / 1e9;
        let per_s = |n: u64| ratio(n as f64, seconds).unwrap_or(0.0);
        let usage = from.server.zip(to.server).zip(server);
        Self {
            name,
            seconds,
            records_in: counted.records_in,
            bytes_in: counted.bytes_in,
            batches_in: counted.batches,
            produce_requests: counted.requests,
            records_in_per_s: per_s(counted.records_in),
            mb_in_per_s: per_s(counted.bytes_in) / 1e6,
            wire_bytes_per_byte_in: ratio(counted.wire_bytes_in as f64, counted.bytes_in as f64)
                .unwrap_or(0.0),
            records_out: counted.records_out,
            bytes_out: counted.bytes_out,
            fetch_requests: counted.fetches,
            records_out_per_s: per_s(counted.records_out),
            mb_out_per_s: per_s(counted.bytes_out) / 1e6,
            latency_ms: None,
            end_to_end_ms: None,
            client: Cost::new(to.own_cpu_s - from.own_cpu_s, &counted),
            server: usage.map(|((before, after), server)| {
                let cpu_s = after.cpu_s - before.cpu_s;
                let written = after.disk_write_bytes.saturating_sub(before.disk_write_bytes);
                let requests = counted.requests + counted.fetches;
                ServerCost {
                    cost: Cost::new(cpu_s, &counted),
                    requests_per_cpu_s: ratio(requests as f64, cpu_s).unwrap_or(0.0),
                    cpu_us_per_batch_in: ratio(cpu_s * 1e6, counted.batches as f64),
                    anonymous_peak_bytes: server.anonymous_peak,
                    disk_bytes_per_byte_in: ratio(written as f64, counted.bytes_in as f64),
                    io_calls: after.io_calls.saturating_sub(before.io_calls),
                }
            }),
        }
    }
}

impl Latency {
    /// `None` where nothing was recorded.
    pub(crate) fn of(micros: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
        (!micros.is_empty()).then(|| Self {
            records: micros.len(),
            mean: micros.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros.max() as f64 / 1000.0,
        })
    }
}

/// A whole number with its thousands apart.
fn thousands(n: f64) -> String {
    let digits = format!("{n:.0}");
    let mut out = String::with_capacity(digits.len() + 4);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && digit.is_ascii_digit() {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn count(n: u64) -> String {
    thousands(n as f64)
}

impl Display for Latency {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, p999, max, .. } = self;
        write!(f, "p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms")
    }
}

impl Display for Cost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} CPU s", self.cpu_s)?;
        if let Some(cost) = self.cpu_s_per_gb_in {
            write!(f, "  {cost:.3} s/GB in")?;
        }
        if let Some(cost) = self.cpu_s_per_gb_out {
            write!(f, "  {cost:.3} s/GB out")?;
        }
        Ok(())
    }
}

impl Display for Phase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} for {:.1} s", self.name, self.seconds)?;
        if self.records_in > 0 {
            writeln!(
                f,
                "  in          {:.1} MB/s  {} records/s  {} requests  {} batches",
                self.mb_in_per_s,
                thousands(self.records_in_per_s),
                count(self.produce_requests),
                count(self.batches_in),
            )?;
        }
        if let Some(latency) = &self.latency_ms {
            writeln!(f, "  latency     {latency}")?;
        }
        if self.records_out > 0 {
            writeln!(
                f,
                "  out         {:.1} MB/s  {} records/s  {} requests",
                self.mb_out_per_s,
                thousands(self.records_out_per_s),
                count(self.fetch_requests),
            )?;
        }
        if let Some(latency) = &self.end_to_end_ms {
            writeln!(f, "  end to end  {latency}")?;
        }
        writeln!(f, "  generator   {}", self.client)?;
        if let Some(server) = &self.server {
            write!(
                f,
                "  server      {}  {} requests/CPU s  {:.0} MB anonymous at most",
                server.cost,
                thousands(server.requests_per_cpu_s),
                server.anonymous_peak_bytes as f64 / 1e6,
            )?;
            if let Some(written) = server.disk_bytes_per_byte_in {
                write!(f, "  {written:.2} bytes written per byte")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Display for Verified {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let found = &self.findings;
        write!(f, "verified      {} records: ", count(found.records))?;
        if self.is_clean {
            write!(f, "each once, in order, as it was sent")?;
        } else {
            let counts = [
                (found.lost, "lost"),
                (found.duplicates, "duplicate"),
                (found.reordered, "out of order"),
                (found.corrupt, "corrupt"),
                (found.offset_gaps, "offsets missing"),
            ];
            let wrong: Vec<String> = counts
                .iter()
                .filter(|c| c.0 > 0)
                .map(|c| format!("{} {}", count(c.0), c.1))
                .collect();
            write!(f, "{}", wrong.join(", "))?;
        }
        if found.foreign > 0 {
            write!(f, "; {} of others", count(found.foreign))?;
        }
        if !self.is_complete {
            write!(f, " (not all was read)")?;
        }
        writeln!(f)?;
        found.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        writeln!(
            f,
            "{}: topic {}, {} partitions; {} producers, {} readers; values of {} bytes{}",
            self.endpoint,
            self.topic,
            self.partitions,
            options.producers,
            options.readers,
            options.record_bytes,
            if self.is_interrupted { "; stopped early" } else { "" },
        )?;
        self.phases.iter().try_for_each(|phase| write!(f, "{phase}"))?;
        let troubles = [
            (self.unsent_records, "records were due and not sent: the server did not keep up"),
            (self.unacknowledged_records, "records were sent and not acknowledged"),
            (self.retried_batches, "batches were sent again"),
            (self.disconnects, "connections broke"),
            (self.throttled_ms, "ms of throttling by the server"),
        ];
        for (n, what) in troubles.iter().filter(|(n, _)| *n > 0) {
            writeln!(f, "  {} {what}", count(*n))?;
        }
        self.verified.iter().try_for_each(|verified| write!(f, "{verified}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_ms() {
        let mut micros = crate::meter::histogram().unwrap();
        assert!(Latency::of(&micros).is_none());
        (1..=1000).for_each(|n| micros.saturating_record(n * 1000));
        let latency = Latency::of(&micros).unwrap();
        let close = |value: f64, to: f64| (value - to).abs() <= to * 0.001;
        assert!(close(latency.p50, 500.0) && close(latency.p99, 990.0), "{latency}");
        assert!(close(latency.max, 1000.0) && close(latency.mean, 500.5), "{latency}");
        micros.saturating_record(u64::MAX);
        assert!(close(Latency::of(&micros).unwrap().max, 3_600_000.0), "longer than told apart");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(thousands(0.4), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
