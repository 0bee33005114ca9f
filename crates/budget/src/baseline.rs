//! The committed budget, `baseline.toml`, and what a measurement is by it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    count::{Instructions, SystemCalls},
    kinds::KINDS,
};

/// How far a count may be from its baseline, as a part of it.
const TOLERANCE: f64 = 0.10;

/// Why the baseline can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BaselineError {
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    #[error("{0}: {1}")]
    Syntax(PathBuf, toml::de::Error),
}

/// The budget of each kind of request.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Baseline {
    /// The compiler that it was measured with.
    rustc: String,
    #[serde(flatten)]
    kinds: BTreeMap<String, Budget>,
}

/// The budget of one request.
#[derive(Debug, Default, Deserialize)]
struct Budget {
    instructions: u64,
    system_calls: BTreeMap<String, f64>,
}

/// What was measured: none where the tool is missing.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) instructions: Option<Instructions>,
    pub(crate) system_calls: Option<SystemCalls>,
}

/// What a measurement says, line by line, and whether it is within the budget.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) text: String,
    pub(crate) exceeded: bool,
}

impl Baseline {
    pub(crate) fn read(path: &Path) -> Result<Self, BaselineError> {
        let text = fs::read_to_string(path).map_err(|e| BaselineError::Io(path.to_owned(), e))?;
        toml::from_str(&text).map_err(|e| BaselineError::Syntax(path.to_owned(), e))
    }

    /// Compares every kind with its budget.
    pub(crate) fn judge(&self, measured: &Measured, rustc: &str) -> Verdict {
        let mut verdict = Verdict { text: String::new(), exceeded: false };
        verdict.line(format_args!(
            "{:34} {:>12} {:>12} {:>7}   of one request",
            "", "measured", "baseline", "ratio"
        ));
        for kind in KINDS {
            let budget = self.kinds.get(kind.name);
            verdict.line(format_args!("{}: {}", kind.name, kind.what));
            if let Some(count) = measured.instructions.as_ref().and_then(|m| m.get(kind.name)) {
                let allowed = budget.map(|budget| as_float(budget.instructions));
                verdict.count("instructions", as_float(*count), allowed, 0);
            }
            if let Some(calls) = measured.system_calls.as_ref().and_then(|m| m.get(kind.name)) {
                let allowed = budget.map(|budget| &budget.system_calls);
                let sum = allowed.map(|allowed| allowed.values().sum());
                if verdict.count("system calls", calls.values().sum(), sum, 2) {
                    verdict.differences(calls, allowed);
                }
            }
        }
        if self.rustc != rustc {
            verdict.line(format_args!("the baseline is of {}, this build of {rustc}", self.rustc));
        }
        verdict
    }
}

impl Verdict {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A string takes all that is written to it.
        writeln!(self.text, "{line}").ok();
    }

    /// One line of the table; whether it is off the baseline either way.
    fn count(&mut self, what: &str, measured: f64, baseline: Option<f64>, digits: usize) -> bool {
        let Some(baseline) = baseline else {
            self.exceeded = true;
            self.line(format_args!("  {what:32} {measured:12.digits$} {:>12}", "none: FAILED"));
            return false;
        };
        let ratio = if measured == baseline { 1.0 } else { measured / baseline };
        let above = ratio > 1.0 + TOLERANCE;
        let below = ratio < 1.0 - TOLERANCE;
        self.exceeded |= above;
        let note = match (above, below) {
            (true, _) => "   FAILED: over 10% above the baseline",
            (_, true) => "   over 10% below: tighten the baseline",
            _ => "",
        };
        self.line(format_args!(
            "  {what:32} {measured:12.digits$} {baseline:12.digits$} {ratio:7.3}{note}"
        ));
        above || below
    }

    /// Which calls became more or fewer.
    fn differences(
        &mut self,
        measured: &BTreeMap<String, f64>,
        baseline: Option<&BTreeMap<String, f64>>,
    ) {
        let empty = BTreeMap::new();
        let baseline = baseline.unwrap_or(&empty);
        let names: std::collections::BTreeSet<_> = measured.keys().chain(baseline.keys()).collect();
        for name in names {
            let of = |counts: &BTreeMap<String, f64>| counts.get(name).copied().unwrap_or_default();
            let (now, then) = (of(measured), of(baseline));
            if (now - then).abs() > 0.005 {
                self.line(format_args!("    {name:30} {now:12.2} {then:12.2}"));
            }
        }
    }
}

