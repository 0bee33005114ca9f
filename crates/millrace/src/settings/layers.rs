//! Where settings come from: a TOML file, the environment, flags; merged by
//! key.
//!
//! Invariant: only known keys get in. A key is the name of one of our own
//! settings, or `kafka.` and Kafka's name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use millrace_broker::config::{self, ConfigError};
use millrace_cli::suggest::{did_you_mean, nearest};

use super::{TABLE, known};

/// Before Kafka's name in a key.
pub(crate) const KAFKA: &str = "kafka.";
/// Before a setting's name in a variable.
pub(super) const VARIABLE: &str = "MILLRACE_";
/// Variables that are no settings: the file, as `--config` names it, what the
/// client commands read, what a build is told, and where `./test` finds the
/// server and the tools that it runs beside it.
const NO_SETTINGS: &[&str] = &[
    "MILLRACE_BIN",
    "MILLRACE_BROKERS",
    "MILLRACE_BUILD_COMMIT",
    "MILLRACE_CONFIG",
    "MILLRACE_PROFILE",
    "MILLRACE_PROFILES",
    "MILLRACE_TOOLS",
];

/// Where a value was given; a later one wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Nowhere.
    Default,
    /// In this file.
    File(PathBuf),
    /// By this variable.
    Environment(String),
    /// On the command line.
    Flag,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Environment(variable) => write!(f, "the variable {variable}"),
            Self::Flag => f.write_str("the command line"),
        }
    }
}

/// Why settings are refused. Each says which setting and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// No such key.
    #[error("{source_}: there is no setting {key:?}{}", did_you_mean(.suggestion.as_deref()))]
    Unknown { key: String, source_: Source, suggestion: Option<String> },
    /// A Kafka setting that ours determine.
    #[error("{source_}: {key} is not set by its Kafka name here; use {instead}")]
    Following { key: String, instead: &'static str, source_: Source },
    /// A value that the setting can't hold.
    #[error("setting {key} from {source_}: {why}")]
    Invalid { key: String, source_: Source, why: String },
    /// Two values from one source.
    #[error("setting {key} is given twice on the command line")]
    Twice { key: String },
    /// `--set` without `=`.
    #[error("--set {text:?} is not KEY=VALUE")]
    NotAPair { text: String },
    /// A value of the environment that is no text.
    #[error("the variable {variable} is not valid UTF-8")]
    NotText { variable: String },
    /// A file that can't be read.
    #[error("can't read the file {} given by --config: {why}", path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    /// A file that isn't TOML.
    #[error("{}, line {line}: {why}", path.display())]
    NotToml { path: PathBuf, line: usize, why: String },
    /// An address that others could reach, and nobody said so.
    #[error(
        "setting {setting}: {address} can be reached from other machines and there is no \
         authentication {there}; keep to 127.0.0.1, {instead}or allow it with --insecure-no-auth"
    )]
    Open { setting: &'static str, address: String, there: &'static str, instead: &'static str },
    /// TLS is asked for, and half of what it takes isn't there.
    #[error("setting http_listen: https://{address} needs {setting}, a PEM file")]
    NoTls { setting: &'static str, address: String },
    /// A secret that isn't where it is said to be.
    #[error("setting kinesis.credentials: can't read the secret of access key {id}: {why}")]
    Secret { id: String, why: String },
}

impl SettingsError {
    pub(super) fn invalid(key: &str, source: &Source, why: String) -> Self {
        Self::Invalid { key: key.to_owned(), source_: source.clone(), why }
    }
}

/// All that is wrong with the settings, so that a person mends it in one go.
/// Never empty.
#[derive(Debug)]
pub(crate) struct Mistakes(Vec<SettingsError>);

impl Mistakes {
    /// Nothing, or what all of them met.
    pub(crate) fn gathered(
        results: impl IntoIterator<Item = Result<(), Self>>,
    ) -> Result<(), Self> {
        let met: Vec<_> =
            results.into_iter().filter_map(Result::err).flat_map(|mistakes| mistakes.0).collect();
        if met.is_empty() { Ok(()) } else { Err(Self(met)) }
    }

    /// Each by itself.
    pub(crate) fn each(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

impl From<SettingsError> for Mistakes {
    fn from(error: SettingsError) -> Self {
        Self(vec![error])
    }
}

impl std::error::Error for Mistakes {}

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            several => {
                write!(f, "{} mistakes in the settings:", several.len())?;
                several.iter().try_for_each(|one| write!(f, "\n  {one}"))
            }
        }
    }
}

