//! Partition keys, their hashes, and how keys of Kafka's records show.
//!
//! Invariant: the hash is that of the key's own bytes, so that a record put by
//! either protocol lies where the other would look for it by the same key. A
//! record without a key is shown, and hashed, by its offset.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use millrace_types::Offset;
use sha2::{Digest as _, Sha256};

/// Longest partition key, in characters.
const KEY_CHARS_MAX: usize = 256;

/// Under this header a record keeps the hash key that its producer gave.
pub(crate) const EXPLICIT_HASH_KEY: &[u8] = b"millrace.explicit-hash-key";

/// Where `key` lies among the hashes.
pub(crate) fn hash(key: &[u8]) -> u128 {
    millrace_broker::hash_of_key(key)
}

/// A hash key given as a decimal number; `None` beyond 2^128 - 1.
pub(crate) fn explicit_hash(text: &str) -> Option<u128> {
    text.parse().ok()
}

/// The partition key of a record whose key this is.
pub(crate) fn shown(key: Option<&[u8]>, offset: Offset) -> Cow<'_, str> {
    let Some(key) = key else { return Cow::Owned(format!("null:{offset}")) };
    match std::str::from_utf8(key) {
        Ok(text) if !text.is_empty() && has_chars(text, KEY_CHARS_MAX) => Cow::Borrowed(text),
        _ => {
            let encoded = format!("b64:{}", STANDARD.encode(key));
            if encoded.len() <= KEY_CHARS_MAX {
                return Cow::Owned(encoded);
            }
            let digest: [u8; 32] = Sha256::digest(key).into();
            Cow::Owned(format!("sha256:{}", hex(&digest)))
        }
    }
}

/// Whether these are so many characters, or fewer: as many as bytes, at most.
fn has_chars(text: &str, most: usize) -> bool {
    text.len() <= most || text.chars().count() <= most
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_hexadecimal() {
        assert_eq!(hex(&[0x00, 0x0f, 0xa5, 0xff]), "000fa5ff");
    }

    #[test]
    fn a_key_hashes_as_aws_hashes_it() {
        assert_eq!(hash(b"a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
        assert_eq!(explicit_hash("340282366920938463463374607431768211455"), Some(u128::MAX));
        assert_eq!(explicit_hash("340282366920938463463374607431768211456"), None);
    }

    #[test]
    fn keys_that_are_no_partition_keys_show_what_they_are() {
        let of = |key: Option<&[u8]>| shown(key, Offset(7)).into_owned();
        assert_eq!(of(Some("grün".as_bytes())), "grün");
        assert_eq!(of(Some(&b"x".repeat(256))), "x".repeat(256));
        assert_eq!(of(Some(b"")), "b64:");
        assert_eq!(of(Some(b"\xff")), "b64:/w==");
        assert_eq!(of(None), "null:7");
        assert!(of(Some(&b"x".repeat(257))).starts_with("sha256:"));
        assert_eq!(of(Some(&b"x".repeat(257))).len(), 7 + 64);
    }
}
