//! `millrace bench`: hands the options to the generator and prints what it
//! found. Ctrl-C ends a run early with what there is; a second one at once.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use millrace_bench::{BenchArgs, BenchError, Outcome};

/// What a shell expects of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Runs to its end. 0 if everything that was read is right, 1 if not or if
/// the run failed, 2 if the options can't be.
pub(crate) fn run(args: &BenchArgs) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = stop_on_ctrl_c(Arc::clone(&stop)) {
        eprintln!("millrace bench: can't handle Ctrl-C: {error}");
        return ExitCode::FAILURE;
    }
    match millrace_bench::run(args, &stop) {
        Ok(outcome) => match print(&outcome, args.json) {
            Ok(()) if outcome.is_clean() => ExitCode::SUCCESS,
            Ok(()) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("millrace bench: can't print the result: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("millrace bench: {error}");
            ExitCode::from(if matches!(error, BenchError::Options(_)) { 2 } else { 1 })
        }
    }
}

fn print(outcome: &Outcome, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        eprint!("{outcome}");
        serde_json::to_writer_pretty(&mut out, outcome)?;
        writeln!(out)
    } else {
        write!(out, "{outcome}")
    }
}

/// A thread of its own waits for signals: the generator's never do.
fn stop_on_ctrl_c(stop: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}
