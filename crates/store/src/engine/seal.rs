//! Partitions that take no more records: their seals, and the batches that
//! producers still send there.
//!
//! Invariants: the seals of one call lie in one frame, with nothing of their
//! partitions behind them: after any crash all of them stand or none. Since
//! frames are recovered in order, what was appended anywhere after a seal never
//! outlives it. A batch that goes elsewhere lies in one frame with what its
//! sealed partition remembers of it. Called by the broker.

use std::sync::{Arc, atomic::Ordering};

use millrace_log::{
    batch::{self, BatchHeader},
    frame::ExtentKind,
    partition::{Admission, AdmitError},
};
use millrace_types::{Lsn, Offset, Timestamp, canary};

use super::{
    Appends, Class, Ended, Engine, Gathering, Partition,
    append::{AppendError, Appended, TryAppendError},
    gather::Stamp,
};

/// A batch for one of the partitions that took over from a sealed one.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it goes.
    pub partition: Arc<Partition>,
    /// Its header, as its bytes have it. It is no producer's.
    pub header: BatchHeader,
    /// The batch.
    pub batch: Vec<u8>,
}

impl Engine {
    /// Seals partitions, all or none: each behind what it has taken by now.
    /// From here on they take nothing more. Their ends, once they are durable;
    /// those that were sealed before keep theirs.
    ///
    /// # Errors
    /// See [`AppendError`]; none is sealed then. Whether they are is open where
    /// the incarnation ended.
    pub async fn seal_partitions(
        &self,
        partitions: &[Arc<Partition>],
    ) -> Result<Vec<Offset>, AppendError> {
        let lsn = self.attempted(|| self.try_seal(partitions)).await?;
        self.ring_if_enough();
        self.durable(lsn).await?;
        Ok(partitions.iter().filter_map(|partition| partition.sealed()).collect())
    }

    fn try_seal(&self, partitions: &[Arc<Partition>]) -> Result<Lsn, TryAppendError> {
        let mut held = self.gather.lock();
        let gathering = &mut *held;
        if gathering.ended {
            return Err(TryAppendError::Refused(Ended.into()));
        }
        self.make_room_together(gathering, partitions.len(), 0, Class::Client)?;
        let gather = &mut gathering.gather;
        let now = gather.append_time(self.env.wall());
        for partition in partitions {
            check(partition, 1)?;
        }
        for partition in partitions {
            let admitted = partition.lock().state.admit_seal(now).map_err(AppendError::from)?;
            if let Some(Admission::Append { base_offset, leader_epoch, append_time }) = admitted {
                let stamp = Stamp { base_offset, leader_epoch, append_time };
                gather.push_note(partition, ExtentKind::Seal, None, &stamp);
            }
        }
        // Where all were sealed before, that frame may be on its way yet.
        let lsn = gather.lsn();
        Ok(if gather.is_empty() { Lsn(lsn.get().saturating_sub(1)) } else { lsn })
    }

    /// Wakes those who watch `partition`: what is known of it beside its log has
    /// changed.
    pub fn wake_watchers(&self, partition: &Partition) {
        partition.lock().notify();
    }
}

impl Appends<'_> {
    /// Appends what a producer sent to the sealed partition `from` as batches of
    /// other partitions; `header` is that of its batch. A retry of it is known
    /// by `from`, whose own offset then is told, and by no other partition.
    /// Returns as [`Appends::append`].
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then. [`AdmitError::Sealed`]
    /// where one of the others has been sealed too.
    pub async fn append_rerouted(
        &self,
        from: &Arc<Partition>,
        header: &BatchHeader,
        parts: &[Part],
        stamp_time: bool,
    ) -> Result<Appended, AppendError> {
        let engine = self.engine;
        engine.attempted(|| engine.try_append_rerouted(from, header, parts, stamp_time)).await
    }
}

