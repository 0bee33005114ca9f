//! Consumers: those that follow the end of a log and commit how far they are
//! as a group, and those that read all of it at the end.

use std::{collections::BTreeMap, sync::Arc};

use millrace_broker::{
    Broker, Isolation, Offsets, Partition, ReadError, ReadOptions,
    groups::{CommitRequest, GroupId, OffsetCommit},
};
use millrace_history::What;
use millrace_log::{batch, records};
use millrace_types::{LeaderEpoch, Offset, PartitionId, TopicPartition};

use super::{Client, find};
use crate::{
    book::{Asking, Promise, Value, log},
    server::{Connection, Lost},
};

/// One consumer of one partition.
pub(crate) struct Consumer {
    pub(crate) client: Client,
    pub(crate) topic: &'static str,
    pub(crate) partition: i32,
    /// The group whose offsets it commits; alone in it.
    pub(crate) group: Option<String>,
    pub(crate) think_ms: u64,
}

/// What a fetch brought.
pub(crate) enum Fetched {
    Records(Offsets, Vec<(i64, Option<Value>)>),
    OutOfRange(Offsets),
    Corrupt(String),
    /// Try again.
    NotNow,
    /// There is no such partition any more.
    Gone,
}

impl Consumer {
    /// Reads until the load ends.
    pub(crate) async fn run(mut self) {
        while !self.client.is_stopping() {
            let Some(topic) = self.client.topic(self.topic).await else {
                self.client.think(500).await;
                continue;
            };
            let at = TopicPartition::new(topic.id, PartitionId(self.partition));
            drop(topic);
            self.follow(at).await;
        }
    }

    /// Reads one partition until it is gone.
    async fn follow(&mut self, at: TopicPartition) {
        let mut position = self.resume(at).await;
        let mut committed = position;
        let mut connection = self.client.connect().await;
        self.client.book.goes_to(&self.client.name, at, position, true);
        while !self.client.is_stopping() {
            let from = Offset(position);
            let bytes_max = usize::try_from(self.client.random.within(1, 20_000)).unwrap_or(1);
            let asking = self.client.book.asking(&self.client.name, at);
            let op = self.client.book.tell(&self.client.name, |op| What::Poll { op });
            let fetched = connection
                .ask(move |broker| async move { Some(fetch(&broker, at, from, bytes_max).await) });
            match fetched.await {
                Ok(Fetched::Records(offsets, records)) => {
                    self.told(asking, offsets);
                    let records: Vec<_> =
                        records.into_iter().filter(|(offset, _)| *offset >= position).collect();
                    let next = records.last().map_or(position, |(offset, _)| offset + 1);
                    self.client.book.polled(&self.client.name, op, at, &records, next);
                    for (offset, value) in records {
                        if offset > position {
                            let book = &self.client.book;
                            book.gap(at, position, offset);
                        }
                        self.client.book.read(at, offset, value);
                        position = offset + 1;
                    }
                }
                Ok(Fetched::OutOfRange(offsets)) => {
                    self.told(asking, offsets);
                    let (start, end) = (offsets.log_start.get(), offsets.high_watermark.get());
                    if position > end && self.client.book.promise() < Promise::NothingWrong {
                        self.client.book.violation(
                            "end-went-back",
                            format!("{at} ends at {end}, but was read up to {position}"),
                        );
                    }
                    position = start;
                    self.client.book.goes_to(&self.client.name, at, position, false);
                }
                Ok(Fetched::Corrupt(error)) => {
                    self.client.book.corrupt(at, position, &error);
                    self.client.think(2_000).await;
                    position = self.client.book.end_of(at);
                    self.client.book.goes_to(&self.client.name, at, position, false);
                }
                Ok(Fetched::NotNow) => self.client.think(200).await,
                Ok(Fetched::Gone) => return,
                Err(Lost) => connection = self.client.connect().await,
            }
            if self.group.is_some() && self.client.random.percent(20) {
                if position > committed {
                    committed = position;
                    self.commit(&connection, at, position).await;
                } else if self.client.random.percent(10) {
                    // As a member that died and came back.
                    position = self.resume(at).await;
                    self.client.book.goes_to(&self.client.name, at, position, false);
                }
            }
            self.client.think(self.think_ms).await;
        }
    }

    fn told(&self, asking: Asking, offsets: Offsets) {
        let book = &self.client.book;
        book.bounds_seen(&self.client.name, asking, offsets.log_start, offsets.high_watermark);
    }

