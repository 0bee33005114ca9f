//! Where commands print: tables that fit the terminal, JSON for programs,
//! progress on standard error, questions.
//!
//! Invariant: what goes to standard output is the answer and nothing else;
//! progress and questions go to standard error, and only where a person looks
//! on. Colours are on a terminal only, and not with `NO_COLOR`. A reader that
//! went away ([`Failure::Closed`]) ends a command quietly.

mod progress;
mod table;

use std::fmt;
use std::io::{self, BufRead as _, BufWriter, IsTerminal as _, StdoutLock, Write};

use console::{Style, Term};
use serde::Serialize;

pub use progress::{Progress, per_second};
pub use table::{Side, Table};

/// Why a command did not do what it was asked for. Messages are whole
/// sentences without the program's name and a full stop, and name the setting
/// or the command that helps.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was asked for something that can't be, whatever the state of the
    /// world: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It could not be done, or not whole: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Whoever read the output has seen enough: exit code 0, without a word.
    #[error("nobody reads the output any more")]
    Closed,
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

/// What printing meets.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("can't write the output: {error}")),
        }
    }
}

/// Standard output, buffered: [`Out::flush`] at the end, and where a person
/// waits for what was printed.
#[derive(Debug)]
pub struct Out {
    to: BufWriter<StdoutLock<'static>>,
    /// Columns of the terminal; `None` where it is none.
    width: Option<u16>,
    json: bool,
}

impl Out {
    /// The process's standard output; JSON where `json` says so.
    #[must_use]
    pub fn stdout(json: bool) -> Self {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| Term::stdout().size().1);
        Self { to: BufWriter::new(stdout.lock()), width, json }
    }

    /// Whether JSON was asked for.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks on.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// One JSON document, indented, and the end of its line.
    ///
    /// # Errors
    /// What writing meets.
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.to, value).map_err(io::Error::from)?;
        Ok(self.to.write_all(b"\n")?)
    }

    /// The table, cut to the terminal's width where it is one.
    ///
    /// # Errors
    /// What writing meets.
    pub fn table(&mut self, table: &Table) -> Result<(), Failure> {
        Ok(self.to.write_all(table.render(self.width).as_bytes())?)
    }

    /// One line.
    ///
    /// # Errors
    /// What writing meets.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.to.write_all(text.as_ref().as_bytes())?;
        Ok(self.to.write_all(b"\n")?)
    }

    /// Hands on what was printed.
    ///
    /// # Errors
    /// What writing meets.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.to.flush()?)
    }
}

/// Bytes as they are, for records.
impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// How something is said on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Strong,
    /// All is well.
    Good,
    /// Look at it.
    Warning,
    /// It failed.
    Bad,
    /// Beside the point.
    Faint,
}

/// The text in its tone, where standard output shows colours.
#[must_use]
pub fn toned(tone: Tone, text: &str) -> String {
    style(tone).for_stdout().apply_to(text).to_string()
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Strong => Style::new().bold(),
        Tone::Good => Style::new().green(),
        Tone::Warning => Style::new().yellow(),
        Tone::Bad => Style::new().red(),
        Tone::Faint => Style::new().dim(),
    }
}

/// Prints why the command failed to standard error, in the form that all
/// commands have, and gives its exit code.
pub fn report(failure: &Failure) -> u8 {
    if !matches!(failure, Failure::Closed) {
        let name = style(Tone::Bad).for_stderr().apply_to("millrace:");
        say(&format!("{name} {failure}"));
    }
    failure.exit_code()
}

/// A line on standard error, beside the answer.
pub fn say(text: &str) {
    // There is nobody to tell that standard error can't be written.
    writeln!(io::stderr(), "{text}").ok();
}

/// `1 record`, `2 records`.
pub fn counted<N: fmt::Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Asks a yes-or-no question on standard error. `yes` answers it beforehand.
///
/// # Errors
/// [`Failure::Usage`] where nobody can be asked, [`Failure::Failed`] at a no.
pub fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage(format!("{question} Say --yes where nobody can be asked")));
    }
    let mut to = io::stderr();
    let mut answer = String::new();
    let asked = write!(to, "{question} [y/N] ").and_then(|()| to.flush());
    let asked = asked.and_then(|()| stdin.lock().read_line(&mut answer));
    asked.map_err(|error| {
        Failure::Failed(format!("can't ask whether to do it ({error}); --yes says so beforehand"))
    })?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Failed("nothing was changed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_follow_their_number() {
        let said = [counted(0, "record"), counted(1_u64, "record"), counted(2_i64, "record")];
        assert_eq!(said, ["0 records", "1 record", "2 records"]);
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.exit_code(), 0);
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit_code(), 1);
        assert!(full.to_string().starts_with("can't write the output: "), "{full}");
    }
}
