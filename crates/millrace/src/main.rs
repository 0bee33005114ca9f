//! The binary: settings, wiring, and what an operator sees. Everything that
//! knows about records is in the other crates; here nothing waits for a disk
//! or a client by itself.
//!
//! Exit codes: 0 done, 1 failed, 2 asked for something that can't be.

mod announce;
mod backup;
mod bench;
mod check;
mod cli;
mod config;
mod endpoints;
mod env;
mod files_open;
mod history;
mod http;
mod logging;
mod process;
mod repair;
mod serve;
mod settings;
mod signals;
mod sockets;
mod systemd;
mod token;
mod version;

use std::process::ExitCode;

use clap::Parser as _;
use millrace_cli::Failure;
use millrace_cli::terminal::report;

use cli::{Command, HistoryCommand};

fn main() -> ExitCode {
    let done = |result: Result<(), Failure>| result.map(|()| ExitCode::SUCCESS);
    let result = match cli::Cli::parse().command {
        Command::Serve(args) => done(serve::run(args).map_err(Failure::from)),
        Command::Backup(args) => done(backup::run(&args)),
        Command::Check(args) => check::run(&args),
        Command::Repair(args) => done(repair::run(&args)),
        Command::Config(command) => done(config::run(command)),
        Command::Completions(args) => done(cli::completions(&args)),
        Command::History(HistoryCommand::Check(args)) => history::check(&args),
        Command::Client(command) => done(millrace_cli::run(command)),
        Command::Bench(args) => bench::run(&args),
    };
    result.unwrap_or_else(|failure| ExitCode::from(report(&failure)))
}
