//! What a run costs: CPU seconds of this process, and CPU, memory and disk of
//! a server on the same machine.
//!
//! Only the main thread calls it, at the ends of what is measured and, for the
//! peak of memory, ten times a second.

use std::fs;
use std::io;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::error::BenchError;

/// Ticks of /proc/PID/stat in a second: Linux tells user space 100 everywhere.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds of this process so far, all threads.
pub(crate) fn own_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What /proc tells of the processes of a server, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// User and system.
    pub(crate) cpu_s: f64,
    /// Anonymous resident memory now.
    pub(crate) anonymous_bytes: u64,
    /// Bytes that it caused to be written to a disk; 0 if that is not told.
    pub(crate) disk_write_bytes: u64,
    /// Calls of the read and write family; 0 if that is not told.
    pub(crate) io_calls: u64,
}

/// The processes of a server on this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pids: Vec<u32>,
    pub(crate) anonymous_peak: u64,
}

impl Server {
    /// # Errors
    /// If one of the processes is not there.
    pub(crate) fn new(pids: &[u32]) -> Result<Option<Self>, BenchError> {
        if pids.is_empty() {
            return Ok(None);
        }
        let server = Self { pids: pids.to_vec(), anonymous_peak: 0 };
        server.usage()?;
        Ok(Some(server))
    }

    /// # Errors
    /// If one of the processes is gone.
    pub(crate) fn usage(&self) -> Result<Usage, BenchError> {
        let mut all = Usage::default();
        for pid in &self.pids {
            let gone = |why: io::Error| BenchError::System {
                what: format!("read /proc/{pid}/stat (--server-pid {pid})"),
                why,
            };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(gone)?;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(gone)?;
            // Another user's server tells nothing of its disk.
            let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            all.cpu_s += cpu_s(&stat);
            all.anonymous_bytes += field(&status, "RssAnon:") * 1024;
            all.disk_write_bytes += field(&io, "write_bytes:");
            all.io_calls += field(&io, "syscr:") + field(&io, "syscw:");
        }
        Ok(all)
    }

    /// Notes its memory, if it is more than before.
    pub(crate) fn look_at_memory(&mut self) {
        if let Ok(usage) = self.usage() {
            self.anonymous_peak = self.anonymous_peak.max(usage.anonymous_bytes);
        }
    }
}

/// Fields 14 and 15 of /proc/PID/stat, counted behind the name, which may hold
/// blanks and brackets.
fn cpu_s(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_S
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 1 1 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 3 0 9 9 9";
        assert!((cpu_s(stat) - 4.0).abs() < 1e-9);
        assert_eq!(field("VmRSS:\t 7 kB\nRssAnon:\t  1234 kB\n", "RssAnon:"), 1234);
        assert_eq!(field("nothing", "RssAnon:"), 0);
    }

    #[test]
    fn a_process_tells_of_itself() {
        let server = Server::new(&[std::process::id()]).unwrap().unwrap();
        assert!(server.usage().unwrap().anonymous_bytes > 0);
        assert!(own_cpu_s() > 0.0);
        let error = Server::new(&[u32::MAX]).unwrap_err().to_string();
        assert!(error.contains("--server-pid 4294967295"), "{error}");
    }
}
