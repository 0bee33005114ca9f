//! In-memory stand-in for the broker, in its signatures; replaced whole by the
//! real one.
#![allow(missing_docs, clippy::unused_async, reason = "replaced by the real broker")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::{Bytes, BytesMut};
use millrace_types::{
    LeaderEpoch, Lsn, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
    TopicName, TopicPartition,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

pub use millrace_store::catalog::ConfigScope;
use millrace_store::env::{BoxFuture, Env};

use crate::config::{BrokerConfig, ConfigError, Given, Overrides, Scope, TopicConfig};
use crate::groups::{GroupCoordinator, GroupLog, GroupLogError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub log_start: Offset,
    pub high_watermark: Offset,
    pub last_stable: Offset,
}

#[derive(Clone, Copy, Debug)]
pub struct AppendOptions {
    pub compression_max: Compression,
}

#[derive(Clone, Copy, Debug)]
pub struct Appended {
    pub base_offset: Offset,
    pub append_time: Option<Timestamp>,
    pub log_start: Offset,
    pub lsn: Lsn,
}

#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("the batch is malformed")]
    Malformed,
    #[error("the batch's CRC does not match")]
    Crc,
    #[error("magic {0} is not 2")]
    Magic(i8),
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("the codec is too new for the request")]
    Compression,
    #[error("the batch belongs to a transaction")]
    Transactional,
    #[error("the topic is deleted")]
    TopicDeleted,
    #[error("the incarnation ended")]
    Ended,
}

#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    pub bytes_max: usize,
    pub at_least_one: bool,
    pub isolation: Isolation,
}

#[derive(Debug)]
pub struct Read {
    pub offsets: Offsets,
    pub records: Vec<Bytes>,
    pub bytes: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the offset is out of range")]
    OutOfRange(Offsets),
    #[error("stored bytes are corrupt")]
    Corrupt,
    #[error("the topic is deleted")]
    Deleted,
    #[error("the incarnation ended")]
    Ended,
    #[error("not now")]
    Unavailable,
}

#[derive(Clone, Copy, Debug)]
pub struct OffsetAndTime {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteRecordsError {
    #[error("the offset is out of range")]
    OutOfRange,
    #[error("the topic is deleted")]
    Deleted,
    #[error("not now")]
    Unavailable,
    #[error("the incarnation ended")]
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    #[error("topic '{0}' already exists")]
    Exists(String),
    #[error("topic name collides with existing topic '{with}'")]
    Collides { with: String },
    #[error("the number of partitions must be from 1 to {0}")]
    InvalidPartitions(u32),
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    #[error("{0}")]
    Unavailable(String),
    #[error("the incarnation ended")]
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    #[error("the topic does not exist")]
    NotFound,
    #[error("{0}")]
    Unavailable(String),
    #[error("the incarnation ended")]
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreatePartitionsError {
    #[error("the topic does not exist")]
    NotFound,
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("the incarnation ended")]
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetConfigError {
    #[error("the topic does not exist")]
    NotFound,
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    #[error("{0}")]
    Unavailable(String),
    #[error("the incarnation ended")]
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the incarnation ended")]
pub struct Ended;

#[derive(Clone, Debug)]
pub struct NewTopic {
    pub name: TopicName,
    pub partitions: u32,
    pub config: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug)]
pub struct ProducerInfo {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_sequence: Sequence,
    pub last_timestamp: Timestamp,
}

#[derive(Debug)]
pub struct Topic {
    pub id: TopicId,
    name: TopicName,
    partitions: RwLock<Vec<Arc<Partition>>>,
    config: RwLock<Arc<TopicConfig>>,
}

impl Topic {
    pub fn name(&self) -> &TopicName {
        &self.name
    }
    pub fn partition(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.partitions.read().get(usize::try_from(id.get()).ok()?).cloned()
    }
    pub fn partitions(&self) -> Arc<Vec<Arc<Partition>>> {
        Arc::new(self.partitions.read().clone())
    }
    pub fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read())
    }
    fn grow(&self, total: u32) {
        let mut partitions = self.partitions.write();
        let first = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        for n in first..i32::try_from(total).unwrap_or(i32::MAX) {
            let id = TopicPartition::new(self.id, PartitionId(n));
            let name = self.name.clone();
            partitions.push(Arc::new(Partition { id, name, log: Mutex::default() }));
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    start: i64,
    next: i64,
    batches: Vec<(i64, i64, Bytes)>,
}

#[derive(Debug)]
pub struct Partition {
    id: TopicPartition,
    name: TopicName,
    log: Mutex<Log>,
}

impl Partition {
    pub fn id(&self) -> TopicPartition {
        self.id
    }
    pub fn topic_name(&self) -> &TopicName {
        &self.name
    }
    pub fn offsets(&self) -> Offsets {
        let log = self.log.lock();
        let high_watermark = Offset(log.next);
        Offsets { log_start: Offset(log.start), high_watermark, last_stable: high_watermark }
    }
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(0)
    }
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        (epoch.get() == 0).then(|| (epoch, Offset(self.log.lock().next)))
    }
    pub fn producers(&self) -> Vec<ProducerInfo> {
        Vec::new()
    }
    pub fn size_bytes(&self) -> u64 {
        self.log.lock().batches.iter().map(|(_, _, b)| b.len() as u64).sum()
    }
    pub fn is_deleted(&self) -> bool {
        false
    }
}

