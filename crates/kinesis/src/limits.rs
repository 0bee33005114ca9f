//! AWS's limits of rates, for who wants to meet them before AWS does
//! (`kinesis.enforce_limits`): what a shard takes and gives in a second, and
//! how often operations may be called.
//!
//! Invariant: pure but for the lock: the time is an argument. A shard or an
//! account that has rested for as long as its budget takes to fill is
//! forgotten, so what is held is bounded by what was asked of late.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use millrace_types::{PartitionId, TopicId};
use parking_lot::Mutex;

use crate::arn::Arn;
use crate::error::{Code, Error};
use crate::input::Input;
use crate::shards;

/// What a shard takes and gives in a second.
const PUT_BYTES: u64 = 1 << 20;
const PUT_RECORDS: u64 = 1000;
const GET_BYTES: u64 = 2 << 20;
const GET_CALLS: u64 = 5;
const ITERATOR_CALLS: u64 = 5;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Below so many, budgets that are full again are left where they are.
const SWEEP_MIN: usize = 1024;

/// How often an operation may be called, and for what that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    calls: u64,
    each: Duration,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Account,
    Stream,
}

/// The limits of the control plane:
/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>.
fn rate(operation: &str) -> Option<Rate> {
    let (calls, of) = match operation {
        "DescribeLimits" => (1, Of::Account),
        "AddTagsToStream"
        | "CreateStream"
        | "DeleteResourcePolicy"
        | "DeleteStream"
        | "DescribeAccountSettings"
        | "GetResourcePolicy"
        | "ListStreams"
        | "PutResourcePolicy"
        | "UpdateAccountSettings"
        | "UpdateStreamWarmThroughput" => (5, Of::Account),
        "DescribeStream" => (10, Of::Account),
        "DescribeStreamSummary" => (20, Of::Account),
        "DecreaseStreamRetentionPeriod"
        | "DeregisterStreamConsumer"
        | "DisableEnhancedMonitoring"
        | "EnableEnhancedMonitoring"
        | "IncreaseStreamRetentionPeriod"
        | "ListStreamConsumers"
        | "ListTagsForStream"
        | "MergeShards"
        | "RegisterStreamConsumer"
        | "RemoveTagsFromStream"
        | "SplitShard" => (5, Of::Stream),
        "DescribeStreamConsumer" => (20, Of::Stream),
        "ListShards" => (1000, Of::Stream),
        "UpdateShardCount" => return Some(Rate { calls: 10, each: DAY, of: Of::Stream }),
        "UpdateStreamMode" => return Some(Rate { calls: 2, each: DAY, of: Of::Stream }),
        _ => return None,
    };
    Some(Rate { calls, each: SECOND, of })
}

/// A budget that fills evenly and holds what comes in its period.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    /// When it is full again.
    full_at: Duration,
}

impl Budget {
    /// Whether anything is left.
    fn has_some(self, each: Duration, now: Duration) -> bool {
        self.full_at < now + each
    }

    /// Whether `cost`, in time that it takes to fill, is there. What is more
    /// than a full budget holds may be had from a full one.
    fn has(self, cost: Duration, each: Duration, now: Duration) -> bool {
        self.full_at <= now || self.full_at + cost <= now + each
    }

    fn take(&mut self, cost: Duration, now: Duration) {
        self.full_at = self.full_at.max(now) + cost;
    }
}

/// The calls of one operation that count. Those of a day are few, and AWS counts
/// them in any 24 hours; those of a second have a budget.
#[derive(Clone, Debug, Default)]
struct Calls {
    /// Where the rate is that of a second.
    budget: Budget,
    /// When each was made, where the rate is that of a day.
    made: VecDeque<Duration>,
}

impl Calls {
    /// Counts a call, if `rate` allows one more.
    fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let calls = u32::try_from(rate.calls).unwrap_or(u32::MAX);
        if rate.each < DAY {
            let cost = rate.each / calls;
            let fits = self.budget.has(cost, rate.each, now);
            if fits {
                self.budget.take(cost, now);
            }
            return fits;
        }
        while self.made.front().is_some_and(|made| *made + rate.each <= now) {
            self.made.pop_front();
        }
        let fits = self.made.len() < usize::try_from(calls).unwrap_or(usize::MAX);
        if fits {
            self.made.push_back(now);
        }
        fits
    }

    /// When all that it counts is over.
    fn over_at(&self) -> Duration {
        self.made.back().map_or(self.budget.full_at, |made| *made + DAY)
    }
}

/// The time in which `n` come at `per_second`.
fn time(n: u64, per_second: u64) -> Duration {
    Duration::from_nanos(n.saturating_mul(1_000_000_000) / per_second)
}

/// The budgets of a shard.
#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    put_bytes: Budget,
    put_records: Budget,
    get_bytes: Budget,
    get_calls: Budget,
    iterator_calls: Budget,
}

impl Shard {
    fn full_at(&self) -> Duration {
        let Self { put_bytes, put_records, get_bytes, get_calls, iterator_calls } = *self;
        let all = [put_bytes, put_records, get_bytes, get_calls, iterator_calls];
        all.into_iter().map(|budget| budget.full_at).max().unwrap_or_default()
    }
}

