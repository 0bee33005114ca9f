//! Sequence numbers: what Kinesis calls the place of a record in its stream.
//!
//! ```text
//! 47 hexadecimal digits, shown as 56 decimal ones:
//! 2 | created 9 | shard 1 | index 16 | 00 | time 9 | shard 8 | 2
//!   created  when the shard was made, seconds since 1970
//!   shard    its number: the lowest digit, and behind, all of it
//!   index    offset + 1; 0 where the shard begins, the largest where it ends
//!   time     when the record was appended, seconds since 1970
//! ```
//!
//! Invariant: numbers rise within a shard, and a child's come after its
//! parents', since it was made in a later second. Shard and offset are read
//! back from the number alone: there is no index of them.

use millrace_types::{Offset, PartitionId, Timestamp};

/// A number taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SequenceNumber {
    /// When the shard was made, in seconds since 1970.
    pub(crate) created_secs: u64,
    /// The shard.
    pub(crate) shard: PartitionId,
    /// Offset + 1, or one of the ends.
    index: u64,
    /// When the record was appended, in seconds since 1970.
    time_secs: u64,
}

/// The index behind every record.
const INDEX_END: u64 = i64::MAX as u64;
/// Seconds that nine hexadecimal digits hold.
const SECS_MAX: u64 = (1 << 36) - 1;

/// Where a reader goes on at, or after, a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the shard begins.
    Start,
    /// This record.
    At(Offset),
    /// Behind every record.
    End,
}

impl SequenceNumber {
    /// That of the record at `offset`.
    pub(crate) fn of_record(
        created_secs: u64,
        shard: PartitionId,
        offset: Offset,
        appended: Timestamp,
    ) -> Self {
        let index = u64::try_from(offset.get()).unwrap_or(0).saturating_add(1);
        let time_secs = u64::try_from(appended.get() / 1000).unwrap_or(0);
        Self { created_secs, shard, index: index.min(INDEX_END - 1), time_secs }
    }

    /// Where a shard begins.
    pub(crate) const fn start(created_secs: u64, shard: PartitionId) -> Self {
        Self { created_secs, shard, index: 0, time_secs: created_secs }
    }

    /// Where a sealed shard ends.
    pub(crate) const fn end(created_secs: u64, shard: PartitionId) -> Self {
        Self { created_secs, shard, index: INDEX_END, time_secs: created_secs }
    }

    /// The place that it names.
    pub(crate) fn place(self) -> Place {
        match self.index {
            0 => Place::Start,
            INDEX_END => Place::End,
            index => Place::At(Offset(i64::try_from(index - 1).unwrap_or(i64::MAX))),
        }
    }

    /// Whether it is of a time to come: nobody was given it.
    pub(crate) fn is_later_than(self, now: Timestamp) -> bool {
        let latest = self.created_secs.max(self.time_secs);
        u64::try_from(now.get() / 1000).is_ok_and(|now| latest > now)
    }

    /// Reads a number as clients send it; `None` for one that is none of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > 57 || (text.len() > 1 && text.starts_with('0')) {
            return None;
        }
        let mut number = Wide::default();
        for group in text.as_bytes().chunks(GROUP_DIGITS) {
            let mut value = 0u64;
            let mut factor = 1u64;
            for digit in group {
                value = value * 10 + u64::from(char::from(*digit).to_digit(10)?);
                factor *= 10;
            }
            number.times_plus(factor, value)?;
        }
        let Wide([low, middle, high]) = number;
        let low = u128::from(low) | (u128::from(middle) << 64);
        let version = bits(low, 0, 4);
        let shard = bits(low, SHARD_AT, 32);
        let time_secs = bits(low, TIME_AT, 36);
        let gap = bits(low, TIME_AT + 36, 8);
        let index = bits(low, INDEX_AT, 48) | ((high & 0xffff) << 48);
        let high = u128::from(high);
        let nibble = bits(high, NIBBLE_AT, 4);
        let created_secs = bits(high, CREATED_AT, 36);
        // All that is above: the first digit, and nothing before it.
        let first = bits(high, CREATED_AT + 36, 8);
        if version != 2 || first != 2 || gap != 0 || index > INDEX_END || shard & 0xf != nibble {
            return None;
        }
        let shard = PartitionId(i32::try_from(shard).ok()?);
        Some(Self { created_secs, shard, index, time_secs })
    }
}

