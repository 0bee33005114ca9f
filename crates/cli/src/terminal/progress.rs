//! Progress of long work, with its rate and the time that remains: on standard
//! error, where that is a terminal; elsewhere nothing.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Bytes, told in binary units.
    Bytes,
    /// Records, or anything else that is told as a plain number.
    Items,
}

/// A line that moves while work goes on, and leaves with it.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Work of a known size (a bar), or of an unknown one (what was done, and
    /// how fast). `what` leads the line: "verifying".
    #[must_use]
    pub fn new(what: &str, counted: Counted, total: Option<u64>) -> Self {
        let (done, of, rate) = match counted {
            Counted::Bytes => ("{bytes}", "{total_bytes}", "{bytes_per_sec}"),
            Counted::Items => ("{human_pos}", "{human_len}", "{per_sec}"),
        };
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                format!("{{msg}} {{bar:24}} {done} of {of}, {rate}, {{eta}} left"),
            ),
            None => (ProgressBar::no_length(), format!("{{msg}} {{spinner}} {done}, {rate}")),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// So much more is done.
    pub fn add(&self, done: u64) {
        self.bar.inc(done);
    }

    /// So much is done in all.
    pub fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Says something above the line.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