/// A shard, and what it is called in errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardName<'s> {
    pub(crate) topic: TopicId,
    pub(crate) shard: PartitionId,
    pub(crate) stream: &'s str,
    pub(crate) account: &'s str,
}

impl ShardName<'_> {
    fn exceeded(&self) -> Error {
        let Self { shard, stream, account, .. } = *self;
        let shard = shards::name(shard);
        let message =
            format!("Rate exceeded for shard {shard} in stream {stream} under account {account}.");
        Error::new(Code::ProvisionedThroughputExceeded, message)
    }
}

/// All budgets, if limits are enforced.
#[derive(Debug)]
pub(crate) struct Limits(Option<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<(TopicId, PartitionId), Shard>,
    /// By operation, and the stream where it is counted for streams.
    calls: BTreeMap<(&'static str, String), Calls>,
    /// Once so many are there, those that are full are looked for.
    sweep_at: usize,
}

impl State {
    fn sweep(&mut self, now: Duration) {
        if self.shards.len() + self.calls.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.shards.retain(|_, shard| shard.full_at() > now);
            self.calls.retain(|_, calls| calls.over_at() > now);
            self.sweep_at = (self.shards.len() + self.calls.len()) * 2;
        }
    }
}

impl Limits {
    pub(crate) fn new(enforced: bool) -> Self {
        Self(enforced.then(Mutex::default))
    }

    /// Counts a call of the control plane, or refuses it.
    pub(crate) fn call(
        &self,
        operation: &'static str,
        input: Input<'_>,
        account: &str,
        now: Duration,
    ) -> Result<(), Error> {
        let (Some(state), Some(rate)) = (&self.0, rate(operation)) else { return Ok(()) };
        let stream = match rate.of {
            Of::Account => "",
            Of::Stream => stream_of(input),
        };
        let mut state = state.lock();
        state.sweep(now);
        let calls = state.calls.entry((operation, stream.to_owned())).or_default();
        if !calls.take(rate, now) {
            let message = match rate.of {
                Of::Account => format!("Rate exceeded for account {account}."),
                Of::Stream => format!("Rate exceeded for stream {stream} under account {account}."),
            };
            return Err(Error::new(Code::LimitExceeded, message));
        }
        Ok(())
    }

    /// Counts a record of so many bytes, or refuses it.
    pub(crate) fn put(&self, at: ShardName<'_>, bytes: usize, now: Duration) -> Result<(), Error> {
        self.of_shard(at, now, |shard| {
            let bytes = time(u64::try_from(bytes).unwrap_or(u64::MAX), PUT_BYTES);
            let record = time(1, PUT_RECORDS);
            let fits = shard.put_bytes.has(bytes, SECOND, now)
                && shard.put_records.has(record, SECOND, now);
            if fits {
                shard.put_bytes.take(bytes, now);
                shard.put_records.take(record, now);
            }
            fits
        })
    }

    /// Counts a call of GetRecords, or refuses it.
    pub(crate) fn get(&self, at: ShardName<'_>, now: Duration) -> Result<(), Error> {
        self.of_shard(at, now, |shard| {
            let call = time(1, GET_CALLS);
            let fits =
                shard.get_bytes.has_some(SECOND, now) && shard.get_calls.has(call, SECOND, now);
            if fits {
                shard.get_calls.take(call, now);
            }
            fits
        })
    }

    /// Counts what GetRecords gave. What is more than comes in a second is paid
    /// in full before the next call: 10 MiB by five seconds.
    pub(crate) fn got(&self, at: ShardName<'_>, bytes: usize, now: Duration) {
        let counted = self.of_shard(at, now, |shard| {
            let cost = time(u64::try_from(bytes).unwrap_or(u64::MAX), GET_BYTES);
            shard.get_bytes.take(cost, now);
            if cost > SECOND {
                shard.get_bytes.take(SECOND, now);
            }
            true
        });
        debug_assert!(counted.is_ok());
    }

    /// Counts a call of GetShardIterator, or refuses it.
    pub(crate) fn iterator(&self, at: ShardName<'_>, now: Duration) -> Result<(), Error> {
        self.of_shard(at, now, |shard| {
            let call = time(1, ITERATOR_CALLS);
            let fits = shard.iterator_calls.has(call, SECOND, now);
            if fits {
                shard.iterator_calls.take(call, now);
            }
            fits
        })
    }

    fn of_shard(
        &self,
        at: ShardName<'_>,
        now: Duration,
        take: impl FnOnce(&mut Shard) -> bool,
    ) -> Result<(), Error> {
        let Some(state) = &self.0 else { return Ok(()) };
        let mut state = state.lock();
        state.sweep(now);
        let shard = state.shards.entry((at.topic, at.shard)).or_default();
        if take(shard) { Ok(()) } else { Err(at.exceeded()) }
    }
}

/// The name of the stream that a request is for, by whatever names it.
fn stream_of(input: Input<'_>) -> &str {
    let arns = ["StreamARN", "ConsumerARN", "ResourceARN"].into_iter();
    let mut by_arn = arns.filter_map(|name| Arn::parse(input.text(name)?)).map(|arn| arn.stream);
    input.text("StreamName").or_else(|| by_arn.next()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
