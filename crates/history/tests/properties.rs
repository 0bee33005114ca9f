//! Histories of a model log are clean, whatever happens in it; and each kind
//! of fault, planted in one of them at a random place, is found as that kind
//! and no other.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use millrace_history::{Assignment, Event, Options, Record, What};
use proptest::prelude::*;
use support::{History, at, check, record};

/// A small generator: the test's own choices, from one seed.
struct Choice(u64);

impl Choice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n.max(1) as u64).unwrap()
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.below(all.len())].clone())
    }
}

/// The topics: `t#0` is deleted and made again as `t#1`.
const TOPICS: [&str; 2] = ["t#1", "u#1"];

/// A record as the model has it.
#[derive(Clone)]
struct Written {
    value: String,
    idempotent: bool,
    /// The events of its send and of its acknowledgement.
    sent: usize,
    acked: Option<usize>,
}

#[derive(Default)]
struct Log {
    records: Vec<Written>,
    start: usize,
    /// Sends whose outcome is unknown and that were never written.
    never: Vec<String>,
    /// Sends whose outcome is unknown and that were written: event, offset.
    unknown: Vec<(usize, i64)>,
    /// Where each of two readers stands.
    readers: [usize; 2],
    /// The group's offset.
    committed: Option<i64>,
}

struct Model {
    history: History,
    logs: [Log; 2],
    values: u64,
}

fn offset(index: usize) -> i64 {
    i64::try_from(index).unwrap()
}

impl Model {
    fn run(seed: u64, steps: usize) -> Self {
        let mut choice = Choice(seed | 1);
        let mut model =
            Self { history: History::default(), logs: [Log::default(), Log::default()], values: 0 };
        model.earlier_topic();
        for reader in 0..2 {
            model.assign(reader);
        }
        for _ in 0..steps {
            let log = choice.below(2);
            match choice.below(12) {
                0..=4 => model.write(log, &mut choice),
                5..=8 => model.poll(log, &mut choice),
                9 => model.commit(log, &mut choice),
                10 => model.list(log),
                _ => model.admin(log, &mut choice),
            }
        }
        for log in 0..2 {
            model.write(log, &mut choice);
            model.history.add("nemesis", What::ServerKilled);
            model.history.add("nemesis", What::ServerStarted);
            model.list(log);
            model.full_read(log);
        }
        model
    }

    fn earlier_topic(&mut self) {
        let history = &mut self.history;
        history.topic("t#0", "t");
        for value in ["old-0", "old-1"] {
            let op = history.send_to("p0", "t#0", value, true);
            history.sent("p0", op, i64::from(value.ends_with('1')));
        }
        let op = history.commit("c0", "t#0", 123_456);
        history.add("c0", What::Committed { op });
        history.delete_topic("t#0").topic("t#1", "t").topic("u#1", "u");
    }

    fn assign(&mut self, reader: usize) {
        let log = |topic| Assignment { at: at(topic), from: Some(0) };
        let logs = TOPICS.map(log).to_vec();
        self.history.add(&format!("c{reader}"), What::Assigned { logs });
    }

    /// Several records under way at once, of one producer; the plain one may
    /// reorder and repeat them.
    fn write(&mut self, log: usize, choice: &mut Choice) {
        let producer = choice.below(3);
        let (process, idempotent) = (format!("p{producer}"), producer != 2);
        let mut under_way = Vec::new();
        for _ in 0..=choice.below(3) {
            self.values += 1;
            let value = format!("v{}", self.values);
            let op = self.history.send_to(&process, TOPICS[log], &value, idempotent);
            under_way.push((op, value, self.history.events.len() - 1));
        }
        if !idempotent && choice.below(2) == 0 {
            under_way.reverse();
        }
        let log = &mut self.logs[log];
        for (op, value, sent) in under_way {
            let index = log.records.len();
            let mut written = Written { value, idempotent, sent, acked: None };
            match choice.below(10) {
                0 => {
                    self.history.add(&process, What::Fail { op });
                    continue;
                }
                1 => {
                    log.never.push(written.value);
                    self.history.add(&process, What::Info { op });
                    continue;
                }
                2 => {
                    self.history.add(&process, What::Info { op });
                    log.unknown.push((self.history.events.len() - 1, offset(index)));
                }
                _ => {
                    let known = (choice.below(8) > 0).then(|| offset(index));
                    self.history.sent(&process, op, known);
                    written.acked = Some(self.history.events.len() - 1);
                }
            }
            let copies = if !idempotent && choice.below(4) == 0 { 2 } else { 1 };
            (0..copies).for_each(|_| log.records.push(written.clone()));
        }
    }

