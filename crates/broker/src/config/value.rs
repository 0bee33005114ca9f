//! Values of settings: parsing and checking as Kafka's `ConfigDef` does, with
//! its messages.

use std::fmt;

use super::{
    error::ConfigError,
    setting::{Check, Kind},
};

/// A parsed value. Its display is the form in which Kafka shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Boolean(bool),
    /// INT, SHORT and LONG.
    Number(i64),
    /// A floating point number.
    Double(f64),
    /// STRING, CLASS and PASSWORD.
    Text(String),
    /// The items of a list.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Double(value) => f.write_str(&java_double(*value)),
            Self::Text(value) => value.fmt(f),
            Self::List(items) => f.write_str(&items.join(",")),
        }
    }
}

impl Value {
    pub(super) fn parse(name: &str, kind: Kind, text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let refuse = |reason: String| Err(ConfigError::value(name, text, reason));
        match kind {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Self::Boolean(true)),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Self::Boolean(false)),
            Kind::Boolean => refuse("Expected value to be either true or false".into()),
            Kind::Int | Kind::Short | Kind::Long => match parse_integer(kind, text) {
                Some(number) => Ok(Self::Number(number)),
                None => refuse(format!("Not a number of type {}", kind.name())),
            },
            Kind::Double => match text.parse::<f64>() {
                Ok(number) if !number.is_nan() => Ok(Self::Double(number)),
                _ => refuse("Not a number of type DOUBLE".into()),
            },
            Kind::String | Kind::Class | Kind::Password => Ok(Self::Text(text.into())),
            Kind::List if text.is_empty() => Ok(Self::List(Vec::new())),
            Kind::List => Ok(Self::List(text.split(',').map(|item| item.trim().into()).collect())),
        }
    }

    pub(super) fn check(&self, name: &str, check: Check) -> Result<(), ConfigError> {
        match self {
            Self::Boolean(_) => Ok(()),
            Self::Number(number) => check_number(name, *number, check),
            Self::Double(number) => check_double(name, *number, check),
            Self::Text(text) => check_text(name, text, check),
            Self::List(items) => check_list(name, items, check),
        }
    }

    /// Without items that stand twice, where the rule is about each of them:
    /// Kafka drops them with a warning in its log.
    pub(super) fn distinct(self, check: Check) -> Self {
        let rule = matches!(check, Check::Items(_) | Check::Distinct | Check::DistinctSome);
        match self {
            Self::List(items) if rule => {
                let mut kept = Vec::with_capacity(items.len());
                for item in items {
                    if !kept.contains(&item) {
                        kept.push(item);
                    }
                }
                Self::List(kept)
            }
            other => other,
        }
    }

    /// The number, or 0 for a value that is none.
    #[must_use]
    pub const fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            _ => 0,
        }
    }

    /// Whether it is `true`.
    #[must_use]
    pub const fn is_true(&self) -> bool {
        matches!(self, Self::Boolean(true))
    }
}

fn parse_integer(kind: Kind, text: &str) -> Option<i64> {
    match kind {
        Kind::Short => text.parse::<i16>().ok().map(i64::from),
        Kind::Int => text.parse::<i32>().ok().map(i64::from),
        _ => text.parse::<i64>().ok(),
    }
}

fn check_number(name: &str, number: i64, check: Check) -> Result<(), ConfigError> {
    let refuse = |reason: String| Err(ConfigError::value(name, &number.to_string(), reason));
    match check {
        Check::AtLeast(min) | Check::Between(min, _) if number < min => {
            refuse(format!("Value must be at least {min}"))
        }
        Check::Between(_, max) if number > max => {
            refuse(format!("Value must be no more than {max}"))
        }
        Check::BetweenOr(min, max, or) if !(min..=max).contains(&number) && number != or => {
            refuse(format!("Value must be between {min} and {max} or equal to {or}"))
        }
        _ => Ok(()),
    }
}

fn check_double(name: &str, number: f64, check: Check) -> Result<(), ConfigError> {
    let refuse = |reason: String| Err(ConfigError::value(name, &java_double(number), reason));
    match check {
        Check::Ratio(min, _) if number < min => refuse(format!("Value must be at least {min}")),
        Check::Ratio(_, max) if number > max => refuse(format!("Value must be no more than {max}")),
        _ => Ok(()),
    }
}

fn check_text(name: &str, text: &str, check: Check) -> Result<(), ConfigError> {
    let one_of = |words: &[&str]| {
        Err(ConfigError::value(name, text, format!("String must be one of: {}", words.join(", "))))
    };
    match check {
        Check::OneOf(words) if !words.contains(&text) => one_of(words),
        Check::OneOfAnyCase(words) if !words.iter().any(|w| w.eq_ignore_ascii_case(text)) => {
            Err(ConfigError::value(
                name,
                text,
                format!("String must be one of (case insensitive): {}", words.join(", ")),
            ))
        }
        Check::OffsetReset if !is_offset_reset(text) => Err(ConfigError::value(
            name,
            text,
            "Must be earliest, latest or by_duration:PnDTnHnMn.nS",
        )),
        _ => Ok(()),
    }
}

fn check_list(name: &str, items: &[String], check: Check) -> Result<(), ConfigError> {
    let refuse = |reason: &str| Err(ConfigError::List { name: name.into(), reason: reason.into() });
    let words: &[&str] = match check {
        Check::Items(words) => words,
        Check::Distinct => &[],
        Check::DistinctSome if items.is_empty() => {
            return refuse("must not be empty. Valid values include: any non-empty value");
        }
        Check::DistinctSome => &[],
        Check::ThrottledReplicas => return check_throttled(name, items),
        _ => return Ok(()),
    };
    if items.iter().any(String::is_empty) {
        return refuse("values must not be empty.");
    }
    let wrong = items.iter().find(|item| !words.is_empty() && !words.contains(&item.as_str()));
    wrong.map_or(Ok(()), |item| {
        let reason = format!("String must be one of: {}", words.join(", "));
        Err(ConfigError::value(name, item, reason))
    })
}

