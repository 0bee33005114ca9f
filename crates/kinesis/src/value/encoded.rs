//! An encoded answer, which takes the data of records from where it lies: in
//! chunks, as they are sent, or all at once.
//!
//! Invariant: data keeps the memory alive that it is part of, which whoever gave
//! it accounts for; beside that, an answer takes its text and one chunk.

use base64_simd::STANDARD;
use bytes::Bytes;

use crate::model::Encoding;

/// Bytes of a chunk: small enough to stay in a processor's cache until it is
/// sent.
const CHUNK: usize = 64 << 10;

/// Text with data between.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(super) encoding: Encoding,
    pub(super) text: Vec<u8>,
    /// Each with where it belongs in the text.
    data: Vec<(usize, Bytes)>,
    /// Bytes of all data, encoded.
    data_len: usize,
}

impl Encoded {
    pub(super) fn with_capacity(encoding: Encoding, text: usize, data: usize) -> Self {
        let (text, data) = (Vec::with_capacity(text), Vec::with_capacity(data));
        Self { encoding, text, data, data_len: 0 }
    }

    /// Text without data.
    pub(crate) fn of(text: Vec<u8>) -> Self {
        Self { encoding: Encoding::Cbor, text, data: Vec::new(), data_len: 0 }
    }

    /// Appends data.
    pub(super) fn data(&mut self, data: Bytes) {
        self.data_len += match self.encoding {
            Encoding::Json => STANDARD.encoded_length(data.len()),
            Encoding::Cbor => data.len(),
        };
        self.data.push((self.text.len(), data));
    }

    /// Bytes of it, encoded.
    pub(crate) const fn len(&self) -> usize {
        self.text.len() + self.data_len
    }

    /// It in chunks.
    pub(crate) fn into_chunks(self) -> Chunks {
        let left = self.len();
        let Self { encoding, text, data, .. } = self;
        Chunks {
            encoding,
            text: text.into(),
            at: 0,
            data: data.into_iter(),
            rest: Bytes::new(),
            left,
        }
    }

    /// Appends it whole.
    pub(crate) fn append_to(self, out: &mut Vec<u8>) {
        let Self { encoding, text, data, .. } = self;
        let mut text = text.as_slice();
        let mut at = 0;
        for (place, data) in data {
            let (before, behind) = text.split_at_checked(place - at).unwrap_or((text, &[]));
            (text, at) = (behind, place);
            out.extend_from_slice(before);
            append(encoding, &data, out);
        }
        out.extend_from_slice(text);
    }
}

impl Default for Encoded {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

fn append(encoding: Encoding, data: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => STANDARD.encode_append(data, out),
        Encoding::Cbor => out.extend_from_slice(data),
    }
}

/// An answer on its way, from front to end.
#[derive(Debug)]
pub(crate) struct Chunks {
    encoding: Encoding,
    text: Bytes,
    /// How much of the text has gone.
    at: usize,
    /// Data that has not begun.
    data: std::vec::IntoIter<(usize, Bytes)>,
    /// What is left of the data that has.
    rest: Bytes,
    /// Bytes that are left, encoded.
    left: usize,
}

impl Chunks {
    /// Bytes that are left.
    pub(crate) const fn left(&self) -> usize {
        self.left
    }

    /// Appends what is left of the data that has begun, as far as it fits.
    fn go_on(&mut self, out: &mut Vec<u8>) {
        let room = CHUNK.saturating_sub(out.len());
        let most = match self.encoding {
            // Three bytes are four letters: only the last may have a pad.
            Encoding::Json => room / 4 * 3,
            Encoding::Cbor => room,
        };
        let part = self.rest.split_to(self.rest.len().min(most));
        append(self.encoding, &part, out);
    }
}

impl Iterator for Chunks {
    type Item = Bytes;

    /// The next chunk: none is empty.
    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        if self.rest.is_empty() && self.data.as_slice().is_empty() {
            // No more than text: it needs no copy.
            self.left = 0;
            return Some(self.text.split_off(self.at));
        }
        let mut out = Vec::with_capacity(CHUNK.min(self.left));
        // A chunk has room for four letters, or it is full.
        while out.len() + 4 <= CHUNK {
            if !self.rest.is_empty() {
                self.go_on(&mut out);
                continue;
            }
            let until = self.data.as_slice().first().map_or(self.text.len(), |(place, _)| *place);
            let end = until.min(self.at + CHUNK - out.len());
            out.extend_from_slice(self.text.get(self.at..end).unwrap_or_default());
            self.at = end;
            if end < until {
                break;
            }
            match self.data.next() {
                Some((_, data)) => self.rest = data,
                None => break,
            }
        }
        self.left = self.left.saturating_sub(out.len());
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_are_the_whole(
            pieces in proptest::collection::vec((0..90_000usize, 0..90_000usize), 0..6),
            json: bool,
        ) {
            let encoding = if json { Encoding::Json } else { Encoding::Cbor };
            let make = || {
                let mut encoded = Encoded::with_capacity(encoding, 0, 0);
                for (text, data) in &pieces {
                    encoded.text.extend((0..*text).map(|n| b"text"[n % 4]));
                    encoded.data((0..*data).map(|n| b"some data"[n % 9]).collect());
                }
                encoded
            };
            let mut whole = Vec::new();
            make().append_to(&mut whole);
            prop_assert_eq!(make().len(), whole.len());
            let mut chunks = make().into_chunks();
            let mut joined = Vec::new();
            while chunks.left() > 0 {
                let chunk = chunks.next().unwrap();
                prop_assert!(!chunk.is_empty());
                joined.extend_from_slice(&chunk);
                prop_assert_eq!(chunks.left(), whole.len() - joined.len());
            }
            prop_assert!(chunks.next().is_none());
            prop_assert!(joined == whole);
        }
    }
}