/// Writes what was measured as the new baseline.
pub(crate) fn write(
    path: &Path,
    instructions: &Instructions,
    calls: &SystemCalls,
    rustc: &str,
) -> Result<(), BaselineError> {
    fs::write(path, text(instructions, calls, rustc))
        .map_err(|e| BaselineError::Io(path.to_owned(), e))
}

fn text(instructions: &Instructions, calls: &SystemCalls, rustc: &str) -> String {
    let mut out = String::from(
        "# Instructions and system calls of one request of each kind, release build, as `./test budget --write` measured\n\
         # them. `./test budget` fails where one is over 10% higher. Whoever means a change of them commits it with a reason.\n",
    );
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(out, "{line}").unwrap_or_default();
    line(format_args!("rustc = {rustc:?}"));
    for kind in KINDS {
        line(format_args!("\n# {}", kind.what));
        line(format_args!("[{}]", kind.name));
        let count = instructions.get(kind.name).copied().unwrap_or_default();
        line(format_args!("instructions = {count}"));
        let calls = calls.get(kind.name).into_iter().flatten();
        let calls: Vec<String> = calls.map(|(name, n)| format!("{name} = {n:.2}")).collect();
        line(format_args!("system_calls = {{ {} }}", calls.join(", ")));
    }
    out
}

/// Counts are far below 2^53.
fn as_float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(instructions: u64, writes: f64) -> (Instructions, SystemCalls) {
        let calls = BTreeMap::from([("epoll_wait".to_owned(), 1.0), ("writev".to_owned(), writes)]);
        let names = || KINDS.iter().map(|kind| kind.name);
        (
            names().map(|name| (name, instructions)).collect(),
            names().map(|name| (name, calls.clone())).collect(),
        )
    }

    fn judge(instructions: u64, writes: f64) -> Verdict {
        let (written, calls) = measured(1000, 1.0);
        let baseline: Baseline = toml::from_str(&text(&written, &calls, "rustc 1")).unwrap();
        let (instructions, calls) = measured(instructions, writes);
        let measured = Measured { instructions: Some(instructions), system_calls: Some(calls) };
        baseline.judge(&measured, "rustc 1")
    }

    #[test]
    fn a_tenth_more_is_within_the_budget() {
        for verdict in [judge(1000, 1.0), judge(1100, 1.2), judge(900, 1.0)] {
            assert!(!verdict.exceeded, "{}", verdict.text);
            assert!(!verdict.text.contains("baseline\n"), "{}", verdict.text);
        }
    }

    #[test]
    fn more_than_that_fails_and_names_the_calls() {
        let verdict = judge(1101, 1.0);
        assert!(verdict.exceeded && verdict.text.contains("1101"), "{}", verdict.text);
        let verdict = judge(1000, 2.0);
        assert!(verdict.exceeded, "{}", verdict.text);
        let differences: Vec<_> = verdict.text.lines().filter(|l| l.contains("writev")).collect();
        assert_eq!(differences.len(), KINDS.len(), "{}", verdict.text);
        assert!(!verdict.text.contains("epoll_wait"), "what is as before is not told");
    }

    #[test]
    fn much_less_asks_for_a_tighter_budget_and_passes() {
        let verdict = judge(899, 1.0);
        assert!(!verdict.exceeded && verdict.text.contains("tighten"), "{}", verdict.text);
    }

    #[test]
    fn a_kind_without_a_budget_fails() {
        let (instructions, calls) = measured(1, 1.0);
        let measured = Measured { instructions: Some(instructions), system_calls: Some(calls) };
        assert!(Baseline::default().judge(&measured, "").exceeded);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert!(!Baseline::default().judge(&Measured::default(), "").exceeded);
    }

    #[test]
    fn the_committed_baseline_has_every_kind() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.toml");
        let baseline = Baseline::read(&path).unwrap();
        assert!(baseline.kinds.keys().eq(names().iter()), "{:?}", baseline.kinds.keys());
    }

    fn names() -> Vec<String> {
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name.to_owned()).collect();
        names.sort();
        names
    }
}
