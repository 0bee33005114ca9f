//! Names of groups, members and waiting requests.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Declares a piece of text that names something. Cheap to clone.
macro_rules! text {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the name has no characters.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// Names a group. The empty name is allowed for committed offsets only,
    /// for clients from before groups had members.
    GroupId
}
text! {
    /// Names one life of a member: given out by the coordinator, with a random
    /// part. Empty in a request: "not known yet".
    MemberId
}
text! {
    /// Names a static member (KIP-345): chosen by the operator, kept over the
    /// member's restarts.
    InstanceId
}

impl MemberId {
    /// The id in requests of those who have none.
    #[must_use]
    pub fn unknown() -> Self {
        Self::from("")
    }
}

/// Names a request that waits for its reply. Issued by the caller, never used
/// twice; each gets exactly one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);
