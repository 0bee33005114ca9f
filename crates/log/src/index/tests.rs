//! Where offsets are found: examples, then against a list of everything.

use std::collections::BTreeMap;

use millrace_types::{LeaderEpoch, PartitionId, TopicId, TopicPartition};
use proptest::prelude::*;

use super::*;
use crate::frame::ExtentKind;

/// An extent of `records` offsets and `len` bytes.
fn extent(base_offset: i64, records: u32, len: u32, time: i64) -> Extent {
    Extent {
        partition: TopicPartition { topic: TopicId([1; 16]), partition: PartitionId(0) },
        kind: ExtentKind::Batch,
        base_offset: Offset(base_offset),
        last_offset_delta: records - 1,
        leader_epoch: LeaderEpoch(0),
        position: 4096,
        len,
        max_timestamp: Timestamp(time),
        append_time: Timestamp(time),
        producer: None,
        crc: u32::try_from(base_offset).unwrap(),
    }
}

/// Two files of two extents each, offsets 0 to 19 by 5, times 10 to 40.
fn two_files() -> PartitionIndex {
    let mut index = PartitionIndex::new();
    for number in 0..4 {
        let file = FileId(if number < 2 { 1 } else { 2 });
        assert!(index.push(file, &extent(number * 5, 5, 100, number * 10 + 10)));
    }
    index
}

/// What a lookup found, as text that reads in an assertion.
fn show(lookup: Lookup<'_>) -> String {
    match lookup {
        Lookup::Found(mut run) => {
            let mut found: Vec<_> =
                run.by_ref().map(|l| format!("{}@{}", l.entry.base_offset, l.file)).collect();
            found.extend(run.needs().map(|file| format!("load {file}")));
            found.join(" ")
        }
        Lookup::Load(file) => format!("load {file}"),
        Lookup::BeforeStart => "before".into(),
        Lookup::AtEnd => "end".into(),
    }
}

#[test]
fn an_offset_is_found_in_its_extent_and_read_on_from_there() {
    let index = two_files();
    assert_eq!(show(index.lookup(Offset(0))), "0@1 5@1 10@2 15@2");
    assert_eq!(show(index.lookup(Offset(7))), "5@1 10@2 15@2");
    assert_eq!(show(index.lookup(Offset(19))), "15@2");
    assert_eq!(show(index.lookup(Offset(20))), "end");
    assert_eq!(show(PartitionIndex::new().lookup(Offset(0))), "end");
    assert_eq!((index.bytes(), index.end()), (400, Offset(20)));
}

#[test]
fn entries_of_sealed_files_leave_and_come_back() {
    let mut index = two_files();
    assert_eq!(index.evict(0), 0, "file 1 may still grow");
    index.seal(FileId(1));
    assert_eq!(index.loaded_entries(), 2);
    assert_eq!(index.evict(0), 2);
    assert_eq!(show(index.lookup(Offset(7))), "load 1");
    assert_eq!(show(index.lookup(Offset(12))), "10@2 15@2");
    let entries = [0, 5].map(|offset| IndexEntry::of(&extent(offset, 5, 100, 10)));
    assert_eq!(index.install(FileId(1), &entries), 2);
    assert_eq!(show(index.lookup(Offset(7))), "5@1 10@2 15@2");
    assert_eq!(index.entries_in_memory(), 4);
}

#[test]
fn a_run_says_which_entries_it_lacks() {
    let mut index = two_files();
    index.push(FileId(3), &extent(20, 1, 1, 0));
    index.seal(FileId(2));
    index.evict(0);
    assert_eq!(show(index.lookup(Offset(0))), "0@1 5@1 load 2");
}

#[test]
fn spans_that_were_used_stay_longer() {
    let mut index = two_files();
    index.push(FileId(3), &extent(20, 1, 1, 0));
    index.seal(FileId(1));
    index.seal(FileId(2));
    assert_eq!(index.evict(4), 0, "within the budget; marks are cleared");
    assert_eq!(show(index.lookup(Offset(0))).len(), "0@1 5@1 10@2 15@2 20@3".len());
    index.evict(4);
    let Lookup::Found(_) = index.lookup(Offset(1)) else { panic!("file 1 is in memory") };
    assert_eq!(index.evict(2), 2);
    assert_eq!(show(index.lookup(Offset(1))), "0@1 5@1 load 2");
}

