//! One row of the registry: a setting with its type, default and rules.
//!
//! Invariant: every row's default passes the row's own check, and parsing a
//! default gives back its text (a test walks all tables). Rows are built by
//! `const fn`s, so that a table is data and costs nothing at the start.

use std::fmt;

use super::{error::ConfigError, value::Value};

/// What a value is, as Kafka's `ConfigDef` names it; clients see it in
/// DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// Text without the white space around it.
    String,
    /// 32 bits, signed.
    Int,
    /// 16 bits, signed.
    Short,
    /// 64 bits, signed.
    Long,
    /// A 64-bit floating point number.
    Double,
    /// Items between commas.
    List,
    /// A Java class name: text here.
    Class,
    /// Text that is never shown.
    Password,
}

impl Kind {
    /// The name that Kafka's messages and documents use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// The number of the type in DescribeConfigs responses.
    #[must_use]
    pub const fn id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// What a value must be beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// Any value of the type.
    Any,
    /// A number that is not below this.
    AtLeast(i64),
    /// A number within both bounds.
    Between(i64, i64),
    /// A number within both bounds, or the third.
    BetweenOr(i64, i64, i64),
    /// A floating point number within both bounds.
    Ratio(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// A list of these words; one that stands twice counts once.
    Items(&'static [&'static str]),
    /// A list of any words; one that stands twice counts once.
    Distinct,
    /// As [`Check::Distinct`], and not empty.
    DistinctSome,
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// `earliest`, `latest` or `by_duration:` and an ISO 8601 duration.
    OffsetReset,
}

/// In the words of Kafka's documentation; empty where every value is allowed.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any | Self::Distinct | Self::DistinctSome => Ok(()),
            Self::AtLeast(min) => write!(f, "[{min},...]"),
            Self::Between(min, max) => write!(f, "[{min},...,{max}]"),
            Self::BetweenOr(min, max, or) => write!(f, "[{min},...,{max}] or {or}"),
            Self::Ratio(min, max) => write!(f, "[{min},...,{max}]"),
            Self::OneOf(words) | Self::Items(words) => write!(f, "[{}]", words.join(", ")),
            Self::OneOfAnyCase(words) => write!(f, "(case insensitive) [{}]", words.join(", ")),
            Self::ThrottledReplicas => {
                f.write_str("[partitionId]:[brokerId],[partitionId]:[brokerId],...")
            }
            Self::OffsetReset => f.write_str("[latest, earliest, by_duration:PnDTnHnMn.nS]"),
        }
    }
}

/// Who may change a setting while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Nobody: by file, environment or flag, at the next start.
    ReadOnly,
    /// Anyone, for one broker or for all.
    Dynamic,
}

/// What a setting does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It does what it does in Kafka.
    Used,
    /// It is accepted, kept and shown, and changes nothing, because of this.
    Kept(&'static str),
    /// It shows this, which decides; it can't be set itself.
    Given(&'static str),
    /// Only the first value is accepted, because of the second.
    Only(&'static str, &'static str),
}

/// A setting under Kafka's name.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The exact name.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// The default as text; `None` where Kafka's is null.
    pub default: Option<&'static str>,
    /// The rule for its values.
    pub check: Check,
    /// Whether it can change while the broker runs.
    pub update: Update,
    /// What it does here.
    pub meaning: Meaning,
    /// Not shown unless it is set, as Kafka's internal settings.
    pub internal: bool,
    /// The broker setting that this topic or group setting falls back on.
    pub broker: Option<&'static str>,
    /// One line of documentation.
    pub doc: &'static str,
    /// The unit where the name does not end with it.
    unit: Option<&'static str>,
}

impl Setting {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            default: None,
            check: Check::Any,
            update: Update::ReadOnly,
            meaning: Meaning::Used,
            internal: false,
            broker: None,
            doc: "",
            unit: None,
        }
    }

    /// The default value, as text.
    pub(super) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// The value must not be below `min`.
    pub(super) const fn min(mut self, min: i64) -> Self {
        self.check = Check::AtLeast(min);
        self
    }

    /// Any other rule.
    pub(super) const fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// It can change while the broker runs.
    pub(super) const fn dynamic(mut self) -> Self {
        self.update = Update::Dynamic;
        self
    }

    /// It has no meaning here, because of `why`.
    pub(super) const fn kept(mut self, why: &'static str) -> Self {
        self.meaning = Meaning::Kept(why);
        self
    }

    /// It shows `instead`, and can't be set.
    pub(super) const fn given(mut self, instead: &'static str) -> Self {
        self.meaning = Meaning::Given(instead);
        self
    }

    /// Only `value` is accepted, because of `why`.
    pub(super) const fn only(mut self, value: &'static str, why: &'static str) -> Self {
        self.meaning = Meaning::Only(value, why);
        self
    }

    /// Shown only where it is set.
    pub(super) const fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    /// Falls back on the broker setting `name`.
    pub(super) const fn broker(mut self, name: &'static str) -> Self {
        self.broker = Some(name);
        self
    }

    /// The unit, where the name does not say it.
    pub(super) const fn unit_is(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// The line of documentation.
    pub(super) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// The unit of its values: "ms", "bytes", …; empty where there is none.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        const ENDINGS: &[(&str, &str)] = &[
            (".ms", "ms"),
            ("_ms", "ms"),
            (".bytes.per.second", "bytes/s"),
            (".bytes", "bytes"),
            ("_bytes", "bytes"),
            (".minutes", "minutes"),
            (".hours", "hours"),
            (".seconds", "seconds"),
            (".secs", "seconds"),
        ];
        let by_name = || ENDINGS.iter().find(|(end, _)| self.name.ends_with(end)).map(|(_, u)| *u);
        self.unit.or_else(by_name).unwrap_or("")
    }

    /// Whether its values are never shown.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }

    /// The parsed default; `None` where it is null.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        self.default.and_then(|text| Value::parse(self.name, self.kind, text).ok())
    }

    /// Parses `text` and checks it against the row's rules.
    ///
    /// # Errors
    /// In Kafka's words, with the name and the value.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let value = Value::parse(self.name, self.kind, text)?.distinct(self.check);
        value.check(self.name, self.check)?;
        match self.meaning {
            Meaning::Only(only, why) if value.to_string() != only => {
                let (name, value) = (self.name.into(), text.trim().into());
                Err(ConfigError::NotHere { name, value, only, why })
            }
            _ => Ok(value),
        }
    }
}

pub(super) const fn boolean(name: &'static str) -> Setting {
    Setting::new(name, Kind::Boolean)
}
pub(super) const fn string(name: &'static str) -> Setting {
    Setting::new(name, Kind::String)
}
pub(super) const fn int(name: &'static str) -> Setting {
    Setting::new(name, Kind::Int)
}
pub(super) const fn short(name: &'static str) -> Setting {
    Setting::new(name, Kind::Short)
}
pub(super) const fn long(name: &'static str) -> Setting {
    Setting::new(name, Kind::Long)
}
pub(super) const fn double(name: &'static str) -> Setting {
    Setting::new(name, Kind::Double)
}
pub(super) const fn list(name: &'static str) -> Setting {
    Setting::new(name, Kind::List)
}
pub(super) const fn class(name: &'static str) -> Setting {
    Setting::new(name, Kind::Class)
}
