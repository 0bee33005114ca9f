//! Why a setting or a change of settings was refused.

/// Which set of names a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Settings of a topic.
    Topic,
    /// Settings of the broker, or the default of all brokers.
    Broker,
    /// Settings of a consumer, share or streams group.
    Group,
    /// Settings of a client metrics subscription (KIP-714).
    ClientMetrics,
}

impl Scope {
    /// The kind under which settings of this scope are stored. The settings of
    /// one broker are named by its id, those of all brokers by nothing.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
            Self::ClientMetrics => "client-metrics",
        }
    }

    /// The word that messages use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
            Self::ClientMetrics => "client metrics",
        }
    }
}

/// A refused setting. The texts are Kafka's where Kafka has one, since tools
/// and people look for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No setting of that scope has the name.
    #[error("Unknown {} config name: {name}{}", scope.word(), hint(suggestion.as_deref()))]
    Unknown {
        /// Where it was looked for.
        scope: Scope,
        /// The name as given.
        name: String,
        /// The nearest name that exists.
        suggestion: Option<String>,
    },
    /// The value breaks the setting's type or rule.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Value {
        /// The setting.
        name: String,
        /// The value as given, without the white space around it.
        value: String,
        /// The rule.
        reason: String,
    },
    /// The value is Kafka's, and does not work here.
    #[error("Invalid value {value} for configuration {name}: only {} works: {why}", or_empty(only))]
    NotHere {
        /// The setting.
        name: String,
        /// The value as given, without the white space around it.
        value: String,
        /// The only value that is accepted.
        only: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A list breaks a rule that is not about one value.
    #[error("Configuration '{name}' {reason}")]
    List {
        /// The setting.
        name: String,
        /// The rule.
        reason: String,
    },
    /// Two values contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// APPEND or SUBTRACT on a setting that is not a list.
    #[error("Can't {operation} to key {name} because its type is not LIST.")]
    NotList {
        /// `APPEND` or `SUBTRACT`.
        operation: &'static str,
        /// The setting.
        name: String,
    },
    /// The setting takes effect at a start only.
    #[error("Cannot update these configs dynamically: [{names}]")]
    ReadOnly {
        /// The settings, separated by commas.
        names: String,
    },
    /// The setting shows what another one decides.
    #[error("{name} can't be set here: it shows {instead}")]
    Given {
        /// The setting.
        name: String,
        /// The flag or setting that decides.
        instead: &'static str,
    },
    /// The value is longer than the protocol can carry.
    #[error(
        "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes."
    )]
    TooLong,
}

impl ConfigError {
    pub(super) fn value(name: &str, value: &str, reason: impl Into<String>) -> Self {
        Self::Value { name: name.into(), value: value.into(), reason: reason.into() }
    }
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

fn or_empty(value: &'static str) -> &'static str {
    if value.is_empty() { "the empty value" } else { value }
}
