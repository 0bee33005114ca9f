use millrace_log::batch::{Compression, batches, stamp};
use millrace_types::{LeaderEpoch, Offset};

use super::*;
use crate::batch::{Batch, ProducerId, Sizes, Template};

const SIZES: Sizes = Sizes { record: 60, keyed: false, batch: 10_000, records_max: 5 };

/// A log as a reader gets it: batches of five records of producer 0 (or 1),
/// beginning at these sequences.
struct Log {
    bytes: Vec<u8>,
    next: i64,
    filler: Arc<Filler>,
    template: Arc<Template>,
}

impl Log {
    fn new() -> Self {
        let filler = Arc::new(Filler::new(SIZES.record));
        let template = Arc::new(Template::new(7, SIZES, &filler, Compression::None));
        Self { bytes: Vec::new(), next: 0, filler, template }
    }

    fn of(sequences: &[u64]) -> Self {
        let mut log = Self::new();
        sequences.iter().for_each(|first| log.append(0, *first, 5));
        log
    }

    fn append(&mut self, producer: u32, first: u64, count: u64) {
        let mut batch = Batch::new(&self.template);
        batch.begin(0, first);
        for n in 0..count {
            assert!(batch.push(producer, n, 1_000_000 + n, None));
        }
        batch.finish(ProducerId::NONE, 0).unwrap();
        let mut bytes = batch.wire().to_vec();
        stamp(&mut bytes, Offset(self.next), LeaderEpoch(1)).unwrap();
        self.next += i64::try_from(count).unwrap();
        self.bytes.extend_from_slice(&bytes);
    }

    /// Reads it all and judges, with `acked` records of producer 0 acknowledged.
    fn read(&self, acked: u64) -> Findings {
        self.read_as(Some(7), Depth::Full, acked)
    }

    fn read_as(&self, run: Option<u32>, depth: Depth, acked: u64) -> Findings {
        let mut verifier = Verifier::new(Arc::clone(&self.filler), run, depth, SIZES.record);
        let mut partition = Partition::new(3, 0);
        for batch in batches(&self.bytes) {
            let (header, bytes) = batch.unwrap();
            verifier.batch(&mut partition, &header, bytes, |_, _| ());
        }
        if run.is_some() {
            verifier.end(&partition, &[(0, acked)]);
            verifier.end_by_count(acked);
        } else {
            verifier.passed_over(&partition);
        }
        verifier.findings
    }
}

#[test]
fn what_is_whole_and_in_order_is_clean() {
    let findings = Log::of(&[0, 5, 10]).read(15);
    assert_eq!(findings, Findings { records: 15, ..Findings::default() });
    assert!(findings.is_clean());
}

#[test]
fn a_lost_batch_is_found() {
    let between = Log::of(&[0, 10]).read(15);
    assert_eq!((between.lost, between.duplicates, between.reordered), (5, 0, 0));
    assert_eq!(between.examples[0], "partition 3, offset 5: record 10 of producer 0 follows 4");
    let at_the_end = Log::of(&[0, 5]).read(15);
    assert_eq!(at_the_end.lost, 5);
    let all = Log::of(&[]).read(15);
    assert_eq!(all.lost, 15);
    assert!(!all.is_clean());
}

#[test]
fn what_was_never_acknowledged_may_be_missing() {
    assert!(Log::of(&[0, 5]).read(10).is_clean());
    assert!(Log::of(&[0, 5, 10]).read(10).is_clean(), "or be there");
}

#[test]
fn a_duplicate_is_found() {
    let findings = Log::of(&[0, 5, 5, 10]).read(15);
    assert_eq!((findings.lost, findings.duplicates, findings.reordered), (0, 5, 0));
}

#[test]
fn reordered_batches_are_found() {
    let findings = Log::of(&[0, 10, 5]).read(15);
    assert_eq!((findings.lost, findings.duplicates, findings.reordered), (0, 0, 5));
}

#[test]
fn a_flipped_bit_is_found() {
    let mut log = Log::of(&[0, 5]);
    let at = log.bytes.len() - 10;
    log.bytes[at] ^= 1;
    let findings = log.read(10);
    assert_eq!(findings.corrupt, 5, "the batch fails its checksum");
    assert!(findings.examples[0].contains("checksum"), "{}", findings.examples[0]);
}

#[test]
fn changed_content_below_a_good_checksum_is_found() {
    let mut log = Log::of(&[0]);
    let at = log.bytes.len() - 10;
    log.bytes[at] ^= 1;
    let crc = crc32c::crc32c(&log.bytes[21..]).to_be_bytes();
    log.bytes[17..21].copy_from_slice(&crc);
    let findings = log.read(5);
    assert_eq!((findings.corrupt, findings.records), (1, 4));
}

#[test]
fn passed_over_offsets_are_found() {
    let mut log = Log::of(&[0]);
    log.next += 3;
    log.append(0, 5, 5);
    let findings = log.read(10);
    assert_eq!((findings.offset_gaps, findings.lost), (3, 0));
}

#[test]
fn producers_are_judged_apart() {
    let mut log = Log::new();
    log.append(0, 0, 5);
    log.append(1, 0, 2);
    log.append(0, 5, 5);
    log.append(1, 2, 3);
    assert!(log.read(10).is_clean());
}

#[test]
fn records_of_others_are_not_judged() {
    let mut log = Log::of(&[0]);
    log.template = Arc::new(Template::new(8, SIZES, &log.filler, Compression::None));
    log.append(0, 77, 5);
    let findings = log.read(5);
    assert_eq!((findings.foreign, findings.is_clean()), (5, true));
}

#[test]
fn what_was_there_before_is_judged_from_its_first_record() {
    assert!(Log::of(&[100, 105, 110]).read_as(None, Depth::Full, 0).is_clean());
    assert_eq!(Log::of(&[100, 110]).read_as(None, Depth::Full, 0).lost, 5);
}

#[test]
fn headers_alone_show_numbers() {
    assert!(Log::of(&[0, 5]).read_as(Some(7), Depth::Headers, 10).is_clean());
    assert_eq!(Log::of(&[0]).read_as(Some(7), Depth::Headers, 10).lost, 5);
    assert_eq!(Log::of(&[0, 5, 5]).read_as(Some(7), Depth::Headers, 10).duplicates, 5);
}
