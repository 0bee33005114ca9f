//! The tables of the catalog's file, and their content as values.

use std::collections::BTreeMap;

use millrace_types::{Incarnation, Timestamp, TopicId, TopicName};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::failed;
use crate::catalog::{CatalogError, CatalogState, CatalogTopic, Config, ConfigScope, Identity};

/// SQLite's `user_version` of this schema.
pub(super) const VERSION: i64 = 2;
/// SQLite's `application_id`: "MLRC".
pub(super) const APPLICATION: i64 = 0x4d4c_5243;

/// Version 1, to which [`ADD_ATTRIBUTES`] adds. One row in `identity` once established, one in `incarnation`.
const CREATE: &str = "
CREATE TABLE identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    cluster_id TEXT NOT NULL,
    log_id BLOB NOT NULL CHECK (length(log_id) = 16),
    format_version INTEGER NOT NULL
) STRICT;
CREATE TABLE incarnation (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO incarnation VALUES (1, 0);
CREATE TABLE topics (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    name TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL CHECK (partitions > 0),
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE topic_configs (
    topic BLOB NOT NULL REFERENCES topics ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (topic, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE configs (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, name, key)
) STRICT, WITHOUT ROWID;
";

/// What version 2 has beyond version 1: what the broker and its fronts keep
/// with a topic.
const ADD_ATTRIBUTES: &str = "
CREATE TABLE topic_attributes (
    topic BLOB NOT NULL REFERENCES topics ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (topic, key)
) STRICT, WITHOUT ROWID;
";

/// Checks a file that was just opened; gives an empty one its tables, and an
/// older one those that it lacks.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), CatalogError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let number =
        |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed);
    let version = number("PRAGMA user_version")?;
    let application = number("PRAGMA application_id")?;
    let objects = number("SELECT count(*) FROM sqlite_schema")?;
    match (application, version) {
        (0, 0) if objects == 0 => {
            transaction.execute_batch(CREATE).map_err(failed)?;
            transaction.execute_batch(ADD_ATTRIBUTES).map_err(failed)?;
            for (name, value) in [("application_id", APPLICATION), ("user_version", VERSION)] {
                transaction.pragma_update(None, name, value).map_err(failed)?;
            }
            transaction.commit().map_err(failed)
        }
        (APPLICATION, VERSION) => check(&transaction),
        (APPLICATION, 1) => {
            check(&transaction)?;
            transaction.execute_batch(ADD_ATTRIBUTES).map_err(failed)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
            transaction.commit().map_err(failed)
        }
        (APPLICATION, found) => Err(CatalogError::UnknownFormat { found, known: VERSION }),
        _ => Err(corrupt("the file is a database of something else")),
    }
}

/// SQLite's own check of the file; the catalog is small.
fn check(transaction: &Transaction<'_>) -> Result<(), CatalogError> {
    let outcome: String =
        transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if outcome == "ok" { Ok(()) } else { Err(corrupt(&outcome)) }
}

/// All that is stored.
pub(super) fn load(transaction: &Transaction<'_>) -> Result<CatalogState, CatalogError> {
    let identity = transaction
        .query_row("SELECT cluster_id, log_id, format_version FROM identity", [], |row| {
            Ok(Identity {
                cluster_id: row.get(0)?,
                log_id: row.get(1)?,
                format_version: row.get(2)?,
            })
        })
        .optional()
        .map_err(failed)?;
    let last = transaction
        .query_row("SELECT last FROM incarnation", [], |row| row.get(0))
        .map_err(failed)?;
    Ok(CatalogState {
        identity,
        incarnation: incarnation(last)?,
        topics: topics(transaction)?,
        configs: configs(transaction)?,
    })
}

fn topics(transaction: &Transaction<'_>) -> Result<BTreeMap<TopicId, CatalogTopic>, CatalogError> {
    let mut topics = BTreeMap::new();
    each(transaction, "SELECT id, name, partitions, created_ms FROM topics", |row| {
        let id = TopicId(row.get(0)?);
        let name: String = row.get(1)?;
        let (partitions, created) = (row.get(2)?, Timestamp(row.get(3)?));
        topics.insert(id, (name, partitions, created));
        Ok(())
    })?;
    let mut configs: BTreeMap<TopicId, Config> = BTreeMap::new();
    each(transaction, "SELECT topic, key, value FROM topic_configs", |row| {
        let of_topic = configs.entry(TopicId(row.get(0)?)).or_default();
        of_topic.insert(row.get(1)?, row.get(2)?);
        Ok(())
    })?;
    let mut attributes: BTreeMap<TopicId, Config> = BTreeMap::new();
    each(transaction, "SELECT topic, key, value FROM topic_attributes", |row| {
        let of_topic = attributes.entry(TopicId(row.get(0)?)).or_default();
        of_topic.insert(row.get(1)?, row.get(2)?);
        Ok(())
    })?;
    let topic = |(id, (name, partitions, created)): (TopicId, (String, u32, Timestamp))| {
        let name = topic_name(id, &name)?;
        let config = configs.remove(&id).unwrap_or_default();
        let attributes = attributes.remove(&id).unwrap_or_default();
        Ok((id, CatalogTopic { id, name, partitions, config, attributes, created }))
    };
    topics.into_iter().map(topic).collect()
}

fn configs(transaction: &Transaction<'_>) -> Result<BTreeMap<ConfigScope, Config>, CatalogError> {
    let mut configs: BTreeMap<ConfigScope, Config> = BTreeMap::new();
    each(transaction, "SELECT kind, name, key, value FROM configs", |row| {
        let scope = ConfigScope { kind: row.get(0)?, name: row.get(1)? };
        configs.entry(scope).or_default().insert(row.get(2)?, row.get(3)?);
        Ok(())
    })?;
    Ok(configs)
}

fn each(
    transaction: &Transaction<'_>,
    sql: &str,
    mut row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), CatalogError> {
    let mut rows = || {
        let mut sql = transaction.prepare_cached(sql)?;
        let mut rows = sql.query([])?;
        while let Some(next) = rows.next()? {
            row(next)?;
        }
        Ok(())
    };
    rows().map_err(failed)
}

/// The name and the partitions of a topic that should exist.
pub(super) fn name_and_partitions(
    transaction: &Transaction<'_>,
    id: TopicId,
) -> Result<(TopicName, u32), CatalogError> {
    let (name, partitions): (String, u32) = transaction
        .query_row("SELECT name, partitions FROM topics WHERE id = ?", params![id.0], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(failed)?
        .ok_or(CatalogError::NotFound(id))?;
    Ok((topic_name(id, &name)?, partitions))
}

fn topic_name(id: TopicId, name: &str) -> Result<TopicName, CatalogError> {
    TopicName::new(name).map_err(|e| corrupt(&format!("topic {id} is named {name:?}: {e}")))
}

pub(super) fn incarnation(stored: i64) -> Result<Incarnation, CatalogError> {
    let number = u64::try_from(stored);
    number.map(Incarnation).map_err(|_| corrupt(&format!("the last incarnation is {stored}")))
}

fn corrupt(what: &str) -> CatalogError {
    CatalogError::Corrupt(format!("{}: {what}", super::FILE))
}
