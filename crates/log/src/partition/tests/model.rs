//! Random histories, crashes included, against a model that keeps every batch
//! and judges each new one by reading the whole history.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Past {
    extent: Extent,
    lsn: Lsn,
}

/// All batches ever appended; those from `durable` on are tentative.
#[derive(Clone, Debug, Default)]
struct Model {
    history: Vec<Past>,
    durable: usize,
}

impl Model {
    fn of(&self, id: i64) -> Vec<(usize, &Past, ProducerStamp)> {
        let marked = self.history.iter().enumerate();
        let marked = marked.filter_map(|(at, past)| Some((at, past, past.extent.producer?)));
        marked.filter(|(.., producer)| producer.id == ProducerId(id)).collect()
    }

    fn judge(
        &self,
        (id, epoch, sequence): (i64, i16, i32),
        count: i32,
    ) -> Result<Option<(Offset, Lsn)>, bool> {
        let of = self.of(id);
        let Some((_, last, producer)) = of.last() else { return Ok(None) };
        let current = producer.epoch.get();
        if epoch < current {
            return Err(true);
        }
        let known = of.iter().rev().take(5).find(|(_, past, producer)| {
            producer.epoch.get() == epoch
                && producer.base_sequence.get() == sequence
                && past.extent.last_offset_delta + 1 == count.unsigned_abs()
        });
        if let Some((at, past, _)) = known {
            let lsn = if *at < self.durable { Lsn(0) } else { past.lsn };
            return Ok(Some((past.extent.base_offset, lsn)));
        }
        let after = (i64::from(producer.base_sequence.get())
            + i64::from(last.extent.last_offset_delta)
            + 1)
            % (1 << 31);
        let expected = if epoch == current { after } else { 0 };
        if i64::from(sequence) == expected { Ok(None) } else { Err(false) }
    }

