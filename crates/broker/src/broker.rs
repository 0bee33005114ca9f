//! One incarnation of the broker: what the fronts hold.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use millrace_store::{
    catalog::{Catalog, CatalogState, ConfigScope},
    disk::Space,
    engine::{self, Class, Engine, EngineOptions, HiddenState, Watch},
    env::{BoxFuture, Env},
};
use millrace_types::{Incarnation, Lsn, ProducerId, Timestamp, TopicId, TopicName};
use parking_lot::RwLock;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use crate::{
    Drivers, Partition, Topic, Validate,
    config::{BrokerConfig, Overrides, Scope, TopicConfig},
    figures::Shown,
    groups::{GroupCoordinator, GroupLog, GroupLogError, Refusal},
    metrics::Metrics,
    reshard,
    validate::Validator,
};

/// What a broker is started with, besides its drivers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Settings that Kafka has, from file, environment and flags.
    pub config: BrokerConfig,
    /// Settings of the log.
    pub engine: EngineOptions,
    /// The number by which clients know this broker.
    pub node_id: i32,
    /// Partitions that may exist in all.
    pub partitions_max: u32,
    /// How much of producers' batches is checked.
    pub validate: Validate,
    /// Large batches whose records are decoded at the same time.
    pub decoders_max: usize,
}

/// One incarnation of the broker. Everything in its memory lives and dies
/// with its log: when [`Broker::ended`] resolves, connections close unanswered
/// and take the next one from the [`crate::Supervisor`].
pub struct Broker {
    pub(crate) me: Weak<Broker>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) topics: RwLock<Topics>,
    /// One administrative change at a time.
    pub(crate) admin: AsyncMutex<()>,
    /// One backup at a time.
    pub(crate) backing_up: AsyncMutex<()>,
    pub(crate) configs: RwLock<BTreeMap<ConfigScope, Overrides>>,
    pub(crate) config: ArcSwap<BrokerConfig>,
    pub(crate) groups: Arc<GroupCoordinator>,
    pub(crate) shown: Shown,
    cluster_id: String,
    node_id: i32,
    pub(crate) partitions_max: u32,
    pub(crate) validator: Validator,
    producer_ids: AtomicU64,
}

/// Topics by name and by id.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    pub(crate) by_name: BTreeMap<TopicName, Arc<Topic>>,
    pub(crate) by_id: BTreeMap<TopicId, Arc<Topic>>,
    /// Names in the form in which they collide.
    pub(crate) collisions: BTreeMap<String, TopicName>,
    pub(crate) partitions: u32,
}

impl Topics {
    pub(crate) fn insert(&mut self, topic: Arc<Topic>) {
        self.partitions += u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
        self.collisions.insert(topic.name().collision_form(), topic.name().clone());
        self.by_name.insert(topic.name().clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    pub(crate) fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(topic.name());
        self.collisions.remove(&topic.name().collision_form());
        let partitions = u32::try_from(topic.partitions().len()).unwrap_or(0);
        self.partitions = self.partitions.saturating_sub(partitions);
        Some(topic)
    }
}

/// The broker's settings with the dynamic ones: those of all brokers, then its
/// own.
pub(crate) fn dynamic(
    started: &BrokerConfig,
    configs: &BTreeMap<ConfigScope, Overrides>,
    node_id: i32,
) -> BrokerConfig {
    let of = |name: &str| {
        configs.get(&ConfigScope::new(Scope::Broker.key(), name)).cloned().unwrap_or_default()
    };
    let (config, refused) = started.with_stored(of(""), of(&node_id.to_string()));
    for error in refused {
        tracing::warn!(%error, "a stored setting of the broker has no effect");
    }
    config
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("incarnation", &self.engine.incarnation()).finish()
    }
}