impl Engine {
    fn try_append_rerouted(
        &self,
        from: &Arc<Partition>,
        header: &BatchHeader,
        parts: &[Part],
        stamp_time: bool,
    ) -> Result<Appended, TryAppendError> {
        let mut held = self.gather.lock();
        let gathering = &mut *held;
        if gathering.ended {
            return Err(TryAppendError::Refused(Ended.into()));
        }
        let len = parts.iter().map(|part| part.batch.len()).sum();
        self.make_room_together(gathering, parts.len() + 1, len, Class::Client)?;
        let now = gathering.gather.append_time(self.env.wall());
        for part in parts {
            check(&part.partition, i64::from(part.header.count))?;
            if part.partition.lock().state.admitted_seal().is_some() {
                return Err(AppendError::from(AdmitError::Sealed).into());
            }
        }
        let lsn = gathering.gather.lsn();
        let (base_offset, append_time) = match self.remember(gathering, from, header, now)? {
            Admission::Append { base_offset, append_time, .. } => (base_offset, append_time),
            Admission::Duplicate { base_offset, append_time, lsn } => {
                return Ok(Appended { base_offset, append_time, lsn, duplicate: true });
            }
        };
        for part in parts {
            let admitted = part.partition.lock().state.admit(&part.header, lsn, now);
            let Admission::Append { base_offset, leader_epoch, append_time } =
                admitted.map_err(AppendError::from)?
            else {
                unreachable!("a batch without producer is no duplicate")
            };
            let stamp = Stamp { base_offset, leader_epoch, append_time };
            push(gathering, part, &stamp, stamp_time);
        }
        Ok(Appended { base_offset, append_time, lsn, duplicate: false })
    }

    /// Lets a sealed partition remember the batch of a producer.
    fn remember(
        &self,
        gathering: &mut Gathering,
        from: &Arc<Partition>,
        header: &BatchHeader,
        now: Timestamp,
    ) -> Result<Admission, AppendError> {
        let gather = &mut gathering.gather;
        let mut core = from.lock();
        if core.deleted {
            return Err(AppendError::Deleted);
        }
        let Some(producer) = header.producer.filter(|_| !canary!(RerouteForgotten)) else {
            let (base_offset, leader_epoch) = (core.state.next_offset(), core.state.leader_epoch());
            return Ok(Admission::Append { base_offset, leader_epoch, append_time: now });
        };
        let known = core.state.knows_producer(producer.id);
        if !known && self.producers.load(Ordering::Relaxed) >= self.options.producers_max {
            self.stats.producers_refused.fetch_add(1, Ordering::Relaxed);
            return Err(AppendError::ProducersFull);
        }
        let admission = core.state.admit_rerouted(header, gather.lsn(), now)?;
        drop(core);
        if let Admission::Append { base_offset, leader_epoch, append_time } = admission {
            if !known {
                self.producers.fetch_add(1, Ordering::Relaxed);
            }
            let stamp = Stamp { base_offset, leader_epoch, append_time };
            gather.push_note(from, ExtentKind::Rerouted, Some(header), &stamp);
        }
        Ok(admission)
    }
}

/// Refuses a partition that can't take `records`: nothing fails once the first
/// of several has its offset.
fn check(partition: &Partition, records: i64) -> Result<(), AppendError> {
    let core = partition.lock();
    if core.deleted {
        return Err(AppendError::Deleted);
    }
    if core.end_unproven {
        return Err(AppendError::EndUnproven(partition.id()));
    }
    if core.state.next_offset().checked_add(records).is_none() {
        return Err(AdmitError::OffsetOverflow.into());
    }
    Ok(())
}

fn push(gathering: &mut Gathering, part: &Part, stamp: &Stamp, stamp_time: bool) {
    let Part { partition, header, batch } = part;
    let gather = &mut gathering.gather;
    if !stamp_time {
        return gather.push(partition, header, batch, stamp);
    }
    let mut copy = batch.clone();
    let stamped = batch::stamp_append_time(&mut copy, stamp.append_time);
    let Ok(header) = stamped.and_then(|()| BatchHeader::parse(&copy)) else {
        unreachable!("a checked batch takes its time")
    };
    gather.push(partition, &header, &copy, stamp);
}

impl Partition {
    /// The offset behind its last record, where it is sealed durably.
    #[must_use]
    pub fn sealed(&self) -> Option<Offset> {
        self.lock().state.sealed()
    }

    /// Whether it takes nothing more, durably or not yet.
    #[must_use]
    pub fn is_sealing(&self) -> bool {
        self.lock().state.admitted_seal().is_some()
    }

    /// Takes for granted that the partition was sealed: the catalog says so, and
    /// corruption took the seal. Its end is then proven.
    pub fn presume_sealed(&self) {
        let mut core = self.lock();
        core.state.presume_sealed();
        core.end_unproven = false;
    }
}