    fn poll(&mut self, log: usize, choice: &mut Choice) {
        let reader = choice.below(2);
        let process = format!("c{reader}");
        let topic = TOPICS[log];
        let log = &mut self.logs[log];
        if choice.below(12) == 0 {
            let to = choice.below(log.records.len() + 1).max(log.start);
            log.readers[reader] = to;
            self.history.add(&process, What::Seek { at: at(topic), from: Some(offset(to)) });
        }
        let from = log.readers[reader].max(log.start);
        let to = log.records.len().min(from + choice.below(6));
        let records = log.records.iter().enumerate().take(to).skip(from);
        let records: Vec<Record<'static>> =
            records.map(|(index, written)| record(topic, offset(index), &written.value)).collect();
        log.readers[reader] = to.max(from);
        let positions = vec![Assignment { at: at(topic), from: Some(offset(log.readers[reader])) }];
        let positions = if choice.below(3) == 0 { positions } else { Vec::new() };
        self.history.add(&process, What::Polled { op: None, records, positions });
    }

    fn commit(&mut self, log: usize, choice: &mut Choice) {
        let topic = TOPICS[log];
        let at_offset = offset(self.logs[log].readers[0]);
        let op = self.history.commit("c0", topic, at_offset);
        match choice.below(6) {
            0 => {
                self.history.add("c0", What::Fail { op });
            }
            1 => {
                // Unknown: it may be there or not.
                self.history.add("c0", What::Info { op });
                if choice.below(2) == 0 {
                    self.logs[log].committed = Some(at_offset);
                }
            }
            _ => {
                self.history.add("c0", What::Committed { op });
                self.logs[log].committed = Some(at_offset);
            }
        }
        self.history.fetched("c1", topic, self.logs[log].committed);
    }

    fn list(&mut self, log: usize) {
        let (start, end) = (offset(self.logs[log].start), offset(self.logs[log].records.len()));
        let op = self.history.op();
        self.history.add("admin", What::ListOffsets { op, at: at(TOPICS[log]) });
        let (log_start, end) = (Some(start), Some(end));
        self.history.add("admin", What::OffsetsListed { op, log_start, end });
    }

    fn admin(&mut self, log: usize, choice: &mut Choice) {
        let topic = TOPICS[log];
        let model = &mut self.logs[log];
        let to = (model.start + choice.below(4)).min(model.records.len());
        let op = self.history.op();
        match choice.below(3) {
            0 => {
                self.history
                    .add("admin", What::DeleteRecords { op, at: at(topic), before: offset(to) });
                self.history.add("admin", What::RecordsDeleted { op, log_start: offset(to) });
                model.start = to;
            }
            1 => {
                // Retention, seen later by the listings.
                model.start = to;
            }
            _ => {
                let end = offset(model.records.len());
                self.history.add("c0", What::ListOffsets { op, at: at(topic) });
                self.history.add("c0", What::OffsetsListed { op, log_start: None, end: Some(end) });
            }
        }
    }

    fn full_read(&mut self, log: usize) {
        let topic = TOPICS[log];
        let log = &self.logs[log];
        let logs = vec![Assignment { at: at(topic), from: None }];
        self.history.add("r", What::Assigned { logs });
        self.history.add("r", What::FullReadBegun { at: at(topic) });
        let records = log.records.iter().enumerate().skip(log.start);
        let records =
            records.map(|(index, written)| record(topic, offset(index), &written.value)).collect();
        self.history.add("r", What::Polled { op: None, records, positions: Vec::new() });
        self.history.add("r", What::FullReadEnded { at: at(topic) });
    }
}

