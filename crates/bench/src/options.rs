//! The options of a run, as the command line has them.
//!
//! Invariant: [`BenchArgs::check`] has passed before a run begins, so that the
//! rest need not doubt them.

use std::time::Duration;

use clap::{Args, ValueEnum};
use millrace_log::batch::Compression;
use serde::Serialize;

use crate::batch::STAMP_LEN;
use crate::error::BenchError;
use crate::verify::Depth;

/// Records of a batch that Java's clients may have on the way at once when
/// they are idempotent.
const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;
/// The longest value, for the sake of memory.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Measure any Kafka or Kinesis endpoint: an open-loop load of producers and readers.
#[derive(Args, Clone, Debug, Serialize)]
#[command(
    after_long_help = "Sizes take k, M, G (decimal) and Ki, Mi, Gi; durations ms, s, m, h.\n\
    Latency counts from the time at which a record was due by the rate, however late it was sent."
)]
pub struct BenchArgs {
    /// Address of any broker of the cluster
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// What is spoken there; for kinesis, topics are streams, partitions shards, a request PutRecords
    /// of 500 records or --batch-records, and every producer has one on the way
    #[arg(long, value_enum, default_value_t = Protocol::Kafka)]
    pub protocol: Protocol,
    /// With kinesis, readers are consumers that subscribe; else they ask GetRecords, and pause
    /// for --fetch-wait after an answer without records
    #[arg(long)]
    pub fan_out: bool,
    /// Measure two clusters in turn (A B B A ...) and print the ratios of B to A
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "bootstrap")]
    pub compare: Vec<String>,
    /// Rounds of each cluster with --compare
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub rounds: u32,

    /// Topic; it is created if absent, and kept [default: one of its own, deleted afterwards]
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Partitions of a topic that is created [default: 6]
    #[arg(long, value_name = "N")]
    pub partitions: Option<u32>,
    /// Do not delete the topic that the run made for itself
    #[arg(long)]
    pub keep: bool,

    /// Records a second of all producers together, or bytes a second (50MB) [default: as many as go]
    #[arg(long, value_name = "N[B]", value_parser = parse_rate)]
    pub rate: Option<Rate>,
    /// Producers, each with its own connection and producer id; 0 only reads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub producers: u32,
    /// Partitions that each producer writes to [default: all]
    #[arg(long, value_name = "N")]
    pub partitions_per_producer: Option<u32>,
    /// Bytes of a record's value
    #[arg(long, value_name = "BYTES", default_value = "1000", value_parser = parse_size)]
    pub record_bytes: usize,
    /// Distinct keys; 0 sends none, and fills partitions a batch at a time in turn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub keys: u64,
    /// Bytes of a batch at most, before compression
    #[arg(long, value_name = "BYTES", default_value = "16384", value_parser = parse_size)]
    pub batch_bytes: usize,
    /// Records of a batch at most [default: as fit]
    #[arg(long, value_name = "N")]
    pub batch_records: Option<usize>,
    /// Batches of a request at most, each for another partition
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batches_per_request: usize,
    /// How long a batch waits to fill, when there is a rate
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = parse_duration)]
    pub linger: Duration,
    /// Codec of the batches
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub compression: Codec,
    /// When the server answers: all, 1 or 0
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// Whether producers are idempotent [default: with acks=all]
    #[arg(long, value_name = "BOOL")]
    pub idempotence: Option<bool>,
    /// Requests of a producer on the way at once
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub in_flight: usize,

    /// Readers, each of which reads everything (fan-out)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub readers: u32,
    /// Connections of a reader, between which it divides the partitions
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub reader_connections: u32,
    /// What readers read: tail, what is being written; after, the same once the producers are done;
    /// old, what was there before, over and over
    #[arg(long, value_enum, default_value_t = Read::Tail)]
    pub read: Read,
    /// Bytes a second of all readers together at most
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub read_rate: Option<usize>,
    /// Bytes of an answer to a fetch at most
    #[arg(long, value_name = "BYTES", default_value = "8Mi", value_parser = parse_size)]
    pub fetch_bytes: usize,
    /// Bytes of one partition in it at most
    #[arg(long, value_name = "BYTES", default_value = "1Mi", value_parser = parse_size)]
    pub fetch_partition_bytes: usize,
    /// Bytes that a fetch waits for
    #[arg(long, value_name = "BYTES", default_value = "1", value_parser = parse_size)]
    pub fetch_bytes_min: usize,
    /// How long it waits for them
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    pub fetch_wait: Duration,
    /// How much of what was read is looked at
    #[arg(long, value_enum, default_value_t = Depth::Full)]
    pub verify: Depth,

    /// How long is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Measure so many records instead
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = parse_count)]
    pub records: Option<u64>,
    /// Load before that, which is not measured
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub warm_up: Duration,

    /// Threads of the producers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: u32,
    /// Threads of the readers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub reader_threads: u32,
    /// Processes of a local server, to tell their CPU, memory and disk; with --compare one of A, one of B
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Print JSON on the standard output, and the table on the standard error
    #[arg(long)]
    pub json: bool,
    /// No live line
    #[arg(long)]
    pub quiet: bool,
}

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Kafka's.
    Kafka,
    /// Amazon Kinesis Data Streams', over HTTP.
    Kinesis,
}

