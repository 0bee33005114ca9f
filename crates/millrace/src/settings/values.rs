//! How the text of a setting becomes its value.

use std::path::PathBuf;

/// What a setting can hold.
pub(crate) trait Value: Sized {
    /// Parses the text; the error says what is allowed.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value as a number, where it is one: its range is checked.
    fn number(&self) -> Option<u64> {
        None
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path is needed".to_owned()) } else { Ok(text.into()) }
    }
}

impl Value for Option<PathBuf> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

/// The number of an AWS account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountId(pub(crate) String);

impl Value for AccountId {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not an account's number of twelve digits"))
        }
    }
}

/// The name of an AWS region, such as `eu-west-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region(pub(crate) String);

impl Value for Region {
    fn parse(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !text.is_empty() && text.len() <= 32 && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not a region's name, such as eu-west-1"))
        }
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
    }
}

impl Value for u64 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not a whole number"))
    }

    fn number(&self) -> Option<u64> {
        Some(*self)
    }
}

/// Declares a setting of a few words.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$doc])* $variant),* }

        impl Value for $name {
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("{text:?} is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    )*};
}

words! {
    /// When a record counts as durable.
    Flush {
        /// Once the disk says so.
        Fsync = "fsync",
        /// Once the kernel has it.
        Os = "os"
    }
    /// What a reader gets at records that fail their checksum.
    OnCorruption {
        /// An error.
        Stop = "stop",
        /// The next readable batch.
        Skip = "skip"
    }
    /// How much of producers' batches is checked.
    Validate {
        /// Header and checksum.
        Header = "header",
        /// The records too.
        Full = "full"
    }
    /// Form of the log.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json"
    }
}
