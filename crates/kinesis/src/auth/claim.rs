//! What a request says of its signature, in its Authorization header or, as
//! presigned URLs do, in its query.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};
use http::request::Parts;

use super::canonical::{query, unescape};
use super::{MISMATCH, TERMINATOR, date};
use crate::error::{Code, Error};

/// The one algorithm that there is.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// A presigned request is good for a week at most.
const EXPIRES_MAX: i64 = 604_800;

/// Where a claim stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In the Authorization header.
    Header,
    /// In the query, for so many seconds if it says so.
    Query { expires: Option<i64> },
}

/// A signature with what it is said to be of.
#[derive(Debug)]
pub(super) struct Claim<'r> {
    pub(super) form: Form,
    algorithm: Cow<'r, str>,
    credential: Cow<'r, str>,
    /// Names of headers, with semicolons between.
    pub(super) headers: Cow<'r, str>,
    pub(super) signature: Cow<'r, str>,
    /// As given: `20150830T123600Z`, if it is a date at all.
    pub(super) date: Cow<'r, str>,
}

fn incomplete(message: impl Into<String>) -> Error {
    Error::new(Code::IncompleteSignature, message)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidSignature, message)
}

impl<'r> Claim<'r> {
    /// Reads it; says all that is missing.
    pub(super) fn read(head: &'r Parts) -> Result<Self, Error> {
        let header = head.headers.get(AUTHORIZATION);
        let is_query = parameter(head, "X-Amz-Algorithm").is_some();
        match header {
            Some(_) if is_query => Err(invalid(
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP \
                 header.",
            )),
            Some(value) => {
                let value = value.to_str().unwrap_or_default().trim();
                if !value.starts_with("AWS4-") {
                    return Err(missing());
                }
                Self::of_header(&head.headers, value)
            }
            None if is_query => Self::of_query(head),
            None => Err(missing()),
        }
    }

    /// Reads it where nobody checks it.
    pub(super) fn read_leniently(head: &'r Parts) -> Option<Self> {
        Self::read(head).ok().or_else(|| {
            let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
            let credential = Cow::Borrowed(member(value, "Credential")?);
            let empty = || Cow::Borrowed("");
            Some(Self {
                form: Form::Header,
                algorithm: empty(),
                credential,
                headers: empty(),
                signature: empty(),
                date: empty(),
            })
        })
    }

    fn of_header(headers: &'r HeaderMap, value: &'r str) -> Result<Self, Error> {
        let names = ["Credential", "Signature", "SignedHeaders"];
        let [credential, signature, signed] = names.map(|name| member(value, name));
        let date = headers.get("x-amz-date").or_else(|| headers.get(DATE));
        let mut lacks = String::new();
        for (name, found) in names.iter().zip([credential, signature, signed]) {
            if found.is_none_or(str::is_empty) {
                lacks.push_str(&format!("Authorization header requires '{name}' parameter. "));
            }
        }
        if date.is_none() {
            lacks.push_str(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                 header. ",
            );
        }
        let (Some(credential), Some(signature), Some(headers), Some(date), true) =
            (credential, signature, signed, date, lacks.is_empty())
        else {
            return Err(incomplete(format!("{lacks}Authorization={value}")));
        };
        let algorithm = value.split([' ', ',']).next().unwrap_or_default();
        Ok(Self {
            form: Form::Header,
            algorithm: algorithm.into(),
            credential: credential.into(),
            headers: headers.into(),
            signature: signature.into(),
            date: String::from_utf8_lossy(date.as_bytes()),
        })
    }

