//! Keeps a broker running: opens an incarnation, and the next when its log
//! ends.
//!
//! Invariant: at most one incarnation is open. The one that follows a failed
//! write recovers in the same process, from what was known to be synced.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use millrace_coord::groups::Now;
use millrace_log::FORMAT_VERSION;
use millrace_store::{
    backup::{self, AdmitError},
    catalog::{Catalog, CatalogError, Identity},
    disk::{Disk, DiskError, DiskLock},
    engine::{Engine, HiddenState, OpenError, OpenRequest, Opened, Progress, Step, Synced},
    env::Env,
};
use millrace_types::TopicId;
use tokio::sync::oneshot;

use crate::{
    Broker, Settings,
    broker::{BrokerLog, HiddenGroups},
    groups::{GroupCoordinator, GroupLog, RecordError},
    metrics::Metrics,
    reshard,
};

/// Why a broker could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The directory is a backup that can't be served.
    #[error(transparent)]
    Backup(#[from] AdmitError),
    /// The records of groups cannot be read.
    #[error("the state of consumer groups cannot be read back: {0}")]
    Groups(#[from] RecordError),
    /// The process is stopping.
    #[error("the process is stopping")]
    Stopping,
}

/// What every incarnation is made from.
pub struct Drivers {
    /// Clocks, randomness, tasks.
    pub env: Arc<dyn Env>,
    /// The data directory.
    pub disk: Arc<dyn Disk>,
    /// What people administer.
    pub catalog: Arc<dyn Catalog>,
    /// What the server counts.
    pub metrics: Arc<Metrics>,
    /// Told how far a start is.
    pub progress: Arc<Progress>,
}

/// Keeps one broker open.
pub struct Supervisor {
    pub(crate) drivers: Drivers,
    settings: Settings,
    lock: Arc<DiskLock>,
    started: Now,
    current: ArcSwap<Broker>,
    stopping: AtomicBool,
}

/// Waiting time before another try to recover, in milliseconds.
const RETRY_MS: u64 = 1000;

impl Supervisor {
    /// Takes the data directory and opens the first incarnation.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(drivers: Drivers, settings: Settings) -> Result<Arc<Self>, StartError> {
        let lock = Arc::new(drivers.disk.lock()?);
        // The wall clock is believed once a process: one that has jumped since
        // must not be believed because a write fails.
        let started = Now { monotonic_ms: drivers.env.monotonic_ms(), wall: drivers.env.wall() };
        drivers.progress.begin(Step::Catalog, drivers.env.monotonic());
        let disk = Arc::clone(&drivers.disk);
        run_blocking(&drivers.env, move || begin_life(&*disk)).await??;
        let broker = open(&drivers, &settings, &lock, Synced::new(), started).await?;
        let env = Arc::clone(&drivers.env);
        let supervisor = Arc::new(Self {
            drivers,
            settings,
            lock,
            started,
            current: ArcSwap::new(broker),
            stopping: AtomicBool::new(false),
        });
        env.spawn("supervisor", Box::pin(Arc::clone(&supervisor).run()));
        Ok(supervisor)
    }

    /// The incarnation that serves now, or the last one while the next is
    /// being recovered.
    #[must_use]
    pub fn current(&self) -> Arc<Broker> {
        self.current.load_full()
    }

    async fn run(self: Arc<Self>) {
        loop {
            let broker = self.current();
            broker.ended().await;
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            self.drivers.progress.begin(Step::LettingGo, self.drivers.env.monotonic());
            broker.refresh_metrics();
            self.drivers.metrics.log_failures.increment();
            let engine = Arc::clone(&broker.engine);
            let synced = run_blocking(&self.drivers.env, move || engine.synced()).await;
            let Ok(synced) = synced else { return };
            self.reopen(synced).await;
        }
    }

    async fn reopen(&self, synced: Synced) {
        loop {
            let (drivers, settings, started) = (&self.drivers, &self.settings, self.started);
            let synced = synced.clone();
            match open(drivers, settings, &self.lock, synced, started).await {
                Ok(broker) => {
                    tracing::warn!("the log was recovered after a failed write; serving again");
                    if self.stopping.load(Ordering::Acquire) {
                        // Whoever stops has looked at the one before.
                        broker.engine.stop();
                    }
                    self.current.store(broker);
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "the log cannot be recovered yet; trying again");
                    drivers.progress.restart(Step::Failed);
                    let env = &self.drivers.env;
                    env.sleep_until(env.monotonic_ms() + RETRY_MS).await;
                }
            }
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Stops the current incarnation after all that it has accepted is
    /// durable.
    pub async fn shutdown(&self) {
        self.stopping.store(true, Ordering::Release);
        let engine = Arc::clone(&self.current().engine);
        engine.stop();
        engine.ended().await;
    }
}

/// Lets a directory that is a backup begin a life of its own, in which files of
/// the backup leave.
fn begin_life(disk: &dyn Disk) -> Result<(), StartError> {
    if let Some(manifest) = backup::admit(disk)? {
        backup::forget(disk)?;
        let (taken, incarnation) = (manifest.time, manifest.incarnation);
        tracing::info!(%taken, %incarnation, "the data directory was restored from a backup");
    }
    Ok(())
}

/// Opens one incarnation and starts its threads.
async fn open(
    drivers: &Drivers,
    settings: &Settings,
    lock: &Arc<DiskLock>,
    synced: Synced,
    started: Now,
) -> Result<Arc<Broker>, StartError> {
    let Drivers { env, disk, catalog, metrics, progress } = drivers;
    progress.restart(Step::Catalog);
    let groups = GroupCoordinator::new(Arc::clone(env), started);
    let hidden: Arc<dyn HiddenState> = Arc::new(HiddenGroups(Arc::clone(&groups)));
    let begun = env.monotonic_ms();
    let before = catalog.load().await?;
    if before.is_new() {
        let names = disk.list()?;
        if let Some(name) = names.iter().find(|name| millrace_store::engine::is_log_file(name)) {
            return Err(OpenError::CatalogLost(name.clone()).into());
        }
        catalog.establish(Identity::generate(FORMAT_VERSION.into(), || env.random_u64())).await?;
    }
    let incarnation = catalog.next_incarnation().await?;
    let mut state = catalog.load().await?;
    let log_id = state.identity.as_ref().map(|identity| identity.log_id).unwrap_or_default();
    let request = OpenRequest {
        env: Arc::clone(env),
        disk: Arc::clone(disk),
        lock: Arc::clone(lock),
        options: settings.engine.clone(),
        incarnation,
        log_id,
        catalog_is_new: before.is_new(),
        hidden: BTreeMap::from([(TopicId::GROUPS, hidden)]),
        synced,
        progress: Arc::clone(progress),
    };
    let opened = run_blocking(env, move || Engine::open(request));
    let Opened { engine, tombstones, .. } = opened.await??;
    for id in tombstones.iter().filter(|id| state.topics.contains_key(id)) {
        catalog.delete_topic(*id).await?;
    }
    state.topics.retain(|id, _| !tombstones.contains(id));
    reshard::settle(&engine, &**catalog, &mut state).await?;
    let broker = Broker::new(Arc::clone(&engine), Arc::clone(&groups), drivers, settings, &state);
    let writer = Arc::clone(&engine);
    let noted = run_blocking(env, {
        let engine = Arc::clone(&engine);
        move || engine.all_opened()
    });
    noted.await??;
    let log: Arc<dyn GroupLog> =
        Arc::new(BrokerLog { engine: Arc::clone(&engine), broker: Arc::downgrade(&broker) });
    // What fails must fail before threads run that nobody would stop.
    groups.start(&broker.config(), &log)?;
    env.blocking(Box::new(move || {
        writer.run_writer();
        writer.close();
    }));
    let synced = Arc::clone(&engine);
    env.blocking(Box::new(move || synced.run_syncer()));
    let maintained = Arc::clone(&engine);
    env.blocking(Box::new(move || maintained.run_maintenance()));
    // Their rows are gone, and so are the offsets that groups had committed.
    let told: Vec<_> = tombstones.iter().map(|id| (*id, groups.topic_deleted(*id))).collect();
    // So was every topic that the catalog does not know, though a disk that
    // lies may have lost the log's word for it.
    let known = |id: &TopicId| state.topics.contains_key(id) || tombstones.contains(id);
    for id in groups.topics().into_iter().filter(|id| !known(id)) {
        tracing::warn!(topic = %id, "groups had offsets of a topic that is gone: they are deleted");
        groups.topic_deleted(id).await;
    }
    let mut deleted = Vec::with_capacity(told.len());
    for (id, groups_know) in told {
        if groups_know.await {
            deleted.push(id);
        }
    }
    if let Err(error) = engine.forget_tombstones(&deleted).await {
        tracing::warn!(%error, "deleted topics are remembered until the next start");
    }
    env.spawn("retention", Box::pin(crate::retention::run(Arc::clone(&broker), started)));
    metrics.incarnations.increment();
    let took = env.monotonic_ms().saturating_sub(begun);
    metrics.recovery.set(Duration::from_millis(took));
    tracing::info!(%incarnation, took_ms = took, "the log is open");
    Ok(broker)
}

/// Runs `work` where it may block.
async fn run_blocking<T: Send + 'static>(
    env: &Arc<dyn Env>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    let (answer, answered) = oneshot::channel();
    env.blocking(Box::new(move || drop(answer.send(work()))));
    answered.await.map_err(|_| StartError::Stopping)
}
