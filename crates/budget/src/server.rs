//! The server that is measured: broker, log, catalog and Kafka front as the
//! binary puts them together, on one thread, which hands over when every task
//! waits.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use millrace_broker::{
    Drivers, EngineOptions, NewTopic, Settings, Supervisor, Validate,
    config::{BrokerConfig, Given},
    metrics::Metrics,
};
use millrace_kafka::{Front, Listener};
use millrace_store::{catalog::sqlite::SqliteCatalog, disk::os::OsDisk, env::Env};
use millrace_types::{TopicId, TopicName};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use crate::turns::{Stuck, Turn, World};

/// The topic that is written and read.
pub(crate) const TOPIC: &str = "budget";
/// Its partitions.
pub(crate) const PARTITIONS: i32 = 6;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Stuck(#[from] Stuck),
    #[error("the server to be measured does not start: {0}")]
    Failed(String),
}

/// A server that rests unless it is told to go on. It ends with the process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) topic: TopicId,
    pub(crate) world: Arc<World>,
    turn: Arc<Turn>,
    served: JoinHandle<()>,
    _runtime: Runtime,
}

type Outcome = Result<(SocketAddr, TopicId), String>;

impl Server {
    /// Starts it in `dir`, and returns when it serves.
    pub(crate) fn start(dir: &Path) -> Result<Self, StartError> {
        let turn = Turn::new("runtime".to_owned());
        let idle = Arc::clone(&turn);
        // What the binary has, but with one worker, which hands over before it
        // sleeps.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_park(move || idle.rest())
            .build()
            .map_err(|error| StartError::Failed(error.to_string()))?;
        turn.until_it_rests()?;
        let world = World::new(runtime.handle().clone());
        let outcome: Arc<OnceLock<Outcome>> = Arc::default();
        let (env, dir, told) = (Arc::clone(&world), dir.to_owned(), Arc::clone(&outcome));
        let served = runtime.spawn(async move {
            if let Err(why) = serve(env, dir, &told).await {
                drop(told.set(Err(why)));
            }
        });
        loop {
            turn.resume()?;
            world.step()?;
            match outcome.get() {
                Some(Ok((address, topic))) => {
                    let (address, topic) = (*address, *topic);
                    return Ok(Self { address, topic, world, turn, served, _runtime: runtime });
                }
                Some(Err(why)) => return Err(StartError::Failed(why.clone())),
                None if served.is_finished() => {
                    return Err(StartError::Failed("it panicked".to_owned()));
                }
                None => {}
            }
        }
    }

    /// Lets the server's tasks go on until all wait; at least one must have
    /// something to do.
    pub(crate) fn run_tasks(&self) -> Result<(), Stuck> {
        self.turn.resume()
    }

    /// Whether it will never go on.
    pub(crate) fn is_over(&self) -> bool {
        self.served.is_finished()
    }
}

/// Serves for ever; tells `served` where.
async fn serve(world: Arc<World>, dir: PathBuf, served: &OnceLock<Outcome>) -> Result<(), String> {
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| e.to_string())?;
    let address = socket.local_addr().map_err(|e| e.to_string())?;
    let env: Arc<dyn Env> = world;
    let metrics = Arc::new(Metrics::new());
    let listeners = vec![format!("PLAINTEXT://{address}")];
    let given = Given {
        node_id: 1,
        data_dir: dir.display().to_string(),
        listeners: listeners.clone(),
        advertised_listeners: listeners,
    };
    let config = BrokerConfig::new(&given, Vec::new().into_iter().collect());
    let config = config.map_err(|e| e.to_string())?;
    let front = Front::new(millrace_kafka::Settings::new(&config), Arc::clone(&metrics));
    let disk = OsDisk::open(&dir).map_err(|e| e.to_string())?;
    let catalog = SqliteCatalog::open(&dir, Arc::clone(&env)).map_err(|e| e.to_string())?;
    let (disk, catalog) = (Arc::new(disk), Arc::new(catalog));
    let drivers = Drivers { env, disk, catalog, metrics, progress: Arc::default() };
    let engine = EngineOptions::default();
    let validate = Validate::default();
    let settings =
        Settings { config, engine, node_id: 1, partitions_max: 1000, validate, decoders_max: 1 };
    let supervisor = Supervisor::start(drivers, settings).await.map_err(|e| e.to_string())?;
    let name = TopicName::new(TOPIC).map_err(|e| e.to_string())?;
    let new = NewTopic::plain(name, PARTITIONS.unsigned_abs(), Default::default());
    let topic = supervisor.current().create_topic(new, false).await.map_err(|e| e.to_string())?.id;
    drop(served.set(Ok((address, topic))));
    let listener =
        Listener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: address.port() };
    let brokers = Arc::new(move || supervisor.current());
    millrace_kafka::serve(socket, listener, brokers, front, std::future::pending()).await;
    Ok(())
}