    /// Where the group has got to, or the start.
    async fn resume(&mut self, at: TopicPartition) -> i64 {
        let Some(group) = self.group.clone() else { return self.client.book.start_of(at) };
        loop {
            let connection = self.client.connect().await;
            let known = self.client.book.asking_commit(&self.client.name, &group, at);
            match committed(&connection, &group, at).await {
                Ok(offset) => {
                    self.client.book.commit_seen(&self.client.name, &group, at, known, offset);
                    return offset.unwrap_or_else(|| self.client.book.start_of(at));
                }
                Err(Lost) => self.client.think(100).await,
            }
        }
    }

    async fn commit(&mut self, connection: &Connection, at: TopicPartition, offset: i64) {
        let Some(group) = self.group.clone() else { return };
        let name = &self.client.name;
        let op = self.client.book.commit_asked(name, &group, at, offset);
        let name: Arc<str> = group.as_str().into();
        let asked = connection.ask(move |broker| async move {
            let request = CommitRequest {
                group: GroupId::from(&*name),
                member: "".into(),
                instance: None,
                generation: -1,
                retention_ms: None,
                offsets: vec![OffsetCommit {
                    partition: at,
                    offset: Offset(offset),
                    leader_epoch: Some(LeaderEpoch(0)),
                    metadata: "".into(),
                }],
            };
            find(&broker, at)?;
            // An incarnation that ended does not answer.
            broker.groups().commit(request).await.ok()
        });
        if let Ok(Ok(results)) = asked.await
            && results.iter().all(Result::is_ok)
        {
            self.client.book.commit_acked(&self.client.name, op, &group, at, offset);
        }
    }
}

/// Looks at the offsets of groups now and then, as one who watches their lag.
pub(crate) async fn watch_groups(mut client: Client, topic: &'static str, group: &'static str) {
    while !client.is_stopping() {
        client.think(300).await;
        let Some(topic) = client.topic(topic).await else { continue };
        let at = TopicPartition::new(topic.id, PartitionId(0));
        drop(topic);
        let connection = client.connect().await;
        let known = client.book.asking_commit(&client.name, group, at);
        if let Ok(offset) = committed(&connection, group, at).await {
            client.book.commit_seen(&client.name, group, at, known, offset);
        }
    }
}

/// The offset that a group has committed, durably.
pub(crate) async fn committed(
    connection: &Connection,
    group: &str,
    at: TopicPartition,
) -> Result<Option<i64>, Lost> {
    let group = group.to_owned();
    let asked = connection.ask(move |broker| async move {
        broker.groups().settled(&group).await.ok()?;
        let all = broker.groups().committed(&group, &[at]).ok()?;
        Some(all.first().and_then(Option::as_ref).map(|committed| committed.offset.get()))
    });
    asked.await
}

/// Reads once; where there is nothing, waits for it half a second.
async fn fetch(broker: &Broker, at: TopicPartition, from: Offset, bytes_max: usize) -> Fetched {
    let Some(partition) = find(broker, at) else { return Fetched::Gone };
    let mut watch = broker.watch();
    watch.add(&partition, 0);
    let until = broker.env().monotonic_ms() + 500;
    loop {
        let fetched = fetch_now(broker, &partition, from, bytes_max).await;
        if !matches!(&fetched, Fetched::Records(_, records) if records.is_empty()) {
            return fetched;
        }
        tokio::select! {
            biased;
            () = broker.ended() => return Fetched::NotNow,
            () = broker.env().sleep_until(until) => return fetched,
            _ = watch.changed() => {}
        }
    }
}

async fn fetch_now(
    broker: &Broker,
    partition: &Arc<Partition>,
    from: Offset,
    bytes_max: usize,
) -> Fetched {
    let isolation = Isolation::ReadUncommitted;
    let options = ReadOptions { bytes_max, at_least_one: true, isolation };
    match broker.read(partition, from, &options).await {
        Ok(read) => {
            let mut records = Vec::new();
            match decode(&read.records.concat(), &mut records) {
                Ok(()) => Fetched::Records(read.offsets, records),
                Err(error) => Fetched::Records(read.offsets, wrong(from, &error)),
            }
        }
        Err(ReadError::OutOfRange(offsets)) => Fetched::OutOfRange(offsets),
        Err(ReadError::Corrupt(error)) => Fetched::Corrupt(error),
        Err(ReadError::Deleted) => Fetched::Gone,
        Err(ReadError::Ended | ReadError::NoMemory | ReadError::Unavailable) => Fetched::NotNow,
    }
}

