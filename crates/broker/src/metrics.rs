//! What the server counts about itself: one [`Metrics`] a process, made by the
//! binary and handed to the broker and the fronts.
//!
//! Invariant: a name is a constant here, appears once, and has bounded labels
//! (never a client's own text). It outlives incarnations: counters go on over
//! a recovery. The binary renders it at `/metrics`.

mod lag;
mod registry;
mod slow;
mod traffic;

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use lag::GroupTopic;
pub(crate) use lag::{Lag, Lags};
pub use registry::{
    Counter, Desc, Described, Family, Gauge, Histogram, Labels, Registry, SERIES_MAX, Seconds,
    Table, Time, Total,
};
pub use slow::{Answered, SlowRequests, Spent};
pub use traffic::TopicLabel;
pub(crate) use traffic::{TopicTraffic, Traffic};

/// Declares the fields of [`Metrics`]: the kind, the name and the help of each.
macro_rules! metrics {
    ($($field:ident: $make:ident -> $type:ty = $name:literal, $help:literal;)*) => {
        /// Every metric of the broker and what all fronts share.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            pub(crate) limits: Limits,
            pub(crate) traffic: Traffic,
            slow: SlowRequests,
            $(#[doc = $help] pub $field: Arc<$type>,)*
        }

        impl Metrics {
            /// All metrics at zero.
            #[must_use]
            pub fn with_limits(limits: Limits) -> Self {
                let registry = Registry::default();
                $(let $field = registry.$make(Desc { name: $name, help: $help });)*
                let traffic = Traffic::default();
                let slow = SlowRequests::new(limits.slow_request);
                Self { registry, limits, traffic, slow, $($field,)* }
            }
        }
    };
}

