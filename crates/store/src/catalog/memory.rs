//! A [`Catalog`] in memory: for tests, and as the simulation's. What a crash
//! of the simulated machine leaves is this value itself.

use std::sync::Arc;

use millrace_types::{Incarnation, TopicId};
use parking_lot::Mutex;

use super::{
    Catalog, CatalogError, CatalogState, CatalogTopic, Config, ConfigScope, Done, Identity,
    TopicChange,
};
use crate::env::BoxFuture;

/// A catalog that lives as long as its clones, which share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryCatalog {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: CatalogState,
    mutations: u64,
    failure: Option<(u64, Failure)>,
    /// What was copied, by number.
    copies: Vec<CatalogState>,
}

/// How an injected failure of a mutation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// [`CatalogError::Away`]: nothing happens.
    Away,
    /// [`CatalogError::OutcomeUnknown`], and it did not happen.
    UnknownNotDone,
    /// [`CatalogError::OutcomeUnknown`], and it did happen.
    UnknownDone,
}

impl MemoryCatalog {
    /// A new, empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `nth` mutation from now (from 1) fail.
    pub fn fail_nth(&self, nth: u64, failure: Failure) {
        let mut shared = self.shared.lock();
        shared.failure = Some((shared.mutations + nth, failure));
    }

    /// Ends a failure that has not come yet.
    pub fn heal(&self) {
        self.shared.lock().failure = None;
    }

    /// Mutations tried so far.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.shared.lock().mutations
    }

    /// The catalog whose file has these bytes, which [`Catalog::copy`] gave:
    /// the number of a copy.
    #[must_use]
    pub fn open_copy(&self, bytes: &[u8]) -> Option<Self> {
        let number = usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()?;
        let state = self.shared.lock().copies.get(number).cloned()?;
        let shared = Shared { state, ..Shared::default() };
        Some(Self { shared: Arc::new(Mutex::new(shared)) })
    }

    /// Applies `change` to a copy, and keeps that if it succeeded and no
    /// failure is due.
    fn mutate<T>(
        &self,
        change: impl FnOnce(&mut CatalogState) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut shared = self.shared.lock();
        shared.mutations += 1;
        let failure = match shared.failure {
            Some((at, failure)) if at == shared.mutations => Some(failure),
            _ => None,
        };
        let injected = || "injected failure".to_owned();
        match failure {
            None => change(&mut shared.state),
            Some(Failure::Away) => Err(CatalogError::Away(injected())),
            Some(Failure::UnknownNotDone) => Err(CatalogError::OutcomeUnknown(injected())),
            Some(Failure::UnknownDone) => change(&mut shared.state)
                .and_then(|_| Err(CatalogError::OutcomeUnknown(injected()))),
        }
    }
}

