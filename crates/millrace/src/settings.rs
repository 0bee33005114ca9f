//! The settings of our own: one table of name, type, default, unit, meaning
//! and when to change it; and their merging with Kafka's, which keep their
//! names below `kafka.`.
//!
//! Invariant: every key is known before anything starts (an unknown one is
//! refused with a guess), and a flag beats the environment beats the file
//! beats the default. Called by `serve` and `config`.

mod credentials;
pub(crate) mod known;
mod layers;
mod listen;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) use credentials::KeyRefs;
pub(crate) use known::Known;
pub(crate) use layers::{KAFKA, Layers, Mistakes, SettingsError, Source, environment_name};
pub(crate) use listen::{BoundHttp, BoundKafka, HostPort, HttpListen, HttpListens, KafkaListens};
pub(crate) use values::{AccountId, Flush, LogFormat, OnCorruption, Region, Validate, Value};

/// Settings of our own at most, so that an operator can know them all.
#[cfg(test)]
const OWN_MAX: usize = 40;

/// What is known of one setting of our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// `snake_case`, unit last; those of one protocol behind its name and a
    /// dot, which is a table of the file.
    pub(crate) name: &'static str,
    /// The default, in the form that a person would write.
    pub(crate) default: &'static str,
    /// What the number counts, or which words are allowed.
    pub(crate) unit: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
    /// When to change it.
    pub(crate) when: &'static str,
    /// Refuses a value that its type can't hold, saying what is allowed.
    check: fn(&str) -> Result<(), String>,
}