/// Where the fields lie: the lower in the low 128 bits of a number, ...
const SHARD_AT: u32 = 4;
const TIME_AT: u32 = 36;
const INDEX_AT: u32 = 80;
/// ... the upper in the rest, behind the 16 bits of the index that are there.
const NIBBLE_AT: u32 = 16;
const CREATED_AT: u32 = 20;
const VERSION_AT: u32 = 56;

/// `count` (<64) bits of `value` from bit `at` on.
fn bits(value: u128, at: u32, count: u32) -> u64 {
    u64::try_from((value >> at) & ((1 << count) - 1)).unwrap_or(0)
}

impl std::fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(Shown::default().of(*self)).unwrap_or_default())
    }
}

impl SequenceNumber {
    fn wide(&self) -> Wide {
        let shard = u64::from(self.shard.get().cast_unsigned());
        let low = 2
            | u128::from(shard) << SHARD_AT
            | u128::from(self.time_secs.min(SECS_MAX)) << TIME_AT
            | u128::from(self.index) << INDEX_AT;
        let high = self.index >> 48
            | (shard & 0xf) << NIBBLE_AT
            | self.created_secs.min(SECS_MAX) << CREATED_AT
            | 2 << VERSION_AT;
        Wide([half(low), half(low >> 64), high])
    }

    /// That of the next record, if both are appended in one second.
    fn next(self) -> Self {
        Self { index: self.index.saturating_add(1), ..self }
    }
}

/// Shows numbers one after the other, in decimal. Each record of an answer has
/// one: to divide and format them was a twentieth of what puts and reads cost.
/// One that follows the one before is added up instead.
#[derive(Debug)]
pub(crate) struct Shown {
    last: Option<SequenceNumber>,
    /// Its groups of digits, the lowest first.
    groups: [u64; GROUPS],
    digits: [u8; GROUPS * GROUP_DIGITS],
}

impl Default for Shown {
    fn default() -> Self {
        Self { last: None, groups: [0; GROUPS], digits: [b'0'; GROUPS * GROUP_DIGITS] }
    }
}

impl Shown {
    /// The digits of `number`, in ASCII.
    pub(crate) fn of(&mut self, number: SequenceNumber) -> &[u8] {
        let groups = if self.last.map(SequenceNumber::next) == Some(number) {
            let mut carry = 0;
            let sum = |(group, step)| {
                let sum: u64 = group + step + carry;
                carry = u64::from(sum >= GROUP);
                sum - carry * GROUP
            };
            let mut sums = self.groups.into_iter().zip(STEP).map(sum);
            std::array::from_fn(|_| sums.next().unwrap_or(0))
        } else {
            let mut wide = number.wide();
            std::array::from_fn(|_| wide.split_group())
        };
        let places = self.digits.rchunks_exact_mut(GROUP_DIGITS);
        for ((place, group), shown) in places.zip(groups).zip(self.groups) {
            if group != shown {
                let mut buffer = itoa::Buffer::new();
                let digits = buffer.format(group).as_bytes();
                let (pad, end) = place.split_at_mut(GROUP_DIGITS.saturating_sub(digits.len()));
                pad.fill(b'0');
                end.copy_from_slice(digits);
            }
        }
        (self.groups, self.last) = (groups, Some(number));
        let from = self.digits.iter().position(|digit| *digit != b'0').unwrap_or(0);
        self.digits.get(from..).unwrap_or_default()
    }
}

/// The low half.
fn half(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).unwrap_or(u64::MAX)
}