type Plant = fn(&mut Model, &mut Choice) -> Option<()>;

/// The kinds that are planted. Each plants itself somewhere in the history
/// of the model, or says that it finds no place.
const FAULTS: &[(&str, Plant)] = &[
    ("lost-write", lost_write),
    ("unseen", unseen),
    ("vanished", vanished),
    ("duplicate", duplicate),
    ("inconsistent-offset", inconsistent_offset),
    ("reordered-sends", reordered_sends),
    ("poll-skip", poll_skip),
    ("internal-poll-skip", internal_poll_skip),
    ("nonmonotonic-poll", nonmonotonic_poll),
    ("internal-nonmonotonic-poll", internal_nonmonotonic_poll),
    ("gap", gap),
    ("failed-write-visible", failed_write_visible),
    ("phantom-record", |model, choice| at_the_end(model, choice, "ghost")),
    ("misplaced-record", misplaced_record),
    ("reappeared-record", |model, _| at_the_end_of(model, 0, "old-1")),
    ("deleted-topic-visible", deleted_topic_visible),
    ("deleted-record-visible", deleted_record_visible),
    ("commit-went-back", |model, choice| fetched(model, choice, |_| None)),
    ("phantom-commit", |model, choice| fetched(model, choice, |offset| Some(offset + 1000))),
    ("reappeared-commit", reappeared_commit),
    ("end-went-back", end_went_back),
    ("log-start-went-back", log_start_went_back),
];

fn records_of<'a>(event: &'a mut Event<'static>) -> Option<&'a mut Vec<Record<'static>>> {
    match &mut event.what {
        What::Polled { records, .. } => Some(records),
        _ => None,
    }
}

/// Takes a record out of every poll.
fn take_out(model: &mut Model, topic: &str, at: i64) {
    for records in model.history.events.iter_mut().filter_map(records_of) {
        records.retain(|record| record.at.topic != topic || record.offset != at);
    }
}

/// Offsets above the log's start, of the records that fit.
fn choose(
    model: &Model,
    choice: &mut Choice,
    fits: impl Fn(&Log, usize) -> bool,
) -> Option<(usize, usize)> {
    let places = (0..2).flat_map(|log| {
        let model = &model.logs[log];
        (model.start..model.records.len()).map(move |index| (log, index))
    });
    let places: Vec<_> = places.filter(|(log, index)| fits(&model.logs[*log], *index)).collect();
    choice.of(&places)
}

/// Whether the record is the only copy, acknowledged at its offset.
fn known(log: &Log, index: usize) -> bool {
    let written = &log.records[index];
    let copies = log.records.iter().filter(|other| other.value == written.value).count();
    written.acked.is_some() && copies == 1
}

fn acked_at_its_offset(model: &Model, log: usize, index: usize) -> bool {
    let acked = model.logs[log].records[index].acked;
    acked.is_some_and(|event| {
        matches!(model.history.events[event].what, What::Sent { offset: Some(_), .. })
    })
}

fn lost_write(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let inner = |log: &Log, index: usize| known(log, index) && index + 1 < log.records.len();
    let (log, index) = choose(model, choice, inner)?;
    if !acked_at_its_offset(model, log, index) {
        return None;
    }
    take_out(model, TOPICS[log], offset(index));
    // A reader's position may end behind it.
    drop_positions(model);
    Some(())
}

fn drop_positions(model: &mut Model) {
    for event in &mut model.history.events {
        if let What::Polled { positions, .. } = &mut event.what {
            positions.clear();
        }
    }
}

fn unseen(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let last = |log: &Log, index: usize| known(log, index) && index + 1 == log.records.len();
    let (log, index) = choose(model, choice, last)?;
    take_out(model, TOPICS[log], offset(index));
    drop_positions(model);
    Some(())
}

