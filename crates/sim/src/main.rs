//! Runs seeds, one or many.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use clap::Parser;
use millrace_sim::{Report, TraceTo, run};
use parking_lot::Mutex;

/// Simulated runs of the store and the broker, each from a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this one seed.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print what happens in it, line by line.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run so many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Begin with this one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads, each with a run of its own at a time.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
    /// Plant every bug there is, and check that the checks catch it.
    #[arg(long)]
    canaries: bool,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        if arguments.trace {
            tracing_subscriber::fmt()
                .without_time()
                .with_max_level(tracing::Level::DEBUG)
                .with_writer(std::io::stdout)
                .with_ansi(false)
                .init();
        }
        let trace = if arguments.trace { TraceTo::Stdout } else { TraceTo::Hash };
        let report = run(seed, trace);
        tell(&report);
        println!("{:?}\n{} steps, trace {:x?}", report.counts, report.steps, report.trace);
        return if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if arguments.canaries {
        return canaries(arguments.threads);
    }
    many(&arguments)
}

/// Plants every bug there is, and says which check caught it.
#[cfg(feature = "canaries")]
fn canaries(threads: usize) -> ExitCode {
    use millrace_sim::canaries::{SEEDS_MAX, hunt};
    use millrace_types::canary::Canary;
    let left = Mutex::new(Canary::ALL.to_vec());
    let missed = AtomicU64::new(0);
    // What a planted bug makes panic is told as a violation.
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(canary) = { left.lock().pop() } {
                    let hunted = hunt(canary, SEEDS_MAX);
                    let name = format!("{canary:?}");
                    if let Some(violation) = hunted.caught {
                        let seeds = hunted.seeds;
                        println!("{name:28} caught after {seeds} seeds: {violation}");
                    } else {
                        missed.fetch_add(1, Ordering::Relaxed);
                        println!("{name:28} MISSED by {} seeds", hunted.seeds);
                    }
                }
            });
        }
    });
    if missed.into_inner() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(feature = "canaries"))]
fn canaries(_: usize) -> ExitCode {
    eprintln!("planted bugs are not in this build: cargo run --features canaries -- --canaries");
    ExitCode::FAILURE
}

fn many(arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let failed = Mutex::new(Vec::new());
    let totals = Mutex::new((0u64, 0u64, 0u64, 0u64));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || (!arguments.keep_going && !failed.lock().is_empty()) {
                        return;
                    }
                    let report = run(seed, TraceTo::Hash);
                    {
                        let mut totals = totals.lock();
                        totals.0 += 1;
                        totals.1 += report.steps;
                        totals.2 += report.counts.acked;
                        totals.3 += report.counts.read;
                    }
                    if !report.violations.is_empty() {
                        tell(&report);
                        failed.lock().push(seed);
                    }
                }
            });
        }
    });
    let (seeds, steps, acked, read) = *totals.lock();
    let seconds = started.elapsed().as_secs_f64();
    println!("{seeds} seeds in {seconds:.1} s: {steps} steps, {acked} records acked, {read} read");
    let failed = failed.into_inner();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}

/// Says what is wrong, and how to see it again.
fn tell(report: &Report) {
    if report.violations.is_empty() {
        return;
    }
    let Report { seed, violations, plan, .. } = report;
    println!("seed {seed} ({plan}):");
    for violation in violations.iter().take(10) {
        println!("  {violation}");
    }
    println!("  again: cargo run --release -p millrace-sim -- --seed {seed} --trace");
}