#[derive(Debug, Default)]
pub struct Broker {
    config: RwLock<Arc<BrokerConfig>>,
    configs: Mutex<BTreeMap<ConfigScope, Overrides>>,
    topics: Mutex<BTreeMap<TopicName, Arc<Topic>>>,
    ids: AtomicU64,
    producers: AtomicI64,
    grown: Arc<Notify>,
    groups: OnceLock<Arc<GroupCoordinator>>,
}

struct StandInEnv(std::time::Instant);

impl Env for StandInEnv {
    fn wall(&self) -> Timestamp {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
    fn random_u64(&self) -> u64 {
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ())
    }
    fn sleep_until(&self, monotonic_ms: u64) -> BoxFuture<'static, ()> {
        let at = self.0 + std::time::Duration::from_millis(monotonic_ms);
        Box::pin(tokio::time::sleep_until(at.into()))
    }
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}

/// Durable at once.
struct StandInGroupLog(Weak<GroupCoordinator>);

impl GroupLog for StandInGroupLog {
    fn append<'a>(&'a self, records: &'a [Vec<u8>]) -> BoxFuture<'a, Result<(), GroupLogError>> {
        if let Some(groups) = self.0.upgrade() {
            records.iter().for_each(|record| groups.apply(record));
        }
        Box::pin(std::future::ready(Ok(())))
    }
    fn ended(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
    fn topic_name(&self, _: TopicId) -> Option<TopicName> {
        None
    }
}

impl Broker {
    pub fn new() -> Arc<Self> {
        Self::with_config(&[])
    }
    pub fn with_config(started: &[(&str, &str)]) -> Arc<Self> {
        let listener = vec!["PLAINTEXT://127.0.0.1:9092".to_owned()];
        let given = Given {
            node_id: 1,
            data_dir: "/data".into(),
            listeners: listener.clone(),
            advertised_listeners: listener,
        };
        let pairs = started.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let config = BrokerConfig::new(&given, pairs.collect()).unwrap_or_default();
        Arc::new(Self { config: RwLock::new(Arc::new(config)), ..Self::default() })
    }
    pub fn config(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.config.read())
    }
    pub fn groups(&self) -> &GroupCoordinator {
        self.groups.get_or_init(|| {
            let groups = GroupCoordinator::new(Arc::new(StandInEnv(std::time::Instant::now())));
            let log: Arc<dyn GroupLog> = Arc::new(StandInGroupLog(Arc::downgrade(&groups)));
            groups.start(&self.config(), &log).ok();
            groups
        })
    }
    pub fn cluster_id(&self) -> &str {
        "stand-in"
    }
    pub fn node_id(&self) -> i32 {
        1
    }
    pub async fn ended(&self) {
        std::future::pending().await
    }
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.lock().get(&TopicName::new(name).ok()?).cloned()
    }
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.topics.lock().values().find(|topic| topic.id == id).cloned()
    }
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.lock().values().cloned().collect()
    }
    pub async fn create_topic(
        &self,
        new: NewTopic,
        validate_only: bool,
    ) -> Result<Arc<Topic>, CreateTopicError> {
        let number = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        let id = TopicId((u128::from(number) | 1 << 100).to_be_bytes());
        let config = TopicConfig::resolve(&new.config, &self.config())?;
        let mut topics = self.topics.lock();
        if topics.contains_key(&new.name) {
            return Err(CreateTopicError::Exists(new.name.to_string()));
        }
        let form = new.name.collision_form();
        if let Some(with) = topics.keys().find(|name| name.collision_form() == form) {
            return Err(CreateTopicError::Collides { with: with.to_string() });
        }
        if !(1..=100_000).contains(&new.partitions) {
            return Err(CreateTopicError::InvalidPartitions(100_000));
        }
        let topic = Arc::new(Topic {
            id,
            name: new.name.clone(),
            partitions: RwLock::default(),
            config: RwLock::new(Arc::new(config)),
        });
        if !validate_only {
            topic.grow(new.partitions);
            topics.insert(new.name, Arc::clone(&topic));
        }
        Ok(topic)
    }
    pub async fn delete_topic(&self, id: TopicId) -> Result<(), DeleteTopicError> {
        let topic = self.topic_by_id(id).ok_or(DeleteTopicError::NotFound)?;
        self.topics.lock().remove(topic.name());
        Ok(())
    }
    pub async fn create_partitions(
        &self,
        id: TopicId,
        total: u32,
        validate_only: bool,
    ) -> Result<(), CreatePartitionsError> {
        let topic = self.topic_by_id(id).ok_or(CreatePartitionsError::NotFound)?;
        if !validate_only {
            topic.grow(total);
        }
        Ok(())
    }
    pub async fn set_topic_config(
        &self,
        id: TopicId,
        overrides: Overrides,
    ) -> Result<(), SetConfigError> {
        let topic = self.topic_by_id(id).ok_or(SetConfigError::NotFound)?;
        *topic.config.write() = Arc::new(TopicConfig::resolve(&overrides, &self.config())?);
        Ok(())
    }
    pub async fn set_config(
        &self,
        scope: ConfigScope,
        overrides: Overrides,
    ) -> Result<(), SetConfigError> {
        let mut configs = self.configs.lock();
        configs.insert(scope, overrides);
        configs.retain(|_, overrides| !overrides.is_empty());
        let of = |name: &str| {
            let scope = ConfigScope::new(Scope::Broker.key(), name);
            configs.get(&scope).cloned().unwrap_or_default()
        };
        let config = self.config().with_dynamic(of(""), of("1"))?;
        for topic in self.topics() {
            let (config, _) = TopicConfig::resolve_stored(topic.config().overrides(), &config);
            *topic.config.write() = Arc::new(config);
        }
        *self.config.write() = Arc::new(config);
        Ok(())
    }
    pub fn config_overrides(&self, scope: &ConfigScope) -> Overrides {
        self.configs.lock().get(scope).cloned().unwrap_or_default()
    }
    pub fn config_scopes(&self) -> Vec<ConfigScope> {
        self.configs.lock().keys().cloned().collect()
    }
    pub async fn append(
        &self,
        partition: &Arc<Partition>,
        batch: &[u8],
        _: &AppendOptions,
    ) -> Result<Appended, AppendError> {
        let field = batch.get(23..27).and_then(|b| b.try_into().ok());
        let delta = i64::from(i32::from_be_bytes(field.ok_or(BatchError::Malformed)?));
        let mut log = partition.log.lock();
        let base = log.next;
        let mut bytes = BytesMut::from(batch);
        if let Some(head) = bytes.get_mut(..8) {
            head.copy_from_slice(&base.to_be_bytes());
        }
        log.next = base + delta + 1;
        log.batches.push((base, base + delta, bytes.freeze()));
        let log_start = Offset(log.start);
        drop(log);
        self.grown.notify_waiters();
        Ok(Appended { base_offset: Offset(base), append_time: None, log_start, lsn: Lsn(1) })
    }
    pub async fn durable(&self, _: Lsn) -> Result<(), Ended> {
        Ok(())
    }
    pub async fn read(
        &self,
        partition: &Arc<Partition>,
        from: Offset,
        options: &ReadOptions,
    ) -> Result<Read, ReadError> {
        let offsets = partition.offsets();
        if from < offsets.log_start || from > offsets.high_watermark {
            return Err(ReadError::OutOfRange(offsets));
        }
        let mut read = Read { offsets, records: Vec::new(), bytes: 0 };
        for (_, last, bytes) in &partition.log.lock().batches {
            if *last < from.get() {
                continue;
            }
            let first = read.records.is_empty() && options.at_least_one;
            if !first && read.bytes + bytes.len() > options.bytes_max {
                break;
            }
            read.bytes += bytes.len();
            read.records.push(bytes.clone());
        }
        Ok(read)
    }
    pub fn watch(&self) -> Watch {
        Watch { grown: Arc::clone(&self.grown), watched: BTreeMap::new() }
    }
    pub async fn offset_at_time(
        &self,
        _: &Arc<Partition>,
        _: Timestamp,
        _: Isolation,
    ) -> Result<Option<OffsetAndTime>, ReadError> {
        Ok(None)
    }
    pub async fn offset_of_max_timestamp(
        &self,
        _: &Arc<Partition>,
    ) -> Result<Option<OffsetAndTime>, ReadError> {
        Ok(None)
    }
    pub async fn delete_records(
        &self,
        partition: &Arc<Partition>,
        before: Option<Offset>,
    ) -> Result<Offset, DeleteRecordsError> {
        let mut log = partition.log.lock();
        let before = before.map_or(log.next, Offset::get);
        if before > log.next {
            return Err(DeleteRecordsError::OutOfRange);
        }
        log.start = log.start.max(before);
        Ok(Offset(log.start))
    }
    pub fn new_producer_id(&self) -> ProducerId {
        ProducerId(self.producers.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug)]
pub struct Watch {
    grown: Arc<Notify>,
    watched: BTreeMap<u32, (Arc<Partition>, Offset)>,
}

impl Watch {
    pub fn add(&mut self, partition: &Arc<Partition>, token: u32) {
        let seen = partition.offsets().high_watermark;
        self.watched.insert(token, (Arc::clone(partition), seen));
    }
    pub fn remove(&mut self, token: u32) {
        self.watched.remove(&token);
    }
    pub async fn changed(&mut self) -> Vec<u32> {
        loop {
            let grown = Arc::clone(&self.grown);
            let notified = grown.notified();
            let mut changed = Vec::new();
            for (token, (partition, seen)) in &mut self.watched {
                let now = partition.offsets().high_watermark;
                if now != *seen {
                    *seen = now;
                    changed.push(*token);
                }
            }
            if !changed.is_empty() {
                return changed;
            }
            notified.await;
        }
    }
}