/// Bytes that are no batches were served as if they were.
fn wrong(from: Offset, error: &str) -> Vec<(i64, Option<Value>)> {
    tracing::error!(error, "what was served cannot be decoded");
    vec![(from.get(), None)]
}

fn decode(bytes: &[u8], found: &mut Vec<(i64, Option<Value>)>) -> Result<(), String> {
    for batch in batch::batches(bytes) {
        let (header, bytes) = batch.map_err(|error| error.to_string())?;
        batch::check_crc(&header, bytes).map_err(|error| error.to_string())?;
        let body = records::body(&header, bytes, 1 << 20).map_err(|error| error.to_string())?;
        for record in records::records(&header, &body) {
            let record = record.map_err(|error| error.to_string())?;
            let value = record.value.and_then(Value::decode);
            found.push((record.offset(&header).get(), value));
        }
    }
    Ok(())
}

/// All that a partition has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FullRead {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) found: BTreeMap<i64, Value>,
    /// Offsets that were reported as corrupt: from, and the first that can be
    /// read again.
    pub(crate) corrupt: Vec<(i64, i64)>,
}

/// Reads a partition from its start to its end. `None` if it is gone.
pub(crate) async fn full_read(client: &mut Client, at: TopicPartition) -> Option<FullRead> {
    let mut all = FullRead::default();
    let mut position: Option<i64> = None;
    let mut refused = 0;
    // A reader of its own.
    let mut client = client.another();
    let client = &mut client;
    client.book.goes_to(&client.name, at, 0, true);
    client.book.tell(&client.name, |_| What::FullReadBegun { at: log(at) });
    loop {
        let connection = client.connect().await;
        let from = Offset(position.unwrap_or(0));
        let asking = client.book.asking(&client.name, at);
        let op = client.book.tell(&client.name, |op| What::Poll { op });
        let fetched = connection.ask(move |broker| async move {
            let Some(partition) = find(&broker, at) else { return Some(Fetched::Gone) };
            Some(fetch_now(&broker, &partition, from, 1 << 16).await)
        });
        match fetched.await {
            Ok(Fetched::Records(offsets, records)) => {
                client.book.bounds_seen(
                    &client.name,
                    asking,
                    offsets.log_start,
                    offsets.high_watermark,
                );
                let mut next = from.get();
                if position.is_none() {
                    all.start = next;
                }
                let records: Vec<_> =
                    records.into_iter().filter(|(offset, _)| *offset >= next).collect();
                let last = records.last().map_or(next, |(offset, _)| offset + 1);
                client.book.polled(&client.name, op, at, &records, last);
                for (offset, value) in records {
                    if offset > next {
                        client.book.gap(at, next, offset);
                    }
                    client.book.read(at, offset, value);
                    if let Some(value) = value {
                        all.found.insert(offset, value);
                    }
                    next = offset + 1;
                }
                let next = client.book.behind_given_up(at, next);
                position = Some(next);
                if next >= offsets.high_watermark.get() {
                    all.end = offsets.high_watermark.get();
                    client.book.tell(&client.name, |_| What::FullReadEnded { at: log(at) });
                    return Some(all);
                }
            }
            Ok(Fetched::OutOfRange(offsets)) => {
                let start = offsets.log_start.get();
                if start <= from.get() {
                    client
                        .book
                        .violation("gap", format!("{at} cannot be read from {from}: {offsets:?}"));
                    return None;
                }
                // Retention goes on: the log starts later now.
                all = FullRead::default();
                position = Some(start);
                all.start = start;
                client.book.goes_to(&client.name, at, start, false);
                client.book.tell(&client.name, |_| What::FullReadBegun { at: log(at) });
            }
            Ok(Fetched::Corrupt(error)) => {
                client.book.corrupt(at, from.get(), &error);
                // Readable again at the next offset that is, one by one.
                all.corrupt.push((from.get(), from.get() + 1));
                position = Some(from.get() + 1);
            }
            Ok(Fetched::NotNow) => {
                refused += 1;
                if refused > 100 {
                    let what = format!("{at} cannot be read at {from}, for ever");
                    client.book.violation("unreadable", what);
                    all.corrupt.push((from.get(), i64::MAX));
                    return Some(all);
                }
                client.world.sleep_ms(100).await;
            }
            Err(Lost) => {}
            Ok(Fetched::Gone) => return None,
        }
    }
}