impl Catalog for MemoryCatalog {
    fn load(&self) -> BoxFuture<'_, Result<CatalogState, CatalogError>> {
        Box::pin(async { Ok(self.shared.lock().state.clone()) })
    }

    fn establish(&self, identity: Identity) -> BoxFuture<'_, Done> {
        Box::pin(async { self.mutate(|state| establish(state, identity)) })
    }

    fn next_incarnation(&self) -> BoxFuture<'_, Result<Incarnation, CatalogError>> {
        Box::pin(async {
            self.mutate(|state| {
                state.incarnation = state.incarnation.next();
                Ok(state.incarnation)
            })
        })
    }

    fn create_topic(&self, topic: CatalogTopic) -> BoxFuture<'_, Done> {
        Box::pin(async { self.mutate(|state| create_topic(state, topic)) })
    }

    fn delete_topic(&self, id: TopicId) -> BoxFuture<'_, Done> {
        Box::pin(async move {
            self.mutate(|state| match state.topics.remove(&id) {
                Some(_) => Ok(()),
                None => Err(CatalogError::NotFound(id)),
            })
        })
    }

    fn set_partitions(&self, id: TopicId, partitions: u32) -> BoxFuture<'_, Done> {
        Box::pin(async move {
            self.mutate(|state| {
                let topic = topic(state, id)?;
                super::check_partitions(&topic.name, topic.partitions, partitions)?;
                topic.partitions = partitions;
                Ok(())
            })
        })
    }

    fn change_topic(&self, id: TopicId, change: TopicChange) -> BoxFuture<'_, Done> {
        Box::pin(async move {
            self.mutate(|state| {
                let topic = topic(state, id)?;
                if let Some(partitions) = change.partitions {
                    super::check_partitions(&topic.name, topic.partitions, partitions)?;
                    topic.partitions = partitions;
                }
                for (key, value) in change.attributes {
                    match value {
                        Some(value) => drop(topic.attributes.insert(key, value)),
                        None => drop(topic.attributes.remove(&key)),
                    }
                }
                Ok(())
            })
        })
    }

    fn set_topic_config(&self, id: TopicId, config: Config) -> BoxFuture<'_, Done> {
        Box::pin(async move {
            self.mutate(|state| {
                topic(state, id)?.config = config;
                Ok(())
            })
        })
    }

    fn set_config(&self, scope: ConfigScope, config: Config) -> BoxFuture<'_, Done> {
        Box::pin(async {
            self.mutate(|state| {
                if config.is_empty() {
                    state.configs.remove(&scope);
                } else {
                    state.configs.insert(scope, config);
                }
                Ok(())
            })
        })
    }

    fn copy(&self, skipped: u64) -> BoxFuture<'_, Result<Vec<u8>, CatalogError>> {
        Box::pin(async move {
            let mut shared = self.shared.lock();
            let number = shared.copies.len() as u64;
            let mut copy = shared.state.clone();
            copy.incarnation = Incarnation(copy.incarnation.get() + skipped);
            shared.copies.push(copy);
            Ok(number.to_le_bytes().to_vec())
        })
    }
}

fn establish(state: &mut CatalogState, identity: Identity) -> Done {
    if let Some(present) = &state.identity {
        return Err(super::established(&present.cluster_id));
    }
    state.identity = Some(identity);
    Ok(())
}

fn create_topic(state: &mut CatalogState, topic: CatalogTopic) -> Done {
    super::check_new_topic(&topic)?;
    if state.topics.contains_key(&topic.id) {
        return Err(super::id_taken(topic.id));
    }
    if state.topics.values().any(|other| other.name == topic.name) {
        return Err(super::name_taken(&topic.name));
    }
    state.topics.insert(topic.id, topic);
    Ok(())
}

fn topic(state: &mut CatalogState, id: TopicId) -> Result<&mut CatalogTopic, CatalogError> {
    state.topics.get_mut(&id).ok_or(CatalogError::NotFound(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::conformance::{self, Place},
        env::testing::TestEnv,
    };

    #[test]
    fn conforms() {
        TestEnv::new(1).block_on(conformance::run(|| -> Place {
            let catalog = MemoryCatalog::new();
            Box::new(move || Box::new(catalog.clone()))
        }));
    }

    #[test]
    fn the_nth_mutation_fails_as_told() {
        let catalog = MemoryCatalog::new();
        let env = TestEnv::new(1);
        let next = || env.block_on(catalog.next_incarnation());
        catalog.fail_nth(2, Failure::Away);
        assert_eq!(next(), Ok(Incarnation(1)));
        assert!(matches!(next(), Err(CatalogError::Away(_))));
        assert_eq!(next(), Ok(Incarnation(2)));
        catalog.fail_nth(1, Failure::UnknownNotDone);
        assert!(matches!(next(), Err(CatalogError::OutcomeUnknown(_))));
        assert_eq!(next(), Ok(Incarnation(3)));
        catalog.fail_nth(1, Failure::UnknownDone);
        assert!(matches!(next(), Err(CatalogError::OutcomeUnknown(_))));
        assert_eq!(next(), Ok(Incarnation(5)));
        assert_eq!(catalog.mutations(), 7);
    }
}
