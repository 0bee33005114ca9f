use proptest::prelude::*;

use super::*;

const TAIL: FileId = FileId(1);
const COLD: FileId = FileId(2);

/// A cache of `blocks`, over a pool with room for `others` more.
fn cache(blocks: usize, others: usize) -> BlockCache {
    BlockCache::new(BlockPool::new((blocks + others) * BLOCK_BYTES), blocks * BLOCK_BYTES)
}

fn key(file: FileId, block: u64) -> BlockKey {
    BlockKey { file, block }
}

/// A block whose one published byte is `mark`.
fn block(cache: &BlockCache, mark: u8) -> Block {
    let mut writer = cache.take().unwrap();
    writer.append(&[mark]);
    writer.publish();
    writer.share()
}

fn mark(block: &Block) -> u8 {
    block.slice(0..1).unwrap()[0]
}

/// Which blocks of `file` below `end` are in the cache.
fn present(cache: &BlockCache, file: FileId, end: u64) -> Vec<u64> {
    (0..end).filter(|block| cache.contains(key(file, *block))).collect()
}

fn write_tail(cache: &BlockCache, blocks: std::ops::Range<u64>) {
    for number in blocks {
        cache.insert_hot(key(TAIL, number), block(cache, 1));
    }
}

#[test]
fn a_position_has_a_block_and_a_place_in_it() {
    let bytes = BLOCK_BYTES as u64;
    assert_eq!(BlockKey::of(TAIL, 0), (key(TAIL, 0), 0));
    assert_eq!(BlockKey::of(TAIL, bytes - 1), (key(TAIL, 0), BLOCK_BYTES - 1));
    assert_eq!(BlockKey::of(TAIL, 5 * bytes + 7), (key(TAIL, 5), 7));
}

#[test]
fn what_was_inserted_is_found_and_counted() {
    let cache = cache(4, 1);
    cache.insert_hot(key(TAIL, 0), block(&cache, 1));
    cache.insert_cold(key(COLD, 0), block(&cache, 2));
    assert_eq!(mark(&cache.get(key(TAIL, 0)).unwrap()), 1);
    assert_eq!(mark(&cache.get(key(COLD, 0)).unwrap()), 2);
    assert!(cache.get(key(TAIL, 1)).is_none());
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.evictions), (2, 1, 0));
    assert_eq!((stats.bytes, stats.probation_bytes), (2 * BLOCK_BYTES, BLOCK_BYTES));
}

#[test]
fn the_tail_is_read_while_it_is_written() {
    let cache = cache(2, 0);
    let mut writer = cache.take().unwrap();
    cache.insert_hot(key(TAIL, 0), writer.share());
    let reader = cache.get(key(TAIL, 0)).unwrap();
    assert_eq!(reader.slice(0..5), None);
    writer.append(b"frame");
    writer.publish();
    assert_eq!(reader.slice(0..5), Some(&b"frame"[..]));
}

