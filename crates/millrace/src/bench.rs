//! `millrace bench`: hands the options to the generator and prints what it
//! found. Ctrl-C ends a run early with what there is; a second one at once.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use millrace_bench::{BenchArgs, BenchError, Outcome};
use millrace_cli::Failure;

/// What a shell expects of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Runs to its end. Exit code 0 if everything that was read is right.
///
/// # Errors
/// What the run failed by; options that can't be.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_ctrl_c(Arc::clone(&stop))
        .map_err(|error| Failure::Failed(format!("can't handle Ctrl-C: {error}")))?;
    let outcome = millrace_bench::run(args, &stop).map_err(|error| match error {
        BenchError::Options(_) => Failure::Usage(error.to_string()),
        error => Failure::Failed(error.to_string()),
    })?;
    print(&outcome, args.json)?;
    Ok(ExitCode::from(u8::from(!outcome.is_clean())))
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
