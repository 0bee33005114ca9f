//! Readers: where each stands in each log, and what it gets.

use super::{Checker, Jump, Malformed, Op, Position, UNSENT, offset};
use crate::event::{Assignment, Record, TopicPartition};
use crate::log::{Log, No};
use crate::names::{Id, NONE};
use crate::report::{Anomaly, EventNo, Step};

impl Checker {
    pub(super) fn assign(
        &mut self,
        no: No,
        process: Id,
        logs: &[Assignment<'_>],
    ) -> Result<(), Malformed> {
        for Assignment { at, from } in logs {
            let next = from.map(offset).transpose()?;
            let position = Position { next, from: no, since: no, full_read: None };
            let log = self.log(at);
            self.readers.entry(process).or_default().insert(log, position);
        }
        Ok(())
    }

    pub(super) fn position(&mut self, process: Id, log: Id, no: No) -> &mut Position {
        // A reader that was given no logs may have asked at any time.
        let unknown = Position { next: None, from: no, since: 0, full_read: None };
        self.readers.entry(process).or_default().entry(log).or_insert(unknown)
    }

    pub(super) fn polled(
        &mut self,
        no: No,
        process: Id,
        op: Option<u64>,
        records: &[Record<'_>],
        positions: &[Assignment<'_>],
    ) -> Result<(), Malformed> {
        let asked = match op.map(|op| self.end((process, op))).transpose()? {
            None => None,
            Some((invoked, Op::Poll)) => Some(invoked),
            Some(_) => return Err(self.unknown((process, op.unwrap_or_default()))),
        };
        self.counts.polls += u64::from(!records.is_empty());
        for record in records {
            let at = offset(record.offset)?;
            let log = self.log(&record.at);
            let value = self.value(&record.value);
            self.counts.records_read += 1;
            let since = self.step(no, process, log, at, Some(at + 1), asked);
            self.read(no, log, at, value, since);
        }
        for Assignment { at, from } in positions {
            let Some(next) = from.map(offset).transpose()? else { continue };
            let log = self.log(at);
            self.step(no, process, log, next, Some(next), asked);
        }
        Ok(())
    }

    /// A reader goes to `at`, and will go on from `next`. Returns since when
    /// it may have asked for what it got.
    pub(super) fn step(
        &mut self,
        no: No,
        process: Id,
        log: Id,
        at: i64,
        next: Option<i64>,
        asked: Option<No>,
    ) -> No {
        let position = self.position(process, log, no);
        let before = *position;
        *position = Position { next, from: no, ..before };
        let since = asked.unwrap_or(before.since);
        let Some(expected) = before.next else { return since };
        let (from, full_read) = (before.from, before.full_read);
        let jump = Jump { process, log, expected, got: at, from, to: no, full_read, is_end: false };
        if at > expected {
            self.jumps.push(jump);
        } else if at < expected {
            let (log, reader) = (self.log_name(log), self.reader(&jump));
            self.findings.add(match from == no {
                true => Anomaly::InternalNonmonotonicPoll { log, reader },
                false => Anomaly::NonmonotonicPoll { log, reader },
            });
        }
        since
    }

    pub(crate) fn reader(&self, jump: &Jump) -> Step {
        Step {
            process: self.names.text(jump.process).to_owned(),
            expected: jump.expected,
            got: jump.got,
            from: EventNo(jump.from),
            to: EventNo(jump.to),
        }
    }

    /// A record that a reader got, asked for after the event `since`.
    pub(super) fn read(&mut self, no: No, log_id: Id, at: i64, value: Id, since: No) {
        let first = self.values.get_mut(value as usize).is_some_and(|value| {
            let first = value.read == NONE;
            value.read = value.read.min(no);
            if value.sent == NONE && value.log == NONE {
                value.log = log_id;
            }
            first
        });
        self.counts.values_read += u64::from(first);
        self.seen_at(no, log_id, at, value, true);
        let Some(log) = self.logs.get(log_id as usize) else { return };
        let start = log.start_known(since);
        let deleted = self.deleted.get(&log.topic).copied().filter(|deleted| *deleted < since);
        let sent = self.values.get(value as usize).map_or(UNSENT, |value| *value);
        let read = |checker: &Self| checker.placed(at, value, no);
        if let Some(deleted) = deleted {
            let (log, read) = (self.log_name(log_id), read(self));
            self.findings.add(Anomaly::DeletedTopicVisible {
                log,
                read,
                deleted: EventNo(deleted),
            });
        } else if let Some((log_start, moved)) = start.filter(|(start, _)| at < *start) {
            let (log, read, moved) = (self.log_name(log_id), read(self), EventNo(moved));
            self.findings.add(Anomaly::DeletedRecordVisible { log, read, log_start, moved });
        }
        if sent.sent != NONE && sent.log != log_id && self.reported.insert((log_id, at, value)) {
            let (log, read, sent_to) = (self.log_name(log_id), read(self), self.log_name(sent.log));
            let again = self.is_called_alike(log_id, sent.log);
            let sent = EventNo(sent.sent);
            self.findings.add(match again {
                true => Anomaly::ReappearedRecord { log, read, sent_to, sent },
                false => Anomaly::MisplacedRecord { log, read, sent_to, sent },
            });
        }
    }

    /// Whether two logs are of different topics with one name.
    pub(super) fn is_called_alike(&self, one: Id, other: Id) -> bool {
        let log = |log: Id| self.logs.get(log as usize);
        let name = |log: &Log| self.called.get(&log.topic).copied();
        let (Some(one), Some(other)) = (log(one), log(other)) else { return false };
        one.topic != other.topic && name(one).is_some() && name(one) == name(other)
    }

    pub(super) fn full_read_begun(&mut self, no: No, process: Id, at: &TopicPartition<'_>) {
        let log = self.log(at);
        let position = self.position(process, log, no);
        *position = Position { next: Some(0), full_read: Some(no), from: no, ..*position };
    }

    pub(super) fn full_read_ended(
        &mut self,
        no: No,
        process: Id,
        at: &TopicPartition<'_>,
    ) -> Result<(), Malformed> {
        let log_id = self.log(at);
        let position = self.position(process, log_id, no);
        let at_end = *position;
        position.full_read = None;
        let (Some(begun), Some(expected)) = (at_end.full_read, at_end.next) else {
            return Err(Malformed::FullReadUnknown(self.names.text(process).to_owned()));
        };
        self.counts.full_reads += 1;
        let Some(log) = self.logs.get_mut(log_id as usize) else { return Ok(()) };
        log.full_read = log.full_read.max(Some((begun, no)));
        // What was known when it began, and lies beyond its end.
        let top = log.top.map_or(0, |top| top + 1);
        let missed = log.cells.range(expected, top).filter(|(_, cell)| cell.known() < begun);
        if let Some(last) = missed.map(|(offset, _)| offset).last() {
            let (got, from) = (last + 1, at_end.from);
            let full_read = Some(begun);
            self.jumps.push(Jump {
                process,
                log: log_id,
                expected,
                got,
                from,
                to: no,
                full_read,
                is_end: true,
            });
        }
        Ok(())
    }
}
