//! Counters, gauges and histograms as atomics, and their rendering as
//! Prometheus text (version 0.0.4).
//!
//! Invariant: recording costs atomic additions and never waits for a scrape; a
//! labelled family looks its series up under a read lock, so a hot path keeps
//! the series it uses. A family holds at most [`SERIES_MAX`] series, whatever
//! a client sends. Called by `Metrics`, and by fronts that add their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use millrace_store::engine::{LATENCY_BOUNDS, SIZE_BOUNDS};
use parking_lot::{Mutex, RwLock};

/// Series that one family keeps; what comes later is recorded nowhere.
pub const SERIES_MAX: usize = 4096;

/// Name and meaning of one metric.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// `millrace_<area>_<name>_<unit>[_total]`.
    pub name: &'static str,
    /// One sentence for the operator.
    pub help: &'static str,
}

/// A metric as documentation has it.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// One sentence for the operator.
    pub help: &'static str,
    /// Prometheus' type.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// Only ever grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replaces the value; one beyond `i64` becomes the largest.
    pub fn set(&self, value: u64) {
        self.0.store(i64::try_from(value).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Moves the value.
    pub fn add(&self, delta: i64) {
        self.0.fetch_add(delta, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A gauge of time, kept in microseconds and shown in seconds.
#[derive(Debug, Default)]
pub struct Seconds(AtomicU64);

impl Seconds {
    /// Replaces the value.
    pub fn set(&self, value: Duration) {
        self.0.store(micros(value), Ordering::Relaxed);
    }
}

/// Time that only grows, kept in microseconds and shown in seconds.
#[derive(Debug, Default)]
pub struct Time(AtomicU64);

impl Time {
    /// Adds so much.
    pub fn add(&self, time: Duration) {
        self.add_micros(micros(time));
    }

    /// Replaces it, where it is counted elsewhere.
    pub fn set(&self, time: Duration) {
        self.0.store(micros(time), Ordering::Relaxed);
    }

    /// Adds so many microseconds.
    pub fn add_micros(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Buckets with fixed upper bounds, of times in microseconds (shown in seconds)
/// or of numbers.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    is_time: bool,
    /// One a bound, and the last for what lies above all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// `bounds` in microseconds, ascending.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, is_time: true, buckets, sum: AtomicU64::new(0) }
    }

    /// Of numbers, by these bounds.
    #[must_use]
    pub fn of_numbers(bounds: &'static [u64]) -> Self {
        Self { is_time: false, ..Self::new(bounds) }
    }

    fn text(&self, value: u64) -> String {
        if self.is_time { in_seconds(value) } else { value.to_string() }
    }

    /// Records one duration.
    pub fn observe(&self, value: Duration) {
        let value = micros(value);
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Takes over durations that were counted elsewhere, by the same bounds:
    /// `n` more in the bucket of this index, `sum` more in all.
    pub(crate) fn absorb(&self, buckets: impl Iterator<Item = (usize, u64)>, sum: u64) {
        for (index, n) in buckets {
            if let Some(bucket) = self.buckets.get(index) {
                bucket.fetch_add(n, Ordering::Relaxed);
            }
        }
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(LATENCY_BOUNDS)
    }
}

/// The labels of a family: a small struct of bounded values.
pub trait Labels: Ord + Clone + Send + Sync + 'static {
    /// The names of its labels.
    const NAMES: &'static [&'static str];
    /// Calls `put` with the name and value of each label, in the order of
    /// [`Self::NAMES`].
    fn each(&self, put: &mut dyn FnMut(&'static str, &dyn std::fmt::Display));
}

/// One metric in several series, told apart by labels.
#[derive(Debug)]
pub struct Family<L, M> {
    series: RwLock<BTreeMap<L, Arc<M>>>,
}

impl<L: Labels, M: Default> Family<L, M> {
    /// The series with these labels, made at first use. Keep it where a request
    /// is served often.
    pub fn with(&self, labels: &L) -> Arc<M> {
        if let Some(series) = self.series.read().get(labels) {
            return Arc::clone(series);
        }
        let mut all = self.series.write();
        if all.len() >= SERIES_MAX && !all.contains_key(labels) {
            return Arc::new(M::default());
        }
        Arc::clone(all.entry(labels.clone()).or_default())
    }
}

impl<L, M> Default for Family<L, M> {
    fn default() -> Self {
        Self { series: RwLock::new(BTreeMap::new()) }
    }
}

/// Series that are made anew before each scrape, instead of recorded into.
#[derive(Debug)]
pub struct Table<L, V> {
    rows: Mutex<Vec<(L, V)>>,
}

impl<L, V> Table<L, V> {
    /// Shows these series from now on, and no others.
    pub fn replace(&self, rows: Vec<(L, V)>) {
        *self.rows.lock() = rows;
    }
}

impl<L, V> Default for Table<L, V> {
    fn default() -> Self {
        Self { rows: Mutex::new(Vec::new()) }
    }
}

/// What a row of a table shows.
pub trait Value: Clone + Send + Sync + 'static {
    /// How Prometheus takes it.
    const KIND: &'static str;
    /// As text.
    fn text(&self) -> String;
}

/// A count that only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total(pub u64);

impl Value for Total {
    const KIND: &'static str = "counter";
    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Value for u64 {
    const KIND: &'static str = "gauge";
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    const KIND: &'static str = "gauge";
    fn text(&self) -> String {
        in_seconds(micros(*self))
    }
}

/// What can write itself as Prometheus text.
trait Render: Send + Sync {
    fn kind(&self) -> &'static str;
    /// The names of its labels.
    fn labels(&self) -> &'static [&'static str] {
        &[]
    }
    /// Writes its lines; `labels` is empty or `a="b",c="d"`.
    fn render(&self, name: &str, labels: &str, out: &mut String);
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    match labels {
        "" => put(out, format_args!("{name} {value}\n")),
        labels => put(out, format_args!("{name}{{{labels}}} {value}\n")),
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    out.write_fmt(text).ok();
}

impl Render for Counter {
    fn kind(&self) -> &'static str {
        "counter"
    }
    fn render(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, self.get());
    }
}

impl Render for Gauge {
    fn kind(&self) -> &'static str {
        "gauge"
    }
    fn render(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, self.get());
    }
}

impl Render for Seconds {
    fn kind(&self) -> &'static str {
        "gauge"
    }
    fn render(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, in_seconds(self.0.load(Ordering::Relaxed)));
    }
}

