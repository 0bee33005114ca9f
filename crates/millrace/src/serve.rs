//! `millrace serve`: starts everything in order, and stops it in the opposite
//! one.
//!
//! Invariant: nothing is bound before the settings are known to be good, and
//! `endpoints.json` appears only once clients are served. It is touched only
//! by who holds the data directory's lock.

use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_broker::config::{BrokerConfig, ConfigError, Given};
use millrace_broker::metrics::{Build, Limits, Metrics};
use millrace_broker::{Drivers, EngineOptions, Progress, Supervisor};
use millrace_cli::Failure;
use millrace_kafka::{Front, Listener};
use millrace_kinesis::{Credentials, Front as Kinesis};
use millrace_store::catalog::sqlite::SqliteCatalog;
use millrace_store::disk::os::{DirectIo, OsDisk};
use millrace_store::disk::{Disk as _, DiskError, DiskErrorKind, DiskLock};
use millrace_store::env::Env;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::announce::Announcement;
use crate::cli::ServeArgs;
use crate::env::TokioEnv;
use crate::http::backup::{Operator, Operators};
use crate::http::tls::{TlsError, acceptor};
use crate::http::{self, Readiness, Stage, View};
use crate::settings::{
    BoundHttp, BoundKafka, Flush, Layers, Mistakes, OnCorruption, Own, Settings, Validate,
};
use crate::signals::Signals;
use crate::sockets::{BindError, Sockets};
use crate::systemd::Moment;
use crate::token::{self, Token};
use crate::{endpoints, files_open, logging, systemd, version};

/// How often the warning about open addresses is repeated.
const WARNING_PERIOD: Duration = Duration::from_secs(3600);

/// A killed process keeps its lock until the kernel has taken it apart, which
/// takes a while where it has much memory: who is started right after it waits
/// this long at most.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The number by which clients know the one broker that there is.
const NODE_ID: i32 = 1;

/// Why the server did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// Settings that can't be.
    #[error(transparent)]
    Settings(#[from] Mistakes),
    /// Settings under Kafka's names that contradict each other.
    #[error(transparent)]
    KafkaSettings(#[from] ConfigError),
    /// A certificate or a key that can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A setting that only its user can judge.
    #[error("{0}")]
    Usage(String),
    /// An address that can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The data directory can't be used.
    #[error("can't use the data directory {} (setting data_dir): {why}", dir.display())]
    DataDir { dir: PathBuf, why: Box<dyn std::error::Error + Send + Sync> },
    /// What the operating system refuses.
    #[error("can't {what}: {why}")]
    System { what: &'static str, why: io::Error },
}

/// A usage where other flags or settings would help.
impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        use ServeError::{Bind, DataDir, KafkaSettings, Settings, System, Tls, Usage};
        let text = error.to_string();
        match error {
            Settings(_) | KafkaSettings(_) | Tls(_) | Usage(_) => Self::Usage(text),
            Bind(_) | DataDir { .. } | System { .. } => Self::Failed(text),
        }
    }
}

impl ServeError {
    fn data_dir<E>(dir: &Path) -> impl Fn(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let dir = dir.to_owned();
        move |why| Self::DataDir { dir: dir.clone(), why: Box::new(why) }
    }
}

