//! The process that is measured: all kinds in turn, each between two marks
//! that whoever counts can see.

use std::path::Path;

use crate::{
    client::{ClientError, Clients},
    kinds::{KINDS, ROUNDS, ROUNDS_WARM},
    server::{Server, StartError},
};

/// A path that is only asked for to be seen in the trace of system calls.
pub(crate) const MARK_PATH: &str = "/millrace-budget-mark";

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{kind}: {why}")]
    Kind { kind: &'static str, why: ClientError },
}

/// Runs every kind, on a server whose data is in `dir`. Callgrind is told to
/// count nothing on a thread that is in here.
#[inline(never)]
pub(crate) fn budget_clients(dir: &Path) -> Result<(), LoadError> {
    let mut clients = Clients::new(Server::start(dir)?);
    for kind in KINDS {
        let failed = |why| LoadError::Kind { kind: kind.name, why };
        let mut load = kind.prepare(&mut clients).map_err(failed)?;
        for round in 0..ROUNDS_WARM + ROUNDS {
            let exchanges = load(&mut clients).map_err(failed)?;
            if round == ROUNDS_WARM {
                budget_mark(kind.name);
            }
            clients.round(&exchanges).map_err(failed)?;
        }
        budget_mark(kind.name);
    }
    // Its threads rest, and would wait for ever for the turn to end in order.
    std::mem::forget(clients);
    Ok(())
}

/// Before and behind the rounds of a kind that count. Callgrind is told to
/// begin a new account where this function is entered; a trace shows the path.
#[inline(never)]
fn budget_mark(kind: &str) {
    // There is no such file.
    drop(std::fs::metadata(format!("{MARK_PATH}/{kind}")));
}
