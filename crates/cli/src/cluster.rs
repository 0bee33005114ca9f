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

/// The value that holds where nobody says another: the last synonym of all.
pub(crate) fn default_of(entry: &ConfigEntry) -> Option<String> {
    let of_default = entry.synonyms.iter().rev().find(|synonym| synonym.source == 5);
    match of_default {
        Some(synonym) => synonym.value.clone(),
        None if entry.config_source == 5 => entry.value.clone(),
        None => None,
    }
}

/// A topic's id as Kafka's tools write it.
pub(crate) fn uuid_text(id: [u8; 16]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(id)
}
