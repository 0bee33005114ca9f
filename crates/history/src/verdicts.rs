//! What can be judged only at the end of the history: jumps over offsets
//! (was there a record, had the log's start moved?), values that nobody saw,
//! and the order of sends, some of which are only known from readers.

use std::collections::HashSet;

use crate::checker::{Checker, Jump};
use crate::log::{Cell, Log};
use crate::names::{Id, NONE};
use crate::report::{Anomaly, EventNo};

/// How much of what a reader skipped is told.
const SKIPPED_MAX: usize = 8;

impl Checker {
    pub(crate) fn judge(&mut self) {
        let mut lost = HashSet::new();
        for jump in std::mem::take(&mut self.jumps) {
            self.judge_jump(&jump, &mut lost);
        }
        for id in (0..self.values.len()).filter_map(|id| Id::try_from(id).ok()) {
            self.judge_value(id);
        }
        for log in (0..self.logs.len()).filter_map(|log| Id::try_from(log).ok()) {
            self.judge_order(log);
        }
    }

    /// What a reader left out, unless the log began above it by then. One
    /// record is lost, or gone, only once.
    fn judge_jump(&mut self, jump: &Jump, lost: &mut HashSet<(Id, i64)>) {
        let Some(log) = self.logs.get(jump.log as usize) else { return };
        let from = jump.expected.max(log.start_possible(jump.to));
        if from >= jump.got {
            return;
        }
        let known: Vec<(i64, Cell)> = log.cells.range(from, jump.got).collect();
        let name = self.log_name(jump.log);
        let reader = self.reader(jump);
        if known.is_empty() {
            if self.options.dense && !jump.is_end {
                self.findings.add(Anomaly::Gap { log: name, reader });
            }
            return;
        }
        let mut skipped = Vec::new();
        for (offset, cell) in known {
            let log = name.clone();
            let reader = reader.clone();
            match jump.full_read {
                // Sent or read while the full read was under way.
                Some(begun) if jump.is_end && cell.known() > begun => {}
                Some(begun) if cell.read < begun => {
                    let full_read = EventNo(begun);
                    let read = self.placed(offset, cell.value, cell.read);
                    if lost.insert((jump.log, offset)) {
                        self.findings.add(Anomaly::Vanished { log, read, full_read, reader });
                    }
                }
                _ if cell.read != NONE => {
                    if skipped.len() < SKIPPED_MAX {
                        skipped.push(self.placed(offset, cell.value, cell.read));
                    }
                }
                Some(begun) if jump.is_end => {
                    let write = self.placed(offset, cell.value, cell.acked);
                    if lost.insert((jump.log, offset)) {
                        self.findings.add(Anomaly::Unseen {
                            log,
                            offset: Some(offset),
                            value: write.value,
                            acked: write.event,
                            full_read: EventNo(begun),
                        });
                    }
                }
                _ => {
                    let write = self.placed(offset, cell.value, cell.acked);
                    if lost.insert((jump.log, offset)) {
                        self.findings.add(Anomaly::LostWrite { log, write, reader });
                    }
                }
            }
        }
        if !skipped.is_empty() {
            self.findings.add(match jump.from == jump.to {
                true => Anomaly::InternalPollSkip { log: name, reader, skipped },
                false => Anomaly::PollSkip { log: name, reader, skipped },
            });
        }
    }

    fn judge_value(&mut self, id: Id) {
        let Some(value) = self.values.get(id as usize).copied() else { return };
        let (log, text) = (value.log, || self.value_names.text(id).to_owned());
        if value.sent == NONE {
            if let Some(offset) = value.offset {
                let read = self.placed(offset, id, value.read);
                let log = self.log_name(log);
                self.findings.add(Anomaly::PhantomRecord { log, read });
            }
        } else if value.failed && value.read != NONE {
            let read = self.placed(value.offset.unwrap_or(-1), id, value.read);
            let (log, failed) = (self.log_name(log), EventNo(value.ended));
            self.findings.add(Anomaly::FailedWriteVisible { log, read, failed });
        } else if value.ended != NONE && !value.failed && value.offset.is_none() {
            // It lies above what was known when it was sent; whether above
            // the log's start, is known only where the start is below that.
            let lowest = value.floor.map_or(0, |floor| floor + 1);
            let full_read = self.logs.get(log as usize).and_then(|log| {
                let (begun, ended) = log.full_read?;
                Some(begun).filter(|_| lowest >= log.start_possible(ended))
            });
            if let Some(begun) = full_read.filter(|begun| *begun > value.ended) {
                let (value, acked, full_read) = (text(), EventNo(value.ended), EventNo(begun));
                let log = self.log_name(log);
                self.findings.add(Anomaly::Unseen { log, offset: None, value, acked, full_read });
            }
        }
    }

    /// A producer's sends to a log in its order, and what was known in the
    /// log before each was sent.
    fn judge_order(&mut self, log_id: Id) {
        let Some(log) = self.logs.get_mut(log_id as usize) else { return };
        let mut producers: Vec<(Id, Vec<Id>)> =
            std::mem::take(&mut log.sends).into_iter().collect();
        producers.sort_unstable_by_key(|(process, _)| *process);
        for (_, mut sends) in producers {
            // Sends without a partition came in the order of their answers.
            sends.sort_by_key(|id| self.values.get(*id as usize).map_or(NONE, |value| value.sent));
            let mut before: Option<(i64, Id)> = None;
            for id in sends {
                let Some(value) = self.values.get(id as usize).copied() else { continue };
                let Some(offset) = value.offset.filter(|_| value.log == log_id) else { continue };
                let Some(log) = self.logs.get(log_id as usize) else { continue };
                let known = value.floor.filter(|floor| offset < *floor);
                let known = known.and_then(|at| Some((at, log.cells.get(at)?.value)));
                let sent_before = before.filter(|(before, _)| value.idempotent && offset < *before);
                if let Some((at, earlier)) = known.or(sent_before) {
                    let anomaly = self.reordered(log_id, log, (at, earlier), (offset, id));
                    self.findings.add(anomaly);
                }
                if value.idempotent {
                    before = Some((offset, id));
                }
            }
        }
    }

    fn reordered(
        &self,
        log_id: Id,
        log: &Log,
        (at, earlier): (i64, Id),
        (offset, later): (i64, Id),
    ) -> Anomaly {
        let known = |offset: i64| log.cells.get(offset).map_or(NONE, |cell| cell.known());
        let sent = self.values.get(later as usize).map_or(NONE, |value| value.sent);
        Anomaly::ReorderedSends {
            log: self.log_name(log_id),
            earlier: self.placed(at, earlier, known(at)),
            later: self.placed(offset, later, known(offset)),
            sent: EventNo(sent),
        }
    }
}
