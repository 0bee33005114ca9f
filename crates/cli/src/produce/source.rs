//! The input, read by a thread of its own, since files and standard input make
//! who reads them wait: records come through a bounded channel.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::sync::mpsc;

use super::acks::Origin;
use super::{Format, rows};
use crate::Failure;
use crate::clients::path::FieldPath;
use crate::clients::time;
use crate::suggest::{did_you_mean, nearest};

/// Records that are read ahead.
const AHEAD: usize = 1024;

/// A record to be.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) key: Option<Bytes>,
    /// `None` is a tombstone.
    pub(super) value: Option<Bytes>,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
    pub(super) origin: Origin,
}

/// How records are made of what is read.
#[derive(Default)]
pub(super) struct Rules {
    /// By the file's name where it is not said.
    pub(super) format: Option<Format>,
    /// The field that is the key.
    pub(super) key: Option<FieldPath>,
    /// What stands between key and value of a line.
    pub(super) separator: Option<Bytes>,
    /// Nothing behind the separator is a tombstone.
    pub(super) tombstones: bool,
    /// The field that is the time.
    pub(super) timestamp: Option<FieldPath>,
}

/// Files that can be read, each with its format.
pub(super) struct Source {
    files: Vec<Input>,
    rules: Rules,
    total_bytes: Option<u64>,
    is_typed: bool,
}

struct Input {
    name: Arc<Path>,
    from: Box<dyn Read + Send>,
    format: Format,
}

impl Source {
    /// Opens all of them, so that a misspelt one is told before a record is sent.
    pub(super) fn open(files: &[PathBuf], rules: Rules) -> Result<Self, Failure> {
        let stdin = [PathBuf::from("-")];
        let files = if files.is_empty() { &stdin } else { files };
        let mut total_bytes = Some(0);
        let mut inputs = Vec::new();
        for path in files {
            let format = rules.format.unwrap_or_else(|| by_name(path));
            let name = if path.as_os_str() == "-" { Path::new("(standard input)") } else { path };
            if format == Format::Lines && (rules.key.is_some() || rules.timestamp.is_some()) {
                let (flag, or) = match rules.key {
                    Some(_) => ("--key", ", or --key-separator"),
                    None => ("--timestamp", ""),
                };
                return Err(Failure::Usage(format!(
                    "{}: {flag} names a field, and lines have none: say --format json or csv{or}",
                    name.display()
                )));
            }
            if format != Format::Lines && rules.separator.is_some() {
                return Err(Failure::Usage(format!(
                    "{}: --key-separator divides lines; --key FIELD takes the key from JSON and CSV",
                    name.display()
                )));
            }
            let (from, size) = open(path)?;
            total_bytes = total_bytes.zip(size).map(|(total, size)| total + size);
            inputs.push(Input { name: Arc::from(name), from, format });
        }
        let is_typed =
            files.iter().any(|path| path.as_os_str() == "-") && io::stdin().is_terminal();
        Ok(Self { files: inputs, rules, total_bytes, is_typed })
    }

    /// Whether a person types it.
    pub(super) const fn is_typed(&self) -> bool {
        self.is_typed
    }

