//! The input, read by a thread of its own, since files and standard input make
//! who reads them wait: records come through a bounded channel.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
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
use crate::suggest::{did_you_mean, nearest};

/// Records that are read ahead.
const AHEAD: usize = 1024;

/// A record to be.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) key: Option<Bytes>,
    pub(super) value: Bytes,
    pub(super) origin: Origin,
}

/// Files that can be read, each with its format.
pub(super) struct Source {
    files: Vec<Input>,
    key: Option<FieldPath>,
    separator: Option<Vec<u8>>,
    total_bytes: Option<u64>,
}

struct Input {
    name: Arc<Path>,
    from: Box<dyn Read + Send>,
    format: Format,
}

impl Source {
    /// Opens all of them, so that a misspelt one is told before a record is sent.
    pub(super) fn open(
        files: &[PathBuf],
        format: Option<Format>,
        key: Option<FieldPath>,
        separator: Option<&str>,
    ) -> Result<Self, Failure> {
        let stdin = [PathBuf::from("-")];
        let files = if files.is_empty() { &stdin } else { files };
        let mut total_bytes = Some(0);
        let mut inputs = Vec::new();
        for path in files {
            let format = format.unwrap_or_else(|| by_name(path));
            let name = if path.as_os_str() == "-" { Path::new("(standard input)") } else { path };
            if format == Format::Lines && key.is_some() {
                return Err(Failure::Usage(format!(
                    "{}: --key names a field, and lines have none: say --format json or csv, or --key-separator",
                    name.display()
                )));
            }
            if format != Format::Lines && separator.is_some() {
                return Err(Failure::Usage(format!(
                    "{}: --key-separator divides lines; --key FIELD takes the key from JSON and CSV",
                    name.display()
                )));
            }
            let (from, size) = open(path)?;
            total_bytes = total_bytes.zip(size).map(|(total, size)| total + size);
            inputs.push(Input { name: Arc::from(name), from, format });
        }
        let separator = separator.map(|text| text.replace("\\t", "\t").into_bytes());
        if separator.as_ref().is_some_and(Vec::is_empty) {
            return Err(Failure::Usage("--key-separator is empty".to_owned()));
        }
        Ok(Self { files: inputs, key, separator, total_bytes })
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
                    key: self.key.as_ref(),
                    to: &to,
                };
                let from = Counting { inner: input.from, read: Arc::clone(&read) };
                let done = match input.format {
                    Format::Lines => reading.lines(from, self.separator.as_deref()),
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
    key: Option<&'a FieldPath>,
    to: &'a mpsc::Sender<Result<Item, Failure>>,
}

impl Reading<'_> {
    fn lines(&mut self, from: Counting, separator: Option<&[u8]>) -> Result<(), Stop> {
        self.each_line(from, |reading, number, line| {
            let Some(separator) = separator else {
                return reading.hand(number, None, Bytes::copy_from_slice(line));
            };
            let at = line.windows(separator.len()).position(|window| window == separator);
            let Some((key, rest)) = at.and_then(|at| line.split_at_checked(at)) else {
                return Err(reading.wrong(number, None, "the key separator is not in this line"));
            };
            let value = rest.get(separator.len()..).unwrap_or_default();
            reading.hand(number, Some(Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value))
        })
    }

    fn json(&mut self, from: Counting) -> Result<(), Stop> {
        self.each_line(from, |reading, number, line| {
            if line.trim_ascii().is_empty() {
                return Ok(());
            }
            let told = |error: serde_json::Error| {
                let said = error.to_string();
                let why = said.split(" at line ").next().unwrap_or_default();
                reading.wrong(number, Some(error.column()), &format!("no JSON value: {why}"))
            };
            let key = match reading.key {
                // Only whether it is one is of interest.
                None => serde_json::from_slice::<IgnoredAny>(line).map(|_| None).map_err(told)?,
                Some(path) => {
                    let value: Value = serde_json::from_slice(line).map_err(told)?;
                    Some(reading.key_of(path, &value, number)?)
                }
            };
            reading.hand(number, key, Bytes::copy_from_slice(line.trim_ascii()))
        })
    }

    fn csv(&mut self, from: Counting) -> Result<(), Stop> {
        let mut reader = csv::Reader::from_reader(from);
        let header = match reader.headers() {
            Ok(header) => header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()),
            Err(error) => return Err(self.csv_error(&error)),
        };
        let header: Vec<String> = header.collect();
        let key = match self.key {
            Some(path) => Some(self.column(path, &header)?),
            None => None,
        };
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
            self.hand(line, key, Bytes::from(rows::object(&header, &row)))?;
        }
    }

    /// The column of this name.
    fn column(&self, path: &FieldPath, header: &[String]) -> Result<usize, Stop> {
        let name = path.to_string();
        header.iter().position(|column| *column == name).ok_or_else(|| {
            let guess = did_you_mean(nearest(&name, header.iter().map(String::as_str)));
            self.wrong(1, None, &format!("the header has no {name:?} to be the key{guess}"))
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
    fn key_of(&self, path: &FieldPath, value: &Value, line: u64) -> Result<Bytes, Stop> {
        match path.of(value) {
            Some(Value::String(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Some(Value::Null) | None => {
                Err(self.wrong(line, None, &format!("there is no {path} to be the key")))
            }
            Some(other) => Ok(Bytes::from(other.to_string())),
        }
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

    fn hand(&self, line: u64, key: Option<Bytes>, value: Bytes) -> Result<(), Stop> {
        let read = self.read.load(Ordering::Relaxed);
        let bytes = value.len() + key.as_ref().map_or(0, Bytes::len);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let origin = Origin { file: Arc::clone(&self.name), line, bytes, read };
        self.to.blocking_send(Ok(Item { key, value, origin })).map_err(|_| Stop::Unwanted)
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
