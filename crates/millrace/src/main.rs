//! The binary: settings, wiring, and what an operator sees. Everything that
//! knows about records is in the other crates; here nothing waits for a disk
//! or a client by itself.
//!
//! Exit codes: 0 done, 1 failed, 2 asked for something that can't be.

mod announce;
mod bench;
mod cli;
mod endpoints;
mod env;
mod files_open;
mod history;
mod http;
mod logging;
mod serve;
mod settings;
mod signals;
mod sockets;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::Cli::parse().command {
        cli::Command::Serve(args) => match serve::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("millrace: {error}");
                ExitCode::from(error.exit_code())
            }
        },
        cli::Command::History(cli::HistoryCommand::Check(args)) => match history::check(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => {
                eprintln!("millrace: {error}");
                ExitCode::from(2)
            }
        },
        cli::Command::Bench(args) => bench::run(&args),
    }
}
