//! Times as people write them and Kafka counts them: milliseconds since 1970,
//! without leap seconds. UTC, unless an offset is written.

const DAY_MS: i64 = 86_400_000;

/// Reads `2026-11-23`, `2026-11-23T10:15`, `2026-11-23 10:15:30.250`, each
/// with or without `Z` or an offset such as `+02:00` or `+0200`. `None` where it is no time.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let days = parse_date(date)?;
    let Some(rest) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then(|| days * DAY_MS);
    };
    let (clock, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, ""),
    };
    Some(days * DAY_MS + parse_clock(clock)? - parse_offset(offset)?)
}

fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let sizes = (year.len(), month.len(), day.len());
    if parts.next().is_some() || sizes != (4, 2, 2) {
        return None;
    }
    let (year, month, day) = (digits(year)?, digits(month)?, digits(day)?);
    let days = days_from_civil(year, month, day);
    // The 30th of February would be another day's name.
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

fn parse_clock(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
    let mut parts = whole.split(':');
    let (hour, minute) = (parts.next()?, parts.next()?);
    let second = parts.next();
    if parts.next().is_some() || (second.is_none() && fraction.is_some()) {
        return None;
    }
    let two = |text: &str, most: i64| {
        (text.len() == 2).then(|| digits(text)).flatten().filter(|number| *number <= most)
    };
    let seconds = two(hour, 23)? * 3600 + two(minute, 59)? * 60 + two(second.unwrap_or("00"), 59)?;
    let ms = match fraction {
        None => 0,
        Some(fraction) if fraction.len() <= 9 => digits(format!("{fraction:0<3}").get(..3)?)?,
        Some(_) => return None,
    };
    Some(seconds * 1000 + ms)
}

fn parse_offset(text: &str) -> Option<i64> {
    let sign = match text.chars().next() {
        None | Some('Z' | 'z') if text.len() <= 1 => return Some(0),
        Some('+') => 1,
        Some('-') => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_at_checked(2)?;
    let minutes = minutes.strip_prefix(':').unwrap_or(minutes);
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then(|| sign * (hours * 60 + minutes) * 60_000)
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// `2026-11-23T10:15:30.250Z`; beyond the years 0 to 9999, which that form
/// can't hold, the milliseconds.
pub(crate) fn format(ms: i64) -> String {
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    if !(0..=9999).contains(&year) {
        return format!("@{ms}");
    }
    let of_day = ms.rem_euclid(DAY_MS);
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Days since 1970-01-01 in the Gregorian calendar: years begin in March, so
/// that the leap day is the last of one, and 400 of them have 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

/// A span as people say it: `0.4 s`, `12 s`, `5 min 3 s`, `2 h 10 min`, `3 d 4 h`.
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        ..10 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_utc_unless_an_offset_is_written() {
        let noon = 1_795_435_200_000;
        assert_eq!(parse("2026-11-23T12:00:00Z"), Some(noon));
        assert_eq!(parse("2026-11-23 12:00"), Some(noon));
        assert_eq!(parse("2026-11-23T14:00:00+02:00"), Some(noon));
        assert_eq!(parse("2026-11-23T14:00:00+0200"), Some(noon));
        assert_eq!(parse("2026-11-23T06:30:00.5-05:30"), Some(noon + 500));
        assert_eq!(parse("2026-11-23"), Some(noon - DAY_MS / 2));
        assert_eq!(parse("1970-01-01"), Some(0));
        assert_eq!(parse("1969-12-31T23:59:59.999Z"), Some(-1));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026",
            "2026-1-1",
            "2026-02-30",
            "2026-13-01",
            "2026-11-23x",
            "2026-11-23T",
            "2026-11-23T24:00",
            "2026-11-23T10",
            "2026-11-23T10:00.5",
            "2026-11-23T10:00:00+2",
            "2026-11-23T10:00+02:",
            "2026-11-23T10:00+02:0",
            "2026-11-23T10:00+02::00",
            "2026-11-23T10:00Zz",
            "+026-11-23",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn spans_read_well() {
        let said = [0, 400, 9_999, 12_000, 303_000, 300_000, 7_800_000, 273_600_000].map(span);
        let expected =
            ["0.0 s", "0.4 s", "9.9 s", "12 s", "5 min 3 s", "5 min", "2 h 10 min", "3 d 4 h"];
        assert_eq!(said, expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ms in -62_167_219_200_000_i64..253_402_300_800_000) {
            prop_assert_eq!(parse(&format(ms)), Some(ms));
        }

        #[test]
        fn no_number_is_too_large_to_write(ms: i64) {
            prop_assert!(!format(ms).is_empty());
        }
    }
}
