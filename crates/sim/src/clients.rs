//! The clients: who produces, consumes, commits and administers.

mod admin;
mod consumer;
mod producer;
pub(crate) mod streams;

use std::sync::Arc;

use millrace_broker::{Broker, Partition, Topic};
use millrace_types::TopicPartition;
use parking_lot::Mutex;

pub(crate) use admin::{churn, create, cut};
pub(crate) use consumer::{Consumer, FullRead, committed, full_read, watch_groups};
pub(crate) use producer::Producer;

use crate::{
    book::Book,
    random::Random,
    server::{Connection, Server},
    world::World,
};

/// What every client has at hand. Clones share all but the random numbers.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) world: World,
    pub(crate) server: Server,
    pub(crate) book: Book,
    pub(crate) random: Random,
    /// Who it is in the history.
    pub(crate) name: String,
    stopping: Arc<Mutex<bool>>,
}

impl Client {
    pub(crate) fn new(world: World, server: Server, book: Book, random: Random) -> Self {
        Self { world, server, book, random, name: "main".into(), stopping: Arc::default() }
    }

    /// Another client with its own random numbers.
    pub(crate) fn another(&mut self) -> Self {
        let seed = self.random.any();
        let name = format!("client {:04x}", seed & 0xffff);
        Self { random: Random::new(seed, 0), name, ..self.clone() }
    }

    /// The load ends: clients finish what they have begun.
    pub(crate) fn stop(&self) {
        *self.stopping.lock() = true;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.lock()
    }

    /// Waits a moment.
    pub(crate) async fn think(&mut self, most_ms: u64) {
        let us = self.random.below(most_ms * 1000);
        self.world.sleep_us(us).await;
    }

    /// A connection, as soon as there is a server.
    pub(crate) async fn connect(&mut self) -> Connection {
        loop {
            if let Some(connection) = self.server.connect() {
                return connection;
            }
            let ms = self.random.within(20, 300);
            self.world.sleep_ms(ms).await;
        }
    }

    /// The topic of this name; `None` if there is none now.
    pub(crate) async fn topic(&mut self, name: &str) -> Option<Arc<Topic>> {
        loop {
            let connection = self.connect().await;
            let name = name.to_owned();
            let asked = connection.ask(|broker| async move { Some(broker.topic(&name)) }).await;
            if let Ok(topic) = asked {
                return topic;
            }
            self.think(50).await;
        }
    }
}

/// A partition of the broker that serves.
pub(crate) fn find(broker: &Broker, at: TopicPartition) -> Option<Arc<Partition>> {
    broker.topic_by_id(at.topic)?.partition(at.partition)
}
