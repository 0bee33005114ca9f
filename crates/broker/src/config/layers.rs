//! Where a broker setting's value comes from: dynamic for this broker, dynamic
//! for all brokers, given at the start, or Kafka's default; the first that has
//! one wins, as Kafka ranks them.
//!
//! Invariant: values in the layers have passed their setting's check.

use std::collections::BTreeMap;

use super::{
    error::{ConfigError, Scope},
    setting::{Meaning, Setting},
    table,
    value::Value,
};

/// Settings by name, as they were given.
pub type Overrides = BTreeMap<String, String>;

/// Where a value comes from, with the numbers of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum Source {
    /// Set for the topic.
    DynamicTopic = 1,
    /// Set while running, for this broker.
    DynamicBroker = 2,
    /// Set while running, for all brokers.
    DynamicDefaultBroker = 3,
    /// Set by file, environment or flag.
    StaticBroker = 4,
    /// Set by nobody.
    Default = 5,
    /// Set for the client metrics subscription.
    ClientMetrics = 7,
    /// Set for the group.
    Group = 8,
}

impl Source {
    /// The number in DescribeConfigs responses.
    #[must_use]
    pub const fn id(self) -> i8 {
        self as i8
    }
}

/// What the server was started with, shown under Kafka's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The broker's id.
    pub node_id: i32,
    /// The data directory.
    pub data_dir: String,
    /// Bound listeners as `NAME://host:port`.
    pub listeners: Vec<String>,
    /// Advertised listeners as `NAME://host:port`.
    pub advertised_listeners: Vec<String>,
}

impl Given {
    fn entries(&self) -> Overrides {
        let node = self.node_id.to_string();
        let names = self.listeners.iter().filter_map(|listener| listener.split_once("://"));
        let protocols: Vec<String> = names.map(|(name, _)| format!("{name}:PLAINTEXT")).collect();
        [
            ("node.id", node.clone()),
            ("broker.id", node),
            ("log.dirs", self.data_dir.clone()),
            ("listeners", self.listeners.join(",")),
            ("advertised.listeners", self.advertised_listeners.join(",")),
            ("listener.security.protocol.map", protocols.join(",")),
            ("process.roles", "broker,controller".into()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// The layers of the broker settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers {
    given: Overrides,
    started: Overrides,
    for_all: Overrides,
    for_this: Overrides,
}

/// Broker settings that stand for one another, the first first, with what
/// their numbers are multiplied by to give milliseconds.
const FAMILIES: &[&[(&str, i64)]] = &[
    &[
        ("log.retention.ms", 1),
        ("log.retention.minutes", 60_000),
        ("log.retention.hours", 3_600_000),
    ],
    &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)],
    &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
];
/// As [`FAMILIES`], for the one whose second name has no synonym itself.
const FLUSH: &[(&str, i64)] =
    &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)];

/// The settings that stand for `name`, the strongest first.
pub(super) fn family(name: &'static str) -> Vec<(&'static str, i64)> {
    if name == "log.flush.interval.ms" {
        return FLUSH.to_vec();
    }
    let family = FAMILIES.iter().find(|family| family.iter().any(|(member, _)| *member == name));
    family.map_or_else(|| vec![(name, 1)], |family| family.to_vec())
}

impl Layers {
    /// The layers of a broker that starts: `started` is what file, environment
    /// and flags say under Kafka's names.
    ///
    /// # Errors
    /// The first setting of `started` that is unknown, wrong, or decided by
    /// another.
    pub fn new(given: &Given, started: Overrides) -> Result<Self, ConfigError> {
        for (name, value) in &started {
            check_started(name, value)?;
        }
        Ok(Self { given: given.entries(), started, ..Self::default() })
    }

    /// These layers with other dynamic settings, which replace those that were
    /// there.
    ///
    /// # Errors
    /// The first setting that is unknown, wrong or read-only.
    pub fn with_dynamic(
        &self,
        for_all: Overrides,
        for_this: Overrides,
    ) -> Result<Self, ConfigError> {
        for (name, value) in for_all.iter().chain(&for_this) {
            super::alter::check_dynamic(name, value)?;
        }
        Ok(Self { for_all, for_this, ..self.clone() })
    }

    /// As [`Layers::with_dynamic`], for settings that were stored by another
    /// version: what no longer fits is left out, and told.
    #[must_use]
    pub fn with_stored(&self, for_all: Overrides, for_this: Overrides) -> (Self, Vec<ConfigError>) {
        let mut refused = Vec::new();
        let mut fitting = |overrides: Overrides| -> Overrides {
            let checked = overrides.into_iter().filter(|(name, value)| {
                super::alter::check_dynamic(name, value).map_err(|e| refused.push(e)).is_ok()
            });
            checked.collect()
        };
        let for_all = fitting(for_all);
        let for_this = fitting(for_this);
        (Self { for_all, for_this, ..self.clone() }, refused)
    }

    /// The settings that are in effect for all brokers by a change.
    #[must_use]
    pub const fn for_all(&self) -> &Overrides {
        &self.for_all
    }

    /// Where `name` is set, the strongest first, with the text.
    pub(super) fn set(&self, name: &str) -> Vec<(Source, &str)> {
        let layers = [
            (Source::DynamicBroker, &self.for_this),
            (Source::DynamicDefaultBroker, &self.for_all),
            (Source::StaticBroker, &self.started),
            (Source::StaticBroker, &self.given),
        ];
        let found = layers
            .into_iter()
            .filter_map(|(source, layer)| layer.get(name).map(|text| (source, text.as_str())));
        found.collect()
    }

    /// The value of `setting` alone, without those that stand for it; `None`
    /// where it is null.
    pub(super) fn own_value(&self, setting: &Setting) -> Option<Value> {
        let set = self.set(setting.name);
        let first = set.first().and_then(|(_, text)| setting.parse(text).ok());
        // Given values need no check: an address is what it is.
        let raw = || {
            set.first().and_then(|(_, text)| Value::parse(setting.name, setting.kind, text).ok())
        };
        first.or_else(raw).or_else(|| setting.default_value())
    }

    /// The value in effect for `name`, by way of those that stand for it, in
    /// milliseconds where they are times.
    pub(super) fn value(&self, name: &'static str) -> Option<Value> {
        let mut members = family(name).into_iter();
        members.find_map(|(member, factor)| {
            let setting = table::find(Scope::Broker, member).ok()?;
            match self.own_value(setting)? {
                Value::Number(number) if factor != 1 && number > 0 => {
                    Some(Value::Number(number.saturating_mul(factor)))
                }
                value => Some(value),
            }
        })
    }
}

/// Whether file, environment or a flag may set the broker setting `name` to
/// `value`.
///
/// # Errors
/// It is unknown, wrong, or decided by another setting.
pub fn check_started(name: &str, value: &str) -> Result<(), ConfigError> {
    let setting = table::find(Scope::Broker, name)?;
    if let Meaning::Given(instead) = setting.meaning {
        return Err(ConfigError::Given { name: name.into(), instead });
    }
    setting.parse(value).map(drop)
}