metrics! {
    build_info: gauges -> Family<Build, Gauge> = "millrace_build_info",
        "Always 1; its labels name the build.";
    start_time: gauge -> Gauge = "millrace_process_start_time_seconds",
        "Unix time at which the process started.";
    process_memory: gauge -> Gauge = "millrace_process_resident_bytes",
        "Memory of the process that is in use, its code and cached files of its own included.";
    process_cpu: time -> Time = "millrace_process_cpu_seconds_total",
        "Time that the process was computing, over all cores.";
    process_files: gauge -> Gauge = "millrace_process_open_files",
        "Files and connections that the process has open.";
    process_files_max: gauge -> Gauge = "millrace_process_open_files_max",
        "How many it may have open.";
    ready: gauge -> Gauge = "millrace_ready",
        "1 while clients are served: what /readyz says.";
    insecure: gauge -> Gauge = "millrace_insecure_no_auth",
        "1 while addresses that are not loopback are served without authentication.";

    requests: counters -> Family<Request, Counter> = "millrace_front_requests_total",
        "Requests answered, by front, API, version and error name (none for success).";
    request_latency: histograms -> Family<Api, Histogram> = "millrace_front_request_duration_seconds",
        "Time from a request begun to its response queued for the socket, by front and API.";
    request_queue: histograms -> Family<Api, Histogram> = "millrace_front_request_queue_duration_seconds",
        "Time from a request received whole to its handler begun, by front and API.";
    request_log: histograms -> Family<Api, Histogram> = "millrace_front_request_log_duration_seconds",
        "Time that a request waited for the log, by front and API: to be durable (a produce, a commit of offsets), or for what the client asked to wait for (records to fetch, members of its group).";
    response_time: histograms -> Family<Api, Histogram> = "millrace_front_response_duration_seconds",
        "Time from a response ready to its last byte written to the socket, by front and API (Kafka's front).";
    slow_requests: counters -> Family<Api, Counter> = "millrace_front_slow_requests_total",
        "Requests that took longer than slow_request_ms, by front and API; what a client asked to wait for is not counted.";
    request_errors: counters -> Family<Reason, Counter> = "millrace_front_refused_total",
        "Connections or requests refused before they reached a handler, by reason.";
    connections: gauges -> Family<Front, Gauge> = "millrace_front_connections",
        "Connections open now, by front.";
    connections_opened: counters -> Family<Front, Counter> = "millrace_front_connections_total",
        "Connections accepted, by front.";
    network_in: counters -> Family<Front, Counter> = "millrace_front_received_bytes_total",
        "Bytes read from clients, by front.";
    network_out: counters -> Family<Front, Counter> = "millrace_front_sent_bytes_total",
        "Bytes written to clients, by front.";

    bytes_in: counter -> Counter = "millrace_log_appended_bytes_total",
        "Bytes of record batches accepted.";
    records_in: counter -> Counter = "millrace_log_appended_records_total",
        "Records accepted.";
    batches_in: counter -> Counter = "millrace_log_appended_batches_total",
        "Record batches accepted.";
    batches_refused: counters -> Family<Reason, Counter> = "millrace_log_refused_batches_total",
        "Record batches refused, by reason.";
    batches_recompressed: counter -> Counter = "millrace_log_recompressed_batches_total",
        "Record batches compressed anew, or no longer, for the compression.type of their topic.";
    batches_rerouted: counter -> Counter = "millrace_log_rerouted_batches_total",
        "Record batches that came to a sealed partition and were stored in those that took over.";
    duplicates: counter -> Counter = "millrace_log_duplicate_batches_total",
        "Batches of idempotent producers that were stored already.";
    bytes_out: counter -> Counter = "millrace_log_read_bytes_total",
        "Bytes of record batches given to readers.";
    batches_out: counter -> Counter = "millrace_log_read_batches_total",
        "Record batches given to readers.";
    records_out: counter -> Counter = "millrace_log_read_records_total",
        "Records given to readers, counted in whole batches.";

    commits: counter -> Counter = "millrace_log_commits_total",
        "Group commits: frames written and made durable.";
    commit_bytes: counter -> Counter = "millrace_log_commit_bytes_total",
        "Bytes of frames written, tables and padding included.";
    commit_payload: counter -> Counter = "millrace_log_commit_payload_bytes_total",
        "Bytes of record batches in the frames written.";
    commit_batches: sizes -> Histogram = "millrace_log_commit_batches",
        "Record batches of one group commit.";
    flush_latency: histogram -> Histogram = "millrace_log_flush_duration_seconds",
        "Time of one flush of the log.";
    io_pending: seconds -> Seconds = "millrace_log_io_pending_seconds",
        "Time that the write or flush of the log under way has taken so far; 0 while there is none.";
    log_failures: counter -> Counter = "millrace_log_failures_total",
        "Writes or flushes of the log that failed; each ends an incarnation.";
    storage_full: gauge -> Gauge = "millrace_log_storage_full",
        "1 while produce is refused because the disk is at its reserve.";

    files: gauge -> Gauge = "millrace_log_files",
        "Log files on disk.";
    live_bytes: gauge -> Gauge = "millrace_log_live_bytes",
        "Bytes of log files that a reader can still ask for.";
    dead_bytes: gauge -> Gauge = "millrace_log_dead_bytes",
        "Bytes of record batches that expired or were deleted, until their file is rewritten or deleted.";
    padding_bytes: gauge -> Gauge = "millrace_log_padding_bytes",
        "Bytes of log files besides record batches: tables, footers, and what fills blocks. After a start those of older files count as dead until their footers have been read, 8 files every 5 s.";
    reserved_bytes: gauge -> Gauge = "millrace_log_reserved_bytes",
        "Bytes allocated ahead to log files; those of reserve_bytes are not among them.";
    disk_bytes: gauge -> Gauge = "millrace_disk_bytes",
        "Size of the file system of the data directory, looked at every 5 s.";
    disk_free: gauge -> Gauge = "millrace_disk_free_bytes",
        "Space left on it for the server, looked at every 5 s.";
    rewriting: gauge -> Gauge = "millrace_log_rewriting_bytes",
        "Live bytes that the rewriting under way copies; 0 while there is none.";
    rewriting_done: gauge -> Gauge = "millrace_log_rewriting_done_bytes",
        "How many of them are copied.";
    retained: counter -> Counter = "millrace_log_retention_moves_total",
        "Times that retention moved the log start of a partition.";
    rewritten: counter -> Counter = "millrace_log_rewritten_bytes_total",
        "Live bytes copied to give dead space back.";
    checkpoints: counter -> Counter = "millrace_log_checkpoints_total",
        "Checkpoints written.";
    checkpoints_failed: counter -> Counter = "millrace_log_failed_checkpoints_total",
        "Checkpoints that could not be written: space is held and starts take longer until one is.";
    files_deleted: counter -> Counter = "millrace_log_deleted_files_total",
        "Log files deleted since nothing in them was needed any more.";
    producers_evicted: counter -> Counter = "millrace_log_evicted_producers_total",
        "Pairs of producer id and partition forgotten before they expired, to meet producers_max.";
    producers_refused: counter -> Counter = "millrace_log_refused_producers_total",
        "Batches of new producers refused because producers_max was met and nobody was idle.";
    quarantined: gauge -> Gauge = "millrace_log_quarantined_ranges",
        "Ranges of offsets that fail their checksum and are not served.";
    corrupt_skipped: counter -> Counter = "millrace_log_corrupt_skipped_total",
        "Times that a reader was led past a corrupt range (on_corruption = \"skip\").";
    retention_stopped: gauge -> Gauge = "millrace_log_retention_stopped",
        "1 while retention by time waits for the wall clock to become plausible.";

    topic_bytes_in: table -> Table<TopicLabel, Total> = "millrace_topic_appended_bytes_total",
        "Bytes of record batches accepted, by topic: those of the busiest topics (setting metrics_topics_max), the others as (others).";
    topic_records_in: table -> Table<TopicLabel, Total> = "millrace_topic_appended_records_total",
        "Records accepted, by topic as above.";
    topic_bytes_out: table -> Table<TopicLabel, Total> = "millrace_topic_read_bytes_total",
        "Bytes of record batches given to readers, by topic as above.";
    topic_records_out: table -> Table<TopicLabel, Total> = "millrace_topic_read_records_total",
        "Records given to readers, by topic as above; counted in whole batches.";

    lag_records: table -> Table<GroupTopic, u64> = "millrace_group_lag_records",
        "Records that a group has yet to read (from its committed offsets on; partitions without one don't count), by group and topic: the longest behind (setting metrics_groups_max), the others as (others) in sum.";
    lag_time: table -> Table<GroupTopic, Duration> = "millrace_group_lag_seconds",
        "Age of the next record that a group has yet to read, of its partition that is longest behind; by group and topic as above, (others) the largest. Exact to the batch in files read or written lately, judged by the append times of their last batches in others.";

    partitions: gauge -> Gauge = "millrace_broker_partitions",
        "Partitions of all topics.";
    topics: gauge -> Gauge = "millrace_broker_topics",
        "Topics.";
    producers: gauge -> Gauge = "millrace_broker_producers",
        "Pairs of producer id and partition whose sequences are remembered.";
    groups: gauge -> Gauge = "millrace_broker_groups",
        "Consumer groups.";
    incarnations: counter -> Counter = "millrace_broker_incarnations_total",
        "Incarnations of the broker since the process started: 1, and one more for each recovery in process.";
    recovery: seconds -> Seconds = "millrace_broker_recovery_duration_seconds",
        "Time that the last recovery took until it served.";

    memory_used: gauges -> Family<Pool, Gauge> = "millrace_memory_pool_used_bytes",
        "Bytes in use of each memory pool.";
    memory_limit: gauges -> Family<Pool, Gauge> = "millrace_memory_pool_limit_bytes",
        "Bytes that each memory pool may use.";
    memory_waits: counters -> Family<Pool, Counter> = "millrace_memory_pool_waits_total",
        "Times that work waited for a memory pool.";
    memory_wait_time: times -> Family<Pool, Time> = "millrace_memory_pool_wait_seconds_total",
        "Time that work waited for a memory pool, all waits together.";
}

