//! The command line. It only collects: settings are checked by `settings`,
//! whatever they come from.

#[cfg(test)]
mod pages;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use millrace_bench::BenchArgs;
use millrace_cli::{ClientCommand, Failure, Out};

use crate::backup::BackupArgs;
use crate::check::CheckArgs;
use crate::config::ConfigCommand;
use crate::repair::RepairArgs;
use crate::settings::{self, Layers, Mistakes};
use crate::version;

/// One log for streams of events, served by the Kafka protocol and the Kinesis API.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version = version::SHORT,
    long_version = version::long(),
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 asked for something that can't be."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server until SIGTERM or Ctrl-C.
    Serve(ServeArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// The settings that the server would have
    #[command(subcommand)]
    Config(ConfigCommand),
    Backup(BackupArgs),
    Check(CheckArgs),
    Repair(RepairArgs),
    /// Histories of what clients did and saw
    #[command(subcommand)]
    History(HistoryCommand),
    Bench(Box<BenchArgs>),
    /// Print a script by which a shell completes commands and flags
    #[command(after_long_help = "Examples:\n  \
        millrace completions bash > ~/.local/share/bash-completion/completions/millrace\n  \
        millrace completions zsh > ~/.zfunc/_millrace\n  \
        millrace completions fish > ~/.config/fish/completions/millrace.fish")]
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "millrace", &mut script);
    let mut out = Out::stdout(false);
    out.write_all(&script)?;
    out.flush()
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Look for what a log that keeps its promises can't have answered. Exits with 0 where there is
    /// nothing of the kind, 1 where there is, 2 where the files are no history
    Check(HistoryCheckArgs),
}

/// The files are one history, merged by time; docs/history.md is the format.
#[derive(Debug, Args)]
pub(crate) struct HistoryCheckArgs {
    /// JSON lines
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Take offsets without a record for anomalies: no transactions, no compaction
    #[arg(long)]
    pub(crate) dense: bool,
    /// How many anomalies of each kind to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) show: u64,
}

/// The server's whole command line: settings.
#[derive(Debug, Args)]
#[command(after_long_help = settings::described())]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

/// Every flag is a setting, which a file or the environment can give too.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// Directory of the log and the catalog [default: ./millrace-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address for Kafka clients, may be repeated with a NAME each; clients are told ADVERTISED
    /// [default: 127.0.0.1:9092]
    #[arg(long, value_name = "[NAME=]ADDR[@ADVERTISED]")]
    kafka_listen: Vec<String>,
    /// Address of Kinesis, /healthz, /readyz and /metrics, may be repeated; https:// needs --tls-cert
    /// and --tls-key [default: 127.0.0.1:8080]
    #[arg(long, value_name = "[http://|https://]ADDR")]
    http_listen: Vec<String>,
    /// PEM file of the certificate of https:// addresses, with those that it was issued by
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Serve addresses that are not loopback to everyone: there is no authentication of Kafka's
    /// clients yet, and of Kinesis' only with kinesis.credentials
    #[arg(long)]
    insecure_no_auth: bool,
    /// TOML file of settings
    #[arg(long, value_name = "FILE", env = "MILLRACE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Any setting, such as flush=os or kafka.num.partitions=4; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    /// File, then environment, then flags: the later wins.
    ///
    /// # Errors
    /// All that is no setting, and no value of one.
    pub(crate) fn layers(&self) -> Result<Layers, Mistakes> {
        let mut layers = Layers::default();
        let file = self.config.as_deref().map_or(Ok(()), |path| layers.file(path));
        let environment = layers.environment(std::env::vars_os());
        let given = |texts: &[String]| Some(texts.join(",")).filter(|_| !texts.is_empty());
        let flags = [
            ("data_dir", self.data_dir.clone()),
            ("kafka_listen", given(&self.kafka_listen)),
            ("http_listen", given(&self.http_listen)),
            ("tls_cert", self.tls_cert.clone()),
            ("tls_key", self.tls_key.clone()),
            ("insecure_no_auth", self.insecure_no_auth.then(|| "true".to_owned())),
        ];
        let mut results = vec![file, environment];
        results.extend(self.set.iter().map(|pair| Ok(layers.set(pair)?)));
        results.extend(
            flags
                .into_iter()
                .filter_map(|(key, text)| Some((key, text?)))
                .map(|(key, text)| Ok(layers.flag(key, text)?)),
        );
        Mistakes::gathered(results)?;
        Ok(layers)
    }
}
