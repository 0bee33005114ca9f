//! The simulated server: a process with a broker in it that can be started,
//! killed and stopped, and the connections that clients hold to it.
//!
//! Whatever a client asks runs in the process's life: when that ends, the
//! client hears nothing, as over a network.

use std::sync::Arc;

use millrace_broker::{
    Broker, Drivers, EngineOptions, Settings, StartError, Supervisor, Validate,
    config::{BrokerConfig, Given},
    metrics::Metrics,
};
use millrace_store::{
    catalog::memory::MemoryCatalog,
    disk::memory::Crash,
    env::{BoxFuture, Env},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::{
    catalog::SimCatalog,
    disk::SimDisk,
    random::Random,
    world::{SimEnv, World},
};

/// The machine and what runs on it. Clones share it.
#[derive(Clone)]
pub(crate) struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    world: World,
    settings: Settings,
    catalog: Arc<SimCatalog>,
    random: Mutex<Random>,
    state: Mutex<State>,
}

struct State {
    disk: SimDisk,
    process: Option<SimEnv>,
    supervisor: Option<Arc<Supervisor>>,
}

/// The server went away: whether it did what it was asked is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// How a start went.
#[derive(Debug)]
pub(crate) enum Start {
    Serving,
    /// The process ended by itself.
    Failed(StartError),
    Killed,
}

/// What a connection's server side does with one request: begins in order,
/// and may go on beside later requests.
type Request = Box<dyn FnOnce(Arc<Broker>) -> BoxFuture<'static, Rest> + Send>;

/// What is left of a request when the next one may begin.
pub(crate) type Rest = Option<BoxFuture<'static, ()>>;

impl Server {
    pub(crate) fn new(world: World, seed: u64, disk: SimDisk, engine: EngineOptions) -> Self {
        Self::restored(world, seed, disk, engine, MemoryCatalog::new())
    }

    /// One on a disk and a catalog that were another's.
    pub(crate) fn restored(
        world: World,
        seed: u64,
        disk: SimDisk,
        engine: EngineOptions,
        catalog: MemoryCatalog,
    ) -> Self {
        let catalog = Arc::new(SimCatalog::new(world.clone(), seed, catalog));
        let random = Mutex::new(Random::new(seed, 5));
        let state = Mutex::new(State { disk, process: None, supervisor: None });
        let settings = settings(engine);
        Self { inner: Arc::new(Inner { world, settings, catalog, random, state }) }
    }

    pub(crate) fn disk(&self) -> SimDisk {
        self.inner.state.lock().disk.clone()
    }

    pub(crate) fn catalog(&self) -> &SimCatalog {
        &self.inner.catalog
    }

    /// The life of the process, if there is one.
    pub(crate) fn life(&self) -> Option<u32> {
        let state = self.inner.state.lock();
        state.process.as_ref().map(SimEnv::life).filter(|life| self.inner.world.is_alive(*life))
    }

    /// The broker that serves.
    pub(crate) fn broker(&self) -> Option<Arc<Broker>> {
        self.life()?;
        self.inner.state.lock().supervisor.as_ref().map(|supervisor| supervisor.current())
    }

    /// Starts a process on the machine. Resolves when it serves, or not.
    pub(crate) fn start(&self) -> impl Future<Output = Start> + use<> {
        let process = self.inner.world.begin_life();
        let disk = {
            let mut state = self.inner.state.lock();
            state.process = Some(process.clone());
            state.supervisor = None;
            state.disk.clone()
        };
        let drivers = Drivers {
            env: Arc::new(process.clone()),
            disk: Arc::new(disk),
            catalog: Arc::clone(&self.inner.catalog) as _,
            metrics: Arc::new(Metrics::new()),
            progress: Arc::default(),
        };
        let settings = self.inner.settings.clone();
        let (answer, answered) = oneshot::channel();
        let main = async move {
            drop(answer.send(Supervisor::start(drivers, settings).await));
        };
        process.spawn("process", Box::pin(main));
        let server = self.clone();
        async move {
            let started = answered.await;
            let world = &server.inner.world;
            let outcome = match started {
                Ok(Ok(supervisor)) if world.is_alive(process.life()) => {
                    server.inner.state.lock().supervisor = Some(supervisor);
                    Start::Serving
                }
                Ok(Err(error)) => Start::Failed(error),
                Ok(Ok(_)) | Err(_) => Start::Killed,
            };
            world.note(format_args!("the start of life {}: {outcome:?}", process.life()));
            outcome
        }
    }

