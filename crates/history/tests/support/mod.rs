//! A history written by hand, event by event. Everything happens in the log
//! `t#1/0`, unless it says otherwise.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses a part of it")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use millrace_history::{
    Assignment, Checker, Committed, Event, Options, Record, Report, TopicPartition, What,
};

pub const TOPIC: &str = "t#1";

#[derive(Default)]
pub struct History {
    pub events: Vec<Event<'static>>,
    ops: u64,
}

pub fn at(topic: &str) -> TopicPartition<'static> {
    TopicPartition { topic: Cow::Owned(topic.to_owned()), partition: 0 }
}

pub fn record(topic: &str, offset: i64, value: &str) -> Record<'static> {
    Record { at: at(topic), offset, value: Cow::Owned(value.to_owned()) }
}

impl History {
    pub fn add(&mut self, process: &str, what: What<'static>) -> &mut Self {
        let time = self.events.len() as u64;
        self.events.push(Event { time, process: Cow::Owned(process.to_owned()), what });
        self
    }

    pub fn op(&mut self) -> u64 {
        self.ops += 1;
        self.ops
    }

    pub fn send_to(&mut self, process: &str, topic: &str, value: &str, idempotent: bool) -> u64 {
        let op = self.op();
        let (topic, value) = (topic.to_owned().into(), value.to_owned().into());
        self.add(process, What::Send { op, topic, partition: Some(0), value, idempotent });
        op
    }

    pub fn send(&mut self, process: &str, value: &str) -> u64 {
        self.send_to(process, TOPIC, value, true)
    }

    pub fn sent(&mut self, process: &str, op: u64, offset: impl Into<Option<i64>>) -> &mut Self {
        self.add(process, What::Sent { op, partition: None, offset: offset.into() })
    }

    /// Sends and is acknowledged.
    pub fn write(&mut self, process: &str, value: &str, offset: i64) -> &mut Self {
        let op = self.send(process, value);
        self.sent(process, op, offset)
    }

    pub fn assigned(&mut self, process: &str, from: i64) -> &mut Self {
        let logs = vec![Assignment { at: at(TOPIC), from: Some(from) }];
        self.add(process, What::Assigned { logs })
    }

    pub fn polled(&mut self, process: &str, records: &[(i64, &str)]) -> &mut Self {
        let records = records.iter().map(|(offset, value)| record(TOPIC, *offset, value)).collect();
        self.add(process, What::Polled { op: None, records, positions: Vec::new() })
    }

    pub fn full_read(&mut self, process: &str, records: &[(i64, &str)]) -> &mut Self {
        self.assigned(process, 0);
        self.add(process, What::FullReadBegun { at: at(TOPIC) });
        self.polled(process, records);
        self.add(process, What::FullReadEnded { at: at(TOPIC) })
    }

    pub fn commit(&mut self, process: &str, topic: &str, offset: i64) -> u64 {
        let op = self.op();
        let offsets = vec![Committed { at: at(topic), offset: Some(offset) }];
        self.add(process, What::Commit { op, group: "g".into(), offsets });
        op
    }

    pub fn committed(&mut self, process: &str, offset: i64) -> &mut Self {
        let op = self.commit(process, TOPIC, offset);
        self.add(process, What::Committed { op })
    }

    pub fn fetched(&mut self, process: &str, topic: &str, offset: Option<i64>) -> &mut Self {
        let op = self.op();
        self.add(process, What::FetchCommits { op, group: "g".into() });
        let offsets = vec![Committed { at: at(topic), offset }];
        self.add(process, What::CommitsFetched { op, offsets })
    }

    pub fn listed(&mut self, process: &str, log_start: Option<i64>, end: Option<i64>) -> &mut Self {
        let op = self.op();
        self.add(process, What::ListOffsets { op, at: at(TOPIC) });
        self.add(process, What::OffsetsListed { op, log_start, end })
    }

    pub fn delete_records(&mut self, process: &str, before: i64) -> &mut Self {
        let op = self.op();
        self.add(process, What::DeleteRecords { op, at: at(TOPIC), before });
        self.add(process, What::RecordsDeleted { op, log_start: before })
    }

    pub fn topic(&mut self, topic: &'static str, name: &'static str) -> &mut Self {
        self.add("admin", What::TopicCreated { topic: topic.into(), name: name.into() })
    }

    pub fn delete_topic(&mut self, topic: &'static str) -> &mut Self {
        let op = self.op();
        self.add("admin", What::DeleteTopic { op, topic: topic.into() });
        self.add("admin", What::TopicDeleted { op })
    }

    pub fn check(&self) -> Report {
        check(&self.events, Options { dense: true, ..Options::default() })
    }
}

pub fn check(events: &[Event<'_>], options: Options) -> Report {
    let mut checker = Checker::new(options);
    for event in events {
        checker.event(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    }
    checker.finish()
}

/// The kinds that were found, and how many of each.
pub fn kinds(report: &Report) -> BTreeMap<&'static str, u64> {
    report.totals.clone()
}

/// The only anomaly that was found, as it is told, with its events.
pub fn only(history: &History) -> (String, Vec<u32>) {
    let report = history.check();
    let [anomaly] = report.anomalies.as_slice() else { panic!("not one: {report:#?}") };
    let events = anomaly.events().into_iter().map(|event| event.0).collect();
    (format!("{}: {anomaly}", anomaly.kind()), events)
}
