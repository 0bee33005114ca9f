//! Several files as one history, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufRead};

use crate::event::Event;
use crate::line::{FormatError, Peek, read_line};

/// Why a history can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error("{file}: {error}")]
    Io {
        /// The file's name.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// A line is no event.
    #[error("{file}:{line}: {error}")]
    Format {
        /// The file's name.
        file: String,
        /// From 1.
        line: u64,
        /// Why.
        error: FormatError,
    },
    /// Times go back: the file's events were not written by one clock in
    /// its order.
    #[error("{file}:{line}: time {time} is before {last} of the line above")]
    TimeWentBack {
        /// The file's name.
        file: String,
        /// From 1.
        line: u64,
        /// Of this line.
        time: u64,
        /// Of the line before.
        last: u64,
    },
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// From 1.
    pub line: u64,
}

struct Source<R> {
    name: String,
    reader: R,
    /// The next line, which is an event.
    next: Vec<u8>,
    line: u64,
    time: u64,
}

/// Several files, merged. Lines of one file stay in its order; of two files'
/// lines with one time invocations come first, so that neither is taken to
/// be over before the other began.
pub struct Merge<R> {
    sources: Vec<Source<R>>,
    heap: BinaryHeap<Reverse<(u64, bool, usize)>>,
    /// Half lines at the end of a file, left out.
    cut: u64,
}

impl<R: BufRead> Merge<R> {
    /// From named files, in any order.
    ///
    /// # Errors
    /// What a file's first line has.
    pub fn new(files: impl IntoIterator<Item = (String, R)>) -> Result<Self, ReadError> {
        let mut merge = Self { sources: Vec::new(), heap: BinaryHeap::new(), cut: 0 };
        for (name, reader) in files {
            merge.sources.push(Source { name, reader, next: Vec::new(), line: 0, time: 0 });
            merge.advance(merge.sources.len() - 1)?;
        }
        Ok(merge)
    }

    /// How many files ended in half a line, which was left out.
    #[must_use]
    pub fn cut_lines(&self) -> u64 {
        self.cut
    }

    /// Calls `see` with each event, its line and where that stands, until
    /// `see` says false.
    ///
    /// # Errors
    /// What can't be read.
    pub fn each<E: From<ReadError>>(
        &mut self,
        mut see: impl FnMut(&Event<'_>, &[u8], &dyn Fn() -> Place) -> Result<bool, E>,
    ) -> Result<(), E> {
        while let Some(Reverse((_, _, index))) = self.heap.pop() {
            let Some(source) = self.sources.get(index) else { break };
            let event = source.event()?;
            let place = || Place { file: source.name.clone(), line: source.line };
            if !see(&event, &source.next, &place)? {
                break;
            }
            self.advance(index)?;
        }
        Ok(())
    }

    /// Reads the next line of a file, if it has one, into the order.
    fn advance(&mut self, index: usize) -> Result<(), ReadError> {
        let Some(source) = self.sources.get_mut(index) else { return Ok(()) };
        let whole = loop {
            source.next.clear();
            let read = source.reader.read_until(b'\n', &mut source.next);
            let read = read.map_err(|error| ReadError::Io { file: source.name.clone(), error })?;
            if read == 0 {
                return Ok(());
            }
            source.line += 1;
            if source.next.iter().any(|byte| !byte.is_ascii_whitespace()) {
                break source.next.ends_with(b"\n");
            }
        };
        let last = source.time;
        let (time, completion) = match Peek::line(&source.next) {
            Ok(line) => (line.time, !line.is_invocation()),
            Err(_) if !whole => {
                self.cut += 1;
                return Ok(());
            }
            Err(error) => return Err(source.format(error)),
        };
        if time < last {
            let (file, line) = (source.name.clone(), source.line);
            return Err(ReadError::TimeWentBack { file, line, time, last });
        }
        source.time = time;
        self.heap.push(Reverse((time, completion, index)));
        Ok(())
    }
}

impl<R> Source<R> {
    fn event(&self) -> Result<Event<'_>, ReadError> {
        read_line(&self.next).map_err(|error| self.format(error))
    }

    fn format(&self, error: FormatError) -> ReadError {
        ReadError::Format { file: self.name.clone(), line: self.line, error }
    }
}
