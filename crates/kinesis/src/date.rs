//! Dates in UTC, without leap seconds: in ISO 8601's basic format, as signatures
//! have them (`20150830T123600Z`), and as AWS's messages tell them.

const DAY: i64 = 86_400;

/// Seconds since 1970.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes.get(8) != Some(&b'T') || bytes.get(15) != Some(&b'Z') {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let days = days(year, month, day);
    // A day that its month doesn't have comes back as another.
    let exists = date(days) == (year, month, day) && hour < 24 && minute < 60 && second < 60;
    exists.then_some(days * DAY + hour * 3600 + minute * 60 + second)
}

/// The same back, for years of four digits.
pub(crate) fn show(secs: i64) -> String {
    let (year, month, day) = date(secs.div_euclid(DAY));
    let of_day = secs.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// As Java prints a date: `Sun Aug 30 12:36:00 UTC 2015`.
pub(crate) fn show_long(secs: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = |names: &'static [&str], at: i64| {
        usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
    };
    let days = secs.div_euclid(DAY);
    let (year, month, day) = date(days);
    let (weekday, month) = (name(&WEEKDAYS, days.rem_euclid(7)), name(&MONTHS, month - 1));
    let of_day = secs.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

/// Days from 1970 to a date of the Gregorian calendar. Years are counted from
/// March, in eras of 400, so that the leap day is the last of a year:
/// <https://howardhinnant.github.io/date_algorithms.html>.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day so many days from 1970.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_that_are_known() {
        for (text, secs) in [
            ("19700101T000000Z", 0),
            ("20150830T123600Z", 1_440_938_160),
            ("20000229T235959Z", 951_868_799),
            ("20260101T000000Z", 1_767_225_600),
        ] {
            assert_eq!(parse(text), Some(secs));
            assert_eq!(show(secs), text);
        }
        for other in ["", "2015", "20150830T123600", "20150230T000000Z", "20151301T000000Z"] {
            assert_eq!(parse(other), None, "{other}");
        }
        for other in
            ["20150830T240000Z", "+0150830T123600Z", "20150830 123600Z", "２0150830T12360Z"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn dates_are_told_as_java_prints_them() {
        for (secs, long) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (1_583_283_760, "Wed Mar 04 01:02:40 UTC 2020"),
            (1_710_490_958, "Fri Mar 15 08:22:38 UTC 2024"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        ] {
            assert_eq!(show_long(secs), long);
        }
    }

    proptest! {
        #[test]
        fn every_second_is_read_as_it_is_shown(secs in -62_135_596_800i64..253_402_300_800) {
            prop_assert_eq!(parse(&show(secs)), Some(secs));
        }

        #[test]
        fn later_is_greater(secs in -62_135_596_800i64..253_402_300_799) {
            prop_assert!(show(secs) < show(secs + 1));
        }
    }
}