    /// The size of all, where it is known.
    pub(super) const fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Begins to read. The last item may be why it could not go on.
    pub(super) fn start(self) -> Result<mpsc::Receiver<Result<Item, Failure>>, Failure> {
        let (to, items) = mpsc::channel(AHEAD);
        let read = move || {
            let read = Arc::new(AtomicU64::new(0));
            for input in self.files {
                let mut reading = Reading {
                    name: input.name,
                    read: Arc::clone(&read),
                    rules: &self.rules,
                    to: &to,
                };
                let from = Counting { inner: input.from, read: Arc::clone(&read) };
                let done = match input.format {
                    Format::Lines => reading.lines(from),
                    Format::Json => reading.json(from),
                    Format::Csv => reading.csv(from),
                };
                match done {
                    Ok(()) => {}
                    Err(Stop::Failed(failure)) => {
                        // Nobody listens only where the command has ended.
                        to.blocking_send(Err(failure)).ok();
                        return;
                    }
                    Err(Stop::Unwanted) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("input".to_owned()).spawn(read);
        thread.map_err(|error| Failure::Failed(format!("can't start a thread: {error}")))?;
        Ok(items)
    }
}

fn by_name(path: &Path) -> Format {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" => Format::Csv,
        "json" | "jsonl" | "ndjson" => Format::Json,
        _ => Format::Lines,
    }
}

fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(io::stdin()), None));
    }
    let said = |error: io::Error| Failure::Usage(format!("can't read {}: {error}", path.display()));
    let file = File::open(path).map_err(said)?;
    let meta = file.metadata().map_err(said)?;
    if meta.is_dir() {
        return Err(Failure::Usage(format!("can't read {}: it is a directory", path.display())));
    }
    Ok((Box::new(file), meta.is_file().then_some(meta.len())))
}

/// Counts what was read of all files.
struct Counting {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.read.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        Ok(count)
    }
}

/// Why reading ends early.
enum Stop {
    Failed(Failure),
    /// The command has ended.
    Unwanted,
}

/// One file.
struct Reading<'a> {
    name: Arc<Path>,
    read: Arc<AtomicU64>,
    rules: &'a Rules,
    to: &'a mpsc::Sender<Result<Item, Failure>>,
}