impl Render for Time {
    fn kind(&self) -> &'static str {
        "counter"
    }
    fn render(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, in_seconds(self.0.load(Ordering::Relaxed)));
    }
}

impl Render for Histogram {
    fn kind(&self) -> &'static str {
        "histogram"
    }
    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket_name = format!("{name}_bucket");
        let mut total = 0;
        let bounds = self.bounds.iter().map(|bound| self.text(*bound));
        let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            total += bucket.load(Ordering::Relaxed);
            line(out, &bucket_name, &format!("{labels}{comma}le=\"{bound}\""), total);
        }
        let sum = self.text(self.sum.load(Ordering::Relaxed));
        line(out, &format!("{name}_sum"), labels, sum);
        line(out, &format!("{name}_count"), labels, total);
    }
}

impl<L: Labels, M: Render + Default> Render for Family<L, M> {
    fn kind(&self) -> &'static str {
        M::default().kind()
    }
    fn labels(&self) -> &'static [&'static str] {
        L::NAMES
    }
    fn render(&self, name: &str, _: &str, out: &mut String) {
        // Copied, so that a scrape never holds the lock while it formats.
        let all: Vec<(L, Arc<M>)> =
            self.series.read().iter().map(|(l, m)| (l.clone(), Arc::clone(m))).collect();
        for (labels, series) in all {
            series.render(name, &label_text(&labels), out);
        }
    }
}

impl<L: Labels, V: Value> Render for Table<L, V> {
    fn kind(&self) -> &'static str {
        V::KIND
    }
    fn labels(&self) -> &'static [&'static str] {
        L::NAMES
    }
    fn render(&self, name: &str, _: &str, out: &mut String) {
        let rows = self.rows.lock().clone();
        for (labels, value) in rows {
            line(out, name, &label_text(&labels), value.text());
        }
    }
}

/// The metrics of one process, in the order of their registration.
#[derive(Default)]
pub struct Registry {
    metrics: Mutex<Vec<(Desc, Arc<dyn Render>)>>,
    refreshers: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.metrics.lock().iter().map(|(desc, _)| desc.name)).finish()
    }
}

