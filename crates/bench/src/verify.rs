//! Whether what was read is what was written: each record once, in order, as
//! it was.
//!
//! Invariant: a record that a server acknowledged and a reader did not get is
//! counted as lost, one that came twice as a duplicate, one that came after a
//! later one as reordered, one whose bytes changed as corrupt. Called by
//! `reader` for each batch, and at the end with what was acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millrace_log::batch::{BatchHeader, check_crc};
use millrace_log::records::{body, records};
use serde::Serialize;

use crate::batch::{Filler, STAMP_LEN, Stamp};

#[cfg(test)]
mod tests;

/// Bytes that the records of one batch may take when decompressed.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How many findings are told in words.
const EXAMPLES_MAX: usize = 10;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Every record: checksum, content, sequence, time.
    Full,
    /// Headers of batches: their offsets and counts. No end-to-end latency.
    Headers,
}

/// What was found. All counts are records unless said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Read, of this run or (reading what was there before) of any.
    pub records: u64,
    /// Acknowledged and not read.
    pub lost: u64,
    /// Read again at another offset.
    pub duplicates: u64,
    /// Read after a later one of the same producer and partition.
    pub reordered: u64,
    /// Whose checksum, shape or content is wrong.
    pub corrupt: u64,
    /// Offsets that were passed over.
    pub offset_gaps: u64,
    /// Of others in the same topic: not judged.
    pub foreign: u64,
    /// The first findings in words.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost + self.duplicates + self.reordered + self.corrupt + self.offset_gaps == 0
    }

    /// Adds what another reader found.
    pub(crate) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.offset_gaps += other.offset_gaps;
        self.foreign += other.foreign;
        let free = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(free).cloned());
    }

    fn say(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

/// How far one producer's records were read in one partition.
#[derive(Debug, Default)]
struct Progress {
    next: u64,
    /// Sequences passed over: the first of each range, and the one after it.
    missing: BTreeMap<u64, u64>,
}

impl Progress {
    /// Takes `sequence` out of what is missing; false if it was not.
    fn found(&mut self, sequence: u64) -> bool {
        let Some((&from, &to)) = self.missing.range(..=sequence).next_back() else { return false };
        if sequence >= to {
            return false;
        }
        self.missing.remove(&from);
        if from < sequence {
            self.missing.insert(from, sequence);
        }
        if sequence + 1 < to {
            self.missing.insert(sequence + 1, to);
        }
        true
    }
}

/// One partition as one reader has read it.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub(crate) index: i32,
    /// The offset that is read next.
    pub(crate) next_offset: i64,
    producers: HashMap<(u32, u32), usize>,
    progress: Vec<Progress>,
    /// The producer of the record before: most have the same.
    last: Option<((u32, u32), usize)>,
}

impl Partition {
    pub(crate) fn new(index: i32, next_offset: i64) -> Self {
        Self { index, next_offset, ..Self::default() }
    }

    fn progress(&mut self, of: (u32, u32), first: impl FnOnce() -> u64) -> Option<&mut Progress> {
        let known = self.last.filter(|(last, _)| *last == of).map(|(_, at)| at);
        let at = known.unwrap_or_else(|| {
            *self.producers.entry(of).or_insert_with(|| {
                self.progress.push(Progress { next: first(), ..Progress::default() });
                self.progress.len() - 1
            })
        });
        self.last = Some((of, at));
        self.progress.get_mut(at)
    }
}

/// What one reader expects.
#[derive(Debug)]
pub(crate) struct Verifier {
    filler: Arc<Filler>,
    /// The run whose records are judged; `None` judges every run's.
    run: Option<u32>,
    depth: Depth,
    /// Bytes of a value, where values are not looked at.
    value_bytes: usize,
    pub(crate) findings: Findings,
}

impl Verifier {
    pub(crate) fn new(
        filler: Arc<Filler>,
        run: Option<u32>,
        depth: Depth,
        value_bytes: usize,
    ) -> Self {
        Self { filler, run, depth, value_bytes, findings: Findings::default() }
    }

    /// Judges one batch and moves the partition past it. `seen` gets the
    /// length of each value and the time (µs since 1970) at which its record
    /// was due, if it has one.
    pub(crate) fn batch(
        &mut self,
        partition: &mut Partition,
        header: &BatchHeader,
        bytes: &[u8],
        mut seen: impl FnMut(usize, Option<u64>),
    ) {
        let (base, from) = (header.base_offset.get(), partition.next_offset);
        let after = header.last_offset().get().saturating_add(1);
        if after <= from {
            return;
        }
        if base > from {
            let gap = u64::try_from(base - from).unwrap_or(0);
            self.findings.offset_gaps += gap;
            let index = partition.index;
            self.findings
                .say(|| format!("partition {index}: no offsets from {from} to {}", base - 1));
        }
        partition.next_offset = after;
        let count = u64::try_from(after - base.max(from)).unwrap_or(0);
        if self.depth == Depth::Headers {
            self.findings.records += count;
            (0..count).for_each(|_| seen(self.value_bytes, None));
            return;
        }
        if let Err(why) = self.records(partition, header, bytes, from, &mut seen) {
            self.findings.corrupt += count;
            let index = partition.index;
            self.findings.say(|| format!("partition {index}, the batch at offset {base}: {why}"));
        }
    }