/// The poll of the full read of a log.
fn full_read_of(model: &mut Model, log: usize) -> &mut Vec<Record<'static>> {
    let events = model.history.events.iter_mut().filter(|event| event.process == "r");
    events.filter_map(records_of).nth(log).unwrap()
}

/// Records that `c0` or `c1` read: (topic, offset).
fn read_by_consumers(model: &Model) -> BTreeSet<(String, i64)> {
    let events = model.history.events.iter().filter(|event| event.process != "r");
    let records = events.filter_map(|event| match &event.what {
        What::Polled { records, .. } => Some(records),
        _ => None,
    });
    records.flatten().map(|record| (record.at.topic.to_string(), record.offset)).collect()
}

fn vanished(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let read = read_by_consumers(model);
    let mut places = Vec::new();
    for (log, of) in TOPICS.iter().enumerate() {
        let start = offset(model.logs[log].start);
        let offsets = read.iter().filter(|(topic, at)| topic == of && *at >= start);
        places.extend(offsets.map(|(_, at)| (log, *at)));
    }
    let (log, at) = choice.of(&places)?;
    full_read_of(model, log).retain(|record| record.offset != at);
    Some(())
}

/// Adds a record behind the last of a log, to its full read.
fn at_the_end_of(model: &mut Model, log: usize, value: &str) -> Option<()> {
    let end = offset(model.logs[log].records.len());
    full_read_of(model, log).push(record(TOPICS[log], end, value));
    Some(())
}

fn at_the_end(model: &mut Model, choice: &mut Choice, value: &str) -> Option<()> {
    at_the_end_of(model, choice.below(2), value)
}

fn duplicate(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let (log, index) = choose(model, choice, |log, index| log.records[index].idempotent)?;
    let value = model.logs[log].records[index].value.clone();
    at_the_end_of(model, log, &value)
}

fn misplaced_record(model: &mut Model, choice: &mut Choice) -> Option<()> {
    // Into the log that is read last: what is read before it is sent is of
    // nobody.
    let places = model.logs[0].start..model.logs[0].records.len();
    let index = choice.of(&places.collect::<Vec<_>>())?;
    let value = model.logs[0].records[index].value.clone();
    at_the_end_of(model, 1, &value)
}

fn inconsistent_offset(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let (log, index) = choose(model, choice, known)?;
    if !acked_at_its_offset(model, log, index) {
        return None;
    }
    let other = choice.of(&model.logs[log].never)?;
    let mut records = full_read_of(model, log).iter_mut();
    records.find(|record| record.offset == offset(index))?.value = other.into();
    Some(())
}

/// Exchanges two neighbours of which one was acknowledged before the other
/// was sent, everywhere.
fn reordered_sends(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let after = |log: &Log, index: usize| {
        let other = log.records.get(index + 1);
        let acked = log.records[index].acked;
        known(log, index)
            && other.is_some_and(|other| acked.is_some_and(|acked| acked < other.sent))
            && known(log, index + 1)
    };
    let (log, index) = choose(model, choice, after)?;
    let (first, second) =
        (model.logs[log].records[index].clone(), model.logs[log].records[index + 1].clone());
    // Nobody looked between the two: who did, would see more than the order.
    let between = &model.history.events[first.acked?..second.acked?];
    let looked =
        |event: &Event<'_>| matches!(event.what, What::Polled { .. } | What::OffsetsListed { .. });
    if !acked_at_its_offset(model, log, index) || between.iter().any(looked) {
        return None;
    }
    for (written, at) in [(&first, index + 1), (&second, index)] {
        let sent = &mut model.history.events[written.acked?].what;
        let What::Sent { offset: acked @ Some(_), .. } = sent else { continue };
        *acked = Some(offset(at));
    }
    for records in model.history.events.iter_mut().filter_map(records_of) {
        for record in records.iter_mut().filter(|record| record.at.topic == TOPICS[log]) {
            if record.offset == offset(index) {
                record.value = second.value.clone().into();
            } else if record.offset == offset(index + 1) {
                record.value = first.value.clone().into();
            }
        }
    }
    Some(())
}

