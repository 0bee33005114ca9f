//! Topic names by Kafka's rules.

use std::{fmt, sync::Arc};

/// Longest topic name, in bytes: Kafka's limit, which keeps its directory
/// names within a file system's 255.
const LENGTH_MAX: usize = 249;

/// A valid topic name: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor
/// `..`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a name was refused, in the words that Kafka's clients show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopicName {
    /// The name has no characters.
    #[error("the topic name is empty")]
    Empty,
    /// `.` and `..` would be directories elsewhere.
    #[error("the topic name cannot be \".\" or \"..\"")]
    Dots,
    /// More than 249 bytes.
    #[error("the topic name is longer than 249 characters")]
    TooLong,
    /// A character outside of the allowed set.
    #[error("the topic name has a character other than ASCII alphanumerics, '.', '_' and '-'")]
    Character,
}

impl TopicName {
    /// Checks `name` and keeps a copy of it.
    ///
    /// # Errors
    /// Says which of Kafka's rules the name breaks.
    pub fn new(name: &str) -> Result<Self, InvalidTopicName> {
        match name {
            "" => Err(InvalidTopicName::Empty),
            "." | ".." => Err(InvalidTopicName::Dots),
            _ if name.len() > LENGTH_MAX => Err(InvalidTopicName::TooLong),
            _ if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) => {
                Err(InvalidTopicName::Character)
            }
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which `.` and `_` are the same: two topics whose forms are
    /// equal collide, since metric systems cannot tell them apart.
    #[must_use]
    pub fn collision_form(&self) -> String {
        self.0.replace('.', "_")
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        assert!(TopicName::new("orders.v1_eu-west").is_ok());
        assert_eq!(TopicName::new(""), Err(InvalidTopicName::Empty));
        assert_eq!(TopicName::new(".."), Err(InvalidTopicName::Dots));
        assert_eq!(TopicName::new("a/b"), Err(InvalidTopicName::Character));
        assert_eq!(TopicName::new("grün"), Err(InvalidTopicName::Character));
        assert!(TopicName::new(&"x".repeat(249)).is_ok());
        assert_eq!(TopicName::new(&"x".repeat(250)), Err(InvalidTopicName::TooLong));
    }

    #[test]
    fn dots_and_underscores_collide() {
        let dotted = TopicName::new("a.b_c").unwrap();
        let scored = TopicName::new("a_b.c").unwrap();
        assert_eq!(dotted.collision_form(), scored.collision_form());
    }
}