#[test]
fn gaps_lead_to_the_next_extent() {
    let mut index = PartitionIndex::new();
    index.push(FileId(1), &extent(5, 5, 100, 0));
    index.push(FileId(1), &extent(50, 5, 100, 0));
    index.push(FileId(2), &extent(90, 5, 100, 0));
    assert_eq!(show(index.lookup(Offset(0))), "5@1 50@1 90@2");
    assert_eq!(show(index.lookup(Offset(10))), "50@1 90@2");
    assert_eq!(show(index.lookup(Offset(60))), "90@2");
    // A footer that lacks the end of a span: on to the next one.
    index.seal(FileId(1));
    index.evict(0);
    assert_eq!(index.install(FileId(1), &[IndexEntry::of(&extent(5, 5, 100, 0))]), 1);
    assert_eq!(show(index.lookup(Offset(50))), "90@2");
}

#[test]
fn reads_are_bounded_by_bytes_and_by_the_end_of_what_is_stable() {
    let index = two_files();
    let read = |bytes, upto, at_least_one| {
        let Lookup::Found(run) = index.lookup(Offset(7)) else { panic!("7 is there") };
        run.take_bytes(bytes, Offset(upto), at_least_one).len()
    };
    assert_eq!(read(1_000, 20, false), 3);
    assert_eq!(read(200, 20, false), 2);
    assert_eq!(read(199, 20, false), 1);
    assert_eq!(read(99, 20, false), 0);
    assert_eq!(read(99, 20, true), 1);
    assert_eq!(read(1_000, 15, true), 2);
    assert_eq!(read(1_000, 0, true), 0);
}

#[test]
fn times_are_found_even_where_they_are_not_in_order() {
    let mut index = PartitionIndex::new();
    for (number, time) in [(0, 10), (1, 90), (2, 20), (3, -1)] {
        index.push(FileId(1), &extent(number * 5, 5, 100, time));
    }
    let at = |time, from| show(index.lookup_time(Timestamp(time), Offset(from)));
    assert_eq!(at(0, 0), "0@1 5@1 10@1 15@1");
    assert_eq!(at(11, 0), "5@1 10@1 15@1");
    assert_eq!(at(11, 10), "10@1 15@1");
    assert_eq!(at(91, 0), "end");
    assert_eq!(show(index.lookup_max_timestamp()), "5@1 10@1 15@1");
    assert_eq!(show(PartitionIndex::new().lookup_max_timestamp()), "end");
}

#[test]
fn the_largest_timestamp_is_one_of_live_records() {
    let mut index = PartitionIndex::new();
    for (number, time) in [(0, 90), (1, 10), (2, 20)] {
        index.push(FileId(1), &extent(number * 5, 5, 100, time));
    }
    index.push(FileId(2), &extent(15, 5, 100, 15));
    index.trim(Offset(5));
    assert_eq!(show(index.lookup_max_timestamp()), "10@1 15@2");
    index.seal(FileId(1));
    index.evict(0);
    assert_eq!(show(index.lookup_max_timestamp()), "load 1");
}

#[test]
fn a_span_reads_no_further_than_its_checkpoint_and_grows_by_replay() {
    let whole = two_files();
    let mut index = PartitionIndex::restore(Offset(3), whole.spans().copied());
    assert_eq!((index.bytes(), index.end()), (400 - 200 * 3 / 10, Offset(20)));
    assert_eq!(show(index.lookup(Offset(3))), "load 1");
    assert_eq!(show(index.lookup(Offset(2))), "before");
    assert!(!index.push(FileId(2), &extent(15, 5, 100, 40)), "known");
    assert!(index.push(FileId(2), &extent(20, 5, 100, 50)));
    let entries = [10, 15, 20].map(|offset| IndexEntry::of(&extent(offset, 5, 100, 0)));
    assert_eq!(index.install(FileId(2), &entries), 3);
    assert_eq!(show(index.lookup(Offset(10))), "10@2 15@2 20@2");
}

#[test]
fn what_dies_is_counted_once() {
    let mut index = two_files();
    assert_eq!(index.trim(Offset(4)), []);
    assert_eq!(index.trim(Offset(5)), [(FileId(1), 100)]);
    assert_eq!(index.bytes(), 300);
    assert_eq!(index.trim(Offset(15)), [(FileId(1), 100), (FileId(2), 100)]);
    assert_eq!(index.trim(Offset(10)), [], "never back");
    assert_eq!(index.live_bytes().collect::<Vec<_>>(), [(FileId(2), 100)]);
    assert_eq!(index.trim(Offset(20)), [(FileId(2), 100)]);
    assert_eq!((index.bytes(), index.spans().len()), (0, 0));
}

fn span(file: u64, from: i64, to: i64, bytes: u64) -> Span {
    Span {
        file: FileId(file),
        base_offset: Offset(from),
        last_offset: Offset(to),
        bytes,
        max_timestamp: Timestamp(0),
        retention_time: Timestamp(0),
        append_time: Timestamp(0),
        extents: 1,
    }
}

