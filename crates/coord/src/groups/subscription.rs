//! Reads the topics of a consumer's subscription out of the metadata that it
//! joined with.
//!
//! The one place where the coordinator looks into what is otherwise opaque to
//! it: offsets of topics that a group still reads must neither expire nor be
//! deleted. The layout is `ConsumerProtocolSubscription` versions 0-3, all of
//! which begin as version 0 does, so that later ones are read alike:
//!
//! ```text
//! i16 version | i32 topics, each i16 length + UTF-8 | i32 length (-1: none) + user data | ...
//! ```

/// The protocol type of groups of consumers.
pub(crate) const CONSUMER: &str = "consumer";

/// The topics that `metadata` subscribes to; `None` where it can't be read,
/// which callers take as "any topic".
pub(crate) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let (version, rest) = i16_from(metadata)?;
    if version < 0 {
        return None;
    }
    let (count, mut rest) = i32_from(rest)?;
    let count = usize::try_from(count).ok()?;
    // Each name takes two bytes at least: a count beyond that is a lie, and
    // must not decide how much memory is taken.
    if count > rest.len() / 2 {
        return None;
    }
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, after) = i16_from(rest)?;
        let (name, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        topics.push(str::from_utf8(name).ok()?);
        rest = after;
    }
    let (length, rest) = i32_from(rest)?;
    match usize::try_from(length) {
        Ok(length) => rest.get(..length).map(|_| topics),
        Err(_) => (length == -1).then_some(topics),
    }
}

fn i16_from(bytes: &[u8]) -> Option<(i16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((i16::from_be_bytes(*head), rest))
}

fn i32_from(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((i32::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subscription as the Java client writes it.
    fn subscription(version: i16, names: &[&str], tail: &[u8]) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend(i32::try_from(names.len()).unwrap().to_be_bytes());
        for name in names {
            bytes.extend(i16::try_from(name.len()).unwrap().to_be_bytes());
            bytes.extend(name.as_bytes());
        }
        bytes.extend(tail);
        bytes
    }

    #[test]
    fn every_version_begins_as_version_0_does() {
        let no_user_data = (-1i32).to_be_bytes();
        for version in 0..=3 {
            let mut bytes = subscription(version, &["orders", "clicks"], &no_user_data);
            if version > 0 {
                // Owned partitions, and whatever a later version adds.
                bytes.extend([0; 9]);
            }
            assert_eq!(topics(&bytes), Some(vec!["orders", "clicks"]));
        }
    }

    #[test]
    fn user_data_is_skipped() {
        let bytes = subscription(0, &["t"], &[0, 0, 0, 2, 7, 7]);
        assert_eq!(topics(&bytes), Some(vec!["t"]));
    }

    #[test]
    fn lies_are_not_believed() {
        assert_eq!(topics(&[]), None);
        assert_eq!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None, "a count of i32::MAX");
        assert_eq!(topics(&[0, 0, 0xff, 0xff, 0xff, 0xff]), None, "a count of -1");
        assert_eq!(topics(&subscription(0, &["t"], &[])), None, "cut before the user data");
        assert_eq!(topics(&subscription(0, &["t"], &[0, 0, 0, 2, 7])), None, "cut in user data");
        assert_eq!(topics(&subscription(-1, &["t"], &[0xff; 4])), None, "a negative version");
        assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff, 0, 0, 0, 0]), None, "not UTF-8");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _topics = topics(&bytes);
        }
    }
}
