//! Changes of settings, as pure functions: the overrides that stand and the
//! operations give the overrides that will stand, or an error that leaves all
//! as it was.

use super::{
    broker::BrokerConfig,
    error::{ConfigError, Scope},
    layers::Overrides,
    setting::{Kind, Meaning, Setting, Update},
    table,
    topic::{TopicConfig, inherited},
    value::Value,
};

/// Longest value, in bytes: what the protocol's strings can carry.
const VALUE_LEN_MAX: usize = 32_767;

/// What IncrementalAlterConfigs does to one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Give it this value.
    Set,
    /// Back to what it is without an override.
    Delete,
    /// Add items to a list.
    Append,
    /// Remove items from a list.
    Subtract,
}

impl Operation {
    /// The operation of this number in IncrementalAlterConfigs requests.
    #[must_use]
    pub const fn from_id(id: i8) -> Option<Self> {
        match id {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting.
    pub name: String,
    /// What is done.
    pub operation: Operation,
    /// The value; without use for [`Operation::Delete`].
    pub value: String,
}

/// The overrides that stand after `changes`, in their order, checked.
///
/// # Errors
/// Any setting that is unknown, wrong or read-only, any list operation on
/// what is no list; then nothing changes.
pub fn apply(
    scope: Scope,
    overrides: &Overrides,
    changes: &[Change],
    broker: &BrokerConfig,
) -> Result<Overrides, ConfigError> {
    let mut next = overrides.clone();
    for change in changes {
        apply_one(scope, &mut next, change)?;
    }
    check(scope, &next, broker)?;
    Ok(next)
}

fn apply_one(scope: Scope, next: &mut Overrides, change: &Change) -> Result<(), ConfigError> {
    let name = &change.name;
    match change.operation {
        Operation::Set => drop(next.insert(name.clone(), change.value.clone())),
        Operation::Delete => drop(next.remove(name)),
        Operation::Append => {
            let mut items = items(scope, next, name, "APPEND")?;
            for item in change.value.split(',') {
                if !items.iter().any(|known| known == item) {
                    items.push(item.into());
                }
            }
            next.insert(name.clone(), items.join(","));
        }
        Operation::Subtract => {
            let mut items = items(scope, next, name, "SUBTRACT")?;
            for item in change.value.split(',') {
                items.retain(|known| known != item);
            }
            next.insert(name.clone(), items.join(","));
        }
    }
    Ok(())
}

/// The items of a list as they stand: its override, else its default.
fn items(
    scope: Scope,
    overrides: &Overrides,
    name: &str,
    operation: &'static str,
) -> Result<Vec<String>, ConfigError> {
    let setting = table::find(scope, name)?;
    if setting.kind != Kind::List {
        return Err(ConfigError::NotList { operation, name: name.into() });
    }
    let text = overrides.get(name).map(String::as_str).or(setting.default).unwrap_or("");
    match Value::parse(name, Kind::List, text)? {
        Value::List(items) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

/// Whether `overrides` may stand for something of `scope`.
///
/// # Errors
/// The first that is unknown, wrong, read-only or too long, or two that
/// contradict each other.
pub fn check(
    scope: Scope,
    overrides: &Overrides,
    broker: &BrokerConfig,
) -> Result<(), ConfigError> {
    if overrides.values().any(|value| value.len() > VALUE_LEN_MAX) {
        return Err(ConfigError::TooLong);
    }
    match scope {
        Scope::Topic => TopicConfig::resolve(overrides, broker).map(drop),
        Scope::Broker => overrides.iter().try_for_each(|(name, value)| check_dynamic(name, value)),
        Scope::Group => {
            for (name, value) in overrides {
                table::find(scope, name)?.parse(value)?;
            }
            check_group(overrides, broker)
        }
        Scope::ClientMetrics => {
            for (name, value) in overrides {
                check_match(table::find(scope, name)?, value)?;
            }
            Ok(())
        }
    }
}

/// Whether the broker setting `name` may be set to `value` while running.
///
/// # Errors
/// It is unknown, wrong, read-only, or decided by another setting.
pub(super) fn check_dynamic(name: &str, value: &str) -> Result<(), ConfigError> {
    let setting = table::find(Scope::Broker, name)?;
    if let Meaning::Given(instead) = setting.meaning {
        return Err(ConfigError::Given { name: name.into(), instead });
    }
    if setting.update == Update::ReadOnly {
        return Err(ConfigError::ReadOnly { names: name.into() });
    }
    setting.parse(value).map(drop)
}

/// Bounds of group settings, as `(setting, smallest, largest)`: a group's
/// value must lie within what the broker allows.
const GROUP_BOUNDS: &[(&str, Option<&str>, Option<&str>)] = &[
    (
        "consumer.heartbeat.interval.ms",
        Some("group.consumer.min.heartbeat.interval.ms"),
        Some("group.consumer.max.heartbeat.interval.ms"),
    ),
    (
        "consumer.session.timeout.ms",
        Some("group.consumer.min.session.timeout.ms"),
        Some("group.consumer.max.session.timeout.ms"),
    ),
    (
        "consumer.assignment.interval.ms",
        Some("group.consumer.min.assignment.interval.ms"),
        Some("group.consumer.max.assignment.interval.ms"),
    ),
    (
        "share.heartbeat.interval.ms",
        Some("group.share.min.heartbeat.interval.ms"),
        Some("group.share.max.heartbeat.interval.ms"),
    ),
    (
        "share.session.timeout.ms",
        Some("group.share.min.session.timeout.ms"),
        Some("group.share.max.session.timeout.ms"),
    ),
    (
        "share.record.lock.duration.ms",
        Some("group.share.min.record.lock.duration.ms"),
        Some("group.share.max.record.lock.duration.ms"),
    ),
    (
        "share.delivery.count.limit",
        Some("group.share.min.delivery.count.limit"),
        Some("group.share.max.delivery.count.limit"),
    ),
    (
        "share.partition.max.record.locks",
        Some("group.share.min.partition.max.record.locks"),
        Some("group.share.max.partition.max.record.locks"),
    ),
    (
        "share.assignment.interval.ms",
        Some("group.share.min.assignment.interval.ms"),
        Some("group.share.max.assignment.interval.ms"),
    ),
    (
        "streams.heartbeat.interval.ms",
        Some("group.streams.min.heartbeat.interval.ms"),
        Some("group.streams.max.heartbeat.interval.ms"),
    ),
    (
        "streams.session.timeout.ms",
        Some("group.streams.min.session.timeout.ms"),
        Some("group.streams.max.session.timeout.ms"),
    ),
    ("streams.num.standby.replicas", None, Some("group.streams.max.standby.replicas")),
    (
        "streams.assignment.interval.ms",
        Some("group.streams.min.assignment.interval.ms"),
        Some("group.streams.max.assignment.interval.ms"),
    ),
];

fn check_group(overrides: &Overrides, broker: &BrokerConfig) -> Result<(), ConfigError> {
    let number = |name: &str| {
        let setting = table::find(Scope::Group, name).ok();
        let own = || overrides.get(name).and_then(|text| setting?.parse(text).ok());
        own().or_else(|| inherited(setting?, broker)).map_or(0, |value| value.number())
    };
    let bound = |name| broker.layers().value(name).map_or(0, |value| value.number());
    for (name, smallest, largest) in GROUP_BOUNDS {
        if !overrides.contains_key(*name) {
            continue;
        }
        let value = number(name);
        if let Some(smallest) = smallest.filter(|smallest| value < bound(smallest)) {
            let text = format!("{name} must be greater than or equal to {smallest}");
            return Err(ConfigError::Conflict(text));
        }
        if let Some(largest) = largest.filter(|largest| value > bound(largest)) {
            let text = format!("{name} must be less than or equal to {largest}");
            return Err(ConfigError::Conflict(text));
        }
    }
    for group in ["consumer", "share", "streams"] {
        let session = format!("{group}.session.timeout.ms");
        let heartbeat = format!("{group}.heartbeat.interval.ms");
        if number(&session) <= number(&heartbeat) {
            return Err(ConfigError::Conflict(format!(
                "{session} must be greater than {heartbeat}"
            )));
        }
    }
    Ok(())
}

/// What a client metrics subscription can match by.
const MATCHES: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

fn check_match(setting: &Setting, value: &str) -> Result<(), ConfigError> {
    let parsed = setting.parse(value)?;
    let Value::List(patterns) = parsed else { return Ok(()) };
    let wrong = |pattern: &&String| match pattern.split_once('=') {
        Some((key, expression)) => {
            !MATCHES.contains(&key.trim()) || expression.is_empty() || expression.contains('=')
        }
        None => true,
    };
    if setting.name != "match" {
        return Ok(());
    }
    patterns.iter().find(wrong).map_or(Ok(()), |pattern| {
        Err(ConfigError::Conflict(format!("Illegal client matching pattern: {pattern}")))
    })
}
