//! Changing a map: splits and merges, one after the other, as one change.
//!
//! A [`Reshard`] says what is done and when, not what comes of it: it can be
//! written down before the ends of the partitions that it seals are known, and
//! be carried out by whoever reads it.
//!
//! Invariant: a map that was changed covers every hash once, as before. New
//! partitions get the next numbers, and are made later than their parents,
//! whatever the clock says: what orders by time of making, orders children
//! after their parents. Called by the broker.

use std::{collections::BTreeMap, fmt};

use millrace_types::{Offset, PartitionId};

use super::{HashRange, PartitionRange, RangeMap, RangeState, width};

/// One change of open partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One becomes two.
    Split {
        /// The one.
        partition: PartitionId,
        /// The least hash of the upper of the two.
        at: u128,
    },
    /// Two neighbours become one.
    Merge {
        /// The one with the lower hashes.
        lower: PartitionId,
        /// The one with the upper hashes.
        upper: PartitionId,
    },
}

/// Steps that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshard {
    /// They may go on with partitions that earlier ones make: such a partition
    /// never takes a record.
    pub steps: Vec<Step>,
    /// When, in seconds since 1970, by a clock that may have gone back.
    pub at_secs: u64,
}

/// Why a map cannot be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReshardError {
    /// Its partitions can only become more.
    #[error("the partitions of the topic are not split or merged")]
    NotSplittable,
    /// There is no such partition.
    #[error("there is no partition {0}")]
    Unknown(PartitionId),
    /// It was split or merged before.
    #[error("partition {0} is sealed")]
    Sealed(PartitionId),
    /// One of the parts would have no hash.
    #[error("partition {0} cannot be split there")]
    Outside(PartitionId),
    /// They are not neighbours, in this order.
    #[error("partitions {0} and {1} are no neighbours")]
    NotAdjacent(PartitionId, PartitionId),
    /// Partitions have no numbers left.
    #[error("the topic has as many partitions as can be")]
    TooMany,
}

/// A stored [`Reshard`] that says nothing sensible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored change of hash ranges is malformed")]
pub struct MalformedReshard;

/// How near a wanted boundary an existing one is as good: this part of the
/// width of a range. Division leaves a few hashes over.
const NEAR: u128 = 1 << 10;

impl Reshard {
    /// The partitions of `map` that it seals, in order.
    #[must_use]
    pub fn parents(&self, map: &RangeMap) -> Vec<PartitionId> {
        let of = |step: &Step| match *step {
            Step::Split { partition, .. } => [Some(partition), None],
            Step::Merge { lower, upper } => [Some(lower), Some(upper)],
        };
        let all = self.steps.iter().flat_map(of).flatten();
        let mut parents: Vec<_> = all.filter(|id| map.get(*id).is_some()).collect();
        parents.sort_unstable();
        parents
    }

    /// The text in which it is stored.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("at {}\n", self.at_secs);
        for step in &self.steps {
            // Writing to a string does not fail.
            fmt::Write::write_fmt(&mut text, format_args!("{step}\n")).ok();
        }
        text
    }

    /// What [`Reshard::encode`] wrote.
    ///
    /// # Errors
    /// Where it can't have.
    pub fn decode(text: &str) -> Result<Self, MalformedReshard> {
        let mut lines = text.lines();
        let at = lines.next().and_then(|line| line.strip_prefix("at "));
        let at_secs = at.and_then(|at| at.parse().ok()).ok_or(MalformedReshard)?;
        let steps = lines.map(|line| decode_step(line).ok_or(MalformedReshard));
        Ok(Self { steps: steps.collect::<Result<_, _>>()?, at_secs })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split { partition, at } => write!(f, "split {partition} {at:032x}"),
            Self::Merge { lower, upper } => write!(f, "merge {lower} {upper}"),
        }
    }
}

fn decode_step(line: &str) -> Option<Step> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let (first, second) = (words.next()?.parse().ok().map(PartitionId)?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    Some(match kind {
        "split" => Step::Split { partition: first, at: u128::from_str_radix(second, 16).ok()? },
        "merge" => Step::Merge { lower: first, upper: PartitionId(second.parse().ok()?) },
        _ => return None,
    })
}

impl RangeMap {
    /// The map after `reshard`, whose sealed partitions end where `end` says.
    ///
    /// # Errors
    /// See [`ReshardError`]. What succeeds does so with other ends too.
    pub fn resharded(
        &self,
        reshard: &Reshard,
        end: impl Fn(PartitionId) -> Offset,
    ) -> Result<Self, ReshardError> {
        if !self.splittable {
            return Err(ReshardError::NotSplittable);
        }
        let mut changing =
            Changing { partitions: self.partitions.clone(), at_secs: reshard.at_secs };
        // One that is made on the way never takes a record.
        let end = |id| if self.get(id).is_some() { end(id) } else { Offset::ZERO };
        for step in &reshard.steps {
            match *step {
                Step::Split { partition, at } => changing.split(partition, at, end)?,
                Step::Merge { lower, upper } => changing.merge(lower, upper, end)?,
            }
        }
        Ok(Self::of(changing.partitions, true))
    }

