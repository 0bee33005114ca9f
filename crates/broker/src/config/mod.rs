//! Settings under Kafka's names: what exists, what a value may be, where a
//! value comes from, and how it changes.
//!
//! Invariant: names, types, defaults, sources and synonyms are those of Kafka
//! 4.3.1, but for addresses, ids and the data directory, which show what the
//! server was started with. A setting without a meaning here is accepted,
//! kept, shown, and says so in its documentation; an unknown one is refused
//! with a guess. Pure: no clock, no I/O.
//!
//! Called by the broker (topic settings in effect, stored changes), by the
//! fronts (describing and changing) and by the binary (`[kafka]` names).

mod alter;
mod broker;
pub mod describe;
mod error;
mod layers;
mod setting;
mod suggest;
mod table;
mod topic;
mod value;

#[cfg(test)]
mod tests;

pub use alter::{Change, Operation, apply, check};
pub use broker::BrokerConfig;
pub use describe::{ConfigEntry, Synonym};
pub use error::{ConfigError, Scope};
pub use layers::{Given, Layers, Overrides, Source, check_started};
pub use setting::{Check, Kind, Meaning, Setting, Update};
pub use topic::{CleanupPolicy, TimestampKind, TopicConfig};
pub use value::Value;

/// All settings of `scope`, in a fixed order.
#[must_use]
pub fn settings(scope: Scope) -> Vec<&'static Setting> {
    table::all(scope).collect()
}

/// The setting `name` of `scope`.
///
/// # Errors
/// [`ConfigError::Unknown`], with the nearest name that exists.
pub fn setting(scope: Scope, name: &str) -> Result<&'static Setting, ConfigError> {
    table::find(scope, name)
}

/// Whether `name` is a broker setting.
#[must_use]
pub fn is_broker_setting(name: &str) -> bool {
    table::all(Scope::Broker).any(|setting| setting.name == name)
}

/// The broker setting that a mistyped `name` was probably meant to be.
#[must_use]
pub fn suggest(name: &str) -> Option<&'static str> {
    suggest::nearest(name, table::all(Scope::Broker).map(|setting| setting.name))
}
