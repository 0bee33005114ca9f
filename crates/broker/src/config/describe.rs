//! Settings as DescribeConfigs shows them: value, source, and everything that
//! the value was chosen from.

use super::{
    broker::BrokerConfig,
    error::Scope,
    layers::{Overrides, Source, family},
    setting::{Kind, Meaning, Setting, Update},
    table,
    topic::inherited,
    value::Value,
};

/// One setting with its value in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The name.
    pub name: &'static str,
    /// The value in effect; `None` where it is null or secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// Whether it can't change while the broker runs.
    pub read_only: bool,
    /// Whether the value is never shown.
    pub sensitive: bool,
    /// Its type.
    pub kind: Kind,
    /// What it does, and what it does here.
    pub documentation: String,
    /// Everything that is set, the strongest first.
    pub synonyms: Vec<Synonym>,
}

/// One of the values that an entry's value was chosen from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The setting that gives it.
    pub name: &'static str,
    /// Its value.
    pub value: Option<String>,
    /// Where it is set.
    pub source: Source,
}

/// All settings of a topic with `overrides`.
#[must_use]
pub fn topic(overrides: &Overrides, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    dependent(Scope::Topic, Source::DynamicTopic, overrides, broker)
}

/// All settings of a group with `overrides`.
#[must_use]
pub fn group(overrides: &Overrides, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    dependent(Scope::Group, Source::Group, overrides, broker)
}

/// All settings of a client metrics subscription with `overrides`.
#[must_use]
pub fn client_metrics(overrides: &Overrides, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    dependent(Scope::ClientMetrics, Source::ClientMetrics, overrides, broker)
}

fn dependent(
    scope: Scope,
    source: Source,
    overrides: &Overrides,
    broker: &BrokerConfig,
) -> Vec<ConfigEntry> {
    let shown = table::all(scope);
    let shown = shown.filter(|setting| !setting.internal || overrides.contains_key(setting.name));
    let entry = |setting: &'static Setting| {
        let own = overrides.get(setting.name).and_then(|text| setting.parse(text).ok());
        let mut synonyms = match setting.broker {
            Some(name) => broker_synonyms(name, broker),
            // Kafka names the default of a group setting without a broker
            // setting, and of no other.
            None if scope == Scope::Group => default_synonym(setting).into_iter().collect(),
            None => Vec::new(),
        };
        let value = match own {
            Some(own) => {
                let value = Some(own.to_string());
                synonyms.insert(0, Synonym { name: setting.name, value, source });
                Some(own)
            }
            None => inherited(setting, broker),
        };
        finish(setting, value, synonyms, false)
    };
    shown.map(entry).collect()
}

/// All settings of this broker.
#[must_use]
pub fn broker(broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let layers = broker.layers();
    let shown = table::all(Scope::Broker).filter(|setting| {
        let set = !layers.set(setting.name).is_empty();
        set || !(setting.internal || is_dynamic_only(setting.name))
    });
    let entry = |setting: &'static Setting| {
        let synonyms = broker_synonyms(setting.name, broker);
        let read_only =
            setting.update == Update::ReadOnly || matches!(setting.meaning, Meaning::Given(_));
        finish(setting, layers.own_value(setting), synonyms, read_only)
    };
    shown.map(entry).collect()
}

/// The settings that were changed for all brokers; no others are shown.
#[must_use]
pub fn broker_default(broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let layers = broker.layers();
    let changed =
        table::all(Scope::Broker).filter(|setting| layers.for_all().contains_key(setting.name));
    let entry = |setting: &'static Setting| {
        let text = layers.for_all().get(setting.name);
        let value = text.and_then(|text| setting.parse(text).ok());
        let mut synonyms = broker_synonyms(setting.name, broker);
        synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
        finish(setting, value, synonyms, setting.update == Update::ReadOnly)
    };
    changed.map(entry).collect()
}

/// Rates that Kafka defines for changes only: not among a broker's settings
/// until they are set.
fn is_dynamic_only(name: &str) -> bool {
    matches!(
        name,
        "follower.replication.throttled.rate"
            | "leader.replication.throttled.rate"
            | "replica.alter.log.dirs.io.max.bytes.per.second"
    )
}

fn finish(
    setting: &'static Setting,
    value: Option<Value>,
    mut synonyms: Vec<Synonym>,
    read_only: bool,
) -> ConfigEntry {
    let sensitive = setting.is_sensitive();
    if sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    }
    ConfigEntry {
        name: setting.name,
        value: value.filter(|_| !sensitive).map(|value| value.to_string()),
        source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
        read_only,
        sensitive,
        kind: setting.kind,
        documentation: documentation(setting),
        synonyms,
    }
}

/// Everything set for the broker setting `name` and those that stand for it,
/// layer by layer. Begins with `name` itself: where it is not set, nothing is
/// listed, and tools show the value as a default. (Kafka does so.)
fn broker_synonyms(name: &'static str, broker: &BrokerConfig) -> Vec<Synonym> {
    let family = family(name);
    let layers = broker.layers();
    let mut synonyms = Vec::new();
    for source in [Source::DynamicBroker, Source::DynamicDefaultBroker, Source::StaticBroker] {
        for (member, _) in &family {
            let set = layers.set(member).into_iter().find(|(from, _)| *from == source);
            let value = set.map(|(_, text)| Some(text.to_owned()));
            synonyms.extend(value.map(|value| Synonym { name: member, value, source }));
        }
    }
    let settings = family.iter().filter_map(|(name, _)| table::find(Scope::Broker, name).ok());
    synonyms.extend(settings.filter_map(default_synonym));
    let begin = synonyms.iter().position(|synonym| synonym.name == name);
    begin.map(|begin| synonyms.split_off(begin)).unwrap_or_default()
}

fn default_synonym(setting: &'static Setting) -> Option<Synonym> {
    let shown = setting.default.filter(|_| !is_dynamic_only(setting.name));
    let value = shown.map(str::to_owned);
    let name = setting.name;
    value.map(|value| Synonym { name, value: Some(value), source: Source::Default })
}

/// What the setting does, and what it does here.
#[must_use]
pub fn documentation(setting: &Setting) -> String {
    match setting.meaning {
        Meaning::Used => setting.doc.to_owned(),
        Meaning::Kept(why) => format!("{} No meaning here: {why}.", setting.doc),
        Meaning::Given(instead) => format!("{} Here it shows {instead}.", setting.doc),
        Meaning::Only(value, why) => {
            let value = if value.is_empty() { "the empty value" } else { value };
            format!("{} Only {value} is accepted: {why}.", setting.doc)
        }
    }
}