impl Reading<'_> {
    fn lines(&mut self, from: Counting) -> Result<(), Stop> {
        let Rules { separator, tombstones, .. } = self.rules;
        self.each_line(from, |reading, number, line| {
            let Some(separator) = separator else {
                return reading.hand(number, None, Some(Bytes::copy_from_slice(line)), None);
            };
            let at = line.windows(separator.len()).position(|window| window == separator);
            let Some((key, rest)) = at.and_then(|at| line.split_at_checked(at)) else {
                return Err(reading.wrong(number, None, "the key separator is not in this line"));
            };
            let value = rest.get(separator.len()..).unwrap_or_default();
            let is_tombstone = *tombstones && value.is_empty();
            let value = (!is_tombstone).then(|| Bytes::copy_from_slice(value));
            reading.hand(number, Some(Bytes::copy_from_slice(key)), value, None)
        })
    }

    fn json(&mut self, from: Counting) -> Result<(), Stop> {
        let Rules { key, timestamp, .. } = self.rules;
        self.each_line(from, |reading, number, line| {
            if line.trim_ascii().is_empty() {
                return Ok(());
            }
            let told = |error: serde_json::Error| {
                let said = error.to_string();
                let why = said.split(" at line ").next().unwrap_or_default();
                reading.wrong(number, Some(error.column()), &format!("no JSON value: {why}"))
            };
            let (key, timestamp) = if key.is_none() && timestamp.is_none() {
                // Only whether it is one is of interest.
                serde_json::from_slice::<IgnoredAny>(line).map_err(told)?;
                (None, None)
            } else {
                let value: Value = serde_json::from_slice(line).map_err(told)?;
                let field = |path, what| reading.field(path, &value, what, number);
                let key = key.as_ref().map(|path| field(path, "the key")).transpose()?;
                let time = timestamp.as_ref().map(|path| field(path, "the time")).transpose()?;
                (key, time.map(|text| reading.time(&text, number)).transpose()?)
            };
            let value = Bytes::copy_from_slice(line.trim_ascii());
            reading.hand(number, key.map(Bytes::from), Some(value), timestamp)
        })
    }

    fn csv(&mut self, from: Counting) -> Result<(), Stop> {
        let mut reader = csv::Reader::from_reader(from);
        let header = match reader.headers() {
            Ok(header) => header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()),
            Err(error) => return Err(self.csv_error(&error)),
        };
        let header: Vec<String> = header.collect();
        let column = |path: &Option<FieldPath>, what| {
            path.as_ref().map(|path| self.column(path, &header, what)).transpose()
        };
        let key = column(&self.rules.key, "the key")?;
        let timestamp = column(&self.rules.timestamp, "the time")?;
        let mut row = csv::StringRecord::new();
        loop {
            match reader.read_record(&mut row) {
                Ok(false) => return Ok(()),
                Ok(true) => {}
                Err(error) => return Err(self.csv_error(&error)),
            }
            let line = row.position().map_or(0, csv::Position::line);
            let key = key.and_then(|column| row.get(column));
            let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
            let timestamp = timestamp.and_then(|column| row.get(column));
            let timestamp = timestamp.map(|text| self.time(text, line)).transpose()?;
            let value = Bytes::from(rows::object(&header, &row));
            self.hand(line, key, Some(value), timestamp)?;
        }
    }

    /// The column of this name.
    fn column(&self, path: &FieldPath, header: &[String], what: &str) -> Result<usize, Stop> {
        header.iter().position(|column| path.is_name(column)).ok_or_else(|| {
            let name = path.to_string();
            let guess = did_you_mean(nearest(&name, header.iter().map(String::as_str)));
            self.wrong(1, None, &format!("the header has no {name:?} to be {what}{guess}"))
        })
    }

    fn csv_error(&self, error: &csv::Error) -> Stop {
        let line = error.position().map_or(1, csv::Position::line);
        match error.kind() {
            csv::ErrorKind::Io(error) => self.io_error(error),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let why = format!("{len} fields where the header has {expected_len}");
                self.wrong(line, None, &why)
            }
            csv::ErrorKind::Utf8 { err, .. } => {
                let why = format!("field {} is not UTF-8", err.field() + 1);
                self.wrong(line, None, &why)
            }
            _ => self.wrong(line, None, &error.to_string()),
        }
    }

    /// A text as it is, anything else as JSON writes it.
    fn field(
        &self,
        path: &FieldPath,
        value: &Value,
        what: &str,
        line: u64,
    ) -> Result<String, Stop> {
        match path.of(value) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Null) | None => {
                Err(self.wrong(line, None, &format!("there is no {path} to be {what}")))
            }
            Some(other) => Ok(other.to_string()),
        }
    }

    fn time(&self, text: &str, line: u64) -> Result<i64, Stop> {
        let ms = text.parse().ok().or_else(|| time::parse(text)).filter(|ms| *ms >= 0);
        ms.ok_or_else(|| {
            let why = "is no time: milliseconds since 1970, or such as 2026-11-23T10:15Z";
            self.wrong(line, None, &format!("{text:?} {why}"))
        })
    }

    fn each_line(
        &mut self,
        from: Counting,
        mut each: impl FnMut(&Self, u64, &[u8]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut from = BufReader::with_capacity(64 * 1024, from);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let count = from.read_until(b'\n', &mut line).map_err(|error| self.io_error(&error))?;
            if count == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            each(self, number, text.strip_suffix(b"\r").unwrap_or(text))?;
        }
        Ok(())
    }

    fn hand(
        &self,
        line: u64,
        key: Option<Bytes>,
        value: Option<Bytes>,
        timestamp: Option<i64>,
    ) -> Result<(), Stop> {
        let read = self.read.load(Ordering::Relaxed);
        let bytes = key.iter().chain(&value).map(Bytes::len).sum::<usize>();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let origin = Origin { file: Arc::clone(&self.name), line, bytes, read };
        let item = Item { key, value, timestamp, origin };
        self.to.blocking_send(Ok(item)).map_err(|_| Stop::Unwanted)
    }

    fn wrong(&self, line: u64, column: Option<usize>, why: &str) -> Stop {
        let column = column.map(|column| format!(":{column}")).unwrap_or_default();
        Stop::Failed(Failure::Failed(format!("{}:{line}{column}: {why}", self.name.display())))
    }

    fn io_error(&self, error: &io::Error) -> Stop {
        Stop::Failed(Failure::Failed(format!("can't read {}: {error}", self.name.display())))
    }
}

#[cfg(test)]
mod tests;