/// How fast producers send.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Records a second.
    Records(f64),
    /// Bytes of values a second.
    Bytes(f64),
}

/// Codecs by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Records as they are.
    None,
    /// LZ4 frames.
    Lz4,
    /// zstd at level 3.
    Zstd,
    /// Snappy as Java's clients write it.
    Snappy,
    /// gzip at level 6.
    Gzip,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
            Codec::Snappy => Self::Snappy,
            Codec::Gzip => Self::Gzip,
        }
    }
}

/// When a server answers a Produce request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Acks {
    /// Once all replicas in sync have it.
    #[serde(rename = "all")]
    All,
    /// Once the leader has it.
    #[value(name = "1")]
    #[serde(rename = "1")]
    One,
    /// Never.
    #[value(name = "0")]
    #[serde(rename = "0")]
    None,
}

impl Acks {
    /// As the request has it.
    pub(crate) const fn wire(self) -> i16 {
        match self {
            Self::All => -1,
            Self::One => 1,
            Self::None => 0,
        }
    }
}

/// What readers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Read {
    /// What is being written.
    Tail,
    /// What was written, after the producers are done.
    After,
    /// What was there before the run.
    Old,
}

impl BenchArgs {
    /// Records a second, if there is a rate.
    pub(crate) fn records_per_s(&self) -> Option<f64> {
        Some(match self.rate? {
            Rate::Records(rate) => rate,
            Rate::Bytes(rate) => rate / crate::numbers::wide(self.record_bytes) as f64,
        })
    }

