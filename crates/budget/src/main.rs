//! What a request costs, in instructions and system calls, held against a
//! committed baseline.
//!
//! The real server (front, broker, log, catalog; a real socket, a real disk)
//! answers requests of a handful of kinds on threads that take turns, and
//! commits once all that was sent has been gathered. So counts are the same in
//! every run and on every machine, and differ only where the code does: times
//! would not be on machines that others use too.

mod baseline;
mod client;
mod count;
mod kinds;
mod load;
mod server;
mod turns;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};

use crate::{
    baseline::{Baseline, Measured},
    count::CountError,
};

/// Counts the instructions and system calls of a request, and compares them
/// with the baseline.
#[derive(Debug, Parser)]
struct Arguments {
    /// Write what is measured as the new baseline.
    #[arg(long)]
    write: bool,
    /// Where the baseline is: by default where the root of a clone has it.
    #[arg(long, default_value = "crates/budget/baseline.toml")]
    baseline: PathBuf,
    /// Leave what callgrind and strace wrote in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Mode>,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Only send the requests, with the server's data in a new directory: what
    /// runs under the tools that count.
    Load {
        /// The directory.
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Mode::Load { dir }) => load::budget_clients(dir).map(|()| true).map_err(Into::into),
        None => check(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("budget: {error}");
            ExitCode::FAILURE
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Whether everything is within the budget.
fn check(arguments: &Arguments) -> Result<bool, AnyError> {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("SKIPPED: the budget of requests: its baseline is of x86-64");
        return Ok(true);
    }
    // Beside the build: a directory for temporary files may be in memory.
    let here = std::env::current_exe()?;
    let base = here.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::tempdir_in(base)?;
    let dir = match &arguments.keep {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            dir.as_path()
        }
        None => temporary.path(),
    };
    let (instructions, system_calls) = std::thread::scope(|scope| {
        let counting = scope.spawn(|| count::instructions(dir));
        let system_calls = count::system_calls(dir);
        (counting.join(), system_calls)
    });
    let instructions = instructions.map_err(|_| "counting instructions panicked")?;
    let measured = Measured {
        instructions: unless_missing("instructions", instructions)?,
        system_calls: unless_missing("system calls", system_calls)?,
    };
    let path = &arguments.baseline;
    let rustc = rustc();
    if arguments.write {
        let (Some(instructions), Some(calls)) = (&measured.instructions, &measured.system_calls)
        else {
            return Err("a baseline needs both counts".into());
        };
        baseline::write(path, instructions, calls, &rustc)?;
        println!("wrote {}: say in the commit why", path.display());
    }
    let verdict = Baseline::read(path)?.judge(&measured, &rustc);
    print!("{}", verdict.text);
    if verdict.exceeded {
        println!(
            "A request costs over 10% more than its baseline. Where that is meant: ./test budget --write, and say why in\n\
             the commit. Where it is not: ./test budget --keep DIR, then callgrind_annotate; see docs/perf/0005-budget.md."
        );
    }
    Ok(!verdict.exceeded)
}

/// What was counted; nothing, and a line that says so, where that can't be
/// done here.
fn unless_missing<T>(what: &str, counted: Result<T, CountError>) -> Result<Option<T>, CountError> {
    match counted {
        Ok(counts) => Ok(Some(counts)),
        Err(CountError::Missing(why)) => {
            eprintln!("SKIPPED: the budget of {what}: {why}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The compiler, for people: the build's own, where cargo runs us.
fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.unwrap_or_default();
    let words: Vec<&str> = version.split_whitespace().take(2).collect();
    if words.is_empty() { "an unknown rustc".to_owned() } else { words.join(" ") }
}
