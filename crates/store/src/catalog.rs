//! What people administer: topics, settings, and who this cluster is.
//!
//! A [`Catalog`] is used rarely (topics made, settings changed, a start), so
//! its operations may take a commit of a database each; nothing of it is in
//! the way of an append or a read. Drivers: [`sqlite`] for one machine,
//! [`memory`] for tests and simulation; `conformance` holds all to the same
//! behaviour. Called by the broker alone.
//!
//! Invariant: every mutation is atomic, and durable before it returns `Ok`.
//! Rows are keyed by topic *id*; there is no row per file, partition or batch.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod identity;
pub mod memory;
pub mod sqlite;

use std::collections::BTreeMap;

use millrace_types::{ErrorKind, Incarnation, Timestamp, TopicId, TopicName};

use crate::env::BoxFuture;

pub use identity::Identity;

/// Settings as they are kept: Kafka's names, values as text.
pub type Config = BTreeMap<String, String>;

/// What a mutation answers.
pub type Done = Result<(), CatalogError>;

/// Operations of a catalog driver. Dropping the future of a mutation leaves
/// open whether it happens.
pub trait Catalog: Send + Sync + 'static {
    /// Everything that is stored.
    ///
    /// # Errors
    /// [`CatalogError::Away`], [`CatalogError::Corrupt`].
    fn load(&self) -> BoxFuture<'_, Result<CatalogState, CatalogError>>;

    /// Makes a new catalog that of `identity`.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] if it has an identity.
    fn establish(&self, identity: Identity) -> BoxFuture<'_, Done>;

    /// Counts one more incarnation; no other call, after any crash, returns
    /// the same number. The first is 1.
    ///
    /// # Errors
    /// As of every mutation; a number whose answer was lost is skipped.
    fn next_incarnation(&self) -> BoxFuture<'_, Result<Incarnation, CatalogError>>;

    /// Adds a topic.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] if its name or id is taken.
    fn create_topic(&self, topic: CatalogTopic) -> BoxFuture<'_, Done>;

    /// Removes a topic with its settings.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    fn delete_topic(&self, id: TopicId) -> BoxFuture<'_, Done>;

    /// Sets the number of a topic's partitions; setting the present number
    /// again does nothing.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::Conflict`] if the topic
    /// has more.
    fn set_partitions(&self, id: TopicId, partitions: u32) -> BoxFuture<'_, Done>;

    /// Changes what fronts and the broker keep with a topic, and the number of
    /// its partitions with it: all of `change` or nothing.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::Conflict`] if the topic
    /// has more partitions.
    fn change_topic(&self, id: TopicId, change: TopicChange) -> BoxFuture<'_, Done>;

    /// Replaces all settings of a topic.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    fn set_topic_config(&self, id: TopicId, config: Config) -> BoxFuture<'_, Done>;

    /// Replaces all settings of `scope`; without any, the scope is gone.
    ///
    /// # Errors
    /// Those of every mutation.
    fn set_config(&self, scope: ConfigScope, config: Config) -> BoxFuture<'_, Done>;

    /// The bytes of a file that the driver opens as a copy of what is stored
    /// now. The copy's incarnations go on `skipped` numbers higher.
    ///
    /// # Errors
    /// [`CatalogError::Away`], [`CatalogError::Corrupt`].
    fn copy(&self, skipped: u64) -> BoxFuture<'_, Result<Vec<u8>, CatalogError>>;
}

/// The whole content of a catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogState {
    /// Absent until [`Catalog::establish`].
    pub identity: Option<Identity>,
    /// The newest that was handed out; 0 before the first.
    pub incarnation: Incarnation,
    /// All topics. Their names are distinct.
    pub topics: BTreeMap<TopicId, CatalogTopic>,
    /// Settings of other things than topics.
    pub configs: BTreeMap<ConfigScope, Config>,
}

impl CatalogState {
    /// Whether nothing was ever established here. Log files beside a new
    /// catalog mean that it was lost: the broker refuses to start.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.identity.is_none()
    }
}

/// One topic's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogTopic {
    /// Never used again after the topic's deletion.
    pub id: TopicId,
    /// Unique among the topics of a catalog.
    pub name: TopicName,
    /// Number of partitions, at least 1; never shrinks.
    pub partitions: u32,
    /// Settings that differ from the server's.
    pub config: Config,
    /// What the broker and its fronts keep with it, by the keeper's name.
    pub attributes: Config,
    /// When it was created.
    pub created: Timestamp,
}

/// A change of one topic's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChange {
    /// The number of partitions, where it changes.
    pub partitions: Option<u32>,
    /// Attributes that change; `None` removes one.
    pub attributes: BTreeMap<String, Option<String>>,
}

/// Whose settings, besides topics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigScope {
    /// The kind of thing, such as "broker" or "group": the caller's word.
    pub kind: String,
    /// Which one; empty for the default of all of that kind.
    pub name: String,
}

impl ConfigScope {
    /// The scope of the thing `name` of the kind `kind`.
    #[must_use]
    pub fn new(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), name: name.to_owned() }
    }
}

/// Why an operation of a catalog failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// It contradicts what is stored; nothing changed.
    #[error("the catalog refuses: {0}")]
    Conflict(String),
    /// No topic has this id; nothing changed.
    #[error("the catalog has no topic {0}")]
    NotFound(TopicId),
    /// The mutation may have happened or not: load, and look.
    #[error("whether the catalog was changed is unknown: {0}")]
    OutcomeUnknown(String),
    /// The catalog can't be reached or written now; nothing changed. Try
    /// again later.
    #[error("the catalog is not available: {0}; trying again may help")]
    Away(String),
    /// No space is left for it; nothing changed.
    #[error("the catalog cannot be written: {0}; free space on its file system")]
    Full(String),
    /// Its content fails a check.
    #[error("the catalog is damaged: {0}; restore it from a backup")]
    Corrupt(String),
    /// It was written by another version of Millrace.
    #[error(
        "the catalog has format version {found} and this version of Millrace reads {known}; \
         start the version that wrote it, or a newer one"
    )]
    UnknownFormat {
        /// What was found.
        found: i64,
        /// What this code reads.
        known: i64,
    },
}

impl CatalogError {
    /// What a caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::OutcomeUnknown(_) | Self::Away(_) | Self::Full(_) => ErrorKind::Unavailable,
            Self::Corrupt(_) | Self::UnknownFormat { .. } => ErrorKind::Corrupt,
        }
    }
}

/// The checks and words that all drivers share.
fn check_new_topic(topic: &CatalogTopic) -> Done {
    if topic.partitions == 0 {
        return Err(CatalogError::Conflict(format!("topic {} has no partitions", topic.name)));
    }
    Ok(())
}

fn check_partitions(name: &TopicName, present: u32, wanted: u32) -> Done {
    if wanted < present {
        let text = format!("topic {name} has {present} partitions, which cannot become {wanted}");
        return Err(CatalogError::Conflict(text));
    }
    Ok(())
}

fn established(cluster_id: &str) -> CatalogError {
    CatalogError::Conflict(format!("it is already that of cluster {cluster_id}"))
}

fn id_taken(id: TopicId) -> CatalogError {
    CatalogError::Conflict(format!("topic id {id} is taken"))
}

fn name_taken(name: &TopicName) -> CatalogError {
    CatalogError::Conflict(format!("topic {name} exists"))
}
