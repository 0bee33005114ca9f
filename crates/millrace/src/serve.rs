//! `millrace serve`: starts everything in order, and stops it in the opposite
//! one.
//!
//! Invariant: `endpoints.json` appears only when clients are served, and
//! nothing is bound before the settings are known to be good.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_broker::metrics::{Build, Metrics};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::ServeArgs;
use crate::http::{self, Readiness, Stage, View};
use crate::settings::{BoundKafka, HostPort, LogFormat, Settings, SettingsError};
use crate::signals::Signals;
use crate::{endpoints, files_open, logging};

/// How often the warning about open addresses is repeated.
const WARNING_PERIOD: Duration = Duration::from_secs(3600);

/// Why the server did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// Settings that can't be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A setting that only its user can judge.
    #[error("{0}")]
    Usage(String),
    /// An address that can't be listened on.
    #[error("can't listen on {address} (setting {setting}): {why}; choose another with {flag}")]
    Bind { setting: &'static str, flag: &'static str, address: HostPort, why: io::Error },
    /// The data directory can't be used.
    #[error("can't use the data directory {} (setting data_dir): {why}", dir.display())]
    DataDir { dir: std::path::PathBuf, why: io::Error },
    /// What the operating system refuses.
    #[error("can't {what}: {why}")]
    System { what: &'static str, why: io::Error },
}

impl ServeError {
    /// 2 where other flags or settings would help, 1 otherwise.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

/// Runs the server until a signal asks it to stop.
///
/// # Errors
/// See [`ServeError`]; after a stop that was asked for, none.
pub(crate) fn run(args: ServeArgs) -> Result<(), ServeError> {
    let settings = Settings::new(&args.layers()?)?;
    logging::start(settings.own.log_format, &settings.own.log_level).map_err(ServeError::Usage)?;
    files_open::raise_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().thread_name("millrace");
    if let Some(threads) = usize::try_from(settings.own.worker_threads).ok().filter(|n| *n > 0) {
        runtime.worker_threads(threads);
    }
    let runtime =
        runtime.build().map_err(|why| ServeError::System { what: "start threads", why })?;
    let result = runtime.block_on(serve(settings));
    // Work that still blocks on a disk must not hold the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(settings: Settings) -> Result<(), ServeError> {
    let mut signals =
        Signals::new().map_err(|why| ServeError::System { what: "handle signals", why })?;
    let dir = settings.own.data_dir.clone();
    let in_dir = |why| ServeError::DataDir { dir: dir.clone(), why };
    std::fs::create_dir_all(&dir).map_err(in_dir)?;
    endpoints::remove(&dir).map_err(in_dir)?;

    let metrics = Arc::new(Metrics::new());
    describe_process(&metrics, &settings);
    let Sockets { kafka, http, http_address } = Sockets::bind(&settings).await?;
    let bound: Vec<BoundKafka> = kafka.iter().map(|(_, bound)| bound.clone()).collect();
    let readiness = Arc::new(Readiness::default());
    let (stop, stopping) = watch::channel(false);
    let view = View { metrics: Arc::clone(&metrics), readiness: Arc::clone(&readiness) };
    let http = tokio::spawn(serve_http(http, view, stopping.clone()));

    endpoints::write(&dir, &bound, http_address).map_err(in_dir)?;
    readiness.set(Stage::Serving);
    announce(&settings, &bound, http_address);
    if settings.own.open_to_others() {
        tokio::spawn(warn_of_open_addresses());
    }

    let name = signals.next().await;
    tracing::info!(
        signal = name,
        "stopping: finishing what is in flight; a second signal stops at once"
    );
    readiness.set(Stage::Stopping);
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!("stopped at once by a second signal");
        std::process::exit(1);
    });
    endpoints::remove(&dir).map_err(in_dir)?;
    stop.send_replace(true);
    if http.await.is_err() {
        tracing::error!("the HTTP server failed");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Everything that is listened on, bound before anything is served.
struct Sockets {
    kafka: Vec<(TcpListener, BoundKafka)>,
    http: TcpListener,
    http_address: SocketAddr,
}

impl Sockets {
    async fn bind(settings: &Settings) -> Result<Self, ServeError> {
        let mut kafka = Vec::new();
        for listen in &settings.own.kafka_listen.0 {
            let (socket, address) = bind("kafka_listen", "--kafka-listen", &listen.bind).await?;
            kafka.push((socket, listen.bound(address)));
        }
        let (http, http_address) =
            bind("http_listen", "--http-listen", &settings.own.http_listen).await?;
        Ok(Self { kafka, http, http_address })
    }
}

async fn bind(
    setting: &'static str,
    flag: &'static str,
    address: &HostPort,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |why| ServeError::Bind { setting, flag, address: address.clone(), why };
    let socket = TcpListener::bind((address.host.as_str(), address.port)).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    Ok((socket, bound))
}

async fn serve_http(socket: TcpListener, view: View, mut stopping: watch::Receiver<bool>) {
    let stopped = async move {
        // An error means that the sender is gone, which is a stop too.
        stopping.wait_for(|stop| *stop).await.ok();
    };
    if let Err(error) =
        axum::serve(socket, http::router(view)).with_graceful_shutdown(stopped).await
    {
        tracing::error!(%error, "the HTTP server failed");
    }
}

fn describe_process(metrics: &Metrics, settings: &Settings) {
    let build = Build { version: env!("CARGO_PKG_VERSION"), commit: commit() };
    metrics.build_info.with(&build).set(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.start_time.set(now.as_secs());
    metrics.insecure.set(u64::from(settings.own.open_to_others()));
}

/// The commit of the build, where the builder said it.
fn commit() -> &'static str {
    option_env!("MILLRACE_BUILD_COMMIT").unwrap_or("unknown")
}

/// Tells the person who started it what there is and how to stop it.
fn announce(settings: &Settings, kafka: &[BoundKafka], http: SocketAddr) {
    let version = env!("CARGO_PKG_VERSION");
    let dir = std::path::absolute(&settings.own.data_dir);
    let dir = dir.as_deref().unwrap_or(&settings.own.data_dir);
    if settings.own.log_format == LogFormat::Json {
        let kafka: Vec<String> = kafka.iter().map(|listen| listen.advertised.to_string()).collect();
        let kafka = kafka.join(",");
        tracing::info!(version, data_dir = %dir.display(), kafka, %http, "serving");
        return;
    }
    // Nobody reading it is no reason not to serve.
    io::stdout().write_all(announcement(version, dir, kafka, http).as_bytes()).ok();
}

fn announcement(version: &str, dir: &Path, kafka: &[BoundKafka], http: SocketAddr) -> String {
    let mut text = format!("Millrace {version} is serving.\n  data   {}\n", dir.display());
    for BoundKafka { name, address, advertised } in kafka {
        let name = if kafka.len() > 1 { format!(" ({name})") } else { String::new() };
        let bound = address.to_string();
        let bound = if *advertised.to_string() == bound {
            String::new()
        } else {
            format!(", listening on {bound}")
        };
        text.push_str(&format!("  Kafka  {advertised}{name}{bound}\n"));
    }
    text.push_str(&format!("  HTTP   http://{http}/metrics\nStop it with Ctrl-C.\n"));
    text
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