/// How much is told of clients: how many series have names that they choose,
/// and which of their requests are slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Topics that have series of their own; 0 for no series by topic.
    pub topics_max: usize,
    /// Pairs of group and topic that have series of their own; 0 for no series
    /// by group.
    pub groups_max: usize,
    /// A request that takes so long is told of in the log; zero for none.
    pub slow_request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { topics_max: 100, groups_max: 100, slow_request: Duration::from_secs(1) }
    }
}

/// The error label of a request that succeeded.
pub const NO_ERROR: &str = "none";

impl Metrics {
    /// All metrics at zero, with the usual limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// Where a front registers what it alone counts.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Records where the time of one answered request went, for a front that
    /// keeps no series; [`Self::request`] counts it.
    pub fn spent(&self, request: &Answered<'_>, spent: &Spent) {
        let labels = Api { front: request.front, api: request.api };
        self.request_queue.with(&labels).observe(spent.queue);
        let waited = spent.log + spent.asked;
        if !waited.is_zero() {
            self.request_log.with(&labels).observe(waited);
        }
        if self.slow.is_slow(spent) {
            self.slow_requests.with(&labels).increment();
            self.slow.tell(request, spent, Instant::now());
        }
    }

    /// Tells of slow requests.
    #[must_use]
    pub fn slow_requests(&self) -> &SlowRequests {
        &self.slow
    }