    fn end(&self, upto: usize) -> Offset {
        self.history[..upto].last().map_or(Offset(0), |past| past.extent.next_offset())
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A batch: producer, how its epoch and sequence differ from what would
    /// follow, records.
    Batch(Option<(i64, i16, i32)>, i32),
    /// A retry of one of the last batches of the producer.
    Retry(i64, usize),
    /// So many tentative batches become durable.
    Commit(usize),
    /// Take a checkpoint.
    Checkpoint,
    /// The process dies and recovers from the checkpoint.
    Crash,
    /// The log start moves to this share of what is durable.
    Cut(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let skew = prop_oneof![8 => Just((0i16, 0i32)), 1 => Just((1, 0)), 1 => Just((-1, 0)), 2 => (0i16..2, -3i32..4)];
    let producer = proptest::option::of(
        (0i64..3, skew).prop_map(|(id, (epoch, sequence))| (id, epoch, sequence)),
    );
    prop_oneof![
        8 => (producer, 1i32..4).prop_map(|(producer, count)| Step::Batch(producer, count)),
        3 => (0i64..3, 0usize..8).prop_map(|(id, back)| Step::Retry(id, back)),
        4 => (0usize..5).prop_map(Step::Commit),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Crash),
        1 => (0i64..100).prop_map(Step::Cut),
    ]
}

struct Run {
    partition: Partition,
    model: Model,
    checkpoint: PartitionSnapshot,
    log_start: Offset,
    clock: i64,
}

impl Run {
    fn offer(
        &mut self,
        producer: Option<(i64, i16, i32)>,
        count: i32,
    ) -> Result<(), TestCaseError> {
        self.clock += 1;
        let lsn = Lsn(self.clock.unsigned_abs());
        let header = batch(producer, count);
        let wanted = producer.map_or(Ok(None), |producer| self.model.judge(producer, count));
        let end = self.model.end(self.model.history.len()).max(self.log_start);
        match (self.partition.admit(&header, lsn, Timestamp(self.clock)), wanted) {
            (Ok(admission @ Admission::Append { base_offset, .. }), Ok(None)) => {
                prop_assert_eq!(base_offset, end);
                let extent = extent(&header, admission);
                self.model.history.push(Past { extent, lsn });
            }
            (Ok(Admission::Duplicate { base_offset, lsn, .. }), Ok(Some(known))) => {
                prop_assert_eq!((base_offset, lsn), known);
            }
            (Err(AdmitError::InvalidProducerEpoch { .. }), Err(true))
            | (Err(AdmitError::OutOfOrderSequence { .. }), Err(false)) => {}
            (got, wanted) => prop_assert!(false, "{:?}, but the model says {:?}", got, wanted),
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Batch(producer, count) => {
                let producer = producer.map(|(id, epoch, skew)| {
                    let (current, next) =
                        self.model.of(id).last().map_or((0, i32::MAX - 2), |(_, past, p)| {
                            let delta = i32::try_from(past.extent.last_offset_delta).unwrap();
                            (p.epoch.get(), p.base_sequence.advance(delta + 1).get())
                        });
                    let next = if epoch == 0 { next } else { 0 };
                    (id, (current + epoch).max(0), next.saturating_add(skew).max(0))
                });
                self.offer(producer, count)?;
            }
            Step::Retry(id, back) => {
                let of = self.model.of(id);
                let Some((_, past, p)) = of.iter().rev().nth(back) else { return Ok(()) };
                let count = i32::try_from(past.extent.last_offset_delta).unwrap() + 1;
                self.offer(Some((id, p.epoch.get(), p.base_sequence.get())), count)?;
            }
            Step::Commit(count) => {
                for _ in 0..count {
                    let Some(past) = self.model.history.get(self.model.durable) else { break };
                    self.partition.committed(&past.extent);
                    self.model.durable += 1;
                }
            }
            Step::Checkpoint => {
                let mut bytes = Vec::new();
                self.partition.snapshot().encode(&mut bytes);
                self.checkpoint = PartitionSnapshot::decode(&bytes).unwrap();
                prop_assert_eq!(&self.checkpoint, &self.partition.snapshot());
            }
            Step::Crash => {
                let before = self.partition.snapshot();
                self.model.history.truncate(self.model.durable);
                self.partition = Partition::restore(self.checkpoint.clone());
                self.partition.move_log_start(self.log_start);
                for past in &self.model.history {
                    self.partition.replay(&past.extent);
                }
                prop_assert_eq!(self.partition.snapshot(), before);
                let epochs = self.model.history.last().map(|past| past.extent.leader_epoch.next());
                prop_assert_eq!(self.partition.leader_epoch(), epochs.unwrap_or_default());
            }
            Step::Cut(percent) => {
                let end = self.partition.high_watermark().get();
                self.log_start = self.log_start.max(Offset(end * percent / 100));
                self.partition.move_log_start(self.log_start);
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn it_decides_as_one_who_remembers_everything(steps in proptest::collection::vec(step(), 1..80)) {
        let partition = Partition::new();
        let checkpoint = partition.snapshot();
        let mut run = Run { partition, model: Model::default(), checkpoint, log_start: Offset(0), clock: 0 };
        for step in steps {
            run.step(step)?;
            let (partition, model) = (&run.partition, &run.model);
            prop_assert_eq!(partition.log_start(), run.log_start);
            prop_assert_eq!(partition.high_watermark(), model.end(model.durable).max(run.log_start));
            prop_assert_eq!(partition.next_offset(), model.end(model.history.len()).max(run.log_start));
            for known in partition.producers() {
                let mut durable = model.history[..model.durable].iter().filter_map(|past| past.extent.producer);
                let last = durable.rfind(|p| p.id == known.id);
                prop_assert_eq!(last.map(|p| p.epoch), Some(known.epoch));
            }
        }
    }

    #[test]
    fn rotten_snapshots_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        // Whatever is read is read whole.
        if let Ok(snapshot) = PartitionSnapshot::decode(&bytes) {
            let mut again = Vec::new();
            snapshot.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn hostile_counts_cost_nothing(epochs: u32, producers: u32) {
        let mut bytes = Vec::new();
        PartitionSnapshot::default().encode(&mut bytes);
        bytes[24..28].copy_from_slice(&epochs.to_le_bytes());
        bytes[28..32].copy_from_slice(&producers.to_le_bytes());
        prop_assert_eq!(PartitionSnapshot::decode(&bytes).is_ok(), (epochs, producers) == (0, 0));
    }
}
