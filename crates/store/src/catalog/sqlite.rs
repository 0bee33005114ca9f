//! The catalog of one machine: a SQLite file in the data directory.
//!
//! One connection, used by one job at a time on [`Env`]'s threads for
//! blocking work. The rollback journal is kept between commits: it costs no
//! change of the directory, and its blocks are there when the disk is full,
//! so that a start (which counts an incarnation, in place) and a deletion
//! can still commit.

mod schema;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use millrace_types::{Incarnation, TopicId};
use rusqlite::{
    Connection, ErrorCode, MAIN_DB, OptionalExtension, Transaction, TransactionBehavior,
    backup::Backup, params,
};
use tokio::sync::{Mutex, oneshot};

use super::{
    Catalog, CatalogError, CatalogState, CatalogTopic, Config, ConfigScope, Done, Identity,
    TopicChange,
};
use crate::env::{BoxFuture, Env};

/// The catalog's file in the data directory. SQLite keeps its journal beside
/// it, under the same name and `-journal`.
pub const FILE: &str = "catalog.sqlite";

/// How long a commit waits for someone who reads the file, such as a backup.
const BUSY: Duration = Duration::from_secs(5);

/// Pages that are copied by one step of SQLite's backup; nobody else waits.
const COPY_PAGES: i32 = 1024;

/// The catalog in one file.
pub struct SqliteCatalog {
    env: Arc<dyn Env>,
    file: Arc<Mutex<CatalogFile>>,
}

struct CatalogFile {
    path: PathBuf,
    /// Absent after a failure that leaves its state in doubt; opened again,
    /// which rolls back what was not committed, on next use.
    connection: Option<Connection>,
}

impl SqliteCatalog {
    /// Opens the catalog in `data_dir`, or makes a new one there. Blocks.
    ///
    /// # Errors
    /// [`CatalogError::UnknownFormat`] if another version wrote it,
    /// [`CatalogError::Corrupt`] if it fails SQLite's own check or is
    /// something else; [`CatalogError::Away`] and [`CatalogError::Full`].
    pub fn open(data_dir: &Path, env: Arc<dyn Env>) -> Result<Self, CatalogError> {
        let mut file = CatalogFile { path: data_dir.join(FILE), connection: None };
        file.connection()?;
        Ok(Self { env, file: Arc::new(Mutex::new(file)) })
    }

    /// Runs `job` on the connection, after those that came before.
    fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut CatalogFile) -> Result<T, CatalogError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, CatalogError>> {
        Box::pin(async move {
            // Waits here and not in the job: a queue of jobs would take all
            // the threads for blocking work.
            let mut file = Arc::clone(&self.file).lock_owned().await;
            let (answer, answered) = oneshot::channel();
            self.env.blocking(Box::new(move || {
                let outcome = job(&mut file);
                if let Err(CatalogError::Away(_) | CatalogError::OutcomeUnknown(_)) = outcome {
                    file.connection = None;
                }
                // The caller may have gone; the job is done all the same.
                answer.send(outcome).ok();
            }));
            answered.await.unwrap_or_else(|_| {
                Err(CatalogError::OutcomeUnknown("the job ended early".to_owned()))
            })
        })
    }

    /// Runs `change` in a transaction of its own.
    fn mutate<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, CatalogError>> {
        self.call(|file| file.mutate(change))
    }
}

impl CatalogFile {
    fn connection(&mut self) -> Result<&mut Connection, CatalogError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        Ok(self.connection.insert(connection))
    }

    fn mutate<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let connection = self.connection()?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let value = change(&transaction)?;
        transaction.commit().map_err(failed_commit)?;
        Ok(value)
    }
}