    /// Records one answered request. `error` is the protocol's name of the
    /// first error in the response, or [`NO_ERROR`].
    pub fn request(
        &self,
        front: &'static str,
        api: &'static str,
        version: i16,
        error: &'static str,
        took: Duration,
    ) {
        self.requests.with(&Request { front, api, version, error }).increment();
        self.request_latency.with(&Api { front, api }).observe(took);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Declares label structs.
macro_rules! labels {
    ($($(#[$meta:meta])* $name:ident { $($label:ident: $type:ty),* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name { $(#[allow(missing_docs, reason = "the struct's line says it")] pub $label: $type,)* }

        impl Labels for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($label)),*];
            fn each(&self, put: &mut dyn FnMut(&'static str, &dyn Display)) {
                $(put(stringify!($label), &self.$label);)*
            }
        }
    )*};
}

labels! {
    /// A request by front (`kafka`), API, version and error name. An unknown
    /// API is `unknown`, an unknown version -1: a client can't make new series.
    Request { front: &'static str, api: &'static str, version: i16, error: &'static str }
    /// An API of a front.
    Api { front: &'static str, api: &'static str }
    /// A front.
    Front { front: &'static str }
    /// Why something was refused.
    Reason { reason: &'static str }
    /// A memory pool.
    Pool { pool: &'static str }
    /// The build.
    Build { version: &'static str, commit: &'static str }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        let metrics = Metrics::new();
        for Described { name, help, .. } in metrics.registry().descriptions() {
            assert!(name.starts_with("millrace_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(help.ends_with('.'), "{name}: {help}");
        }
    }

    /// What a metric counts in, as its name says.
    fn unit(name: &str) -> &'static str {
        match name.strip_suffix("_total").unwrap_or(name) {
            name if name.ends_with("_seconds") => "seconds",
            name if name.ends_with("_bytes") => "bytes",
            _ => "",
        }
    }

    #[test]
    fn the_page_is_current() {
        let mut page =
            "| metric | type | labels | unit | what it says |\n|---|---|---|---|---|\n".to_owned();
        for Described { name, help, kind, labels } in Metrics::new().registry().descriptions() {
            let (labels, unit) = (labels.join(", "), unit(name));
            page += &format!("| `{name}` | {kind} | {labels} | {unit} | {help} |\n");
        }
        crate::testing::check_page("metrics.md", "the metrics", &page);
    }

    #[test]
    fn a_request_is_counted_and_timed() {
        let metrics = Metrics::new();
        metrics.request("kafka", "Produce", 12, NO_ERROR, Duration::from_millis(2));
        let text = metrics.registry().render();
        let count = "millrace_front_requests_total{front=\"kafka\",api=\"Produce\",version=\"12\",error=\"none\"} 1\n";
        assert!(text.contains(count), "{text}");
        let time =
            "millrace_front_request_duration_seconds_count{front=\"kafka\",api=\"Produce\"} 1\n";
        assert!(text.contains(time), "{text}");
    }
}