    fn records(
        &mut self,
        partition: &mut Partition,
        header: &BatchHeader,
        bytes: &[u8],
        from: i64,
        seen: &mut impl FnMut(usize, Option<u64>),
    ) -> Result<(), String> {
        check_crc(header, bytes).map_err(|error| error.to_string())?;
        let body = body(header, bytes, BODY_BYTES_MAX).map_err(|error| error.to_string())?;
        for record in records(header, &body) {
            let record = record.map_err(|error| error.to_string())?;
            let offset = header.base_offset.get().saturating_add(i64::from(record.offset_delta));
            if offset < from {
                continue;
            }
            let value = record.value.unwrap_or_default();
            let stamp = Stamp::read(value);
            let content = value.get(STAMP_LEN..).unwrap_or_default();
            match stamp {
                Some(stamp) if self.run.is_some_and(|run| run != stamp.run) => {
                    self.findings.foreign += 1;
                    seen(value.len(), None);
                }
                Some(stamp) if self.filler.get(stamp.slot, content.len()) == Some(content) => {
                    self.findings.records += 1;
                    self.sequence(partition, stamp, offset);
                    seen(value.len(), Some(stamp.time));
                }
                // Without a run of our own to tell by, it is somebody else's record.
                _ if self.run.is_none() => self.findings.foreign += 1,
                _ => {
                    self.findings.corrupt += 1;
                    let index = partition.index;
                    self.findings
                        .say(|| format!("partition {index}, offset {offset}: not what was sent"));
                }
            }
        }
        Ok(())
    }

    fn sequence(&mut self, partition: &mut Partition, stamp: Stamp, offset: i64) {
        let index = partition.index;
        let Stamp { run, producer, sequence, .. } = stamp;
        // Of a run that was there before, the first may have expired.
        let first = if self.run.is_some() { 0 } else { sequence };
        let Some(progress) = partition.progress((run, producer), || first) else { return };
        let next = progress.next;
        if sequence < next {
            let late = progress.found(sequence);
            let what = if late { "is out of order" } else { "was there before" };
            if late {
                self.findings.reordered += 1;
            } else {
                self.findings.duplicates += 1;
            }
            self.findings.say(|| {
                format!("partition {index}, offset {offset}: record {sequence} of producer {producer} {what}")
            });
            return;
        }
        if sequence > next {
            progress.missing.insert(next, sequence);
            self.findings.say(|| {
                format!("partition {index}, offset {offset}: record {sequence} of producer {producer} follows {}", next.saturating_sub(1))
            });
        }
        progress.next = sequence + 1;
    }

    /// What is lost of a run that was there before: only what was passed over.
    pub(crate) fn passed_over(&mut self, partition: &Partition) {
        for progress in &partition.progress {
            let missing: u64 = progress.missing.iter().map(|(from, to)| to - from).sum();
            self.findings.lost += missing;
        }
    }

    /// Counts what was acknowledged and not read: for each producer of the
    /// run, `acked` has the sequence after its last acknowledged record in
    /// this partition.
    pub(crate) fn end(&mut self, partition: &Partition, acked: &[(u32, u64)]) {
        if self.depth == Depth::Headers {
            return;
        }
        let run = self.run.unwrap_or(0);
        for &(producer, acked) in acked {
            let at = partition.producers.get(&(run, producer));
            let progress = at.and_then(|at| partition.progress.get(*at));
            let next = progress.map_or(0, |progress| progress.next);
            let missing: u64 = progress.map_or(0, |progress| {
                progress
                    .missing
                    .iter()
                    .map(|(from, to)| (*to).min(acked).saturating_sub(*from))
                    .sum()
            });
            let lost = missing + acked.saturating_sub(next);
            if lost > 0 {
                self.findings.lost += lost;
                let index = partition.index;
                self.findings.say(|| {
                    format!("partition {index}: {lost} of {acked} acknowledged records of producer {producer} were not read")
                });
            }
        }
    }

    /// With headers alone only numbers can be compared.
    pub(crate) fn end_by_count(&mut self, acked: u64) {
        if self.depth == Depth::Headers {
            let read = self.findings.records;
            self.findings.lost += acked.saturating_sub(read);
            self.findings.duplicates += read.saturating_sub(acked);
        }
    }
}