impl Catalog for SqliteCatalog {
    fn load(&self) -> BoxFuture<'_, Result<CatalogState, CatalogError>> {
        self.call(|file| {
            let snapshot = file.connection()?.transaction().map_err(failed)?;
            schema::load(&snapshot)
        })
    }

    fn establish(&self, identity: Identity) -> BoxFuture<'_, Done> {
        self.mutate(move |transaction| {
            let present = transaction
                .query_row("SELECT cluster_id FROM identity", [], |row| row.get::<_, String>(0))
                .optional()
                .map_err(failed)?;
            if let Some(cluster_id) = present {
                return Err(super::established(&cluster_id));
            }
            let Identity { cluster_id, log_id, format_version } = identity;
            let insert = "INSERT INTO identity VALUES (1, ?, ?, ?)";
            execute(transaction, insert, params![cluster_id, log_id, format_version])?;
            Ok(())
        })
    }

    fn next_incarnation(&self) -> BoxFuture<'_, Result<Incarnation, CatalogError>> {
        self.mutate(|transaction| {
            let update = "UPDATE incarnation SET last = last + 1 RETURNING last";
            let last: i64 = transaction.query_row(update, [], |row| row.get(0)).map_err(failed)?;
            schema::incarnation(last)
        })
    }

    fn create_topic(&self, topic: CatalogTopic) -> BoxFuture<'_, Done> {
        self.mutate(move |transaction| {
            super::check_new_topic(&topic)?;
            if exists(transaction, "SELECT 1 FROM topics WHERE id = ?", params![topic.id.0])? {
                return Err(super::id_taken(topic.id));
            }
            let name = topic.name.as_str();
            if exists(transaction, "SELECT 1 FROM topics WHERE name = ?", params![name])? {
                return Err(super::name_taken(&topic.name));
            }
            let insert = "INSERT INTO topics VALUES (?, ?, ?, ?)";
            let row = params![topic.id.0, name, topic.partitions, topic.created.get()];
            execute(transaction, insert, row)?;
            insert_topic_config(transaction, topic.id, &topic.config)?;
            for (key, value) in &topic.attributes {
                set_attribute(transaction, topic.id, key, Some(value))?;
            }
            Ok(())
        })
    }

    fn delete_topic(&self, id: TopicId) -> BoxFuture<'_, Done> {
        self.mutate(move |transaction| {
            // Its settings go with it, by the schema.
            match execute(transaction, "DELETE FROM topics WHERE id = ?", params![id.0])? {
                0 => Err(CatalogError::NotFound(id)),
                _ => Ok(()),
            }
        })
    }

    fn set_partitions(&self, id: TopicId, partitions: u32) -> BoxFuture<'_, Done> {
        self.mutate(move |transaction| {
            let (name, present) = schema::name_and_partitions(transaction, id)?;
            super::check_partitions(&name, present, partitions)?;
            let update = "UPDATE topics SET partitions = ? WHERE id = ?";
            execute(transaction, update, params![partitions, id.0])?;
            Ok(())
        })
    }

    fn change_topic(&self, id: TopicId, change: TopicChange) -> BoxFuture<'_, Done> {
        self.mutate(move |transaction| {
            let (name, present) = schema::name_and_partitions(transaction, id)?;
            if let Some(partitions) = change.partitions {
                super::check_partitions(&name, present, partitions)?;
                let update = "UPDATE topics SET partitions = ? WHERE id = ?";
                execute(transaction, update, params![partitions, id.0])?;
            }
            for (key, value) in &change.attributes {
                set_attribute(transaction, id, key, value.as_deref())?;
            }
            Ok(())
        })
    }

    fn set_topic_config(&self, id: TopicId, config: Config) -> BoxFuture<'_, Done> {
        self.mutate(move |transaction| {
            schema::name_and_partitions(transaction, id)?;
            let delete = "DELETE FROM topic_configs WHERE topic = ?";
            execute(transaction, delete, params![id.0])?;
            insert_topic_config(transaction, id, &config)
        })
    }

    fn set_config(&self, scope: ConfigScope, config: Config) -> BoxFuture<'_, Done> {
        self.mutate(move |transaction| {
            let ConfigScope { kind, name } = scope;
            let delete = "DELETE FROM configs WHERE kind = ? AND name = ?";
            execute(transaction, delete, params![kind, name])?;
            for (key, value) in config {
                let insert = "INSERT INTO configs VALUES (?, ?, ?, ?)";
                execute(transaction, insert, params![kind, name, key, value])?;
            }
            Ok(())
        })
    }

    fn copy(&self, skipped: u64) -> BoxFuture<'_, Result<Vec<u8>, CatalogError>> {
        self.call(move |file| {
            let mut copy = Connection::open_in_memory().map_err(failed)?;
            let step = |from: &Connection, to: &mut Connection| {
                Backup::new(from, to)?.run_to_completion(COPY_PAGES, Duration::ZERO, None)
            };
            step(file.connection()?, &mut copy).map_err(failed)?;
            let update = "UPDATE incarnation SET last = last + ?";
            let skipped = i64::try_from(skipped).unwrap_or(i64::MAX);
            copy.execute(update, params![skipped]).map_err(failed)?;
            Ok(copy.serialize(MAIN_DB).map_err(failed)?.to_vec())
        })
    }
}