fn check_throttled(name: &str, items: &[String]) -> Result<(), ConfigError> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let pair = |item: &String| {
        item.is_empty() || item.split_once(':').is_some_and(|(p, b)| number(p) && number(b))
    };
    if items.iter().all(pair) || items.concat() == "*" {
        return Ok(());
    }
    let reason = format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    );
    Err(ConfigError::value(name, &format!("[{}]", items.join(", ")), reason))
}

fn is_offset_reset(text: &str) -> bool {
    match text.strip_prefix("by_duration:") {
        Some(duration) => is_duration(duration),
        None => matches!(text, "earliest" | "latest"),
    }
}

/// Whether `text` is `PnDTnHnMn.nS`, with at least one part, none negative.
fn is_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(body) = upper.strip_prefix('P') else { return false };
    let (days, time) = match body.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (body, None),
    };
    let parts_of = |text: &str, units: &[char]| -> Option<usize> {
        let mut rest = text;
        let mut units = units.iter();
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, tail) = rest.split_at_checked(digits)?;
            let unit = tail.chars().next()?;
            units.find(|known| **known == unit)?;
            let whole = number.bytes().all(|b| b.is_ascii_digit());
            if number.is_empty() || (!whole && (unit != 'S' || number.parse::<f64>().is_err())) {
                return None;
            }
            rest = tail.get(unit.len_utf8()..)?;
            parts += 1;
        }
        Some(parts)
    };
    let Some(day_parts) = parts_of(days, &['D']) else { return false };
    match time {
        None => day_parts > 0,
        Some(time) => parts_of(time, &['H', 'M', 'S']).is_some_and(|parts| parts > 0),
    }
}

/// A number as Java's `Double.toString` prints it, which is what tools show.
fn java_double(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) && size.is_finite() {
        let text = format!("{number:e}").replace('e', "E");
        let (digits, power) = text.split_once('E').unwrap_or((&text, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        return format!("{digits}{point}E{power}");
    }
    format!("{number:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, check: Check, text: &str) -> Result<String, String> {
        let value = Value::parse("x", kind, text).map_err(|e| e.to_string())?.distinct(check);
        value.check("x", check).map_err(|e| e.to_string())?;
        Ok(value.to_string())
    }

    #[test]
    fn numbers_are_trimmed_and_bounded_by_their_type() {
        assert_eq!(parse(Kind::Long, Check::Any, " 05 "), Ok("5".into()));
        assert_eq!(parse(Kind::Int, Check::Any, "+7"), Ok("7".into()));
        let refused = "Invalid value 2147483648 for configuration x: Not a number of type INT";
        assert_eq!(parse(Kind::Int, Check::Any, "2147483648"), Err(refused.into()));
        let refused = "Invalid value -2 for configuration x: Value must be at least -1";
        assert_eq!(parse(Kind::Long, Check::AtLeast(-1), "-2"), Err(refused.into()));
        let refused =
            "Invalid value 0 for configuration x: Value must be between 1 and 9 or equal to -1";
        assert_eq!(parse(Kind::Int, Check::BetweenOr(1, 9, -1), "0"), Err(refused.into()));
        assert_eq!(parse(Kind::Int, Check::BetweenOr(1, 9, -1), "-1"), Ok("-1".into()));
    }

    #[test]
    fn doubles_print_as_in_java() {
        assert_eq!(java_double(0.5), "0.5");
        assert_eq!(java_double(1.0), "1.0");
        assert_eq!(java_double(f64::MAX), "1.7976931348623157E308");
        assert_eq!(java_double(1e7), "1.0E7");
        assert_eq!(java_double(0.0), "0.0");
    }

    #[test]
    fn lists_are_split_trimmed_and_checked() {
        let policy = Check::Items(&["compact", "delete"]);
        assert_eq!(parse(Kind::List, policy, "compact , delete"), Ok("compact,delete".into()));
        assert_eq!(parse(Kind::List, policy, ""), Ok(String::new()));
        assert_eq!(parse(Kind::List, policy, "delete,delete"), Ok("delete".into()));
        let refused =
            "Invalid value snip for configuration x: String must be one of: compact, delete";
        assert_eq!(parse(Kind::List, policy, "snip"), Err(refused.into()));
        assert_eq!(parse(Kind::List, Check::ThrottledReplicas, "0:1,12:3"), Ok("0:1,12:3".into()));
        assert_eq!(parse(Kind::List, Check::ThrottledReplicas, "*"), Ok("*".into()));
        assert!(parse(Kind::List, Check::ThrottledReplicas, "0:*").is_err());
    }

    #[test]
    fn durations_are_iso_8601() {
        for good in ["by_duration:P1D", "by_duration:PT1H2M3.5S", "earliest", "by_duration:P2DT1S"]
        {
            assert!(is_offset_reset(good), "{good}");
        }
        for bad in [
            "none",
            "by_duration:",
            "by_duration:P",
            "by_duration:PT",
            "by_duration:PT1.5H",
            "by_duration:-P1D",
            "by_duration:PT1S1H",
        ] {
            assert!(!is_offset_reset(bad), "{bad}");
        }
    }
}
