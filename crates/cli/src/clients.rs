//! The commands that are clients: each speaks the Kafka protocol to any broker
//! and knows nothing of the server beside it.
//!
//! Invariant: krafka, the client library, is named in this crate alone. A
//! command makes one [`Session`](session::Session), does its work, prints its
//! answer through [`Out`](crate::Out), and every error that a broker or a
//! connection gave becomes a sentence in `failure`.

pub(crate) mod escape;
mod failure;
pub(crate) mod outcome;
pub(crate) mod path;
pub(crate) mod positions;
mod profile;
pub(crate) mod session;
pub(crate) mod time;
pub(crate) mod when;

use std::future::Future;

use clap::Subcommand;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::Failure;
use crate::cluster::{self, ClusterCommand};
use crate::consume::{self, ConsumeArgs};
use crate::group::{self, GroupCommand};
use crate::produce::{self, ProduceArgs};
use crate::topic::{self, TopicCommand};

/// Commands that work against any Kafka broker.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a variant without words takes those of its arguments")]
pub enum ClientCommand {
    /// Create, list, describe, change and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    Produce(Box<ProduceArgs>),
    Consume(Box<ConsumeArgs>),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// What a cluster is made of, and its configuration
    #[command(subcommand)]
    Cluster(ClusterCommand),
}

/// Runs one to its end.
///
/// # Errors
/// What it could not do.
pub fn run(command: ClientCommand) -> Result<(), Failure> {
    match command {
        ClientCommand::Topic(command) => topic::run(command),
        ClientCommand::Produce(args) => block_on(produce::run(*args)),
        ClientCommand::Consume(args) => block_on(consume::run(*args)),
        ClientCommand::Group(command) => group::run(command),
        ClientCommand::Cluster(command) => cluster::run(command),
    }
}

/// Heartbeats and acknowledgements go on beside a command that writes to a
/// slow reader: so there is a thread beside its own.
pub(crate) fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("can't start threads: {error}")))?;
    let result = runtime.block_on(work);
    // Nothing that still waits may hold up the end.
    runtime.shutdown_background();
    result
}

/// The exit code of a process that a second Ctrl-C ended, as a shell gives it.
const INTERRUPTED: i32 = 130;

/// Returns at the first Ctrl-C or SIGTERM, for the command to end in good
/// order. The second ends the process, whatever that waits for. Where signals
/// can't be had, neither happens.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let (tell, told) = oneshot::channel();
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    if let (Ok(mut interrupt), Ok(mut terminate)) = signals {
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            // Nobody listens where the command is taking leave already.
            tell.send(()).unwrap_or_default();
            either(&mut interrupt, &mut terminate).await;
            std::process::exit(INTERRUPTED);
        });
    }
    async move {
        if told.await.is_err() {
            std::future::pending().await
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