#[test]
fn rewritten_files_replace_their_inputs_whole() {
    let both = [FileId(1), FileId(2)];
    let index = || PartitionIndex::restore(Offset(3), two_files().spans().copied());
    let mut replaced = index();
    assert_eq!(replaced.replace(&both, Some(span(9, 0, 19, 400)), Offset(0), None), Ok(60));
    assert_eq!(replaced.spans().map(|s| s.file.get()).collect::<Vec<_>>(), [9]);
    let mut dropped = index();
    assert_eq!(dropped.replace(&both, Some(span(9, 3, 19, 300)), Offset(3), None), Ok(0));
    assert_eq!(dropped.bytes(), 300);
    let lacking = [
        (None, 0),
        (Some(span(9, 4, 19, 1)), 4),
        (Some(span(9, 3, 18, 1)), 3),
        (Some(span(9, 3, 20, 1)), 3),
    ];
    for (new, live_from) in lacking {
        let mut kept = index();
        let lost = ReplaceError { from: Offset(3), to: Offset(19) };
        assert_eq!(kept.replace(&both, new, Offset(live_from), None), Err(lost));
        assert_eq!(kept.spans().len(), 2);
    }
    let mut passed = index();
    passed.trim(Offset(20));
    assert_eq!(
        passed.replace(&both, Some(span(9, 0, 19, 400)), Offset(0), None),
        Ok(400),
        "all dead by now"
    );
    // The log start passed the first input while the new file was written.
    let mut trimmed = index();
    trimmed.trim(Offset(10));
    assert_eq!(trimmed.spans().len(), 1);
    trimmed.replace(&both, Some(span(9, 3, 19, 400)), Offset(3), None).unwrap();
    assert_eq!(trimmed.spans().map(|s| s.file.get()).collect::<Vec<_>>(), [9]);
}

#[test]
fn only_neighbours_are_replaced_by_one() {
    let mut index = two_files();
    index.push(FileId(3), &extent(20, 5, 100, 0));
    assert!(
        index.replace(&[FileId(1), FileId(3)], Some(span(9, 0, 24, 300)), Offset(0), None).is_err()
    );
}

#[test]
fn summaries_and_entries_are_small() {
    assert!(size_of::<Span>() <= 64);
    assert!(size_of::<IndexEntry>() <= 40);
    assert!(size_of::<Slot>() <= 96);
}

#[derive(Clone, Debug)]
enum Step {
    Push { gap: i64, records: u32, len: u32, time: i64 },
    Roll,
    Evict(usize),
    Trim(i64),
    Rewrite(usize, usize),
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop_oneof![4 => Just(0i64), 1 => 1i64..5], 1u32..5, 1u32..200, -1i64..50)
            .prop_map(|(gap, records, len, time)| Step::Push { gap, records, len, time }),
        3 => Just(Step::Roll),
        2 => (0usize..6).prop_map(Step::Evict),
        1 => (0i64..100).prop_map(Step::Trim),
        1 => (0usize..4, 1usize..4).prop_map(|(from, count)| Step::Rewrite(from, count)),
        1 => Just(Step::Restore),
    ]
}

/// Everything that was ever pushed, by file; and what a search through it says.
#[derive(Debug, Default)]
struct Everything {
    files: Vec<(FileId, Vec<Extent>)>,
    next_file: u64,
    log_start: Offset,
    dead: BTreeMap<FileId, u64>,
}

impl Everything {
    fn live(&self) -> impl Iterator<Item = (FileId, Extent)> + '_ {
        let all = self.files.iter().flat_map(|(file, extents)| extents.iter().map(|e| (*file, *e)));
        all.filter(|(_, extent)| extent.last_offset() >= self.log_start)
    }

    fn end(&self) -> Offset {
        self.files.iter().flat_map(|(_, e)| e).map(Extent::next_offset).max().unwrap_or_default()
    }

    fn roll(&mut self) {
        self.next_file += 1;
        self.files.push((FileId(self.next_file), Vec::new()));
    }

    fn entries(&self, file: FileId) -> Vec<IndexEntry> {
        let (_, extents) = self.files.iter().find(|(f, _)| *f == file).unwrap();
        extents.iter().map(IndexEntry::of).collect()
    }

    fn count_dead(&mut self, dead: Vec<(FileId, u64)>) {
        for (file, bytes) in dead {
            *self.dead.entry(file).or_default() += bytes;
        }
    }
}

/// Looks up with loading, as the engine does; the first extent found.
fn find(
    index: &mut PartitionIndex,
    all: &Everything,
    lookup: impl Fn(&PartitionIndex) -> Lookup<'_>,
) -> Option<Located> {
    loop {
        let file = match lookup(index) {
            Lookup::Found(mut run) => return run.next(),
            Lookup::Load(file) => file,
            Lookup::BeforeStart | Lookup::AtEnd => return None,
        };
        assert!(index.install(file, &all.entries(file)) > 0);
    }
}

