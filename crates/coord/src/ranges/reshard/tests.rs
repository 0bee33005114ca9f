use proptest::prelude::*;

use super::*;

fn id(n: i32) -> PartitionId {
    PartitionId(n)
}

fn change(map: &RangeMap, at_secs: u64, steps: Vec<Step>) -> Result<RangeMap, ReshardError> {
    map.resharded(&Reshard { steps, at_secs }, |id| Offset(100 + i64::from(id.get())))
}

fn split(partition: i32, at: u128) -> Step {
    Step::Split { partition: id(partition), at }
}

fn merge(lower: i32, upper: i32) -> Step {
    Step::Merge { lower: id(lower), upper: id(upper) }
}

#[test]
fn a_split_seals_one_and_makes_two() {
    let map = RangeMap::uniform(1, 10, true);
    let map = change(&map, 20, vec![split(0, 1 << 100)]).unwrap();
    assert_eq!(
        map.encode(),
        "00000000000000000000000000000000-ffffffffffffffffffffffffffffffff 10 sealed@100\n\
         00000000000000000000000000000000-0000000fffffffffffffffffffffffff 20 open 0\n\
         00000010000000000000000000000000-ffffffffffffffffffffffffffffffff 20 open 0\n"
    );
}

#[test]
fn a_merge_seals_two_and_makes_one() {
    let map = RangeMap::uniform(2, 10, true);
    let map = change(&map, 20, vec![merge(0, 1)]).unwrap();
    assert_eq!(map.open_len(), 1);
    let child = map.get(id(2)).unwrap();
    assert_eq!((child.range, &child.parents[..]), (HashRange::ALL, &[id(0), id(1)][..]));
}

#[test]
fn children_are_made_later_than_their_parents_whatever_the_clock_says() {
    let map = RangeMap::uniform(2, 1000, true);
    // The clock went back.
    let map = change(&map, 3, vec![split(0, 7)]).unwrap();
    assert_eq!(map.get(id(2)).unwrap().created_secs, 1001);
    // Within the same second.
    let map = change(&map, 1001, vec![merge(3, 1)]).unwrap();
    assert_eq!(map.get(id(4)).unwrap().created_secs, 1002);
}

#[test]
fn what_is_made_on_the_way_never_takes_a_record() {
    let map = RangeMap::uniform(2, 1, true);
    let map = change(&map, 5, vec![split(0, 1 << 126), merge(3, 1)]).unwrap();
    assert_eq!(map.get(id(0)).unwrap().state, RangeState::Sealed { end: Offset(100) });
    assert_eq!(map.get(id(3)).unwrap().state, RangeState::Sealed { end: Offset(0) });
    assert_eq!(map.open_len(), 2);
}

#[test]
fn impossible_changes_are_refused() {
    let map = RangeMap::uniform(3, 1, true);
    let refused = |step| change(&map, 1, vec![step]).unwrap_err();
    let second = map.get(id(1)).unwrap().range;
    assert_eq!(refused(split(9, 1)), ReshardError::Unknown(id(9)));
    assert_eq!(refused(split(-1, 1)), ReshardError::Unknown(id(-1)));
    assert_eq!(refused(split(0, 0)), ReshardError::Outside(id(0)));
    assert_eq!(refused(split(1, second.first)), ReshardError::Outside(id(1)));
    assert_eq!(refused(split(1, second.last + 1)), ReshardError::Outside(id(1)));
    assert!(change(&map, 1, vec![split(1, second.last)]).is_ok());
    for (lower, upper) in [(0, 2), (1, 0), (2, 0), (1, 1)] {
        assert_eq!(refused(merge(lower, upper)), ReshardError::NotAdjacent(id(lower), id(upper)));
    }
    let after = change(&map, 1, vec![merge(0, 1)]).unwrap();
    assert_eq!(change(&after, 1, vec![split(0, 5)]), Err(ReshardError::Sealed(id(0))));
    let kafka = RangeMap::uniform(3, 1, false);
    assert_eq!(change(&kafka, 1, vec![merge(0, 1)]), Err(ReshardError::NotSplittable));
}

/// The shards of AWS's streams after UpdateShardCount, sealed ones included,
/// as moto's suite has them from AWS.
#[test]
fn scaling_takes_the_steps_that_aws_takes() {
    for (from, to, all) in [(2, 4, 6), (4, 5, 15), (10, 13, 37), (4, 2, 6), (5, 3, 7), (10, 3, 17)]
    {
        let map = RangeMap::uniform(from, 1, true);
        let map = change(&map, 2, map.scaled(to)).unwrap();
        assert_eq!((map.open_len(), map.len()), (to as usize, all), "{from} to {to}");
    }
}

#[test]
fn doubling_and_halving_are_exact() {
    for n in 1..40 {
        let map = RangeMap::uniform(n, 1, true);
        let doubled = change(&map, 2, map.scaled(2 * n)).unwrap();
        assert_eq!(doubled.len(), 3 * n as usize);
        let width = u128::MAX / (2 * u128::from(n));
        for (_, of) in doubled.iter().filter(|(_, of)| of.state == RangeState::Open) {
            assert!((of.range.last - of.range.first).abs_diff(width) <= 3 * u128::from(n));
        }
        let halved = change(&doubled, 3, doubled.scaled(n)).unwrap();
        assert_eq!(halved.len(), 4 * n as usize);
        assert!(halved.scaled(n).is_empty());
    }
}

