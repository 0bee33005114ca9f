//! `millrace cluster`: one module a command.

mod config_get;
mod config_set;
mod info;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::Subcommand;
use krafka::admin::ConfigEntry;

use crate::Failure;
use crate::clients::block_on;

/// What a cluster is asked.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    Info(info::InfoArgs),
    /// The brokers' configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// The brokers' configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    Get(config_get::GetArgs),
    Set(config_set::SetArgs),
}

pub(crate) fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Info(args) => block_on(info::run(args)),
        ClusterCommand::Config(ConfigCommand::Get(args)) => block_on(config_get::run(args)),
        ClusterCommand::Config(ConfigCommand::Set(args)) => block_on(config_set::run(args)),
    }
}

/// Where a config's value comes from, by Kafka's number of it.
pub(crate) const fn source_name(source: i8) -> &'static str {
    match source {
        1 => "topic",
        2 => "broker",
        3 => "cluster",
        4 => "static",
        5 => "default",
        6 => "logger",
        7 => "client metrics",
        8 => "group",
        _ => "unknown",
    }
}

/// The value that holds where nobody says another: the last synonym of all, in
/// the config's own unit (the default of log.retention.ms is log.retention.hours').
pub(crate) fn default_of(entry: &ConfigEntry) -> Option<String> {
    let mut defaults = entry.synonyms.iter().filter(|s| s.source == 5);
    match defaults.next_back() {
        Some(synonym) => Some(in_unit_of(&entry.name, &synonym.name, synonym.value.as_deref()?)),
        None if entry.config_source == 5 => entry.value.clone(),
        None => None,
    }
}

/// A time that is another config's value, in the unit that ends this one's name.
fn in_unit_of(name: &str, other: &str, value: &str) -> String {
    let ms_of = |name: &str| match name.rsplit('.').next() {
        Some("ms") => Some(1),
        Some("minutes") => Some(60_000),
        Some("hours") => Some(3_600_000),
        _ => None,
    };
    let times = ms_of(other).zip(ms_of(name)).map(|(theirs, ours): (i64, i64)| theirs / ours);
    // Without a bound is -1 in every unit.
    let number = value.parse::<i64>().ok().filter(|number| *number > 0);
    let converted = number.zip(times).and_then(|(number, times)| number.checked_mul(times.max(1)));
    converted.map_or_else(|| value.to_owned(), |number| number.to_string())
}

/// A topic's id as Kafka's tools write it.
pub(crate) fn uuid_text(id: [u8; 16]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_told_in_the_configs_own_unit() {
        let (ms, minutes, hours) =
            ("log.retention.ms", "log.retention.minutes", "log.retention.hours");
        for (name, other, value, told) in [
            (ms, hours, "168", "604800000"),
            (ms, minutes, "3", "180000"),
            (minutes, hours, "168", "10080"),
            (ms, hours, "-1", "-1"),
            (hours, hours, "168", "168"),
            ("retention.bytes", "log.retention.bytes", "12", "12"),
            ("cleanup.policy", "log.cleanup.policy", "delete", "delete"),
        ] {
            assert_eq!(in_unit_of(name, other, value), told, "{name} of {other}={value}");
        }
    }
}