/// All that is stored in the catalog of a stopped server, once SQLite found
/// nothing wrong with it. Works on a copy in a directory of its own, where what
/// was not committed is rolled back: the catalog itself stays as it is. Blocks.
///
/// # Errors
/// As [`SqliteCatalog::open`]; [`CatalogError::Away`] where it cannot be copied.
pub fn check(data_dir: &Path, scratch: &Path) -> Result<CatalogState, CatalogError> {
    let away = |name: &str, error: std::io::Error| CatalogError::Away(format!("{name}: {error}"));
    for name in [FILE.to_owned(), format!("{FILE}-journal")] {
        match std::fs::copy(data_dir.join(&name), scratch.join(&name)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if name == FILE {
                    return Ok(CatalogState::default());
                }
            }
            Err(error) => return Err(away(&name, error)),
        }
    }
    let mut connection = connect(&scratch.join(FILE))?;
    let outcome: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if outcome != "ok" {
        return Err(CatalogError::Corrupt(format!("{FILE}: {outcome}")));
    }
    let snapshot = connection.transaction().map_err(failed)?;
    schema::load(&snapshot)
}

/// Opens the file and brings it to this version's schema.
fn connect(path: &Path) -> Result<Connection, CatalogError> {
    let mut connection = Connection::open(path).map_err(failed)?;
    let pragma = |name: &str, value: &str| {
        connection.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(no_row)
    };
    connection.busy_timeout(BUSY).map_err(failed)?;
    pragma("journal_mode", "PERSIST").map_err(failed)?;
    // EXTRA is FULL, and would be right with any other journal mode too.
    pragma("synchronous", "EXTRA").map_err(failed)?;
    pragma("foreign_keys", "ON").map_err(failed)?;
    schema::prepare(&mut connection)?;
    Ok(connection)
}

/// A pragma that answers nothing has done what it was asked.
fn no_row(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(error),
    }
}

fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<usize, CatalogError> {
    transaction.prepare_cached(sql).and_then(|mut sql| sql.execute(params)).map_err(failed)
}

fn exists(
    transaction: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<bool, CatalogError> {
    transaction.prepare_cached(sql).and_then(|mut sql| sql.exists(params)).map_err(failed)
}

fn insert_topic_config(transaction: &Transaction<'_>, id: TopicId, config: &Config) -> Done {
    for (key, value) in config {
        let insert = "INSERT INTO topic_configs VALUES (?, ?, ?)";
        execute(transaction, insert, params![id.0, key, value])?;
    }
    Ok(())
}

fn set_attribute(
    transaction: &Transaction<'_>,
    id: TopicId,
    key: &str,
    value: Option<&str>,
) -> Done {
    match value {
        Some(value) => {
            let set = "INSERT OR REPLACE INTO topic_attributes VALUES (?, ?, ?)";
            execute(transaction, set, params![id.0, key, value])?;
        }
        None => {
            let delete = "DELETE FROM topic_attributes WHERE topic = ? AND key = ?";
            execute(transaction, delete, params![id.0, key])?;
        }
    }
    Ok(())
}

/// What an error before the commit means: nothing changed.
fn failed(error: rusqlite::Error) -> CatalogError {
    let text = format!("{FILE}: {error}");
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => CatalogError::Full(text),
        Some(ErrorCode::ConstraintViolation) => CatalogError::Conflict(text),
        // One that answers wrongly to what we ask is not the one we made.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) | None => {
            CatalogError::Corrupt(text)
        }
        Some(_) => CatalogError::Away(text),
    }
}

/// What an error of the commit itself means.
fn failed_commit(error: rusqlite::Error) -> CatalogError {
    match error.sqlite_error_code() {
        // Known before the journal is given up, which is what commits.
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => failed(error),
        _ => CatalogError::OutcomeUnknown(format!("{FILE}: {error}")),
    }
}