fn apply(
    index: &mut PartitionIndex,
    all: &mut Everything,
    step: Step,
) -> Result<(), TestCaseError> {
    match step {
        Step::Push { gap, records, len, time } => {
            let base = all.end().get().max(all.log_start.get()) + gap;
            let extent = extent(base, records, len, time);
            let (file, extents) = all.files.last_mut().unwrap();
            prop_assert!(index.push(*file, &extent));
            prop_assert!(!index.push(*file, &extent));
            extents.push(extent);
        }
        Step::Roll => {
            index.seal(all.files.last().unwrap().0);
            all.roll();
        }
        Step::Evict(keep) => {
            index.evict(keep);
            prop_assert!(index.loaded_entries() <= keep);
        }
        Step::Trim(percent) => {
            let to = all.log_start.max(Offset(all.end().get() * percent / 100));
            all.log_start = to;
            let dead = index.trim(to);
            all.count_dead(dead);
        }
        Step::Rewrite(from, count) => {
            let sealed = all.files.len() - 1;
            let (from, to) = (from.min(sealed), (from + count).min(sealed));
            let inputs: Vec<_> = all.files[from..to].iter().map(|(file, _)| *file).collect();
            let live = all.live().filter(|(file, _)| inputs.contains(file));
            let extents: Vec<_> = live.map(|(_, extent)| extent).collect();
            all.next_file += 1;
            let file = FileId(all.next_file);
            let mut new: Option<Span> = None;
            for extent in &extents {
                let one = Span::of_extent(file, extent);
                match &mut new {
                    Some(span) => span.extend(&one),
                    None => new = Some(one),
                }
            }
            let dead = index.replace(&inputs, new, all.log_start, None);
            prop_assert!(dead.is_ok(), "{:?}", dead);
            all.files.splice(from..to, [(file, extents)]);
            all.dead.retain(|file, _| !inputs.contains(file));
            all.count_dead(vec![(file, dead.unwrap())]);
        }
        Step::Restore => {
            let spans: Vec<_> = index.spans().copied().collect();
            let file = all.files.last().unwrap().0;
            *index = PartitionIndex::restore(all.log_start, spans);
            index.seal(file);
            all.roll();
            all.dead.clear();
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn it_finds_what_a_search_through_everything_finds(steps in proptest::collection::vec(step(), 1..60), offset in 0i64..150, time in -1i64..55) {
        let (mut index, mut all) = (PartitionIndex::new(), Everything::default());
        all.roll();
        for step in steps {
            apply(&mut index, &mut all, step)?;
            let live: Vec<_> = all.live().collect();
            let spans: Vec<_> = index.spans().copied().collect();
            prop_assert!(spans.windows(2).all(|w| w[0].last_offset < w[1].base_offset));
            prop_assert_eq!(spans.last().map(|s| s.next_offset()), live.last().map(|(_, e)| e.next_offset()));
        }
        let located = |(file, extent): &(FileId, Extent)| Located { file: *file, entry: IndexEntry::of(extent) };
        let live: Vec<_> = all.live().collect();
        let log_start = all.log_start;

        let from = Offset(offset).max(log_start);
        let wanted = live.iter().find(|(_, e)| e.last_offset() >= from).map(located);
        let found = find(&mut index, &all, |index| index.lookup(from));
        prop_assert_eq!(found, wanted);
        if log_start > Offset(0) {
            let below = index.lookup(Offset(log_start.get() - 1));
            prop_assert!(matches!(below, Lookup::BeforeStart));
        }

        let at = Timestamp(time);
        let wanted = live.iter().find(|(_, e)| e.last_offset() >= from && e.max_timestamp >= at).map(located);
        let found = find(&mut index, &all, |index| index.lookup_time(at, from));
        prop_assert_eq!(found, wanted);

        let largest = live.iter().map(|(_, e)| e.max_timestamp).max().filter(|t| *t >= Timestamp(0));
        let wanted = live.iter().find(|(_, e)| Some(e.max_timestamp) == largest).map(located);
        let found = find(&mut index, &all, PartitionIndex::lookup_max_timestamp);
        prop_assert_eq!(found, wanted);

        // Once everything is dead, each file's bytes were reported exactly.
        let end = Offset(all.end().get().max(log_start.get()) + 1);
        let dead = index.trim(end);
        all.count_dead(dead);
        prop_assert_eq!(index.bytes(), 0);
        let files: BTreeMap<_, _> = all.files.iter().cloned().collect();
        for (file, dead) in &all.dead {
            let Some(extents) = files.get(file) else { continue };
            let bytes: u64 = extents.iter().map(|e| u64::from(e.len)).sum();
            prop_assert!(*dead <= bytes, "{} of {} bytes of {}", dead, bytes, file);
        }
    }
}