    /// [`Server::start`], without waiting for it.
    pub(crate) fn begin_start(&self) {
        let start = self.start();
        let start = async move {
            start.await;
        };
        self.inner.world.outside().spawn("start", Box::pin(start));
    }

    /// Kills the process after so many of its steps, and leaves what `crash`
    /// leaves of the machine.
    pub(crate) async fn kill(&self, crash: Crash, steps: u64) {
        if let Some(life) = self.life() {
            self.inner.world.kill(life, steps, 5_000).await;
        }
        let mut state = self.inner.state.lock();
        (state.process, state.supervisor) = (None, None);
        let disk = state.disk.crash(crash);
        state.disk = disk;
    }

    /// Stops the process in good order; kills it if that takes too long.
    pub(crate) async fn shutdown(&self) -> Result<(), Lost> {
        let supervisor = self.inner.state.lock().supervisor.clone();
        // What does not run has stopped.
        let (Some(supervisor), Some(life)) = (supervisor, self.life()) else { return Ok(()) };
        let process = self.inner.state.lock().process.clone();
        let (answer, answered) = oneshot::channel();
        if let Some(process) = process {
            process.spawn(
                "shutdown",
                Box::pin(async move {
                    supervisor.shutdown().await;
                    // Whoever asked may have killed it since.
                    answer.send(()).ok();
                }),
            );
        }
        let world = &self.inner.world;
        let done = tokio::select! {
            biased;
            done = answered => done.map_err(|_| Lost),
            () = world.sleep_ms(60_000) => Err(Lost),
        };
        world.kill(life, 0, 0).await;
        self.kill(Crash::Kill, 0).await;
        done
    }

    /// Connects to the server, if one serves.
    pub(crate) fn connect(&self) -> Option<Connection> {
        self.life()?;
        let state = self.inner.state.lock();
        let (process, supervisor) = (state.process.clone()?, state.supervisor.clone()?);
        drop(state);
        let (requests, mut received) = mpsc::unbounded_channel::<Request>();
        let env = process.clone();
        let serve = async move {
            let broker = supervisor.current();
            loop {
                let request = tokio::select! {
                    biased;
                    () = broker.ended() => return,
                    request = received.recv() => request,
                };
                let Some(request) = request else { return };
                if let Some(rest) = request(Arc::clone(&broker)).await {
                    env.spawn("request", rest);
                }
            }
        };
        process.spawn("connection", Box::pin(serve));
        Some(Connection { server: self.clone(), requests })
    }

    /// How long a message is under way.
    async fn travel(&self) {
        let us = {
            let mut random = self.inner.random.lock();
            if random.percent(5) { random.within(0, 20_000) } else { random.within(0, 200) }
        };
        self.inner.world.sleep_us(us).await;
    }
}

/// One client's connection. Requests on it begin in the order in which they
/// were sent.
pub(crate) struct Connection {
    server: Server,
    requests: mpsc::UnboundedSender<Request>,
}

impl Connection {
    /// Asks what is answered before the next request begins.
    pub(crate) async fn ask<T, F>(
        &self,
        work: impl FnOnce(Arc<Broker>) -> F + Send + 'static,
    ) -> Result<T, Lost>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send + 'static,
    {
        self.server.travel().await;
        let (answer, answered) = oneshot::channel();
        self.send(Box::new(move |broker| {
            Box::pin(async move {
                if let Some(result) = work(broker).await {
                    drop(answer.send(result));
                }
                None
            })
        }));
        let result = answered.await.map_err(|_| Lost)?;
        self.server.travel().await;
        Ok(result)
    }

    /// Sends a request that answers by itself.
    pub(crate) fn send(&self, request: Request) {
        // A connection that was closed loses it, and so the answer's sender.
        drop(self.requests.send(request));
    }
}

fn settings(engine: EngineOptions) -> Settings {
    let listeners = vec!["PLAINTEXT://127.0.0.1:9092".to_owned()];
    let given = Given {
        node_id: 1,
        data_dir: "/data".into(),
        listeners: listeners.clone(),
        advertised_listeners: listeners,
    };
    let config = match BrokerConfig::new(&given, Vec::new().into_iter().collect()) {
        Ok(config) => config,
        Err(error) => panic!("the settings of the simulated server: {error}"),
    };
    let validate = Validate::default();
    Settings { config, engine, node_id: 1, partitions_max: 1_000, validate, decoders_max: 1 }
}
