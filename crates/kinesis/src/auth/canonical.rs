//! The form of a request that is signed: what differs on the way without
//! meaning anything is made the same.
//!
//! Invariant: it is digested as it is made and takes no memory that a client
//! could choose, but for the query, which the head of a request bounds.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::claim::{Claim, Form};

/// The digest of the canonical request.
pub(super) fn digest(head: &Parts, claim: &Claim<'_>, payload: &str) -> [u8; 32] {
    let mut out = Sha256::new();
    out.update(head.method.as_str());
    out.update("\n");
    // Nothing is served at a path that would have to be normalized.
    out.update(head.uri.path());
    out.update("\n");
    canonical_query(head, &claim.form, &mut out);
    out.update("\n");
    for name in claim.names() {
        header(head, name, &mut out);
    }
    out.update("\n");
    out.update(claim.headers.as_bytes());
    out.update("\n");
    out.update(payload);
    out.finalize().into()
}

/// One line: the name and all values of a header.
fn header(head: &Parts, name: &str, out: &mut Sha256) {
    out.update(name);
    out.update(":");
    let authority = || head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = || head.headers.get(HOST).map(|value| value.as_bytes());
    // HTTP/2 says the host in the head itself.
    match name {
        "host" => trimmed(host().or_else(authority).unwrap_or_default(), out),
        ":authority" => trimmed(authority().or_else(host).unwrap_or_default(), out),
        _ => {
            for (n, value) in head.headers.get_all(name).iter().enumerate() {
                if n > 0 {
                    out.update(",");
                }
                trimmed(value.as_bytes(), out);
            }
        }
    }
    out.update("\n");
}

/// A value without spaces around it, and with single ones within.
fn trimmed(value: &[u8], out: &mut Sha256) {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (n, word) in words.enumerate() {
        if n > 0 {
            out.update(" ");
        }
        out.update(word);
    }
}

/// The parameters of the query as they came: names and values.
pub(super) fn query(head: &Parts) -> impl Iterator<Item = (&str, &str)> {
    let all = head.uri.query().unwrap_or_default().split('&');
    all.filter(|one| !one.is_empty()).map(|one| one.split_once('=').unwrap_or((one, "")))
}

/// Sorted, escaped in one way, and without the signature itself.
fn canonical_query(head: &Parts, form: &Form, out: &mut Sha256) {
    let is_signature = |name: &str| name == "X-Amz-Signature" && *form != Form::Header;
    let mut all: Vec<(String, String)> = query(head)
        .filter(|(name, _)| !is_signature(name))
        .map(|(name, value)| (escaped(name), escaped(value)))
        .collect();
    all.sort_unstable();
    for (n, (name, value)) in all.iter().enumerate() {
        if n > 0 {
            out.update("&");
        }
        out.update(name);
        out.update("=");
        out.update(value);
    }
}

/// Every byte but letters, digits and `-._~` as `%` and its digits.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in unescape(text).iter() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The bytes that stand for themselves or behind a `%`.
pub(super) fn unescape(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.split_at_checked(2).filter(|_| *first == b'%');
        let value = digits.and_then(|(digits, behind)| {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
            let [high, low] = digits else { return None };
            Some((digit(*high)? * 16 + digit(*low)?, behind))
        });
        let (byte, behind) = value.unwrap_or((*first, behind));
        out.push(byte);
        rest = behind;
    }
    Cow::Owned(out)
}
