//! Who sent a request: AWS's signatures, version 4, checked by making them
//! anew from what arrived.
//!
//! Invariant: a request passes only with a signature by the secret of a known
//! access key, over exactly the headers that it names, the query and the bytes
//! of its body as they came, no more than five minutes from now; signatures are
//! compared in constant time. The order of the checks and their words are
//! AWS's. Called by the front before anything of a body is decoded, and by the
//! binary for what operators read.

mod canonical;
mod claim;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use millrace_types::Timestamp;
use sha2::{Digest as _, Sha256};

use self::claim::{Claim, Form};
use crate::date;
use crate::error::{Code, Error};
use crate::keys::hex;

/// The service that requests are signed for.
pub(crate) const SERVICE: &str = "kinesis";
/// What the scope of a signature ends with.
const TERMINATOR: &str = "aws4_request";
/// Signatures are good for this long, before and after their date.
const SKEW_SECS: i64 = 300;
/// Stands where the digest of a body would, in what is signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A secret access key. It is never shown.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The secret, as AWS's clients are given it.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether `other` is the same; how long it takes tells nothing of it.
    fn is(&self, other: &[u8]) -> bool {
        let digest = |text: &[u8]| keyed(self.0.as_bytes(), text);
        digest(other).verify_slice(&digest(self.0.as_bytes()).finalize().into_bytes()).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

/// The access keys that requests may be signed by: none means that requests
/// need no signature.
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<String, Secret>);

impl FromIterator<(String, Secret)> for Credentials {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl Credentials {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request without a body is signed by one of the keys.
    pub fn signed(&self, head: &Parts, now: Timestamp) -> bool {
        let signed = self.admit(head, now);
        signed.and_then(|signed| signed.check(head, b"")).is_ok()
    }

    /// Whether a request names one of the keys and its secret by HTTP's basic
    /// scheme: for what no AWS client reads.
    pub fn basic(&self, headers: &HeaderMap) -> bool {
        let named = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, rest) = value.as_bytes().split_at_checked("Basic ".len())?;
            let decoded = BASE64_STANDARD.decode(rest.trim_ascii());
            scheme.eq_ignore_ascii_case(b"Basic ").then_some(decoded.ok()?)
        });
        let Some(named) = named else { return false };
        let mut parts = named.splitn(2, |byte| *byte == b':');
        let (Some(id), Some(secret)) = (parts.next(), parts.next()) else { return false };
        let known = std::str::from_utf8(id).ok().and_then(|id| self.0.get(id));
        known.is_some_and(|known| known.is(secret))
    }

    /// Checks all that a request's head says, up to the signature itself.
    pub(crate) fn admit<'r>(&self, head: &'r Parts, now: Timestamp) -> Result<Signed<'r>, Error> {
        self.admit_for(SERVICE, head, now)
    }

    fn admit_for<'r>(
        &self,
        service: &str,
        head: &'r Parts,
        now: Timestamp,
    ) -> Result<Signed<'r>, Error> {
        let claim = Claim::read(head)?;
        let at = check_date(&claim, now)?;
        claim.check_headers(head)?;
        claim.check_algorithm()?;
        let scope = claim.scope()?;
        scope.check(service, &claim.date, at)?;
        let unknown = || Error::new(Code::UnrecognizedClient, UNRECOGNIZED);
        let secret = self.0.get(scope.key).ok_or_else(unknown)?.clone();
        let key = signing_key(&secret, scope.date, scope.region, scope.service);
        let (region, scope) = (scope.region.to_owned(), scope.text());
        Ok(Signed { region, scope, key, claim })
    }
}

/// Said of access keys and tokens that nobody was given.
const UNRECOGNIZED: &str = "The security token included in the request is invalid.";
/// Said of bodies that are not what the head says.
const OTHER_BODY: &str =
    "The provided 'x-amz-content-sha256' header does not match what was computed.";
/// Said of signatures that are not what they have to be.
const MISMATCH: &str = "The request signature we calculated does not match the signature you \
                        provided. Check your AWS Secret Access Key and signing method. Consult the \
                        service documentation for details.";

