//! A place in a topic as people name it: `start`, `end`, an offset, a time, a
//! while ago.

use std::fmt;
use std::str::FromStr;

use super::time;

/// A place in each partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The oldest record that is kept.
    Start,
    /// Behind the newest record.
    End,
    /// This offset.
    Offset(i64),
    /// So many records before the end.
    BeforeEnd(i64),
    /// The first record of this time or later, in milliseconds since 1970.
    At(i64),
    /// The first record of so many milliseconds ago or later.
    Ago(i64),
}

/// For the help of every flag that takes one.
pub(crate) const HELP: &str = "\
Places in a topic:
  start             the oldest record that is kept
  end               behind the newest record
  1500              this offset, in each partition
  -10               ten records before the end of each partition
  -90s -15m -1h -7d the first record of that long ago or later (units ms, s, m, h, d; -1h30m)
  2026-11-23T10:15  the first record of that time or later; UTC, or with an offset: 2026-11-23T10:15+02:00
  @1795428900000    the same in milliseconds since 1970";

/// What it could not be read as.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no place in a topic: say start, end, an offset (1500), a while ago (-1h) or a time (2026-11-23T10:15Z)"
)]
pub(crate) struct NoPlace(String);

impl FromStr for When {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let place = match text {
            "start" | "beginning" | "earliest" => Some(Self::Start),
            "end" | "latest" => Some(Self::End),
            _ => None,
        };
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<i64>().ok()).flatten()
        };
        let place = place.or_else(|| number(text).map(Self::Offset));
        let place = place.or_else(|| text.strip_prefix('@')?.parse().ok().map(Self::At));
        let place = place.or_else(|| time::parse(text).map(Self::At));
        let place = place.or_else(|| {
            let back = text.strip_prefix('-')?;
            number(back).map(Self::BeforeEnd).or_else(|| span(back).map(Self::Ago))
        });
        place.ok_or_else(|| NoPlace(text.to_owned()))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("the start"),
            Self::End => f.write_str("the end"),
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::BeforeEnd(records) => write!(f, "{records} records before the end"),
            Self::At(ms) => f.write_str(&time::format(*ms)),
            Self::Ago(ms) => write!(f, "{} ago", time::span(*ms)),
        }
    }
}

/// `1h30m` in milliseconds.
fn span(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(ms)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_named_as_people_name_them() {
        for (text, place) in [
            ("start", When::Start),
            ("earliest", When::Start),
            ("end", When::End),
            ("0", When::Offset(0)),
            ("1500", When::Offset(1500)),
            ("-10", When::BeforeEnd(10)),
            ("-1h", When::Ago(3_600_000)),
            ("-1h30m", When::Ago(5_400_000)),
            ("-500ms", When::Ago(500)),
            ("-7d", When::Ago(604_800_000)),
            ("1970-01-02", When::At(86_400_000)),
            ("@5", When::At(5)),
        ] {
            assert_eq!(text.parse::<When>().unwrap(), place, "{text}");
        }
    }

    #[test]
    fn other_words_are_refused_with_examples() {
        for text in [
            "",
            "-",
            "yesterday",
            "1h",
            "-1y",
            "-h",
            "--1",
            "+1",
            "-+1",
            "1.5",
            "-99999999999999999d",
        ] {
            let said = text.parse::<When>().unwrap_err().to_string();
            assert!(said.contains("say start, end, an offset"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            drop(text.parse::<When>());
        }
    }
}