/// Settings by key, each with the strongest source that gave it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    values: BTreeMap<String, (String, Source)>,
}

impl Layers {
    /// Text and source of one of our own settings.
    pub(super) fn own<'a>(&'a self, name: &str, default: &'a str) -> (&'a str, &'a Source) {
        self.given(name).unwrap_or((default, &Source::Default))
    }

    /// What was given for this key, and where.
    pub(crate) fn given(&self, key: &str) -> Option<(&str, &Source)> {
        self.values.get(key).map(|(text, source)| (text.as_str(), source))
    }

    /// Kafka's settings that were given.
    pub(super) fn kafka(&self) -> BTreeMap<String, String> {
        let names = self.values.iter();
        names
            .filter_map(|(key, (text, _))| {
                Some((key.strip_prefix(KAFKA)?.to_owned(), text.clone()))
            })
            .collect()
    }

    fn put(&mut self, key: &str, text: String, source: Source) -> Result<(), SettingsError> {
        check(key, &text, &source)?;
        self.values.insert(key.to_owned(), (text, source));
        Ok(())
    }

    /// Adds a TOML file: our settings at the top and in `[kinesis]`, Kafka's in
    /// `[kafka]`.
    ///
    /// # Errors
    /// No such file, no TOML; unknown keys and values of the wrong form, all
    /// of them.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), Mistakes> {
        let text = std::fs::read_to_string(path)
            .map_err(|why| SettingsError::Unreadable { path: path.to_owned(), why })?;
        self.toml(&text, path)
    }

    pub(crate) fn toml(&mut self, text: &str, path: &Path) -> Result<(), Mistakes> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            SettingsError::NotToml {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                why: error.message().replace('\n', " "),
            }
        })?;
        self.table("", table, &Source::File(path.to_owned()))
    }

    /// Nested tables are dotted names: `num.partitions` may stand unquoted.
    fn table(&mut self, prefix: &str, table: toml::Table, source: &Source) -> Result<(), Mistakes> {
        Mistakes::gathered(table.into_iter().map(|(name, value)| {
            let key = format!("{prefix}{name}");
            match value {
                toml::Value::Table(inner) => self.table(&format!("{key}."), inner, source),
                value => Ok(self.put(&key, text_of(value), source.clone())?),
            }
        }))
    }

    /// Adds the variables that begin with `MILLRACE_`.
    ///
    /// # Errors
    /// Variables that name no setting, values of the wrong form: all of them.
    pub(crate) fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), Mistakes> {
        let keys: BTreeMap<String, String> =
            all_keys().map(|key| (environment_name(&key), key)).collect();
        Mistakes::gathered(variables.into_iter().filter_map(|(variable, value)| {
            let variable = variable.to_str().filter(|name| name.starts_with(VARIABLE))?;
            Some(self.variable(variable, &value, &keys).map_err(Mistakes::from))
        }))
    }

    /// Adds one variable; `keys` are those that each setting has.
    fn variable(
        &mut self,
        variable: &str,
        value: &OsStr,
        keys: &BTreeMap<String, String>,
    ) -> Result<(), SettingsError> {
        let Some(key) = keys.get(variable) else {
            if NO_SETTINGS.contains(&variable) || is_service_link(variable) {
                return Ok(());
            }
            let guess = nearest(variable, keys.keys().map(String::as_str));
            return Err(SettingsError::Unknown {
                key: variable.to_owned(),
                source_: Source::Environment(variable.to_owned()),
                suggestion: guess.map(str::to_owned),
            });
        };
        let Some(text) = value.to_str() else {
            return Err(SettingsError::NotText { variable: variable.to_owned() });
        };
        self.put(key, text.to_owned(), Source::Environment(variable.to_owned()))
    }

    /// Adds one value of the command line.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong form, a second value.
    pub(crate) fn flag(&mut self, key: &str, text: String) -> Result<(), SettingsError> {
        if self.values.get(key).is_some_and(|(_, source)| *source == Source::Flag) {
            return Err(SettingsError::Twice { key: key.to_owned() });
        }
        self.put(key, text, Source::Flag)
    }

    /// Adds one `--set KEY=VALUE`.
    ///
    /// # Errors
    /// As [`Layers::flag`]; no `=`.
    pub(crate) fn set(&mut self, pair: &str) -> Result<(), SettingsError> {
        match pair.split_once('=') {
            Some((key, text)) => self.flag(key.trim(), text.trim().to_owned()),
            None => Err(SettingsError::NotAPair { text: pair.to_owned() }),
        }
    }
}