/// Decimal digits that are taken at once: as many as 64 bits hold.
const GROUP_DIGITS: usize = 18;
const GROUP: u64 = 1_000_000_000_000_000_000;
/// Every number of ours has so many groups.
const GROUPS: usize = 4;
/// From one index to the next, in groups: 2^[`INDEX_AT`].
const STEP: [u64; GROUPS] = [819_614_629_174_706_176, 1_208_925, 0, 0];

/// 192 bits, the lowest 64 first: enough for the 188 of a number.
#[derive(Clone, Copy, Debug, Default)]
struct Wide([u64; 3]);

impl Wide {
    /// Multiplies and adds; `None` where that overflows.
    fn times_plus(&mut self, factor: u64, more: u64) -> Option<()> {
        let mut carry = u128::from(more);
        for part in &mut self.0 {
            let value = u128::from(*part) * u128::from(factor) + carry;
            *part = half(value);
            carry = value >> 64;
        }
        (carry == 0).then_some(())
    }

    /// Divides by [`GROUP`], and returns what is left over.
    fn split_group(&mut self) -> u64 {
        let mut rest = 0u128;
        for part in self.0.iter_mut().rev() {
            let value = (rest << 64) | u128::from(*part);
            *part = half(value / u128::from(GROUP));
            rest = value % u128::from(GROUP);
        }
        half(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(created: u64, shard: i32, offset: i64, at: i64) -> SequenceNumber {
        SequenceNumber::of_record(created, PartitionId(shard), Offset(offset), Timestamp(at))
    }

    #[test]
    fn a_number_has_56_digits_as_aws_makes_them() {
        let number = number(1_700_000_000, 0, 0, 1_700_000_001_000);
        // 2 06553f100 0 0000000000000001 00 06553f101 00000000 2
        assert_eq!(number.to_string(), "49646437577108476416916876405827138351405044374169452546");
        assert_eq!(number.to_string().len(), 56);
    }

    #[test]
    fn ends_are_no_records() {
        let start = SequenceNumber::start(5, PartitionId(3));
        let end = SequenceNumber::end(5, PartitionId(3));
        assert_eq!(SequenceNumber::parse(&start.to_string()).unwrap().place(), Place::Start);
        assert_eq!(SequenceNumber::parse(&end.to_string()).unwrap().place(), Place::End);
    }

    #[test]
    fn what_is_no_number_of_ours_is_refused() {
        for text in ["", "0", "1", "-1", "x", "049", &"9".repeat(56), &"9".repeat(129)] {
            assert_eq!(SequenceNumber::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_read_back_and_rise(
            created in 1u64 << 30..1 << 34, shard in 0..i32::MAX,
            offset in 0..i64::MAX - 4, at in 0i64..1 << 44, later in 0i64..1 << 44,
        ) {
            let this = number(created, shard, offset, at);
            let text = this.to_string();
            prop_assert_eq!(text.len(), 56);
            prop_assert_eq!(SequenceNumber::parse(&text), Some(this));
            prop_assert_eq!(this.place(), Place::At(Offset(offset)));
            let mut shown = Shown::default();
            prop_assert_eq!(shown.of(this), text.as_bytes());
            for (offset, at) in [(offset + 1, at), (offset + 2, at), (offset, later)] {
                let next = number(created, shard, offset, at);
                let text = next.to_string();
                prop_assert_eq!(shown.of(next), text.as_bytes());
            }
            prop_assert!(text < number(created, shard, offset + 1, later).to_string());
            let child = number(created + 1, shard / 2, 0, later).to_string();
            prop_assert!(text < child, "a child's come after");
            prop_assert!(SequenceNumber::start(created, PartitionId(shard)).to_string() < text);
            prop_assert!(text < SequenceNumber::end(created, PartitionId(shard)).to_string());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9]{0,60}") {
            if let Some(number) = SequenceNumber::parse(&text) {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
