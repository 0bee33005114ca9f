//! A whole broker in memory, for tests of the fronts: the real engine on a
//! simulated disk, with threads and clocks of its own.

use std::{
    fs,
    path::Path,
    sync::{Arc, LazyLock, mpsc},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use millrace_store::catalog::memory::{Failure, MemoryCatalog};
pub use millrace_store::disk::{
    Operation,
    memory::{Crash, Fault, MemDisk, Unsynced},
};
use millrace_store::{
    engine::EngineOptions,
    env::{BoxFuture, Env},
};
use millrace_types::Timestamp;
use tokio::{runtime::Runtime, time::Instant};

use crate::{
    Broker, Drivers, Settings, Supervisor, Validate,
    config::{BrokerConfig, Given},
    metrics::Metrics,
};

/// Runs the brokers of all tests, whatever runtime a test itself runs on.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4096)
        .enable_time()
        .build();
    match built {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime for the test brokers: {error}"),
    }
});

/// The real world, but for its randomness, which need only differ, and for time
/// on a runtime whose clock is paused: it passes as that clock says.
struct RealEnv {
    start: Instant,
}

impl Env for RealEnv {
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random_u64(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }

    fn sleep_until(&self, monotonic_ms: u64) -> BoxFuture<'static, ()> {
        let at = self.start + Duration::from_millis(monotonic_ms);
        Box::pin(async move { tokio::time::sleep_until(at).await })
    }

    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        drop(RUNTIME.spawn(task));
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        drop(RUNTIME.spawn_blocking(work));
    }
}

/// Compares a part of docs/configuration.md: see [`check_page`].
///
/// # Panics
/// As there.
pub fn check_settings_page(part: &str, current: &str) {
    check_page("configuration.md", part, current);
}

/// Compares a part of a page of docs/, named by its marks, with what it should
/// be; with `UPDATE_DOCS=1` in the environment writes it instead.
///
/// # Panics
/// It is not current, or not there.
pub fn check_page(page: &str, part: &str, current: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let begin = format!("<!-- begin of {part}: written by a test -->\n");
    let end = format!("<!-- end of {part} -->\n");
    let page = fs::read_to_string(&path).unwrap_or_default();
    let Some((before, rest)) = page.split_once(&begin) else { panic!("no {begin:?} in {path:?}") };
    let Some((_, after)) = rest.split_once(&end) else { panic!("no {end:?} in {path:?}") };
    let current = format!("{before}{begin}{current}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        if let Err(error) = fs::write(&path, &current) {
            panic!("{path:?} can't be written: {error}");
        }
        return;
    }
    assert!(
        current == page,
        "{path:?} is not current: UPDATE_DOCS=1 cargo test --workspace the_page_is_current"
    );
}

impl Broker {
    /// A new, empty broker in memory.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn in_memory() -> Arc<Self> {
        Self::in_memory_with(&[])
    }

    /// As [`Broker::in_memory`], started with these settings under Kafka's
    /// names.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn in_memory_with(started: &[(&str, &str)]) -> Arc<Self> {
        Self::in_memory_on(Arc::new(MemDisk::new(1)), started)
    }

    /// As [`Broker::in_memory_with`], on a disk that the test can make fail.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn in_memory_on(disk: Arc<MemDisk>, started: &[(&str, &str)]) -> Arc<Self> {
        Supervisor::in_memory_on(disk, started).current()
    }

    /// As [`Broker::in_memory_with`], checking batches as `validate` says.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn in_memory_validating(validate: Validate, started: &[(&str, &str)]) -> Arc<Self> {
        Supervisor::in_memory_as(Arc::new(MemDisk::new(1)), started, validate).current()
    }
}

impl Supervisor {
    /// As [`Broker::in_memory_on`], for those who end the broker too.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn in_memory_on(disk: Arc<MemDisk>, started: &[(&str, &str)]) -> Arc<Self> {
        Self::in_memory_as(disk, started, Validate::Header)
    }

    /// As [`Supervisor::in_memory_on`], with a catalog that outlives it: a
    /// machine that is started again.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn in_memory_again(disk: Arc<MemDisk>, catalog: &MemoryCatalog) -> Arc<Self> {
        Self::in_memory_of(disk, catalog, &[], Validate::Header)
    }

    fn in_memory_as(disk: Arc<MemDisk>, started: &[(&str, &str)], validate: Validate) -> Arc<Self> {
        Self::in_memory_of(disk, &MemoryCatalog::new(), started, validate)
    }

    fn in_memory_of(
        disk: Arc<MemDisk>,
        catalog: &MemoryCatalog,
        started: &[(&str, &str)],
        validate: Validate,
    ) -> Arc<Self> {
        let listener = vec!["PLAINTEXT://127.0.0.1:9092".to_owned()];
        let given = Given {
            node_id: 1,
            data_dir: "/data".into(),
            listeners: listener.clone(),
            advertised_listeners: listener,
        };
        let pairs = started.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let config = match BrokerConfig::new(&given, pairs.collect()) {
            Ok(config) => config,
            Err(error) => panic!("a test broker's settings: {error}"),
        };
        let settings = Settings {
            config,
            engine: EngineOptions { cache_bytes: 16 << 20, ..EngineOptions::default() },
            node_id: 1,
            partitions_max: 100_000,
            validate,
            decoders_max: 2,
        };
        let drivers = Drivers {
            env: Arc::new(RealEnv { start: Instant::now() }),
            disk,
            catalog: Arc::new(catalog.clone()),
            metrics: Arc::new(Metrics::new()),
            progress: Arc::default(),
        };
        let (answer, answered) = mpsc::channel();
        RUNTIME.spawn(async move {
            let started = Supervisor::start(drivers, settings).await;
            drop(answer.send(started));
        });
        match answered.recv() {
            Ok(Ok(supervisor)) => supervisor,
            Ok(Err(error)) => panic!("a test broker: {error}"),
            Err(error) => panic!("a test broker: {error}"),
        }
    }
}