impl Registry {
    fn add<M: Render + 'static>(&self, desc: Desc, metric: M) -> Arc<M> {
        let metric = Arc::new(metric);
        let mut metrics = self.metrics.lock();
        let twice = metrics.iter().any(|(known, _)| known.name == desc.name);
        assert!(!twice, "metric {} is registered twice", desc.name);
        metrics.push((desc, Arc::clone(&metric) as Arc<dyn Render>));
        metric
    }

    /// Registers a counter.
    pub fn counter(&self, desc: Desc) -> Arc<Counter> {
        self.add(desc, Counter::default())
    }

    /// Registers a gauge.
    pub fn gauge(&self, desc: Desc) -> Arc<Gauge> {
        self.add(desc, Gauge::default())
    }

    /// Registers a gauge of time.
    pub fn seconds(&self, desc: Desc) -> Arc<Seconds> {
        self.add(desc, Seconds::default())
    }

    /// Registers a histogram of durations.
    pub fn histogram(&self, desc: Desc) -> Arc<Histogram> {
        self.add(desc, Histogram::default())
    }

    /// Registers a histogram of numbers.
    pub fn sizes(&self, desc: Desc) -> Arc<Histogram> {
        self.add(desc, Histogram::of_numbers(SIZE_BOUNDS))
    }

    /// Registers a counter with labels.
    pub fn counters<L: Labels>(&self, desc: Desc) -> Arc<Family<L, Counter>> {
        self.add(desc, Family::default())
    }

    /// Registers a gauge with labels.
    pub fn gauges<L: Labels>(&self, desc: Desc) -> Arc<Family<L, Gauge>> {
        self.add(desc, Family::default())
    }

    /// Registers time that only grows.
    pub fn time(&self, desc: Desc) -> Arc<Time> {
        self.add(desc, Time::default())
    }

    /// Registers time that only grows, with labels.
    pub fn times<L: Labels>(&self, desc: Desc) -> Arc<Family<L, Time>> {
        self.add(desc, Family::default())
    }

    /// Registers a histogram with labels.
    pub fn histograms<L: Labels>(&self, desc: Desc) -> Arc<Family<L, Histogram>> {
        self.add(desc, Family::default())
    }

    /// Registers series that are made before each scrape.
    pub fn table<L: Labels, V: Value>(&self, desc: Desc) -> Arc<Table<L, V>> {
        self.add(desc, Table::default())
    }

    /// What is known of everything registered, in its order.
    #[must_use]
    pub fn descriptions(&self) -> Vec<Described> {
        let metrics = self.metrics.lock();
        let describe = |(desc, metric): &(Desc, Arc<dyn Render>)| Described {
            name: desc.name,
            help: desc.help,
            kind: metric.kind(),
            labels: metric.labels(),
        };
        metrics.iter().map(describe).collect()
    }

    /// Calls `refresh` before each scrape, to set what is only looked at then.
    pub fn before_scrapes(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.refreshers.lock().push(Arc::new(refresh));
    }

    /// Everything as Prometheus text.
    #[must_use]
    pub fn render(&self) -> String {
        // Copied: a refresher may register what it finds.
        let refreshers = self.refreshers.lock().clone();
        for refresh in refreshers {
            refresh();
        }
        let metrics = self.metrics.lock().clone();
        let mut out = String::with_capacity(16 * 1024);
        for (Desc { name, help }, metric) in metrics {
            put(&mut out, format_args!("# HELP {name} {}\n", escaped(help)));
            put(&mut out, format_args!("# TYPE {name} {}\n", metric.kind()));
            metric.render(name, "", &mut out);
        }
        out
    }
}

fn label_text(labels: &impl Labels) -> String {
    let mut text = String::new();
    labels.each(&mut |name, value| {
        let comma = if text.is_empty() { "" } else { "," };
        let value = escaped(&value.to_string()).replace('"', "\\\"");
        put(&mut text, format_args!("{comma}{name}=\"{value}\""));
    });
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn micros(value: Duration) -> u64 {
    u64::try_from(value.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds as decimal seconds, without the rounding of a float.
fn in_seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