    fn of_query(head: &'r Parts) -> Result<Self, Error> {
        let names = ["Algorithm", "Credential", "Signature", "SignedHeaders", "Date"];
        let found = names.map(|name| {
            let value = parameter(head, &format!("X-Amz-{name}"));
            value.filter(|value| !value.is_empty())
        });
        let lacks: String = names
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(name, _)| format!("AWS query-string parameters must include 'X-Amz-{name}'. "))
            .collect();
        let [Some(algorithm), Some(credential), Some(signature), Some(headers), Some(date)] = found
        else {
            return Err(incomplete(format!("{lacks}Re-examine the query-string parameters.")));
        };
        let expires = parameter(head, "X-Amz-Expires").map(|text| {
            let secs = text.parse().ok().filter(|secs| (1..=EXPIRES_MAX).contains(secs));
            secs.ok_or_else(|| {
                invalid(format!(
                    "X-Amz-Expires must be a number of seconds from 1 to {EXPIRES_MAX}."
                ))
            })
        });
        let form = Form::Query { expires: expires.transpose()? };
        Ok(Self { form, algorithm, credential, headers, signature, date })
    }

    /// Refuses what would do for another host, or for another operation, which
    /// a header names. Names in any other order than that of the alphabet are
    /// nobody's: so none is there twice, and what is signed has a bound.
    pub(super) fn check_headers(&self, head: &Parts) -> Result<(), Error> {
        let has = |name: &str| self.names().any(|signed| signed == name);
        if !has("host") && !has(":authority") {
            return Err(invalid(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        let target = "x-amz-target";
        if head.headers.contains_key(target) && !has(target) {
            return Err(invalid(
                "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        if !self.names().is_sorted_by(|a, b| a < b) {
            return Err(invalid(MISMATCH));
        }
        Ok(())
    }

    pub(super) fn check_algorithm(&self) -> Result<(), Error> {
        let algorithm = &self.algorithm;
        if algorithm == ALGORITHM {
            return Ok(());
        }
        Err(incomplete(format!(
            "Unsupported AWS 'algorithm': '{algorithm}' (only {ALGORITHM} for now). "
        )))
    }

    /// The names of the signed headers, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.headers.split(';')
    }

    pub(super) fn scope(&self) -> Result<Scope<'_>, Error> {
        let parts: Vec<&str> = self.credential.trim_end_matches('/').split('/').collect();
        let [key, date, region, service, terminator] = parts[..] else {
            let credential = &self.credential;
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, got '{credential}'"
            )));
        };
        Ok(Scope { key, date, region, service, terminator })
    }

    /// Whether the request carries a session's token.
    pub(super) fn has_token(&self, head: &Parts) -> bool {
        head.headers.contains_key("x-amz-security-token")
            || parameter(head, "X-Amz-Security-Token").is_some()
    }
}

fn missing() -> Error {
    Error::new(Code::MissingAuthenticationToken, "Missing Authentication Token")
}

/// The value of `name=value` in an Authorization header.
fn member<'r>(header: &'r str, name: &str) -> Option<&'r str> {
    let mut members = header.split([',', ' ']).filter_map(|member| member.trim().split_once('='));
    members.find(|(named, _)| *named == name).map(|(_, value)| value)
}

/// A parameter of the query, decoded.
fn parameter<'r>(head: &'r Parts, name: &str) -> Option<Cow<'r, str>> {
    let found = query(head).find(|(named, _)| *named == name);
    found.map(|(_, value)| match unescape(value) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    })
}

/// Whether ARNs may be made of it.
pub(super) fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 32 && text.bytes().all(plain)
}

/// What a credential names: `KEY/20150830/us-east-1/kinesis/aws4_request`.
#[derive(Debug)]
pub(super) struct Scope<'c> {
    pub(super) key: &'c str,
    pub(super) date: &'c str,
    pub(super) region: &'c str,
    pub(super) service: &'c str,
    terminator: &'c str,
}

impl Scope<'_> {
    /// Says all that is wrong with it for a request to `service` at this time.
    pub(super) fn check(&self, service: &str, given: &str, at: i64) -> Result<(), Error> {
        let Self { date, region, terminator, .. } = *self;
        let mut wrong = String::new();
        if !is_region(region) {
            wrong.push_str(&format!(
                "Credential should be scoped to a valid region, not '{region}'. "
            ));
        }
        if self.service != service {
            wrong.push_str(&format!(
                "Credential should be scoped to correct service: '{service}'. "
            ));
        }
        if terminator != TERMINATOR {
            wrong.push_str(&format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not \
                 '{terminator}'. "
            ));
        }
        let shown = date::show(at);
        let day = shown.get(..8).unwrap_or_default();
        if date != day {
            wrong.push_str(&format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{date}' != '{day}', from '{given}'."
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(invalid(wrong)) }
    }

    /// As what is signed has it: all but the key.
    pub(super) fn text(&self) -> String {
        let Self { date, region, service, terminator, .. } = *self;
        format!("{date}/{region}/{service}/{terminator}")
    }
}
