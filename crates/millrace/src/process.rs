//! What the process takes of the machine, for `/metrics`.
//!
//! Invariant: read from `/proc` and the clock at a scrape, which is memory; on a
//! system without, the figures stay 0.

use std::fs;
use std::time::Duration;

use millrace_broker::metrics::Metrics;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Brings the figures up to date.
pub(crate) fn show(metrics: &Metrics) {
    if let Some(bytes) = resident_bytes() {
        metrics.process_memory.set(bytes);
    }
    metrics.process_cpu.set(cpu_time());
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        metrics.process_files.set(u64::try_from(open.count()).unwrap_or(u64::MAX));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        metrics.process_files_max.set(limit);
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(u64::try_from(rustix::param::page_size()).ok()?))
}

fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let secs = u64::try_from(spent.tv_sec).unwrap_or(0);
    Duration::new(secs, u32::try_from(spent.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_memory_time_and_files() {
        let metrics = Metrics::new();
        show(&metrics);
        assert!(metrics.process_memory.get() > 100_000);
        assert!(metrics.process_files.get() > 2);
        assert!(metrics.process_files_max.get() >= metrics.process_files.get());
        assert!(cpu_time() > Duration::ZERO);
    }
}