    /// The open partitions that took over from `id`, by their hashes; itself
    /// while it is open.
    #[must_use]
    pub fn open_descendants(&self, id: PartitionId) -> Vec<PartitionId> {
        // Children have larger numbers than their parents.
        let mut of = vec![id];
        for (child, made) in self.iter().filter(|(child, _)| *child > id) {
            if made.parents.iter().any(|parent| of.contains(parent)) {
                of.push(child);
            }
        }
        self.open.iter().map(|(_, id)| *id).filter(|open| of.contains(open)).collect()
    }

    /// Which of `among` takes `hash`: the one in whose range it lies. What lies
    /// in none of them (Kafka's clients choose partitions otherwise) is spread
    /// over all, each hash always to the same. None where there are none.
    #[must_use]
    pub fn of_hash_among(&self, among: &[PartitionId], hash: u128) -> Option<PartitionId> {
        let takes = |id: &&PartitionId| self.get(**id).is_some_and(|of| of.range.contains(hash));
        if let Some(found) = among.iter().find(takes) {
            return Some(*found);
        }
        let nth = hash.checked_rem(u128::try_from(among.len()).ok()?)?;
        among.get(usize::try_from(nth).ok()?).copied()
    }

    /// Steps to `target` open partitions whose ranges are as equal as the fewest
    /// steps make them, as AWS makes them: upwards each partition is split
    /// once, and neighbours are merged; downwards neighbours are merged alone.
    /// Where ranges are very unequal, some are split more than once.
    #[must_use]
    pub fn scaled(&self, target: u32) -> Vec<Step> {
        let target = target.max(1);
        let present = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        if target == present || self.open.is_empty() {
            return Vec::new();
        }
        let width = width(target);
        let wanted = (1..target).map(|n| u128::from(n) * width);
        if target > present {
            let boundaries = self.boundaries_for_more(wanted.collect(), width);
            self.steps_to(&boundaries)
        } else {
            self.steps_to(&self.boundaries_for_fewer(&wanted.collect::<Vec<_>>()))
        }
    }

    /// Boundaries between as many ranges as are wanted: existing ones where they
    /// are near, or where that saves the second split of a partition; else new
    /// ones.
    fn boundaries_for_more(&self, wanted: Vec<u128>, width: u128) -> Vec<u128> {
        let existing: Vec<u128> = self.open.iter().skip(1).map(|(first, _)| *first).collect();
        let mut chosen: BTreeMap<u128, Option<HashRange>> = BTreeMap::new();
        let mut new = Vec::new();
        for boundary in wanted {
            let behind = existing.partition_point(|at| *at < boundary);
            let beside = existing.get(behind.saturating_sub(1)..).unwrap_or_default();
            let nearest = beside.iter().take(2).min_by_key(|at| at.abs_diff(boundary));
            match nearest.filter(|at| at.abs_diff(boundary) <= width / NEAR) {
                Some(at) => drop(chosen.insert(*at, None)),
                None => new.push(boundary),
            }
        }
        let mut moved = false;
        for (_, id) in &self.open {
            let Some(of) = self.get(*id) else { continue };
            let mut cuts = within(&new, of.range).to_vec();
            let end = of.range.last.checked_add(1).filter(|end| !chosen.contains_key(end));
            if let (2.., Some(end)) = (cuts.len(), end) {
                cuts.pop();
                chosen.insert(end, None);
                moved = true;
            }
            chosen.extend(cuts.into_iter().map(|cut| (cut, Some(of.range))));
        }
        let chosen: Vec<_> = chosen.into_iter().collect();
        let boundaries = if moved { spread(chosen) } else { chosen };
        boundaries.into_iter().map(|(at, _)| at).collect()
    }

    /// The existing boundaries that are nearest to the wanted ones, each once.
    fn boundaries_for_fewer(&self, wanted: &[u128]) -> Vec<u128> {
        let existing: Vec<u128> = self.open.iter().skip(1).map(|(first, _)| *first).collect();
        let mut chosen = Vec::with_capacity(wanted.len());
        let mut from = 0;
        for (n, boundary) in wanted.iter().enumerate() {
            // Enough must be left for those behind.
            let to = existing.len() - (wanted.len() - 1 - n);
            let left = (from..to).zip(existing.get(from..to).unwrap_or_default());
            let nearest = left.min_by_key(|(_, at)| at.abs_diff(*boundary));
            let Some((at, boundary)) = nearest else { break };
            chosen.push(*boundary);
            from = at + 1;
        }
        chosen
    }