/// A request whose head is in order: what is left is the signature.
pub(crate) struct Signed<'r> {
    /// The region that it was signed for.
    pub(crate) region: String,
    scope: String,
    key: [u8; 32],
    claim: Claim<'r>,
}

impl Signed<'_> {
    /// Makes the signature anew, with the bytes of the body as they came, and
    /// compares.
    pub(crate) fn check(&self, head: &Parts, body: &[u8]) -> Result<(), Error> {
        let digest = || hex(&Sha256::digest(body));
        let payload = match claimed_payload(head) {
            // What isn't signed needs no digest.
            Some(claimed) if claimed == UNSIGNED.as_bytes() => UNSIGNED.to_owned(),
            None => digest(),
            Some(claimed) => {
                let payload = digest();
                if claimed != payload.as_bytes() {
                    return Err(Error::new(Code::InvalidSignature, OTHER_BODY));
                }
                payload
            }
        };
        let request = canonical::digest(head, &self.claim, &payload);
        let (date, scope) = (&self.claim.date, &self.scope);
        let to_sign = format!("{}\n{date}\n{scope}\n{}", claim::ALGORITHM, hex(&request));
        let mismatch = || Error::new(Code::InvalidSignature, MISMATCH);
        let signature = unhex(&self.claim.signature).ok_or_else(mismatch)?;
        keyed(&self.key, to_sign.as_bytes()).verify_slice(&signature).map_err(|_| mismatch())?;
        // Tokens belong to keys that are lent; ours are not.
        if self.claim.has_token(head) {
            return Err(Error::new(Code::UnrecognizedClient, UNRECOGNIZED));
        }
        Ok(())
    }
}

/// The region that a request names in its credential, whether or not anything
/// of it is true.
pub(crate) fn region_named(head: &Parts) -> Option<String> {
    let claim = Claim::read_leniently(head)?;
    let scope = claim.scope().ok()?;
    claim::is_region(scope.region).then(|| scope.region.to_owned())
}

/// What the client says of its body.
fn claimed_payload(head: &Parts) -> Option<&[u8]> {
    head.headers.get("x-amz-content-sha256").map(|value| value.as_bytes())
}

/// The seconds since 1970 of a claim's date, if it is near enough to now.
fn check_date(claim: &Claim<'_>, now: Timestamp) -> Result<i64, Error> {
    let given = &claim.date;
    let at = date::parse(given).ok_or_else(|| {
        let message = format!(
            "Date must be in ISO-8601 'basic format'. Got '{given}'. See \
             http://en.wikipedia.org/wiki/ISO_8601"
        );
        Error::new(Code::IncompleteSignature, message)
    })?;
    let now = now.get().div_euclid(1000);
    let good_for = match &claim.form {
        Form::Header => SKEW_SECS,
        Form::Query { expires } => expires.unwrap_or(SKEW_SECS),
    };
    let (earliest, latest) = (now.saturating_sub(good_for), now.saturating_add(SKEW_SECS));
    let invalid = |message| Err(Error::new(Code::InvalidSignature, message));
    let shown = date::show(now);
    if at < earliest {
        let (earliest, minutes) = (date::show(earliest), good_for / 60);
        return invalid(format!(
            "Signature expired: {given} is now earlier than {earliest} ({shown} - {minutes} min.)"
        ));
    }
    if at > latest {
        let (latest, minutes) = (date::show(latest), SKEW_SECS / 60);
        return invalid(format!(
            "Signature not yet current: {given} is still later than {latest} ({shown} + {minutes} \
             min.)"
        ));
    }
    Ok(at)
}

/// A message with a key, to be finished or compared.
fn keyed(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    // A key of any length will do.
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()));
    mac.update(message);
    mac
}

fn signing_key(secret: &Secret, date: &str, region: &str, service: &str) -> [u8; 32] {
    let first = format!("AWS4{}", secret.0);
    let mut key: [u8; 32] = keyed(first.as_bytes(), date.as_bytes()).finalize().into_bytes().into();
    for part in [region, service, TERMINATOR] {
        key = keyed(&key, part.as_bytes()).finalize().into_bytes().into();
    }
    key
}

/// The bytes of a signature in hexadecimal.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).ok()?;
        // No sign, which the parser would take.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