impl Broker {
    pub(crate) fn new(
        engine: Arc<Engine>,
        groups: Arc<GroupCoordinator>,
        drivers: &Drivers,
        settings: &Settings,
        state: &CatalogState,
    ) -> Arc<Self> {
        let identity = state.identity.as_ref();
        let config = dynamic(&settings.config, &state.configs, settings.node_id);
        let mut topics = Topics::default();
        for row in state.topics.values() {
            // What was valid when it was stored is kept, also where this
            // version would refuse it.
            let (resolved, refused) = TopicConfig::resolve_stored(&row.config, &config);
            for error in refused {
                tracing::warn!(topic = %row.name, %error, "a stored setting has no effect");
            }
            let logs = (0..row.partitions).map(|n| engine.open_nth_partition(row.id, n)).collect();
            let topic = Arc::new(Topic::new(
                row.id,
                row.name.clone(),
                row.created,
                Arc::new(resolved),
                &row.attributes,
                logs,
                drivers.metrics.traffic.of(row.id),
            ));
            reshard::seal_by_map(&topic);
            topics.insert(topic);
        }
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            engine,
            env: Arc::clone(&drivers.env),
            catalog: Arc::clone(&drivers.catalog),
            metrics: Arc::clone(&drivers.metrics),
            topics: RwLock::new(topics),
            admin: AsyncMutex::default(),
            backing_up: AsyncMutex::default(),
            configs: RwLock::new(state.configs.clone()),
            config: ArcSwap::from_pointee(config),
            groups,
            cluster_id: identity.map(|identity| identity.cluster_id.clone()).unwrap_or_default(),
            node_id: settings.node_id,
            partitions_max: settings.partitions_max,
            validator: Validator::new(settings.validate, settings.decoders_max),
            shown: Shown::default(),
            producer_ids: AtomicU64::new(0),
        })
    }

    /// The cluster's id, the same for ever.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The number by which clients know this broker.
    #[must_use]
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// Clock, randomness and tasks.
    #[must_use]
    pub fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// The settings in force, dynamic ones included.
    #[must_use]
    pub fn config(&self) -> Arc<BrokerConfig> {
        self.config.load_full()
    }

    /// What the server counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The number of this incarnation: grows, and is never used twice.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.engine.incarnation()
    }

    /// The newest frame of the log that is durable: never goes back, over
    /// restarts either.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.engine.durable_lsn()
    }

    /// Whether this incarnation is over: the next one is being recovered.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.engine.is_ended()
    }

    /// Resolves when this incarnation is over.
    pub async fn ended(&self) {
        self.engine.ended().await;
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().by_name.get(name).cloned()
    }

    /// The topic of this id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.topics.read().by_id.get(&id).cloned()
    }

    /// All topics, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().by_name.values().cloned().collect()
    }

    /// A producer id that nobody has or had: the incarnation, which is never
    /// used twice, and a counter.
    #[must_use]
    pub fn new_producer_id(&self) -> ProducerId {
        let count = self.producer_ids.fetch_add(1, Ordering::Relaxed) & u64::from(u32::MAX);
        let id = (self.engine.incarnation().get() << 32) | count;
        ProducerId(i64::try_from(id).unwrap_or(i64::MAX))
    }

    /// Consumer groups and their offsets.
    #[must_use]
    pub fn groups(&self) -> &Arc<GroupCoordinator> {
        &self.groups
    }

    /// Follows partitions, to be woken when they change.
    #[must_use]
    pub fn watch(&self) -> Watcher {
        Watcher(Watch::default())
    }

    /// Bytes of log files on the disk, and of what in them can still be read.
    #[must_use]
    pub fn disk_usage(&self) -> (u64, u64) {
        self.engine.disk_usage()
    }

    /// Space of the file system of the data directory; `None` if it doesn't
    /// tell.
    pub async fn disk_space(&self) -> Option<Space> {
        self.engine.disk_space().await
    }

    /// Runs `work` to its end even if the caller goes away: a change that has
    /// begun must reach memory and catalog both.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.env.spawn(
            name,
            Box::pin(async move {
                // The caller may have gone: its answer is then of no use.
                drop(answer.send(work.await));
            }),
        );
        answered.await.ok()
    }
}

/// Follows partitions of topics; see [`millrace_store::engine::Watch`].
#[derive(Debug, Default)]
pub struct Watcher(Watch);

impl Watcher {
    /// Follows `partition`; its changes are told as `token`.
    pub fn add(&mut self, partition: &Arc<Partition>, token: u32) {
        self.0.add(&partition.log, token);
    }

    /// Stops following what `token` names.
    pub fn remove(&mut self, token: u32) {
        self.0.remove(token);
    }

    /// Waits until something changed since the last call; the tokens of all
    /// that did.
    pub async fn changed(&mut self) -> Vec<u32> {
        self.0.changed().await
    }

    /// The tokens of what changed since the last call, without waiting.
    pub fn take_changed(&mut self) -> Vec<u32> {
        self.0.take_changed()
    }
}

/// The log as groups see it.
pub(crate) struct BrokerLog {
    pub(crate) engine: Arc<Engine>,
    pub(crate) broker: Weak<Broker>,
}

impl GroupLog for BrokerLog {
    fn append<'a>(&'a self, records: &'a [Vec<u8>]) -> BoxFuture<'a, Result<(), GroupLogError>> {
        Box::pin(async move {
            match self.engine.append_hidden(TopicId::GROUPS, records, Class::Client).await {
                Ok(_) => Ok(()),
                Err(engine::AppendError::Ended(_)) => Err(GroupLogError::Ended),
                Err(_) => Err(GroupLogError::Refused(Refusal::Unavailable)),
            }
        })
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let engine = Arc::clone(&self.engine);
        Box::pin(async move { engine.ended().await })
    }

    fn topic_name(&self, topic: TopicId) -> Option<TopicName> {
        let topic = self.broker.upgrade()?.topic_by_id(topic)?;
        Some(topic.name().clone())
    }
}

/// The state of groups in its hidden partition.
pub(crate) struct HiddenGroups(pub(crate) Arc<GroupCoordinator>);

impl HiddenState for HiddenGroups {
    fn apply(&self, record: &[u8], _: Timestamp) {
        self.0.apply(record);
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        self.0.snapshot()
    }
}
