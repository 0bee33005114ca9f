//! Backups of the simulated server: taken while clients are at work, restored
//! as a machine of their own, and judged by what clients knew when each began.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use millrace_store::{
    backup::{self, AdmitError, BackupProgress, INCARNATIONS_SKIPPED},
    catalog::{memory::MemoryCatalog, sqlite},
    disk::{
        Access, Disk, Mode,
        memory::{Crash, MemDisk},
    },
};

use crate::{
    book::{Book, Promise},
    clients::{self, Client},
    plan::Plan,
    server::{Server, Start},
};

/// Backups of one run.
#[derive(Default)]
pub(crate) struct Backups {
    asked: AtomicU64,
}

/// Restored copies that are judged in one run: each takes as long as the end of
/// a run.
const JUDGED_MAX: u64 = 2;

impl Backups {
    /// Makes a backup; now and then the process dies meanwhile, as `crash`.
    pub(crate) async fn one(&self, client: &mut Client, plan: &Plan, crash: Option<Crash>) {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/backup-{number}"));
        let server = client.server.clone();
        let Some(connection) = server.connect() else { return };
        let Some(incarnation) = server.broker().map(|broker| broker.incarnation().get()) else {
            return;
        };
        server.disk().machine().copy_elsewhere(client.random.percent(50));
        // What is known from here on may be missing from it.
        let before = client.book.fork();
        let dest = path.clone();
        let asked = connection.ask(|broker| async move {
            Some(broker.back_up(dest, Arc::new(BackupProgress::default())).await)
        });
        let made = match crash {
            None => matches!(asked.await, Ok(Ok(_))),
            Some(crash) => {
                let steps = client.random.below(600);
                let (asked, ()) = tokio::join!(asked, server.kill(crash, steps));
                matches!(asked, Ok(Ok(_)))
            }
        };
        client.world.note(format_args!("the backup {number} was made: {made}"));
        let Some(machine) = server.disk().machine().take_copy(&path) else { return };
        if self.is_whole(client, &machine, made) && number < JUDGED_MAX {
            let book = before.with_what_was_sent(&client.book);
            judge(client, plan, machine, &book, incarnation).await;
            for found in book.violations() {
                client.book.violation("backup", format!("the copy {number}: {found}"));
            }
        }
    }

    /// Whether a start takes it; one that does not must be told from a backup.
    fn is_whole(&self, client: &Client, machine: &MemDisk, made: bool) -> bool {
        let wrong = |what: String| client.book.violation("backup", what);
        match backup::admit(machine) {
            Ok(Some(_)) => return true,
            Ok(None) => {
                let names = machine.list().unwrap_or_default();
                if made || names.iter().any(|name| millrace_store::engine::is_log_file(name)) {
                    wrong(format!("a part of a backup passes for a log: {names:?}"));
                }
            }
            Err(AdmitError::Unfinished) if !made => {}
            Err(error) if client.book.promise() == Promise::Everything => {
                wrong(format!("a backup is refused, made: {made}: {error}"));
            }
            Err(_) => {}
        }
        false
    }
}

/// Starts a server on a backup and reads all that it has.
async fn judge(client: &mut Client, plan: &Plan, machine: MemDisk, book: &Book, original: u64) {
    let wrong = |what: String| {
        if book.promise() == Promise::Everything {
            book.violation("no-start", what);
        }
    };
    let Some(catalog) = catalog(client.server.catalog().inner(), &machine) else {
        return wrong("the backup has no catalog".into());
    };
    let seed = client.random.any();
    let disk = client.server.disk().on(machine);
    let server = Server::restored(client.world.clone(), seed, disk, plan.engine.clone(), catalog);
    let mut reader = Client::new(client.world.clone(), server.clone(), book.clone(), {
        crate::random::Random::new(seed, 8)
    });
    match server.start().await {
        Start::Serving => {}
        other => return wrong(format!("the start on a backup: {other:?}")),
    }
    let began = server.broker().map_or(0, |broker| broker.incarnation().get());
    if began <= original + INCARNATIONS_SKIPPED {
        wrong(format!("its incarnation is {began}, that of the original was {original}"));
    }
    for at in book.partitions() {
        match clients::full_read(&mut reader, at).await {
            Some(read) => book.check_all(at, read.start, &read.found, &read.corrupt),
            None if book.promise() == Promise::NothingWrong => {}
            None => book.maybe_deleted(at),
        }
    }
    for (group, at) in book.commits_known() {
        let connection = reader.connect().await;
        let known = book.asking_commit(&reader.name, &group, at);
        if let Ok(offset) = clients::committed(&connection, &group, at).await {
            book.commit_seen(&reader.name, &group, at, known, offset);
        }
    }
    if server.shutdown().await.is_err() {
        book.violation("no-hang", "the restored server does not stop".into());
    }
}

/// The catalog of a backup.
fn catalog(original: &MemoryCatalog, machine: &MemDisk) -> Option<MemoryCatalog> {
    let file = machine.open(sqlite::FILE, Access::Read, Mode::Buffered).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    file.read_at(0, &mut bytes).ok()?;
    original.open_copy(&bytes)
}
