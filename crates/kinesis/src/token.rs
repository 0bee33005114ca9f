//! Tokens that clients hand back: shard iterators and those of pages.
//!
//! Invariant: a token says all that it stands for, and nobody else can make
//! one: it carries a code by a key that the catalog keeps, so that it holds
//! over restarts. It is bound to its kind, its topic's id and shard, and to the
//! time when it was given out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use millrace_types::{Offset, PartitionId, Timestamp, TopicId};
use sha2::Sha256;

/// Bytes of the code; half of SHA-256, as HMAC allows.
const CODE_LEN: usize = 16;
/// Tokens are refused after five minutes, as at AWS.
pub(crate) const LIFETIME_MS: i64 = 300_000;

/// The key of a server's tokens.
#[derive(Clone)]
pub(crate) struct TokenKey(Hmac<Sha256>);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadToken {
    /// It is none of ours, or of another kind.
    Invalid,
    /// It was given out then, too long ago.
    Expired(Timestamp),
}

/// What a shard iterator stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    pub(crate) topic: TopicId,
    pub(crate) shard: PartitionId,
    /// The next record.
    pub(crate) next: Offset,
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageToken {
    /// The stream whose parts are listed; zero for a list of streams.
    pub(crate) topic: TopicId,
    /// The last that was listed, and with what it was asked for: the action's
    /// own text.
    pub(crate) after: String,
}

const ITERATOR: u8 = 1;

impl TokenKey {
    /// The key of these bytes.
    pub(crate) fn new(key: &[u8]) -> Self {
        // HMAC takes keys of any length.
        match Hmac::<Sha256>::new_from_slice(key) {
            Ok(mac) => Self(mac),
            Err(_) => Self(Hmac::<Sha256>::new(&hmac::digest::Key::<Hmac<Sha256>>::default())),
        }
    }

    /// The token of an iterator that is given out `now`.
    pub(crate) fn iterator(&self, iterator: &ShardIterator, now: Timestamp) -> String {
        let ShardIterator { topic, shard, next } = iterator;
        let mut body = Vec::with_capacity(28);
        body.extend_from_slice(&topic.0);
        body.extend_from_slice(&shard.get().to_be_bytes());
        body.extend_from_slice(&next.get().to_be_bytes());
        self.seal(ITERATOR, &body, now)
    }

    /// What an iterator's token stands for.
    pub(crate) fn open_iterator(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<ShardIterator, BadToken> {
        let body = self.open(ITERATOR, token, now)?;
        let (topic, rest) = body.split_first_chunk::<16>().ok_or(BadToken::Invalid)?;
        let (shard, rest) = rest.split_first_chunk::<4>().ok_or(BadToken::Invalid)?;
        let next = rest.first_chunk::<8>().ok_or(BadToken::Invalid)?;
        Ok(ShardIterator {
            topic: TopicId(*topic),
            shard: PartitionId(i32::from_be_bytes(*shard)),
            next: Offset(i64::from_be_bytes(*next)),
        })
    }

    /// The token of the page behind; `kind` tells lists apart (from 2).
    pub(crate) fn page(&self, kind: u8, page: &PageToken, now: Timestamp) -> String {
        self.seal(kind, &[&page.topic.0, page.after.as_bytes()].concat(), now)
    }

    /// What a page's token stands for.
    pub(crate) fn open_page(
        &self,
        kind: u8,
        token: &str,
        now: Timestamp,
    ) -> Result<PageToken, BadToken> {
        let body = self.open(kind, token, now)?;
        let (topic, after) = body.split_first_chunk::<16>().ok_or(BadToken::Invalid)?;
        let after = std::str::from_utf8(after).map_err(|_| BadToken::Invalid)?;
        Ok(PageToken { topic: TopicId(*topic), after: after.to_owned() })
    }

    fn seal(&self, kind: u8, body: &[u8], now: Timestamp) -> String {
        let mut token = vec![kind];
        token.extend_from_slice(&now.get().to_be_bytes());
        token.extend_from_slice(body);
        let code = self.0.clone().chain_update(&token).finalize().into_bytes();
        token.extend(code.iter().take(CODE_LEN));
        STANDARD.encode(token)
    }

    fn open(&self, kind: u8, token: &str, now: Timestamp) -> Result<Vec<u8>, BadToken> {
        let mut token = STANDARD.decode(token).map_err(|_| BadToken::Invalid)?;
        let code = token.split_off(token.len().saturating_sub(CODE_LEN));
        let mac = self.0.clone().chain_update(&token);
        if code.len() != CODE_LEN || mac.verify_truncated_left(&code).is_err() {
            return Err(BadToken::Invalid);
        }
        let (found, rest) = token.split_first().ok_or(BadToken::Invalid)?;
        let (issued, body) = rest.split_first_chunk::<8>().ok_or(BadToken::Invalid)?;
        if *found != kind {
            return Err(BadToken::Invalid);
        }
        let issued = Timestamp(i64::from_be_bytes(*issued));
        if now > issued.plus_ms(LIFETIME_MS) {
            return Err(BadToken::Expired(issued));
        }
        Ok(body.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn iterator() -> ShardIterator {
        ShardIterator { topic: TopicId([7; 16]), shard: PartitionId(3), next: Offset(99) }
    }

    #[test]
    fn a_token_is_good_for_five_minutes_and_its_kind() {
        let key = TokenKey::new(b"key");
        let token = key.iterator(&iterator(), NOW);
        assert!(token.len() <= 512);
        let later = |ms| key.open_iterator(&token, NOW.plus_ms(ms));
        assert_eq!(later(LIFETIME_MS), Ok(iterator()));
        assert_eq!(later(LIFETIME_MS + 1), Err(BadToken::Expired(NOW)));
        assert_eq!(key.open_page(2, &token, NOW), Err(BadToken::Invalid));
        let other = TokenKey::new(b"other");
        assert_eq!(other.open_iterator(&token, NOW), Err(BadToken::Invalid));
        let page = PageToken { topic: TopicId::default(), after: "x".into() };
        assert_eq!(key.open_page(2, &key.page(2, &page, NOW), NOW), Ok(page));
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(at in 0usize..60, by in 1u8..) {
            let key = TokenKey::new(b"key");
            let mut bytes = STANDARD.decode(key.iterator(&iterator(), NOW)).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= by;
            let changed = STANDARD.encode(bytes);
            prop_assert_eq!(key.open_iterator(&changed, NOW), Err(BadToken::Invalid));
        }

        #[test]
        fn any_text_is_refused(text: String) {
            let key = TokenKey::new(b"key");
            prop_assert_eq!(key.open_iterator(&text, NOW), Err(BadToken::Invalid));
        }
    }
}