#[test]
fn four_become_five_equal_ones() {
    let map = RangeMap::uniform(4, 1, true);
    let map = change(&map, 2, map.scaled(5)).unwrap();
    let open = map.iter().filter(|(_, of)| of.state == RangeState::Open);
    let mut ranges: Vec<_> = open.map(|(_, of)| of.range).collect();
    ranges.sort_by_key(|range| range.first);
    let uniform = RangeMap::uniform(5, 1, true);
    assert_eq!(ranges, uniform.iter().map(|(_, of)| of.range).collect::<Vec<_>>());
}

#[test]
fn a_hash_goes_to_the_descendant_that_takes_it() {
    let map = RangeMap::uniform(2, 1, true);
    let map = change(&map, 2, vec![split(0, 1 << 126)]).unwrap();
    let map = change(&map, 3, vec![merge(3, 1)]).unwrap();
    assert_eq!(map.open_descendants(id(0)), [id(2), id(4)]);
    assert_eq!(map.open_descendants(id(1)), [id(4)]);
    assert_eq!(map.open_descendants(id(2)), [id(2)]);
    assert_eq!(map.of_hash_among(&[id(2), id(4)], 5), Some(id(2)));
    assert_eq!(map.of_hash_among(&[id(2), id(4)], u128::MAX), Some(id(4)));
    // Of another's range: it stays with the family.
    assert_eq!(map.of_hash_among(&[id(4)], 5), Some(id(4)));
    assert_eq!(map.of_hash_among(&[], 5), None);
}

/// A map, and changes of it that are all possible.
fn any_history() -> impl Strategy<Value = (u32, Vec<(u8, u32, u128, u64)>)> {
    let change = (0..3u8, any::<u32>(), any::<u128>(), 0..2000u64);
    (1..20u32, proptest::collection::vec(change, 0..12))
}

/// The steps of one of the changes; none where there is none of the kind.
fn steps(map: &RangeMap, kind: u8, which: u32, at: u128) -> Vec<Step> {
    let open: Vec<_> =
        map.iter().filter(|(_, of)| of.state == RangeState::Open).map(|(id, _)| id).collect();
    let chosen = open[which as usize % open.len()];
    let range = map.get(chosen).unwrap().range;
    match kind {
        0 => {
            let span = range.last - range.first;
            if span == 0 {
                return Vec::new();
            }
            vec![Step::Split { partition: chosen, at: range.first + 1 + at % span }]
        }
        1 => {
            let Some(next) = range.last.checked_add(1) else { return Vec::new() };
            vec![Step::Merge { lower: chosen, upper: map.of_hash(next).unwrap() }]
        }
        _ => {
            let n = u32::try_from(open.len()).unwrap();
            let target = n.div_ceil(2) + which % (2 * n - n.div_ceil(2) + 1);
            let steps = map.scaled(target);
            let after = change(map, 0, steps.clone()).unwrap();
            assert_eq!(after.open_len(), target as usize, "from {}", map.encode());
            steps
        }
    }
}

/// What holds between a map and the one that a change makes of it.
fn check_step(before: &RangeMap, after: &RangeMap, reshard: &Reshard) {
    assert_eq!(RangeMap::decode(&after.encode()).as_ref(), Ok(after), "it covers every hash once");
    let parents = reshard.parents(before);
    for (id, was) in before.iter() {
        let is = after.get(id).unwrap();
        assert_eq!(
            (is.range, &is.parents, is.created_secs),
            (was.range, &was.parents, was.created_secs)
        );
        assert_eq!(was.state != is.state, parents.contains(&id), "only parents are sealed");
    }
    for (id, of) in after.iter() {
        for parent in &of.parents {
            let parent = after.get(*parent).unwrap();
            assert!(parent.created_secs < of.created_secs, "{id} is made after its parents");
            assert_ne!(parent.state, RangeState::Open);
        }
        if of.state == RangeState::Open {
            assert_eq!(after.open_descendants(id), [id]);
            continue;
        }
        // All that hashed into it finds a child, and a descendant.
        for hash in [of.range.first, of.range.last] {
            assert!(after.children(id).any(|(_, child)| child.range.contains(hash)));
            let among = after.open_descendants(id);
            assert_eq!(after.of_hash_among(&among, hash), after.of_hash(hash));
        }
    }
}

proptest! {
    #[test]
    fn maps_stay_whole_whatever_is_done((partitions, changes) in any_history()) {
        let mut map = RangeMap::uniform(partitions, 1000, true);
        for (kind, which, at, at_secs) in changes {
            let reshard = Reshard { steps: steps(&map, kind, which, at), at_secs };
            prop_assert_eq!(Reshard::decode(&reshard.encode()), Ok(reshard.clone()));
            let end = |id: PartitionId| Offset(i64::from(id.get()));
            let after = map.resharded(&reshard, end).unwrap();
            check_step(&map, &after, &reshard);
            map = after;
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        drop(Reshard::decode(&text));
    }

    /// No range is more than three times another, whatever the numbers.
    #[test]
    fn scaling_equal_ranges_leaves_them_about_equal(from in 1u32..200, by: u32) {
        let least = from.div_ceil(2);
        let to = least + by % (2 * from - least + 1);
        let map = RangeMap::uniform(from, 1, true);
        let map = change(&map, 2, map.scaled(to)).unwrap();
        let open = map.iter().filter(|(_, of)| of.state == RangeState::Open);
        let widths: Vec<_> = open.map(|(_, of)| (of.range.last - of.range.first) >> 64).collect();
        let (least, most) = (widths.iter().min().unwrap(), widths.iter().max().unwrap());
        prop_assert!(*most <= 3 * least, "{from} to {to}: {least} to {most}");
    }
}