/// Polls of consumers in which record `nth` of a log lies above its start,
/// as the consumer follows it: (event, index of the record).
fn followed(model: &Model, fits: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut next = std::collections::BTreeMap::new();
    for (index, event) in model.history.events.iter().enumerate() {
        match &event.what {
            What::Seek { at, .. } => {
                next.remove(&(event.process.to_string(), at.topic.to_string()));
            }
            What::Polled { records, .. } if event.process != "r" && !records.is_empty() => {
                let topic = records[0].at.topic.to_string();
                let log = TOPICS.iter().position(|other| *other == topic).unwrap();
                let key = (event.process.to_string(), topic);
                let follows = next.insert(key, records.last().unwrap().offset + 1);
                let start = offset(model.logs[log].start);
                if follows == Some(records[0].offset) {
                    let above = (0..records.len()).filter(|nth| records[*nth].offset >= start);
                    let fit = above.filter(|nth| fits(*nth, records.len()));
                    found.extend(fit.map(|nth| (index, nth)));
                }
            }
            _ => {}
        }
    }
    found
}

fn poll_skip(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let (event, _) = choice.of(&followed(model, |nth, of| nth == 0 && of > 1))?;
    records_of(&mut model.history.events[event])?.remove(0);
    Some(())
}

fn internal_poll_skip(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let (event, nth) = choice.of(&followed(model, |nth, of| nth > 0 && nth + 1 < of))?;
    records_of(&mut model.history.events[event])?.remove(nth);
    Some(())
}

fn nonmonotonic_poll(model: &mut Model, choice: &mut Choice) -> Option<()> {
    // The poll a second time.
    let (event, _) = choice.of(&followed(model, |nth, _| nth == 0))?;
    let again = model.history.events[event].clone();
    model.history.events.insert(event + 1, again);
    Some(())
}

fn internal_nonmonotonic_poll(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let (event, nth) = choice.of(&followed(model, |_, _| true))?;
    let records = records_of(&mut model.history.events[event])?;
    let again = records[nth].clone();
    records.insert(nth, again);
    Some(())
}

fn gap(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let unknown = |log: &Log, index: usize| {
        let value = &log.records[index].value;
        let copies = log.records.iter().filter(|other| other.value == *value).count();
        log.records[index].acked.is_none() && copies == 1 && index + 1 < log.records.len()
    };
    let (log, index) = choose(model, choice, unknown)?;
    take_out(model, TOPICS[log], offset(index));
    drop_positions(model);
    Some(())
}

fn failed_write_visible(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let log = choice.below(2);
    let start = offset(model.logs[log].start);
    let visible: Vec<_> =
        model.logs[log].unknown.iter().filter(|(_, at)| *at >= start).copied().collect();
    let (event, _) = choice.of(&visible)?;
    let What::Info { op } = model.history.events[event].what else { return None };
    model.history.events[event].what = What::Fail { op };
    Some(())
}

fn deleted_topic_visible(model: &mut Model, _: &mut Choice) -> Option<()> {
    let logs = vec![Assignment { at: at("t#0"), from: Some(0) }];
    model.history.add("late", What::Assigned { logs });
    let records = vec![record("t#0", 0, "old-0")];
    model.history.add("late", What::Polled { op: None, records, positions: Vec::new() });
    Some(())
}

fn deleted_record_visible(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let log = choice.below(2);
    let index = model.logs[log].start.checked_sub(1)?;
    let logs = vec![Assignment { at: at(TOPICS[log]), from: None }];
    let value = model.logs[log].records[index].value.clone();
    let records = vec![record(TOPICS[log], offset(index), &value)];
    model.history.add("late", What::Assigned { logs });
    model.history.add("late", What::Polled { op: None, records, positions: Vec::new() });
    Some(())
}

