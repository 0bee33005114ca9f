//! Numbers of the log: offsets, epochs, sequences, times.

use std::fmt;

/// Declares a signed newtype with conversions, ordering and a plain display.
macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Position of a record in its partition, from 0. Never negative in stored
    /// state; the fronts translate their own sentinels (such as -1 for "latest").
    Offset(i64)
}
number! {
    /// Index of a partition within its topic, from 0.
    PartitionId(i32)
}
number! {
    /// Counts the owners of a partition: the first append of an incarnation
    /// opens a new one.
    LeaderEpoch(i32)
}
number! {
    /// Identifies a producer in the whole cluster, for ever.
    ProducerId(i64)
}
number! {
    /// Counts the generations of one producer id.
    ProducerEpoch(i16)
}
number! {
    /// Position of a record among those that one producer sent to one
    /// partition; wraps from `i32::MAX` to 0.
    Sequence(i32)
}
number! {
    /// Milliseconds since the Unix epoch, UTC. -1 means "no timestamp" in
    /// record batches.
    Timestamp(i64)
}

impl Offset {
    /// The first offset of a new partition.
    pub const ZERO: Self = Self(0);

    /// This offset moved by `records`; `None` where that overflows.
    #[must_use]
    pub const fn checked_add(self, records: i64) -> Option<Self> {
        match self.0.checked_add(records) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Records from `earlier` up to this offset; 0 if this one is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        if self.0 <= earlier.0 { 0 } else { self.0.abs_diff(earlier.0) }
    }
}

impl Sequence {
    /// The sequence `records` (≥0) further on, wrapping as Kafka's do.
    #[must_use]
    pub const fn advance(self, records: i32) -> Self {
        match self.0.checked_add(records) {
            Some(sum) => Self(sum),
            // i32::MAX is followed by 0.
            None => Self(records - (i32::MAX - self.0) - 1),
        }
    }
}

impl LeaderEpoch {
    /// The epoch that the next owner opens. Saturates: two billion restarts.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Timestamp {
    /// The value in record batches for "no timestamp".
    pub const NONE: Self = Self(-1);

    /// This time moved by `ms` milliseconds, kept within the range of `i64`.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_from_the_largest_to_zero() {
        assert_eq!(Sequence(5).advance(3), Sequence(8));
        assert_eq!(Sequence(i32::MAX).advance(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).advance(4), Sequence(2));
    }

    #[test]
    fn offsets_do_not_overflow() {
        assert_eq!(Offset(i64::MAX).checked_add(1), None);
        assert_eq!(Offset(3).since(Offset(5)), 0);
        assert_eq!(Offset(5).since(Offset(3)), 2);
    }
}
