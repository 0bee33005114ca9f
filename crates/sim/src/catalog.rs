//! The catalog of the simulated machine: the in-memory driver, whose commits
//! are atomic and survive every crash, with time before and after each.

use millrace_store::{
    catalog::{
        Catalog, CatalogError, CatalogState, CatalogTopic, Config, ConfigScope, Done, Identity,
        TopicChange, memory::MemoryCatalog,
    },
    env::BoxFuture,
};
use millrace_types::{Incarnation, TopicId};
use parking_lot::Mutex;

use crate::{random::Random, world::World};

/// A [`MemoryCatalog`] that takes its time.
pub(crate) struct SimCatalog {
    world: World,
    inner: MemoryCatalog,
    random: Mutex<Random>,
}

impl SimCatalog {
    pub(crate) fn new(world: World, seed: u64, inner: MemoryCatalog) -> Self {
        Self { world, inner, random: Mutex::new(Random::new(seed, 4)) }
    }

    /// The driver itself, for faults.
    pub(crate) fn inner(&self) -> &MemoryCatalog {
        &self.inner
    }

    /// Ends a fault that has not come yet.
    pub(crate) fn heal(&self) {
        self.inner.heal();
    }

    fn slowly<'a, T: Send + 'a>(
        &'a self,
        what: &'static str,
        work: BoxFuture<'a, Result<T, CatalogError>>,
    ) -> BoxFuture<'a, Result<T, CatalogError>> {
        Box::pin(async move {
            self.pass().await;
            let result = work.await;
            let failed = result.as_ref().err();
            self.world.note(format_args!("catalog: {what}, failed: {failed:?}"));
            self.pass().await;
            result
        })
    }

    async fn pass(&self) {
        let us = self.random.lock().below(3_000);
        self.world.sleep_us(us).await;
    }
}

impl Catalog for SimCatalog {
    fn load(&self) -> BoxFuture<'_, Result<CatalogState, CatalogError>> {
        self.slowly("load", self.inner.load())
    }

    fn establish(&self, identity: Identity) -> BoxFuture<'_, Done> {
        self.slowly("establish", self.inner.establish(identity))
    }

    fn next_incarnation(&self) -> BoxFuture<'_, Result<Incarnation, CatalogError>> {
        self.slowly("next incarnation", self.inner.next_incarnation())
    }

    fn create_topic(&self, topic: CatalogTopic) -> BoxFuture<'_, Done> {
        self.slowly("create topic", self.inner.create_topic(topic))
    }

    fn delete_topic(&self, id: TopicId) -> BoxFuture<'_, Done> {
        self.slowly("delete topic", self.inner.delete_topic(id))
    }

    fn set_partitions(&self, id: TopicId, partitions: u32) -> BoxFuture<'_, Done> {
        self.slowly("set partitions", self.inner.set_partitions(id, partitions))
    }

    fn change_topic(&self, id: TopicId, change: TopicChange) -> BoxFuture<'_, Done> {
        self.slowly("change topic", self.inner.change_topic(id, change))
    }

    fn set_topic_config(&self, id: TopicId, config: Config) -> BoxFuture<'_, Done> {
        self.slowly("set topic config", self.inner.set_topic_config(id, config))
    }

    fn set_config(&self, scope: ConfigScope, config: Config) -> BoxFuture<'_, Done> {
        self.slowly("set config", self.inner.set_config(scope, config))
    }

    fn copy(&self, skipped: u64) -> BoxFuture<'_, Result<Vec<u8>, CatalogError>> {
        self.slowly("copy", self.inner.copy(skipped))
    }
}
