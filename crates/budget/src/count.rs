//! Runs the load under the tools that count, and reads what they wrote.
//!
//! Both see two marks a kind ([`crate::load`]); what lies between them, on all
//! threads but the first, which plays the clients, is the kind's. Instructions
//! are those of the processor that valgrind pretends to be: the same on every
//! machine with AVX2.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    kinds::{KINDS, ROUNDS},
    load::MARK_PATH,
};

/// Calls that say how threads happen to meet and not what a request costs.
/// Here they are the turns that threads take, besides.
const NOT_COUNTED: &[&str] = &["futex"];

/// Why there are no counts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountError {
    /// To be said, not to fail for.
    #[error("{0}")]
    Missing(String),
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    #[error("under {tool} the load failed ({status}):\n{said}")]
    Load { tool: &'static str, status: std::process::ExitStatus, said: String },
    #[error("{0} has not the two marks of each kind")]
    Marks(PathBuf),
}

/// Instructions of one request of each kind.
pub(crate) type Instructions = BTreeMap<&'static str, u64>;
/// System calls of one request of each kind, by name.
pub(crate) type SystemCalls = BTreeMap<&'static str, BTreeMap<String, f64>>;

/// Counts instructions; leaves callgrind's files in `dir`.
pub(crate) fn instructions(dir: &Path) -> Result<Instructions, CountError> {
    let tool = "valgrind";
    probe(tool, &["--tool=none", "true"])?;
    let out = format!("--callgrind-out-file={}/callgrind.out", dir.display());
    let arguments = [
        "--tool=callgrind",
        // Off where the clients are played, on everywhere else.
        "--toggle-collect=*budget_clients*",
        "--collect-atstart=yes",
        "--dump-before=*budget_mark*",
        &out,
    ];
    run_load(tool, Command::new(tool).args(arguments), &dir.join("instructions"))?;
    let mut counts = Instructions::new();
    for (index, kind) in KINDS.iter().enumerate() {
        // Each mark ends a part: the first is the start and warming up, the
        // second the first kind's, the third what is between two kinds.
        let part = 2 * index + 2;
        let path = dir.join(format!("callgrind.out.{part}"));
        let text = fs::read(&path).map_err(|e| CountError::Io(path.clone(), e))?;
        let total = total(&String::from_utf8_lossy(&text)).ok_or(CountError::Marks(path))?;
        counts.insert(kind.name, total / u64::from(ROUNDS) / u64::from(kind.requests));
    }
    Ok(counts)
}

/// The line of a callgrind file that sums it up.
fn total(text: &str) -> Option<u64> {
    let sum = |line: &str| line.strip_prefix("totals: ")?.trim().parse().ok();
    text.lines().rev().find_map(sum)
}

/// Counts system calls; leaves the trace in `dir`.
pub(crate) fn system_calls(dir: &Path) -> Result<SystemCalls, CountError> {
    let tool = "strace";
    probe(tool, &["-qq", "-o", "/dev/null", "true"])?;
    let trace = dir.join("strace.out");
    let arguments = ["-f", "-qq", "--signal=none", "-o"];
    let mut command = Command::new(tool);
    run_load(tool, command.args(arguments).arg(&trace), &dir.join("system-calls"))?;
    let text = fs::read(&trace).map_err(|e| CountError::Io(trace.clone(), e))?;
    let mut calls = traced(&String::from_utf8_lossy(&text)).ok_or(CountError::Marks(trace))?;
    for kind in KINDS {
        for count in calls.entry(kind.name).or_default().values_mut() {
            *count /= f64::from(ROUNDS) * f64::from(kind.requests);
        }
    }
    Ok(calls)
}

/// Calls between the marks of each kind, by name, in the output of
/// `strace -f`: lines such as `1234 close(3) = 0`.
fn traced(text: &str) -> Option<SystemCalls> {
    let mut clients = None;
    let mut within: Option<&'static str> = None;
    let mut marks = 0;
    let mut calls = SystemCalls::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else { continue };
        let is_clients = *clients.get_or_insert(thread) == thread;
        // The rest of a call that another thread's line has cut in two begins
        // with `<...`, and has no such name.
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            continue;
        }
        if is_clients {
            if let Some(kind) = mark(arguments) {
                within = if within.is_none() { Some(kind) } else { None };
                marks += 1;
            }
        } else if let Some(kind) = within
            && !NOT_COUNTED.contains(&name)
        {
            *calls.entry(kind).or_default().entry(name.to_owned()).or_default() += 1.0;
        }
    }
    (marks == 2 * KINDS.len()).then_some(calls)
}

/// The kind that a call marks.
fn mark(arguments: &str) -> Option<&'static str> {
    let (_, name) = arguments.split_once(MARK_PATH)?;
    let name = name.strip_prefix('/')?.split('"').next()?;
    KINDS.iter().map(|kind| kind.name).find(|kind| *kind == name)
}

/// Whether a tool is there and works here: containers may forbid tracing.
fn probe(tool: &'static str, arguments: &[&str]) -> Result<(), CountError> {
    let run = Command::new(tool).args(arguments).stdin(Stdio::null()).output();
    match run {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().last().unwrap_or_default();
            Err(CountError::Missing(format!("{tool} does not work on this machine: {said}")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(CountError::Missing(format!("no {tool} on this machine")))
        }
        Err(error) => Err(CountError::Io(tool.into(), error)),
    }
}

/// Runs this program again as the load, under `tool`.
fn run_load(tool: &'static str, command: &mut Command, data: &Path) -> Result<(), CountError> {
    let here = std::env::current_exe().map_err(|e| CountError::Io(tool.into(), e))?;
    let command = command.arg(here).arg("load").arg(data).stdin(Stdio::null());
    let output = command.output().map_err(|e| CountError::Io(tool.into(), e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(CountError::Load { tool, status: output.status, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_between_the_marks_are_counted_but_the_clients() {
        let mut trace =
            vec!["7 execve(\"budget\") = 0".to_owned(), "8 write(4, \"x\", 1) = 1".to_owned()];
        for kind in KINDS {
            let mark = format!("7 statx(AT_FDCWD, \"{MARK_PATH}/{}\", 0) = -1 ENOENT", kind.name);
            trace.extend([
                mark.clone(),
                "7   sendto(9, \"(\", 1) = 1".to_owned(),
                "8   epoll_wait(3,  <unfinished ...>".to_owned(),
                "7   recvfrom(9, \"y\") = 1".to_owned(),
                "8   <... epoll_wait resumed>[{events=EPOLLIN}], 1024, -1) = 1".to_owned(),
                "9   fdatasync(5) = 0".to_owned(),
                "9   futex(0x7f, FUTEX_WAIT) = 0".to_owned(),
                mark,
                "8   close(3) = 0".to_owned(),
            ]);
        }
        let calls = traced(&trace.join("\n")).unwrap();
        let one: BTreeMap<String, f64> =
            [("epoll_wait".to_owned(), 1.0), ("fdatasync".to_owned(), 1.0)].into();
        assert_eq!(calls.len(), KINDS.len());
        assert!(calls.values().all(|calls| *calls == one), "{calls:?}");
        assert!(traced(&trace[..trace.len() - 3].join("\n")).is_none(), "a mark is missing");
    }

    #[test]
    fn a_callgrind_file_is_summed_up_at_its_end() {
        assert_eq!(total("# callgrind format\nfn=(1)\n3 4\n\ntotals: 123\n"), Some(123));
        assert_eq!(total("cut off"), None);
    }
}