#[test]
fn the_oldest_of_the_tail_makes_room() {
    let cache = cache(8, 1);
    write_tail(&cache, 0..10);
    assert_eq!(present(&cache, TAIL, 10), (2..10).collect::<Vec<_>>());
    assert_eq!(cache.stats().evictions, 2);
    // A block that is still read is younger than its writing.
    drop(cache.get(key(TAIL, 2)));
    write_tail(&cache, 10..12);
    assert_eq!(present(&cache, TAIL, 12), [2, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_cold_scan_spares_the_tail_however_often_it_hits_each_block() {
    let cache = cache(64, 4);
    write_tail(&cache, 0..64);
    for number in 0..1000 {
        let ahead = block(&cache, 2);
        cache.insert_cold(key(COLD, number), ahead);
        for back in 0..3 {
            for _fetch in 0..16 {
                drop(cache.get(key(COLD, number.saturating_sub(back))));
            }
        }
    }
    let tail = present(&cache, TAIL, 64);
    assert_eq!(tail, (9..64).collect::<Vec<_>>(), "an eighth, and the block that comes in");
}

#[test]
fn a_cold_block_that_is_wanted_again_later_becomes_hot() {
    let cache = cache(64, 4);
    cache.insert_cold(key(COLD, 0), block(&cache, 2));
    drop(cache.get(key(COLD, 0)));
    for number in 1..5 {
        cache.insert_cold(key(COLD, number), block(&cache, 2));
    }
    drop(cache.get(key(COLD, 0)));
    assert_eq!(cache.stats().probation_bytes, 4 * BLOCK_BYTES);
    for number in 5..200 {
        cache.insert_cold(key(COLD, number), block(&cache, 2));
    }
    assert!(cache.contains(key(COLD, 0)));
    assert!(!cache.contains(key(COLD, 1)));
}

#[test]
fn an_idle_tail_leaves_the_cache_to_cold_readers() {
    let cache = cache(16, 2);
    for number in 0..100 {
        cache.insert_cold(key(COLD, number), block(&cache, 2));
    }
    assert_eq!(present(&cache, COLD, 100), (84..100).collect::<Vec<_>>());
    write_tail(&cache, 0..100);
    assert_eq!(present(&cache, TAIL, 100), (86..100).collect::<Vec<_>>());
    assert_eq!(present(&cache, COLD, 100), [98, 99], "probation keeps its share");
}

#[test]
fn blocks_that_are_held_are_passed_over() {
    let cache = cache(4, 0);
    write_tail(&cache, 0..4);
    let held = cache.get(key(TAIL, 0)).unwrap();
    let writer = cache.take().unwrap();
    assert_eq!(present(&cache, TAIL, 4), [0, 2, 3]);
    drop((held, writer));
}

#[test]
fn no_block_is_given_while_all_are_held() {
    let cache = cache(2, 0);
    write_tail(&cache, 0..2);
    let held = [cache.get(key(TAIL, 0)).unwrap(), cache.get(key(TAIL, 1)).unwrap()];
    let sent = held.each_ref().map(|block| block.bytes(0..1).unwrap());
    drop(held);
    assert!(cache.take().is_none());
    assert_eq!(present(&cache, TAIL, 2), [0, 1], "nothing is evicted in vain");
    drop(sent);
    assert!(cache.take().is_some());
}

#[test]
fn what_is_gathered_takes_no_memory_beside_the_cache_but_where_all_is_held() {
    let cache = cache(4, 2);
    write_tail(&cache, 0..4);
    let in_use = || cache.pool().usage().in_use / BLOCK_BYTES;
    let gathered = [cache.take().unwrap(), cache.take().unwrap()];
    assert_eq!((in_use(), present(&cache, TAIL, 4)), (4, vec![2, 3]));
    let held = [2, 3].map(|number| cache.get(key(TAIL, number)).unwrap());
    let more = [cache.take().unwrap(), cache.take().unwrap()];
    assert_eq!((in_use(), present(&cache, TAIL, 4)), (6, vec![2, 3]));
    drop((gathered, held, more));
}

#[test]
fn the_capacity_holds_even_where_all_blocks_are_held() {
    let cache = cache(2, 2);
    let held: Vec<_> = (0..4).map(|_| block(&cache, 1)).collect();
    for (number, block) in (0..).zip(&held) {
        cache.insert_hot(key(TAIL, number), block.clone());
    }
    assert_eq!(present(&cache, TAIL, 4), [2, 3]);
    assert_eq!(cache.pool().usage().in_use, 4 * BLOCK_BYTES, "their holders keep them");
}

#[test]
fn a_block_read_anew_replaces_the_shorter_one_and_stays_hot() {
    let cache = cache(8, 1);
    cache.insert_hot(key(TAIL, 0), block(&cache, 1));
    cache.insert_cold(key(TAIL, 0), block(&cache, 2));
    assert_eq!(mark(&cache.get(key(TAIL, 0)).unwrap()), 2);
    assert_eq!(cache.stats().probation_bytes, 0);
    assert_eq!(cache.stats().bytes, BLOCK_BYTES);
}

#[test]
fn a_files_blocks_leave_with_it() {
    let cache = cache(8, 0);
    write_tail(&cache, 0..3);
    cache.insert_cold(key(COLD, 0), block(&cache, 2));
    cache.remove_file(TAIL);
    assert_eq!(present(&cache, TAIL, 3), []);
    assert_eq!(present(&cache, COLD, 1), [0]);
    assert_eq!(cache.pool().usage().in_use, BLOCK_BYTES);
    assert_eq!(cache.stats().evictions, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Hot(u64),
    Cold(u64),
    Get(u64),
    Hold(u64),
    Release,
    RemoveFile(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..40u64).prop_map(Step::Hot),
        (0..40u64).prop_map(Step::Cold),
        (0..40u64).prop_map(Step::Get),
        (0..40u64).prop_map(Step::Hold),
        Just(Step::Release),
        (0..4u64).prop_map(Step::RemoveFile),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: the capacity holds, the queues name exactly the
    /// entries, a found block is the one last inserted, no memory is lost.
    #[test]
    fn stays_consistent(steps in prop::collection::vec(step(), 0..200)) {
        let cache = cache(10, 4);
        let mut held = Vec::new();
        let mut marks = BTreeMap::new();
        let key_of = |number: u64| key(FileId(number % 4), number / 4);
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Hot(number) | Step::Cold(number) => {
                    let Some(mut writer) = cache.take() else { continue };
                    let mark = u8::try_from(at).unwrap();
                    writer.append(&[mark]);
                    writer.publish();
                    marks.insert(key_of(number), mark);
                    match step {
                        Step::Hot(_) => cache.insert_hot(key_of(number), writer.share()),
                        _ => cache.insert_cold(key_of(number), writer.share()),
                    }
                }
                Step::Get(number) => {
                    if let Some(block) = cache.get(key_of(number)) {
                        prop_assert_eq!(Some(&mark(&block)), marks.get(&key_of(number)));
                    }
                }
                Step::Hold(number) => held.extend(cache.get(key_of(number))),
                Step::Release => held.clear(),
                Step::RemoveFile(file) => cache.remove_file(FileId(file)),
            }
            let state = cache.state.lock();
            prop_assert!(state.entries.len() <= 10);
            prop_assert_eq!(state.hot.len() + state.probation.len(), state.entries.len());
            for (tick, key) in state.hot.iter().chain(&state.probation) {
                prop_assert_eq!(state.entries.get(key).map(|entry| entry.tick), Some(*tick));
            }
        }
        held.clear();
        let cached = cache.stats().bytes;
        prop_assert_eq!(cache.pool().usage().in_use, cached);
    }
}
