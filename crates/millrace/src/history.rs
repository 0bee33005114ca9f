//! `millrace history check`: whether what clients did and saw is what a log
//! that keeps its promises shows (docs/history.md).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use millrace_cli::Failure;
use millrace_history::{Checker, EventNo, Malformed, Merge, Options, Place, ReadError, Report};
use serde::Serialize;

use crate::cli::HistoryCheckArgs;

/// What is read of a file at once: there may be a hundred files.
const BUFFER_BYTES: usize = 256 * 1024;
/// How much of a line is shown: one poll can hold thousands of records.
const LINE_CHARS_MAX: usize = 240;

/// Why a history can't be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// A file or a line can't be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The lines are events, but no history.
    #[error("{}:{}: {error}", place.file, place.line)]
    Malformed {
        /// The first line that doesn't fit.
        place: Place,
        /// Why.
        error: Malformed,
    },
    /// The result can't be written.
    #[error("writing the result: {0}")]
    Output(#[from] io::Error),
}

/// A line of the history that shows an anomaly.
#[derive(Clone, Debug, Serialize)]
struct Evidence {
    event: EventNo,
    file: String,
    line: u64,
    text: String,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// The lines that the anomalies name by their event.
    events: Vec<&'a Evidence>,
    cut_lines: u64,
}

/// Files that are no history are a usage; that nobody reads is none of it.
impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Output(error) => error.into(),
            error => Self::Usage(error.to_string()),
        }
    }
}

/// Checks the files and prints what was found. Exit code 0 if that is nothing.
///
/// # Errors
/// What makes the files no history.
pub(crate) fn check(args: &HistoryCheckArgs) -> Result<ExitCode, Failure> {
    let clean = print(args)?;
    Ok(ExitCode::from(u8::from(!clean)))
}

/// Prints what was found; whether that is nothing.
fn print(args: &HistoryCheckArgs) -> Result<bool, HistoryError> {
    let (report, cut_lines) = read(args)?;
    let evidence = evidence(args, &report)?;
    let mut out = io::stdout().lock();
    if args.json {
        let mut events: Vec<&Evidence> = evidence.values().collect();
        events.sort_by_key(|evidence| evidence.event);
        let json = Json { report: &report, events, cut_lines };
        serde_json::to_writer_pretty(&mut out, &json).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        table(&report, &evidence, cut_lines, &mut out)?;
    }
    Ok(report.is_clean())
}

fn open(files: &[PathBuf]) -> Result<Merge<BufReader<File>>, ReadError> {
    let open = |path: &PathBuf| {
        let file = path.display().to_string();
        match File::open(path) {
            Ok(open) => Ok((file, BufReader::with_capacity(BUFFER_BYTES, open))),
            Err(error) => Err(ReadError::Io { file, error }),
        }
    };
    Merge::new(files.iter().map(open).collect::<Result<Vec<_>, _>>()?)
}

fn read(args: &HistoryCheckArgs) -> Result<(Report, u64), HistoryError> {
    let options = Options { dense: args.dense, kept_max: args.show };
    let mut checker = Checker::new(options);
    let mut merge = open(&args.files)?;
    merge.each(|event, _, place| match checker.event(event) {
        Ok(()) => Ok(true),
        Err(error) => Err(HistoryError::Malformed { place: place(), error }),
    })?;
    Ok((checker.finish(), merge.cut_lines()))
}

/// The lines that the anomalies name: the files are read once more, so that
/// a history without anomalies need not be held in memory.
fn evidence(
    args: &HistoryCheckArgs,
    report: &Report,
) -> Result<HashMap<EventNo, Evidence>, HistoryError> {
    let mut wanted: Vec<EventNo> =
        report.anomalies.iter().flat_map(millrace_history::Anomaly::events).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut wanted = wanted.into_iter().peekable();
    let mut found = HashMap::new();
    if wanted.peek().is_none() {
        return Ok(found);
    }
    let mut number = 0;
    open(&args.files)?.each::<HistoryError>(|_, line, place| {
        let event = EventNo(number);
        number += 1;
        if wanted.peek() == Some(&event) {
            wanted.next();
            let Place { file, line: at } = place();
            let text = String::from_utf8_lossy(line).trim_end().to_owned();
            found.insert(event, Evidence { event, file, line: at, text });
        }
        Ok(wanted.peek().is_some())
    })?;
    Ok(found)
}

fn table(
    report: &Report,
    evidence: &HashMap<EventNo, Evidence>,
    cut_lines: u64,
    out: &mut impl Write,
) -> io::Result<()> {
    let counts = &report.counts;
    writeln!(
        out,
        "{} events of {} processes, {} logs, {} kills of the server",
        counts.events, counts.processes, counts.logs, counts.server_kills
    )?;
    writeln!(
        out,
        "sends    {} ({} acknowledged, {} failed, {} unknown)",
        counts.sends, counts.sends_ok, counts.sends_failed, counts.sends_unknown
    )?;
    writeln!(
        out,
        "reads    {} records in {} polls, {} values, {} full reads",
        counts.records_read, counts.polls, counts.values_read, counts.full_reads
    )?;
    writeln!(out, "commits  {}, fetched {} times", counts.commits, counts.commit_fetches)?;
    if counts.duplicates_allowed > 0 {
        let copies = counts.duplicates_allowed;
        writeln!(out, "{copies} duplicates of producers without idempotence, which is allowed")?;
    }
    if cut_lines > 0 {
        writeln!(out, "{cut_lines} files end in half a line, which was left out")?;
    }
    if report.is_clean() {
        return writeln!(out, "no anomalies");
    }
    for (kind, total) in &report.totals {
        writeln!(out, "\n{kind}: {total}")?;
        for anomaly in report.anomalies.iter().filter(|anomaly| anomaly.kind() == *kind) {
            writeln!(out, "  {}: {anomaly}", anomaly.log())?;
            for event in anomaly.events() {
                let Some(line) = evidence.get(&event) else { continue };
                let text: String = line.text.chars().take(LINE_CHARS_MAX).collect();
                writeln!(out, "    {}:{} {text}", line.file, line.line)?;
            }
        }
    }
    Ok(())
}