/// Changes an offset that was fetched after a commit was acknowledged.
fn fetched(model: &mut Model, choice: &mut Choice, change: fn(i64) -> Option<i64>) -> Option<()> {
    let mut acked = BTreeSet::new();
    let mut last = None;
    let mut places = Vec::new();
    for (index, event) in model.history.events.iter().enumerate() {
        match &event.what {
            What::Commit { offsets, .. } => last = Some(offsets[0].at.topic.to_string()),
            What::Committed { .. } => acked.extend(last.take()),
            What::CommitsFetched { offsets, .. }
                if acked.contains(offsets[0].at.topic.as_ref()) =>
            {
                places.push(index);
            }
            _ => {}
        }
    }
    let place = choice.of(&places)?;
    let What::CommitsFetched { offsets, .. } = &mut model.history.events[place].what else {
        return None;
    };
    offsets[0].offset = change(offsets[0].offset?);
    Some(())
}

fn reappeared_commit(model: &mut Model, _: &mut Choice) -> Option<()> {
    model.history.fetched("c1", "t#1", Some(123_456));
    Some(())
}

fn end_went_back(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let log = choice.below(2);
    let end = offset(model.logs[log].records.len()).checked_sub(1)?;
    let op = model.history.op();
    model.history.add("late", What::ListOffsets { op, at: at(TOPICS[log]) });
    model.history.add("late", What::OffsetsListed { op, log_start: None, end: Some(end) });
    Some(())
}

fn log_start_went_back(model: &mut Model, choice: &mut Choice) -> Option<()> {
    let log = choice.below(2);
    let start = offset(model.logs[log].start).checked_sub(1).filter(|start| *start >= 0)?;
    let op = model.history.op();
    model.history.add("late", What::ListOffsets { op, at: at(TOPICS[log]) });
    model.history.add("late", What::OffsetsListed { op, log_start: Some(start), end: None });
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories_of_a_correct_log_are_clean(seed: u64, steps in 1_usize..200) {
        let model = Model::run(seed, steps);
        let report = check(&model.history.events, Options { dense: true, ..Options::default() });
        prop_assert!(report.is_clean(), "{:#?}", report);
    }

    #[test]
    fn a_planted_fault_is_found_and_nothing_else(seed: u64, fault in 0..FAULTS.len()) {
        let (kind, plant) = FAULTS[fault];
        let mut choice = Choice(seed.rotate_left(32) | 1);
        let mut model = Model::run(seed, 80);
        prop_assume!(plant(&mut model, &mut choice).is_some());
        let report = check(&model.history.events, Options { dense: true, ..Options::default() });
        let found: Vec<&str> = report.totals.keys().copied().collect();
        prop_assert_eq!(found, vec![kind], "{:#?}", report);
    }
}

/// Each fault finds a place in some history: none is assumed away.
#[test]
fn each_fault_can_be_planted() {
    for (kind, plant) in FAULTS {
        let planted = (1..50_u64).any(|seed| {
            let mut model = Model::run(seed * 7919, 80);
            plant(&mut model, &mut Choice(seed)).is_some()
        });
        assert!(planted, "{kind}");
    }
}

/// The same history as lines, read back, gives the same report.
#[test]
fn lines_hold_all_that_is_checked() {
    let model = Model::run(99, 200);
    let mut lines = Vec::new();
    for event in &model.history.events {
        millrace_history::write_line(event, &mut lines).unwrap();
    }
    let options = Options { dense: true, ..Options::default() };
    let mut checker = millrace_history::Checker::new(options);
    let mut merge = millrace_history::Merge::new([("h".to_owned(), lines.as_slice())]).unwrap();
    merge
        .each::<millrace_history::ReadError>(|event, _, _| {
            checker.event(event).unwrap();
            Ok(true)
        })
        .unwrap();
    assert_eq!(checker.finish().counts, check(&model.history.events, options).counts);
}