/// What a person writes for a field: its name, or the one that is given.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// Declares the settings: a field of [`Own`] and a row of [`TABLE`] each.
macro_rules! own_settings {
    ($($name:ident $(as $key:literal)?: $type:ty = $default:literal $(in $range:expr)?, $unit:literal, $doc:literal, $when:literal;)*) => {
        /// The settings of our own, parsed.
        #[derive(Clone, Debug)]
        pub(crate) struct Own {
            $(#[doc = $doc] pub(crate) $name: $type,)*
        }

        /// One row for each setting of our own.
        pub(crate) const TABLE: &[Setting] = &[
            $(Setting {
                name: key!($name $($key)?),
                default: $default,
                unit: $unit,
                doc: $doc,
                when: $when,
                check: |text| parse::<$type>(text, None $(.or(Some($range)))?).map(drop),
            },)*
        ];

        impl Own {
            fn read(layers: &Layers) -> Result<Self, SettingsError> {
                Ok(Self {
                    $($name: {
                        let (text, source) = layers.own(key!($name $($key)?), $default);
                        parse(text, None $(.or(Some($range)))?)
                            .map_err(|why| SettingsError::invalid(key!($name $($key)?), source, why))?
                    },)*
                })
            }
        }
    };
}

own_settings! {
    data_dir: PathBuf = "./millrace-data", "path",
        "Directory of the log, the catalog and endpoints.json.",
        "Always in production: a disk of its own.";
    kafka_listen: KafkaListens = "127.0.0.1:9092", "[NAME=]ADDRESS[@ADVERTISED], comma-separated",
        "Addresses that serve Kafka clients; a client is told the advertised address of the one it came in by.",
        "When clients are on other machines, or reach the server by more than one name.";
    http_listen: HttpListens = "127.0.0.1:8080", "[http://|https://]ADDRESS, comma-separated",
        "Addresses of Kinesis, /healthz, /readyz and /metrics.",
        "When the port is taken, or clients or a scraper are on another machine.";
    tls_cert: Option<PathBuf> = "", "path of a PEM file",
        "Certificate of the https:// addresses, those that it was issued by behind it.",
        "Always with https://.";
    tls_key: Option<PathBuf> = "", "path of a PEM file",
        "Private key of tls_cert.",
        "Always with https://.";
    insecure_no_auth: bool = "false", "true or false",
        "Serve addresses that are not loopback without authentication: Kafka's, and the HTTP address where there are no kinesis.credentials.",
        "Only in a network where everyone may read, write and delete everything.";
    flush: Flush = "fsync", "fsync or os",
        "What an acknowledged record survives: fsync a power loss, os only the death of the process.",
        "To os where losing the last moments at a power loss costs less than the flushes.";
    on_corruption: OnCorruption = "stop", "stop or skip",
        "What a reader gets at records that fail their checksum: stop answers an error at them, skip goes on with the next readable batch.",
        "To skip when what follows a damaged range is worth more than knowing of it.";
    validate: Validate = "header", "header or full",
        "What of a producer's batch is checked: header and checksum, or in full also that it decompresses to as many well-formed records as it says, each with its offset and a timestamp that the topic accepts.",
        "To full where producers are not trusted, and unreadable batches should fail them, not their readers.";
    producers_max: u64 = "100000" in (1, 100_000_000), "pairs of producer id and partition",
        "Idempotent producers whose last batches are remembered, to recognise retries.",
        "When millrace_log_refused_batches_total grows for the reason producers_max.";
    index_entries_max: u64 = "2000000" in (10_000, 1_000_000_000), "entries, about 40 bytes each",
        "Batches whose place on disk is held in memory; those of old files are read back on demand.",
        "Up where old records are read often, down where memory is short.";
    cache_bytes: u64 = "125829120" in (8_388_608, 1_099_511_627_776), "bytes",
        "Memory for blocks of the log, so that readers near the end need no disk.",
        "Up where consumers lag by more than this and memory is free.";
    log_file_bytes: u64 = "268435456" in (16_777_216, 2_147_483_648), "bytes",
        "Size at which a log file is sealed: space comes back in whole files.",
        "Up where many gigabytes are kept, to have fewer files.";
    commits_per_second_max: u64 = "1000" in (1, 1_000_000), "commits a second",
        "Flushes above which records gather into larger ones.",
        "Down on a slow disk, up where each microsecond counts more than the processor.";
    pending_bytes_max: u64 = "16777216" in (1_048_576, 536_870_912), "bytes",
        "Records that may wait for the disk before producers have to.",
        "Up where bursts are large and memory is free.";
    reserve_bytes: u64 = "16777216" in (4_194_304, 1_099_511_627_776), "bytes",
        "Space set aside so that deleting works on a full disk.",
        "Up where topics are many and the disk often full.";
    scrub_hours: u64 = "168" in (0, 87_600), "hours, 0 for never",
        "Time in which every file of the log is read and verified once, in the background.",
        "Down where disks are old and backups are kept for a short time.";
    scrub_bytes_per_second: u64 = "8388608" in (65_536, 17_179_869_184), "bytes a second",
        "What that reads at most.",
        "Up where so many bytes are kept that the time is too short, down where readers wait for the disk.";
    kinesis_account_id as "kinesis.account_id": AccountId = "123456789012", "twelve digits",
        "The account in the ARNs of Kinesis' streams.",
        "Where clients expect the ARNs of an account of theirs.";
    kinesis_region as "kinesis.region": Region = "us-east-1", "a region's name",
        "The region of Kinesis' clients that don't sign for one.",
        "Where clients expect ARNs of another.";
    kinesis_credentials as "kinesis.credentials": KeyRefs = "[]", "list of tables: access_key_id, and secret_file or secret_env",
        "Access keys that requests to Kinesis have to be signed by; a secret is in a file or a variable of the environment. Without any, all requests are taken.",
        "Always where others can reach the HTTP address.";
    kinesis_enforce_limits as "kinesis.enforce_limits": bool = "false", "true or false",
        "Enforce AWS's limits: what a shard takes and gives in a second, and how often operations may be called.",
        "To true in tests of clients that have to live with AWS's limits.";
    kinesis_get_records_wait_ms as "kinesis.get_records_wait_ms": u64 = "0" in (0, 20_000), "milliseconds",
        "How long GetRecords waits for a record where there is none to read, instead of answering at once.",
        "Up, to a second or so, where many clients poll: they hear of records sooner and ask less often.";
    partitions_max: u64 = "100000" in (1, 10_000_000), "partitions",
        "Partitions of all topics.",
        "Down where clients create topics and memory is short.";
    worker_threads: u64 = "0" in (0, 1024), "threads, 0 for one a core",
        "Threads that serve connections.",
        "When other processes need some of the cores.";
    metrics_topics_max: u64 = "100" in (0, 10_000), "topics, 0 for none",
        "Busiest topics that have figures of their own in /metrics; the others are summed.",
        "Up where each of many topics is watched, to 0 where names of topics may not be told.";
    metrics_groups_max: u64 = "100" in (0, 10_000), "pairs of group and topic, 0 for none",
        "Consumer groups longest behind whose lag is in /metrics, by topic; the others are summed.",
        "Up where each of many groups is watched, to 0 where their names may not be told.";
    slow_request_ms: u64 = "1000" in (0, 3_600_000), "milliseconds, 0 for never",
        "A request that takes so long is told of in the log, with where its time went; what a client asked to wait for is not slow.",
        "Down while looking for what slows clients, up where slow is usual.";
    log_format: LogFormat = "text", "text or json",
        "Form of the log on standard error.",
        "To json where a machine collects it.";
    log_level: String = "info", "error, warn, info, debug or trace, or a list such as info,millrace_store=debug",
        "What is logged.",
        "While looking for the cause of a problem.";
}

/// The table for people, as `serve --help` shows it.
pub(crate) fn described() -> String {
    let mut text = String::from(
        "Settings, for --set, a TOML file or a variable (kinesis.region is MILLRACE_KINESIS_REGION there, and \
         region\nin a table [kinesis] of the file). Kafka's broker settings keep their names behind kafka. \
         (kafka.num.partitions).\n",
    );
    for Setting { name, default, unit, doc, when, .. } in TABLE {
        text.push_str(&format!(
            "\n  {name} = {default}   ({unit})\n      {doc}\n      Change it: {when}\n"
        ));
    }
    text
}

fn parse<T: Value>(text: &str, range: Option<(u64, u64)>) -> Result<T, String> {
    let value = T::parse(text)?;
    match (value.number(), range) {
        (Some(n), Some((min, max))) if n < min || n > max => {
            Err(format!("{n} is not between {min} and {max}"))
        }
        _ => Ok(value),
    }
}

/// Everything that the server is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Our own settings.
    pub(crate) own: Own,
    /// Kafka's settings as given, by Kafka's name: those that nobody gave are
    /// absent, so that each keeps its source.
    pub(crate) kafka: BTreeMap<String, String>,
}

impl Settings {
    /// Parses what the layers hold and checks what one setting demands of
    /// another.
    ///
    /// # Errors
    /// A value of the wrong form; an address that would be open to others
    /// without credentials or `insecure_no_auth`.
    pub(crate) fn new(layers: &Layers) -> Result<Self, SettingsError> {
        let own = Own::read(layers)?;
        listen::check(&own)?;
        Ok(Self { own, kafka: layers.kafka() })
    }
}
