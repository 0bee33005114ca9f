use proptest::prelude::*;

use super::*;

#[test]
fn four_partitions_share_the_hashes_as_in_kinesis() {
    let map = RangeMap::uniform(4, 7, true);
    let ranges: Vec<_> = map.iter().map(|(_, of)| of.range.first).collect();
    assert_eq!(ranges, [0, 1 << 126, 1 << 127, (1 << 127) + (1 << 126)]);
    assert_eq!(map.get(PartitionId(3)).unwrap().range.last, u128::MAX);
    assert_eq!(map.of_hash((1 << 126) - 1), Some(PartitionId(0)));
    assert_eq!(map.of_hash(1 << 126), Some(PartitionId(1)));
}

#[test]
fn a_map_of_one_takes_all() {
    let map = RangeMap::uniform(1, 0, false);
    assert_eq!(map.get(PartitionId(0)).unwrap().range, HashRange::ALL);
    assert_eq!(RangeMap::uniform(0, 0, false).of_hash(5), None);
}

#[test]
fn a_stored_map_reads_back() {
    let text = "00000000000000000000000000000000-ffffffffffffffffffffffffffffffff 5 sealed@12\n\
                00000000000000000000000000000000-7fffffffffffffffffffffffffffffff 6 open 0\n\
                80000000000000000000000000000000-ffffffffffffffffffffffffffffffff 6 open 0\n";
    let map = RangeMap::decode(text).unwrap();
    assert_eq!(map.encode(), text);
    assert_eq!((map.len(), map.open_len()), (3, 2));
    assert_eq!(map.of_hash(u128::MAX), Some(PartitionId(2)));
    let children: Vec<_> = map.children(PartitionId(0)).map(|(id, _)| id).collect();
    assert_eq!(children, [PartitionId(1), PartitionId(2)]);
}

#[test]
fn a_stored_map_that_leaves_out_hashes_is_refused() {
    let half = "00000000000000000000000000000000-7fffffffffffffffffffffffffffffff 6 open\n";
    assert_eq!(RangeMap::decode(half), Err(RangeMapError::Coverage));
    assert_eq!(RangeMap::decode(""), Err(RangeMapError::Coverage));
    assert_eq!(RangeMap::decode("what"), Err(RangeMapError::Malformed { line: 1 }));
}

proptest! {
    #[test]
    fn every_hash_has_one_partition(partitions in 1u32..5000, hash: u128) {
        let map = RangeMap::uniform(partitions, 1, true);
        prop_assert_eq!(&RangeMap::decode(&map.encode()).unwrap(), &map);
        let id = map.of_hash(hash).unwrap();
        prop_assert!(map.get(id).unwrap().range.contains(hash));
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        drop(RangeMap::decode(&text));
    }
}