/// Runs the server until a signal asks it to stop.
///
/// # Errors
/// See [`ServeError`]; after a stop that was asked for, none.
pub(crate) fn run(args: ServeArgs) -> Result<(), ServeError> {
    let prepared = prepare(&args.settings.layers()?)?;
    let own = &prepared.settings.own;
    logging::start(own.log_format, &own.log_level).map_err(ServeError::Usage)?;
    files_open::raise_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().thread_name("millrace");
    if let Some(threads) = usize::try_from(own.worker_threads).ok().filter(|n| *n > 0) {
        runtime.worker_threads(threads);
    }
    let runtime =
        runtime.build().map_err(|why| ServeError::System { what: "start threads", why })?;
    let result = runtime.block_on(serve(prepared));
    // Work that still blocks on a disk must not hold the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// What the settings come to, with what they name read.
pub(crate) struct Prepared {
    settings: Settings,
    credentials: Credentials,
    tls: Option<TlsAcceptor>,
}

/// All that can be known to be wrong before anything is touched.
///
/// # Errors
/// Settings, and the files that they name.
pub(crate) fn prepare(layers: &Layers) -> Result<Prepared, ServeError> {
    let settings = Settings::new(layers).map_err(Mistakes::from)?;
    let credentials = settings.own.kinesis_credentials.load().map_err(Mistakes::from)?;
    BrokerConfig::new(&Given::default(), settings.kafka.clone())?;
    logging::filter(&settings.own.log_level).map_err(ServeError::Usage)?;
    let tls = tls(&settings.own)?;
    Ok(Prepared { settings, credentials, tls })
}

async fn serve(prepared: Prepared) -> Result<(), ServeError> {
    let Prepared { settings, credentials, tls } = prepared;
    let mut signals =
        Signals::new().map_err(|why| ServeError::System { what: "handle signals", why })?;
    let dir = std::path::absolute(&settings.own.data_dir);
    let dir = dir.unwrap_or_else(|_| settings.own.data_dir.clone());
    let (disk, direct_io) = open_disk(&dir, settings.own.flush).await?;
    let metrics = Arc::new(Metrics::with_limits(metrics_limits(&settings.own)));
    describe_process(&metrics, &settings);
    let sockets = Sockets::bind(&settings).await?;
    let (bound, http_bound) = (sockets.kafka_bound(), sockets.http_bound());

    let env: Arc<dyn Env> = Arc::new(TokioEnv::new());
    let progress = Arc::new(Progress::default());
    let readiness = Arc::new(Readiness::new(Arc::clone(&env), Arc::clone(&progress)));
    let (stop_http, http_stopping) = watch::channel(false);
    let kinesis = Arc::new(OnceLock::new());
    let operators = Operators::default();
    let view = View {
        operators: Arc::clone(&operators),
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        kinesis: Arc::clone(&kinesis),
        readers: Some(credentials.clone()).filter(|_| !settings.own.insecure_no_auth),
    };
    let routers = |way| http::router(&view, way);
    let http_server = http::server::Server::new(routers, tls, &metrics);
    let mut http = JoinSet::new();
    for (socket, BoundHttp { tls, .. }) in sockets.http {
        http.spawn(http_server.clone().serve(socket, tls, stopped(http_stopping.clone())));
    }

    let config = broker_config(&settings, &dir, &bound)?;
    let front = Front::new(millrace_kafka::Settings::new(&config), Arc::clone(&metrics));
    let catalog = SqliteCatalog::open(&dir, Arc::clone(&env));
    let catalog = Arc::new(catalog.map_err(ServeError::data_dir(&dir))?);
    let (disk, counted) = (Arc::new(disk), Arc::clone(&metrics));
    let drivers = Drivers { env, disk, catalog, metrics: counted, progress };
    let supervisor = start_broker(&settings.own, config, &dir, drivers).await?;
    let refreshed = Arc::clone(&supervisor);
    metrics.registry().before_scrapes(move || refreshed.current().refresh_metrics());
    let signed = !credentials.is_empty();
    let front_of_kinesis = start_kinesis(&settings.own, credentials, &supervisor);
    // Set once a process.
    kinesis.set(front_of_kinesis.await.map_err(ServeError::data_dir(&dir))?).ok();
    let (stop_kafka, kafka_stopping) = watch::channel(false);
    let mut listeners = serve_kafka(sockets.kafka, &supervisor, &front, &kafka_stopping);

    let token = Token::make(&dir).map_err(ServeError::data_dir(&dir))?;
    // Set once a process.
    operators.set(Operator { token, supervisor: Arc::clone(&supervisor) }).ok();
    endpoints::write(&dir, &bound, &http_bound).map_err(ServeError::data_dir(&dir))?;
    let watched = Arc::clone(&supervisor);
    readiness.serve_while(move || watched.health());
    let (data_dir, direct_io) = (dir.as_path(), &direct_io);
    let announcement =
        Announcement { data_dir, direct_io, kafka: &bound, http: &http_bound, signed };
    announcement.make(settings.own.log_format);
    systemd::notify(Moment::Ready);
    if settings.own.open_to_others() {
        tokio::spawn(warn_of_open_addresses());
    }

    let signal = signals.next().await;
    tracing::info!(signal, "stopping: finishing what is in flight; a second signal stops at once");
    tokio::spawn(stop_at_once(signals));
    readiness.set(Stage::Stopping);
    systemd::notify(Moment::Stopping);
    endpoints::remove(&dir).map_err(ServeError::data_dir(&dir))?;
    token::remove(&dir).map_err(ServeError::data_dir(&dir))?;
    stop_kafka.send_replace(true);
    while let Some(ended) = listeners.join_next().await {
        log_failure("a Kafka listener", ended);
    }
    supervisor.shutdown().await;
    stop_http.send_replace(true);
    while let Some(ended) = http.join_next().await {
        log_failure("an HTTP listener", ended);
    }
    tracing::info!("stopped");
    Ok(())
}

/// TLS, where an address has it.
fn tls(own: &Own) -> Result<Option<TlsAcceptor>, TlsError> {
    let asked = own.http_listen.0.iter().any(|listen| listen.tls);
    let files = own.tls_cert.as_deref().zip(own.tls_key.as_deref()).filter(|_| asked);
    files.map(|(cert, key)| acceptor(cert, key)).transpose()
}

/// The data directory, with what a dead server left in it for scripts removed.
async fn open_disk(dir: &Path, flush: Flush) -> Result<(OsDisk, DirectIo), ServeError> {
    let mut disk = OsDisk::open(dir).map_err(ServeError::data_dir(dir))?;
    if flush == Flush::Os {
        disk = disk.through_page_cache("flush=os leaves it to the operating system when to write");
    }
    // Whoever holds the lock may be serving, and then the file is its own.
    let lock = lock(&disk).await.map_err(ServeError::data_dir(dir))?;
    endpoints::remove(dir).map_err(ServeError::data_dir(dir))?;
    let direct_io = disk.direct_io().clone();
    drop(lock);
    Ok((disk, direct_io))
}

/// Locks the data directory; waits a little for a process that is just dying.
async fn lock(disk: &OsDisk) -> Result<DiskLock, DiskError> {
    let deadline = Instant::now() + LOCK_WAIT;
    let mut told = false;
    loop {
        match disk.lock() {
            Err(error) if error.kind == DiskErrorKind::Locked && Instant::now() < deadline => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(
                        "the data directory is in use ({}): waiting a moment for the end of that process",
                        error.detail
                    );
                }
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn start_broker(
    own: &Own,
    config: BrokerConfig,
    dir: &Path,
    drivers: Drivers,
) -> Result<Arc<Supervisor>, ServeError> {
    let settings = millrace_broker::Settings {
        config,
        engine: engine_options(own),
        node_id: NODE_ID,
        partitions_max: u32::try_from(own.partitions_max).unwrap_or(u32::MAX),
        validate: match own.validate {
            Validate::Header => millrace_broker::Validate::Header,
            Validate::Full => millrace_broker::Validate::Full,
        },
        decoders_max: std::thread::available_parallelism().map_or(1, NonZero::get),
    };
    Supervisor::start(drivers, settings).await.map_err(ServeError::data_dir(dir))
}

fn metrics_limits(own: &Own) -> Limits {
    let series = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Limits {
        topics_max: series(own.metrics_topics_max),
        groups_max: series(own.metrics_groups_max),
        slow_request: Duration::from_millis(own.slow_request_ms),
    }
}

fn engine_options(own: &Own) -> EngineOptions {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    EngineOptions {
        flush: match own.flush {
            Flush::Fsync => millrace_broker::Flush::Fsync,
            Flush::Os => millrace_broker::Flush::Os,
        },
        on_corruption: match own.on_corruption {
            OnCorruption::Stop => millrace_broker::OnCorruption::Stop,
            OnCorruption::Skip => millrace_broker::OnCorruption::Skip,
        },
        file_bytes: own.log_file_bytes,
        cache_bytes: own.cache_bytes,
        commits_per_second_max: u32::try_from(own.commits_per_second_max).unwrap_or(u32::MAX),
        pending_bytes_max: own.pending_bytes_max,
        index_entries_max: size(own.index_entries_max),
        reserve_bytes: own.reserve_bytes,
        producers_max: size(own.producers_max),
        scrub_period_ms: own.scrub_hours * 3_600_000,
        scrub_bytes_per_second: own.scrub_bytes_per_second,
    }
}

/// Kafka's settings, with those that ours decide.
fn broker_config(
    settings: &Settings,
    dir: &Path,
    bound: &[BoundKafka],
) -> Result<BrokerConfig, ConfigError> {
    let given = Given {
        node_id: NODE_ID,
        data_dir: dir.display().to_string(),
        listeners: bound.iter().map(|l| format!("{}://{}", l.name, l.address)).collect(),
        advertised_listeners: bound
            .iter()
            .map(|l| format!("{}://{}", l.name, l.advertised))
            .collect(),
    };
    BrokerConfig::new(&given, settings.kafka.clone())
}

/// Serves Kafka's clients at each socket, until `stopping` says so.
fn serve_kafka(
    sockets: Vec<(TcpListener, BoundKafka)>,
    supervisor: &Arc<Supervisor>,
    front: &Arc<Front>,
    stopping: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut listeners = JoinSet::new();
    for (socket, BoundKafka { name, advertised, .. }) in sockets {
        let listener = Listener { name, host: advertised.host, port: advertised.port };
        let supervisor = Arc::clone(supervisor);
        let brokers = Arc::new(move || supervisor.current());
        let stopping = stopped(stopping.clone());
        let front = Arc::clone(front);
        listeners.spawn(millrace_kafka::serve(socket, listener, brokers, front, stopping));
    }
    listeners
}

async fn start_kinesis(
    own: &Own,
    credentials: Credentials,
    supervisor: &Arc<Supervisor>,
) -> Result<Arc<Kinesis>, millrace_kinesis::StartError> {
    let settings = millrace_kinesis::Settings {
        account_id: own.kinesis_account_id.0.clone(),
        region: own.kinesis_region.0.clone(),
        credentials,
        enforce_limits: own.kinesis_enforce_limits,
        get_records_wait: Duration::from_millis(own.kinesis_get_records_wait_ms),
        ..millrace_kinesis::Settings::default()
    };
    let supervisor = Arc::clone(supervisor);
    Kinesis::start(Arc::new(move || supervisor.current()), settings).await
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    stopping.wait_for(|stop| *stop).await.ok();
}

async fn stop_at_once(mut signals: Signals) {
    signals.next().await;
    tracing::warn!("stopped at once by a second signal");
    std::process::exit(1);
}

fn log_failure(what: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "{what} failed");
    }
}

fn describe_process(metrics: &Metrics, settings: &Settings) {
    let build = Build { version: version::RELEASE, commit: version::COMMIT };
    metrics.build_info.with(&build).set(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.start_time.set(now.as_secs());
    metrics.insecure.set(u64::from(settings.own.open_to_others()));
}

async fn warn_of_open_addresses() {
    let mut period = tokio::time::interval(WARNING_PERIOD);
    loop {
        period.tick().await;
        tracing::warn!(
            "insecure_no_auth: everyone who reaches this server may read, write and delete everything"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_for_the_lock_of_a_dying_process() {
        let dir = tempfile::tempdir().unwrap();
        let dying = OsDisk::open(dir.path()).unwrap().lock().unwrap();
        let disk = OsDisk::open(dir.path()).unwrap();
        let mut locked = std::pin::pin!(lock(&disk));
        assert!(tokio::time::timeout(LOCK_WAIT / 2, &mut locked).await.is_err());
        drop(dying);
        assert!(locked.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_is_refused_by_a_process_that_lives() {
        let dir = tempfile::tempdir().unwrap();
        let _living = OsDisk::open(dir.path()).unwrap().lock().unwrap();
        let disk = OsDisk::open(dir.path()).unwrap();
        let begun = Instant::now();
        assert_eq!(lock(&disk).await.map(drop).unwrap_err().kind, DiskErrorKind::Locked);
        assert!(begun.elapsed() >= LOCK_WAIT && begun.elapsed() < LOCK_WAIT * 2);
    }
}