    /// The steps that leave exactly these boundaries, which are ascending.
    fn steps_to(&self, boundaries: &[u128]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut next = i32::try_from(self.partitions.len()).unwrap_or(i32::MAX);
        let mut made = move || {
            let id = PartitionId(next);
            next = next.saturating_add(1);
            id
        };
        let mut pieces: Vec<(u128, PartitionId)> = Vec::new();
        for (first, id) in &self.open {
            let Some(of) = self.get(*id) else { continue };
            let mut rest = (*first, *id);
            for at in within(boundaries, of.range).iter().filter(|at| *at > first) {
                steps.push(Step::Split { partition: rest.1, at: *at });
                pieces.push((rest.0, made()));
                rest = (*at, made());
            }
            pieces.push(rest);
        }
        let mut last: Option<PartitionId> = None;
        for (first, id) in pieces {
            match last {
                Some(lower) if boundaries.binary_search(&first).is_err() => {
                    steps.push(Step::Merge { lower, upper: id });
                    last = Some(made());
                }
                _ => last = Some(id),
            }
        }
        steps
    }
}

/// Those of `sorted` that lie in `range`.
fn within(sorted: &[u128], range: HashRange) -> &[u128] {
    let from = sorted.partition_point(|at| *at < range.first);
    let to = sorted.partition_point(|at| *at <= range.last);
    sorted.get(from..to).unwrap_or_default()
}

/// Rounds of [`spread`]: enough for ranges to be about equal.
const ROUNDS: usize = 16;

/// Moves new boundaries, each within the range that it splits, to the middle
/// between their neighbours.
fn spread(mut boundaries: Vec<(u128, Option<HashRange>)>) -> Vec<(u128, Option<HashRange>)> {
    for _ in 0..ROUNDS {
        let mut before = 0;
        for n in 0..boundaries.len() {
            let behind = boundaries.get(n + 1).map_or(u128::MAX, |(at, _)| *at);
            let Some((at, within)) = boundaries.get_mut(n) else { break };
            if let Some(HashRange { first, last }) = *within {
                *at = (before + (behind - before) / 2).clamp(first.saturating_add(1), last);
            }
            before = *at;
        }
    }
    boundaries
}

/// A map on its way.
struct Changing {
    partitions: Vec<PartitionRange>,
    at_secs: u64,
}

impl Changing {
    /// Seals an open partition.
    fn seal(
        &mut self,
        id: PartitionId,
        end: impl Fn(PartitionId) -> Offset,
    ) -> Result<(), ReshardError> {
        let of = self.get_mut(id)?;
        if of.state != RangeState::Open {
            return Err(ReshardError::Sealed(id));
        }
        of.state = RangeState::Sealed { end: end(id) };
        Ok(())
    }

    fn get_mut(&mut self, id: PartitionId) -> Result<&mut PartitionRange, ReshardError> {
        let at = usize::try_from(id.get()).map_err(|_| ReshardError::Unknown(id))?;
        self.partitions.get_mut(at).ok_or(ReshardError::Unknown(id))
    }

    fn push(&mut self, range: HashRange, parents: Vec<PartitionId>) -> Result<(), ReshardError> {
        if i32::try_from(self.partitions.len()).is_err() {
            return Err(ReshardError::TooMany);
        }
        let mut created_secs = self.at_secs;
        for parent in &parents {
            created_secs = created_secs.max(self.get_mut(*parent)?.created_secs.saturating_add(1));
        }
        self.partitions.push(PartitionRange {
            range,
            parents,
            created_secs,
            state: RangeState::Open,
        });
        Ok(())
    }

    fn split(
        &mut self,
        id: PartitionId,
        at: u128,
        end: impl Fn(PartitionId) -> Offset,
    ) -> Result<(), ReshardError> {
        self.seal(id, end)?;
        let HashRange { first, last } = self.get_mut(id)?.range;
        let below = at.checked_sub(1).filter(|below| first <= *below && at <= last);
        let below = below.ok_or(ReshardError::Outside(id))?;
        self.push(HashRange { first, last: below }, vec![id])?;
        self.push(HashRange { first: at, last }, vec![id])
    }

    fn merge(
        &mut self,
        lower: PartitionId,
        upper: PartitionId,
        end: impl Fn(PartitionId) -> Offset,
    ) -> Result<(), ReshardError> {
        // A partition is no neighbour of its own: sealing it twice fails, too.
        self.seal(lower, &end)?;
        if lower != upper {
            self.seal(upper, &end)?;
        }
        let (below, above) = (self.get_mut(lower)?.range, self.get_mut(upper)?.range);
        if below.last.checked_add(1) != Some(above.first) {
            return Err(ReshardError::NotAdjacent(lower, upper));
        }
        self.push(HashRange { first: below.first, last: above.last }, vec![lower, upper])
    }
}

#[cfg(test)]
mod tests;