    /// Whether producers have ids and sequences.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.idempotence.unwrap_or(self.acks == Acks::All)
    }

    /// Refuses what can't be.
    ///
    /// # Errors
    /// Says which option to change.
    pub fn check(&self) -> Result<(), BenchError> {
        let refuse = |what: &str| Err(BenchError::Options(what.to_owned()));
        if self.record_bytes < STAMP_LEN {
            return Err(BenchError::Options(format!(
                "--record-bytes is {}; a record takes {STAMP_LEN} at least, which tell it from others",
                self.record_bytes
            )));
        }
        if self.record_bytes > RECORD_BYTES_MAX || self.batch_bytes > RECORD_BYTES_MAX {
            return refuse("--record-bytes and --batch-bytes may be 64Mi at most");
        }
        if self.is_idempotent() && self.acks != Acks::All {
            return refuse("--idempotence true needs --acks all");
        }
        if self.is_idempotent() && self.in_flight > IDEMPOTENT_IN_FLIGHT_MAX {
            return refuse(
                "--in-flight may be 5 at most with idempotence; add --idempotence false for more",
            );
        }
        if self.producers == 0 && self.readers == 0 {
            return refuse("--producers 0 needs --readers");
        }
        if self.producers == 0 && self.topic.is_none() {
            return refuse("--producers 0 needs --topic: there is nothing to read in a new one");
        }
        if self.read == Read::Old && self.readers > 0 && self.topic.is_none() {
            return refuse("--read old needs --topic: nothing is in a new one");
        }
        if self.producers == 0 && self.readers > 0 && self.read != Read::Old {
            return refuse("--producers 0 needs --read old: nothing else will be there to read");
        }
        if self.acks == Acks::None && self.readers > 0 && self.read != Read::Old {
            return refuse("--acks 0 tells nothing that readers could wait for; use --acks 1");
        }
        let counts = [
            ("--partitions", self.partitions == Some(0)),
            ("--partitions-per-producer", self.partitions_per_producer == Some(0)),
            ("--batch-records", self.batch_records == Some(0)),
            ("--records", self.records == Some(0)),
            ("--batches-per-request", self.batches_per_request == 0),
            ("--in-flight", self.in_flight == 0),
            ("--reader-connections", self.reader_connections == 0),
            ("--read-rate", self.read_rate == Some(0)),
            ("--threads", self.threads == 0),
            ("--reader-threads", self.reader_threads == 0),
            ("--rounds", self.rounds == 0),
            ("--duration", self.duration.is_zero()),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, wrong)| *wrong) {
            return Err(BenchError::Options(format!("{name} must be more than 0")));
        }
        if !self.compare.is_empty() && !matches!(self.server_pid.len(), 0 | 2) {
            return refuse("--server-pid takes two with --compare: one of A, one of B");
        }
        Ok(())
    }
}

/// A number and what stands behind it.
fn split(text: &str) -> Result<(f64, &str), String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(at).unwrap_or((text, ""));
    let number: f64 = number.parse().map_err(|_| format!("{text} does not begin with a number"))?;
    Ok((number, unit.trim()))
}

fn scale(unit: &str) -> Option<f64> {
    Some(match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    })
}

fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text)?;
    let scale = scale(unit.strip_suffix('B').unwrap_or(unit))
        .ok_or_else(|| format!("{unit} is no unit; use k, M, G, Ki, Mi or Gi"))?;
    usize::try_from(crate::numbers::whole(number * scale)).map_err(|error| error.to_string())
}

fn parse_count(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let scale = scale(unit).ok_or_else(|| format!("{unit} is no unit; use k, M or G"))?;
    Ok(crate::numbers::whole(number * scale))
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let (number, unit) = split(text)?;
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    let (unit, is_bytes) = unit.strip_suffix('B').map_or((unit, false), |unit| (unit, true));
    let scale = scale(unit).ok_or_else(|| format!("{unit} is no unit; use k, M or G, and B"))?;
    if number <= 0.0 {
        return Err("a rate is more than 0; leave it out for as much as goes".to_owned());
    }
    Ok(if is_bytes { Rate::Bytes(number * scale) } else { Rate::Records(number * scale) })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("{unit} is no unit; use us, ms, s, m or h")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rates_and_durations_have_units() {
        assert_eq!(parse_size("16384"), Ok(16_384));
        assert_eq!(parse_size("256Ki"), Ok(262_144));
        assert_eq!(parse_size("1.5MB"), Ok(1_500_000));
        assert!(parse_size("12 parsecs").unwrap_err().contains("parsecs"));
        assert_eq!(parse_count("3M"), Ok(3_000_000));
        assert_eq!(parse_rate("10k"), Ok(Rate::Records(10_000.0)));
        assert_eq!(parse_rate("50MB/s"), Ok(Rate::Bytes(50_000_000.0)));
        assert!(parse_rate("0").is_err());
        assert_eq!(parse_duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
    }
}
