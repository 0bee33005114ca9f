//! What became of each thing that a command was to act on: told line by line,
//! or as JSON, where some failed too.

use serde_json::json;

use crate::{Failure, Out};

/// Topics that were deleted, and the like, in the order in which they were
/// named.
pub(crate) struct Outcomes {
    /// "topic".
    kind: &'static str,
    /// "deleted".
    done: &'static str,
    /// Of each name whether it was done: there may have been nothing to do.
    each: Vec<(String, Result<bool, Failure>)>,
}

impl Outcomes {
    pub(crate) const fn new(kind: &'static str, done: &'static str) -> Self {
        Self { kind, done, each: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &str, outcome: Result<bool, Failure>) {
        self.each.push((name.to_owned(), outcome));
    }

    /// `deleted topic a`, or a list of `{topic, deleted, error}`.
    ///
    /// # Errors
    /// Why any was not done, of each that was not.
    pub(crate) fn tell(self, as_json: bool) -> Result<(), Failure> {
        let Self { kind, done, each } = self;
        let mut out = Out::stdout(as_json);
        if as_json {
            let row = |(name, outcome): &(String, Result<bool, Failure>)| {
                let error = outcome.as_ref().err().map(Failure::to_string);
                json!({ kind: name, done: matches!(outcome, Ok(true)), "error": error })
            };
            out.json(&each.iter().map(row).collect::<Vec<_>>())?;
        } else {
            for (name, outcome) in &each {
                match outcome {
                    Ok(true) => out.line(format!("{done} {kind} {name}"))?,
                    Ok(false) => out.line(format!("{kind} {name} was {done} before"))?,
                    Err(_) => {}
                }
            }
        }
        out.flush()?;
        let failures: Vec<String> =
            each.into_iter().filter_map(|(_, o)| o.err()).map(|f| f.to_string()).collect();
        match failures.is_empty() {
            true => Ok(()),
            false => Err(Failure::Failed(failures.join("\n"))),
        }
    }
}
