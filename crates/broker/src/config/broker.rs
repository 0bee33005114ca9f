//! The broker settings in effect, parsed for the core and the fronts.
//!
//! Invariant: a `BrokerConfig` is whole: it was resolved from layers whose
//! values are all valid. A change makes a new one.

use std::sync::Arc;

use super::{
    error::ConfigError,
    layers::{Given, Layers, Overrides},
    value::Value,
};

/// The values that the broker and its fronts work by. Times are in
/// milliseconds, sizes in bytes.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    layers: Arc<Layers>,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `delete.topic.enable`
    pub delete_topics: bool,
    /// `num.partitions`
    pub partitions: u32,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `connections.max.idle.ms`; `None` for never.
    pub connections_max_idle_ms: Option<u64>,
    /// `max.connections`
    pub connections_max: usize,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: usize,
    /// `socket.request.max.bytes`
    pub request_bytes_max: usize,
    /// `fetch.max.bytes`
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_sessions_max: usize,
    /// `max.request.partition.size.limit`
    pub described_partitions_max: usize,
    /// `producer.id.expiration.ms`
    pub producer_expiration_ms: u64,
    /// `group.initial.rebalance.delay.ms`
    pub group_initial_rebalance_delay_ms: u32,
    /// `group.min.session.timeout.ms`
    pub group_session_timeout_min_ms: u32,
    /// `group.max.session.timeout.ms`
    pub group_session_timeout_max_ms: u32,
    /// `group.max.size`
    pub group_members_max: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: u64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self::from_layers(Layers::default())
    }
}

impl BrokerConfig {
    /// The settings of a broker that starts with `started` from file,
    /// environment and flags, before any dynamic setting is known.
    ///
    /// # Errors
    /// As [`Layers::new`].
    pub fn new(given: &Given, started: Overrides) -> Result<Self, ConfigError> {
        Layers::new(given, started).map(Self::from_layers)
    }

    /// These settings with other dynamic ones: `for_all` brokers, and
    /// `for_this`.
    ///
    /// # Errors
    /// As [`Layers::with_dynamic`].
    pub fn with_dynamic(
        &self,
        for_all: Overrides,
        for_this: Overrides,
    ) -> Result<Self, ConfigError> {
        self.layers.with_dynamic(for_all, for_this).map(Self::from_layers)
    }

    /// These settings with dynamic ones out of storage, and those that no
    /// longer fit, for a log line.
    #[must_use]
    pub fn with_stored(&self, for_all: Overrides, for_this: Overrides) -> (Self, Vec<ConfigError>) {
        let (layers, refused) = self.layers.with_stored(for_all, for_this);
        (Self::from_layers(layers), refused)
    }

    /// Where each value comes from.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The data directory, as `log.dirs` shows it.
    #[must_use]
    pub fn data_dir(&self) -> &str {
        self.layers.set("log.dirs").first().map_or("", |(_, dir)| *dir)
    }

    fn from_layers(layers: Layers) -> Self {
        let number = |name| layers.value(name).map_or(0, |value| value.number());
        let unsigned = |name| u64::try_from(number(name)).unwrap_or(0);
        let count = |name| u32::try_from(number(name)).unwrap_or(0);
        let size = |name| usize::try_from(number(name)).unwrap_or(0);
        let truth = |name| layers.value(name).is_some_and(|value| value.is_true());
        let rack = match layers.value("broker.rack") {
            Some(Value::Text(rack)) if !rack.is_empty() => Some(rack),
            _ => None,
        };
        Self {
            auto_create_topics: truth("auto.create.topics.enable"),
            delete_topics: truth("delete.topic.enable"),
            partitions: count("num.partitions"),
            rack,
            connections_max_idle_ms: u64::try_from(number("connections.max.idle.ms")).ok(),
            connections_max: size("max.connections"),
            connections_per_ip_max: size("max.connections.per.ip"),
            request_bytes_max: size("socket.request.max.bytes"),
            fetch_bytes_max: size("fetch.max.bytes"),
            fetch_sessions_max: size("max.incremental.fetch.session.cache.slots"),
            described_partitions_max: size("max.request.partition.size.limit"),
            producer_expiration_ms: unsigned("producer.id.expiration.ms"),
            group_initial_rebalance_delay_ms: count("group.initial.rebalance.delay.ms"),
            group_session_timeout_min_ms: count("group.min.session.timeout.ms"),
            group_session_timeout_max_ms: count("group.max.session.timeout.ms"),
            group_members_max: size("group.max.size"),
            offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
            offsets_retention_ms: unsigned("offsets.retention.minutes").saturating_mul(60_000),
            offsets_retention_check_interval_ms: unsigned("offsets.retention.check.interval.ms"),
            layers: Arc::new(layers),
        }
    }
}