/// The variable of a key: `kafka.num.partitions` is
/// `MILLRACE_KAFKA_NUM_PARTITIONS`.
pub(crate) fn environment_name(key: &str) -> String {
    format!("{VARIABLE}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The keys that a person may set.
pub(super) fn all_keys() -> impl Iterator<Item = String> {
    known::all().map(|known| known.key)
}

/// Refuses what is not a setting, and what is not a value of it.
fn check(key: &str, text: &str, source: &Source) -> Result<(), SettingsError> {
    let own = TABLE.iter().find(|setting| setting.name == key);
    match (own, key.strip_prefix(KAFKA)) {
        (Some(setting), _) => {
            (setting.check)(text).map_err(|why| SettingsError::invalid(key, source, why))
        }
        (None, Some(name)) => config::check_started(name, text)
            .map_err(|error| kafka_error(key.to_owned(), source.clone(), error)),
        (None, None) => Err(SettingsError::Unknown {
            key: key.to_owned(),
            source_: source.clone(),
            suggestion: suggest(key),
        }),
    }
}

fn kafka_error(key: String, source_: Source, error: ConfigError) -> SettingsError {
    match error {
        ConfigError::Unknown { suggestion, .. } => {
            let suggestion = suggestion.map(|name| format!("{KAFKA}{name}"));
            SettingsError::Unknown { key, source_, suggestion }
        }
        ConfigError::Given { instead, .. } => SettingsError::Following { key, instead, source_ },
        ConfigError::Value { value, reason, .. } => {
            SettingsError::Invalid { key, source_, why: format!("{value:?}: {reason}") }
        }
        other => SettingsError::Invalid { key, source_, why: other.to_string() },
    }
}

/// What a key without a setting was meant to be: a Kafka name without its
/// prefix is the likeliest slip.
fn suggest(key: &str) -> Option<String> {
    if config::is_broker_setting(key) {
        return Some(format!("{KAFKA}{key}"));
    }
    let own = nearest(key, TABLE.iter().map(|setting| setting.name)).map(str::to_owned);
    own.or_else(|| config::suggest(key).map(|name| format!("{KAFKA}{name}")))
}

fn text_of(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        // Tables keep their form: their setting reads it. No tables are said
        // by a list that is empty, never by a text that is.
        toml::Value::Array(items) if items.iter().all(toml::Value::is_table) => {
            toml::Value::Array(items).to_string()
        }
        toml::Value::Array(items) => items.into_iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Kubernetes sets such variables for a service that is called millrace.
fn is_service_link(variable: &str) -> bool {
    let ends = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"];
    variable.contains("_SERVICE_PORT_")
        || variable.contains("_TCP")
        || variable.contains("_UDP")
        || ends.iter().any(|end| variable.ends_with(end))
}
