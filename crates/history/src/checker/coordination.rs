//! What is not records: groups' offsets, and where logs start and end.

use super::{Checker, Malformed, Op, offset};
use crate::event::{Committed, TopicPartition};
use crate::groups::Wrong;
use crate::log::No;
use crate::names::Id;
use crate::report::{Anomaly, EventNo};

impl Checker {
    pub(super) fn commit(
        &mut self,
        no: No,
        key: (Id, u64),
        group: &str,
        offsets: &[Committed<'_>],
    ) -> Result<(), Malformed> {
        let group = self.names.id(group);
        let mut written = Vec::with_capacity(offsets.len());
        for Committed { at, offset } in offsets {
            let log = self.log(at);
            self.groups.commit(group, log, *offset, no);
            written.push((log, *offset));
        }
        self.begin(no, key, Op::Commit { group, offsets: written })
    }

    pub(super) fn committed(&mut self, no: No, key: (Id, u64)) -> Result<(), Malformed> {
        let (invoked, Op::Commit { group, offsets }) = self.end(key)? else {
            return Err(self.unknown(key));
        };
        self.counts.commits += 1;
        for (log, _) in offsets {
            self.groups.committed(group, log, invoked, no);
        }
        Ok(())
    }

    pub(super) fn commits_fetched(
        &mut self,
        no: No,
        key: (Id, u64),
        offsets: &[Committed<'_>],
    ) -> Result<(), Malformed> {
        let (invoked, Op::FetchCommits { group }) = self.end(key)? else {
            return Err(self.unknown(key));
        };
        self.counts.commit_fetches += 1;
        for Committed { at, offset } in offsets {
            let log = self.log(at);
            // A deleted topic's offsets leave when they leave.
            if self.logs.get(log as usize).is_some_and(|log| self.deleted.contains_key(&log.topic))
            {
                continue;
            }
            if let Some(wrong) = self.groups.check(group, log, *offset, invoked, no) {
                let anomaly = self.wrong_commit(group, log, *offset, no, &wrong);
                self.findings.add(anomaly);
            }
        }
        self.groups.fetch_ended(group, invoked);
        Ok(())
    }

    pub(super) fn wrong_commit(
        &self,
        group_id: Id,
        log_id: Id,
        fetched: Option<i64>,
        no: No,
        wrong: &Wrong,
    ) -> Anomaly {
        let group = self.names.text(group_id).to_owned();
        let (log, fetch) = (self.log_name(log_id), EventNo(no));
        let earlier = fetched.and_then(|fetched| {
            let mut others = self.groups.logs(group_id).into_iter();
            let other = others.find_map(|other| {
                let partition = |log: Id| self.logs.get(log as usize).map(|log| log.partition);
                let same = self.is_called_alike(log_id, other);
                let same = same && partition(log_id) == partition(other);
                Some((other, self.groups.written(group_id, other, fetched).filter(|_| same)?))
            });
            Some((fetched, other?))
        });
        match (earlier, wrong, fetched) {
            (Some((fetched, (other, committed))), ..) => Anomaly::ReappearedCommit {
                log,
                group,
                fetched,
                committed_to: self.log_name(other),
                committed: EventNo(committed),
                fetch,
            },
            (None, Wrong::Back { committed, acked }, _) => Anomaly::CommitWentBack {
                log,
                group,
                fetched,
                committed: *committed,
                acked: EventNo(*acked),
                fetch,
            },
            (None, Wrong::Phantom, fetched) => {
                Anomaly::PhantomCommit { log, group, fetched: fetched.unwrap_or(-1), fetch }
            }
        }
    }

    pub(super) fn list_offsets(
        &mut self,
        no: No,
        key: (Id, u64),
        at: &TopicPartition<'_>,
    ) -> Result<(), Malformed> {
        let log_id = self.log(at);
        let log = self.logs.get(log_id as usize);
        let start = log.and_then(|log| log.start_known(no));
        let top = log.and_then(|log| {
            let top = log.top?;
            Some((top + 1, log.cells.get(top)?.known()))
        });
        let end = log.and_then(|log| log.end).max(top);
        self.begin(no, key, Op::ListOffsets { log: log_id, start, end })
    }

    pub(super) fn offsets_listed(
        &mut self,
        no: No,
        key: (Id, u64),
        log_start: Option<i64>,
        end: Option<i64>,
    ) -> Result<(), Malformed> {
        let (invoked, Op::ListOffsets { log, start, end: known_end }) = self.end(key)? else {
            return Err(self.unknown(key));
        };
        let listed = EventNo(no);
        if let Some(log_start) = log_start.map(offset).transpose()? {
            if let Some((known, by)) = start.filter(|(known, _)| log_start < *known) {
                let (log, known_by) = (self.log_name(log), EventNo(by));
                let back = Anomaly::LogStartWentBack { log, log_start, known, known_by, listed };
                self.findings.add(back);
            }
            self.start_seen(log, invoked, no, log_start);
        }
        if let Some(end) = end.map(offset).transpose()? {
            if let Some((known, by)) = known_end.filter(|(known, _)| end < *known) {
                let (log, known_by) = (self.log_name(log), EventNo(by));
                self.findings.add(Anomaly::EndWentBack { log, end, known, known_by, listed });
            }
            let log = self.logs.get_mut(log as usize);
            if let Some(log) = log.filter(|log| log.end.is_none_or(|(known, _)| known < end)) {
                log.end = Some((end, no));
            }
        }
        Ok(())
    }

    pub(super) fn start_seen(&mut self, log: Id, invoked: No, no: No, start: i64) {
        if let Some(log) = self.logs.get_mut(log as usize) {
            log.start_seen(invoked, no, start);
        }
    }
}
