//! A topic's settings in effect: its own overrides over the broker's.
//!
//! Invariant: a `TopicConfig` was resolved from valid overrides; it changes
//! only by being resolved again, when its overrides or the broker's settings
//! change.

use std::collections::BTreeMap;

use millrace_log::compression::Codec;

use super::{
    broker::BrokerConfig,
    error::{ConfigError, Scope},
    layers::Overrides,
    setting::Setting,
    table,
    value::Value,
};

/// The level of gzip where none is chosen.
const GZIP_LEVEL: u32 = 6;
/// The level of Zstandard where none is chosen.
const ZSTD_LEVEL: i32 = 3;

/// Which time a topic's records carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampKind {
    /// The producer's.
    #[default]
    CreateTime,
    /// That of the append.
    LogAppendTime,
}

/// How a topic's old records leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// By retention.
    pub delete: bool,
    /// By key; accepted, and keeps every record until compaction is there.
    pub compact: bool,
}

/// The values that the core works by. Times are in milliseconds, sizes in
/// bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    overrides: Overrides,
    /// `retention.ms`; `None` for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` for no limit.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy`
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`, with its level; `None` for the producer's.
    pub compression: Option<Codec>,
    /// `max.message.bytes`
    pub message_bytes_max: usize,
    /// `message.timestamp.type`
    pub timestamp_kind: TimestampKind,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: u64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: u64,
    /// `min.compaction.lag.ms`: for compaction to come.
    pub compaction_lag_min_ms: u64,
    /// `max.compaction.lag.ms`: for compaction to come.
    pub compaction_lag_max_ms: u64,
}

impl Default for TopicConfig {
    /// A topic without overrides on a broker without settings.
    fn default() -> Self {
        Self::from_values(Overrides::new(), |setting| setting.default_value())
    }
}

impl TopicConfig {
    /// The settings of a topic with `overrides` on a broker with `broker`.
    ///
    /// # Errors
    /// The first override that is unknown or wrong, or two that contradict
    /// each other.
    pub fn resolve(overrides: &Overrides, broker: &BrokerConfig) -> Result<Self, ConfigError> {
        let mut own = BTreeMap::new();
        for (name, text) in overrides {
            own.insert(name.as_str(), table::find(Scope::Topic, name)?.parse(text)?);
        }
        let config = Self::from_values(overrides.clone(), |setting| {
            own.get(setting.name).cloned().or_else(|| inherited(setting, broker))
        });
        config.check()?;
        Ok(config)
    }

    /// As [`TopicConfig::resolve`], for overrides stored by another version:
    /// what no longer fits is left out of effect, and told.
    #[must_use]
    pub fn resolve_stored(
        overrides: &Overrides,
        broker: &BrokerConfig,
    ) -> (Self, Vec<ConfigError>) {
        let mut refused = Vec::new();
        let mut fitting = Overrides::new();
        for (name, text) in overrides {
            match table::find(Scope::Topic, name).and_then(|setting| setting.parse(text)) {
                Ok(_) => drop(fitting.insert(name.clone(), text.clone())),
                Err(error) => refused.push(error),
            }
        }
        let config = Self::from_values(fitting.clone(), |setting| {
            let own = fitting.get(setting.name).and_then(|text| setting.parse(text).ok());
            own.or_else(|| inherited(setting, broker))
        });
        refused.extend(config.check().err());
        (config, refused)
    }

    /// The topic's own settings, as they were given.
    #[must_use]
    pub const fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.compaction_lag_min_ms > self.compaction_lag_max_ms {
            return Err(ConfigError::Conflict(format!(
                "conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})",
                self.compaction_lag_min_ms, self.compaction_lag_max_ms
            )));
        }
        Ok(())
    }

    fn from_values(overrides: Overrides, value: impl Fn(&Setting) -> Option<Value>) -> Self {
        let get = |name| table::find(Scope::Topic, name).ok().and_then(&value);
        let number = |name| get(name).map_or(0, |value| value.number());
        let unsigned = |name| u64::try_from(number(name)).unwrap_or(0);
        let limit = |name| u64::try_from(number(name)).ok();
        let policy = match get("cleanup.policy") {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        };
        let append_time = Value::Text("LogAppendTime".into());
        Self {
            overrides,
            retention_ms: limit("retention.ms"),
            retention_bytes: limit("retention.bytes"),
            cleanup_policy: CleanupPolicy {
                delete: policy.iter().any(|item| item == "delete"),
                compact: policy.iter().any(|item| item == "compact"),
            },
            compression: match get("compression.type") {
                Some(Value::Text(name)) => codec(&name, number),
                _ => None,
            },
            message_bytes_max: usize::try_from(number("max.message.bytes")).unwrap_or(0),
            timestamp_kind: if get("message.timestamp.type") == Some(append_time) {
                TimestampKind::LogAppendTime
            } else {
                TimestampKind::CreateTime
            },
            timestamp_before_max_ms: unsigned("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: unsigned("message.timestamp.after.max.ms"),
            compaction_lag_min_ms: unsigned("min.compaction.lag.ms"),
            compaction_lag_max_ms: unsigned("max.compaction.lag.ms"),
        }
    }
}

/// The codec of a `compression.type`, with the level that `number` tells of
/// its setting; `None` for `producer`.
fn codec(name: &str, number: impl Fn(&'static str) -> i64) -> Option<Codec> {
    Some(match name {
        "uncompressed" => Codec::None,
        "gzip" => Codec::Gzip {
            // -1 is the library's default.
            level: u32::try_from(number("compression.gzip.level")).unwrap_or(GZIP_LEVEL),
        },
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd {
            level: i32::try_from(number("compression.zstd.level")).unwrap_or(ZSTD_LEVEL),
        },
        _ => return None,
    })
}

/// What a topic or group setting is where the topic or group does not set it.
pub(super) fn inherited(setting: &Setting, broker: &BrokerConfig) -> Option<Value> {
    let from_broker = setting.broker.and_then(|name| broker.layers().value(name));
    from_broker.or_else(|| setting.default_value())
}
