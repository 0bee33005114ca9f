//! The coarse kinds of error.

/// What a caller can do about an error. Every error of a crate's edge has one;
/// a front maps its own protocol's codes from the precise error, and falls
/// back on the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong and will stay wrong.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// It contradicts the present state; look again.
    Conflict,
    /// Somebody newer took over.
    Fenced,
    /// Too much at once; try again later.
    Throttled,
    /// Not now (full disk, starting, stopping); try again later.
    Unavailable,
    /// Stored bytes fail their checksum; a person must act.
    Corrupt,
    /// A defect of ours.
    Internal,
}
