//! Feeds every request decoder with bytes that mean harm: it must not panic,
//! and must not take more memory than the table charges for
//! (`Api::amplification`).
//!
//! The worst inputs are arrays of the smallest elements; they are searched for
//! by changing what was worst so far. `--ignored` searches for minutes instead
//! of a second and prints what it finds. One test in this file at a time: the
//! allocator counts for the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_kafka::api::{Api, TABLE};
use millrace_kafka::codec::{ApiKey, DECODERS, DecodeAndDrop};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The decoder of an API's requests: that of module `list_offsets_request` for
/// ListOffsets.
fn decoder(api: &Api) -> DecodeAndDrop {
    let mut module = String::new();
    for letter in api.name().chars() {
        if letter.is_uppercase() && !module.is_empty() {
            module.push('_');
        }
        module.extend(letter.to_lowercase());
    }
    module.push_str("_request");
    DECODERS.iter().find(|(name, _)| *name == module).unwrap().1
}

/// Deterministic random numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % below
    }

    /// Bytes that lengths are made of, mostly.
    fn byte(&mut self) -> u8 {
        const LIKELY: &[u8] = &[0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 8, 16, 0x7f, 0x80, 0xff, 0xff];
        if self.next(8) == 0 { self.next(256) as u8 } else { LIKELY[self.next(LIKELY.len())] }
    }
}

/// A body: a beginning, and then the same few bytes over and over.
#[derive(Clone, Debug)]
struct Body {
    start: Vec<u8>,
    again: Vec<u8>,
}

impl Body {
    fn random(random: &mut Random) -> Self {
        let start = (0..random.next(24)).map(|_| random.byte()).collect();
        let again = (0..1 + random.next(12)).map(|_| random.byte()).collect();
        Self { start, again }
    }

    fn changed(&self, random: &mut Random) -> Self {
        let mut body = self.clone();
        for _ in 0..1 + random.next(3) {
            let part = if random.next(2) == 0 { &mut body.start } else { &mut body.again };
            let at = random.next(part.len() + 1);
            match random.next(4) {
                // A count of millions, compact or not.
                0 => drop(part.splice(at..at, [0xff, 0xff, 0xff, 0x07])),
                1 => part.insert(at, random.byte()),
                2 if at < part.len() => drop(part.remove(at)),
                _ if at < part.len() => part[at] = random.byte(),
                _ => {}
            }
        }
        if body.again.is_empty() {
            body.again.push(0);
        }
        body
    }

    fn bytes(&self, len: usize) -> Bytes {
        self.start.iter().chain(self.again.iter().cycle()).take(len).copied().collect()
    }
}

/// Memory that decoding took beside the body, at most, in bytes.
fn memory(decode: DecodeAndDrop, version: i16, body: &Bytes) -> usize {
    let mut body = body.clone();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    // Whether it parses does not matter.
    drop(decode(&mut body, version));
    MEMORY.peak_usage().saturating_sub(before)
}

fn search(rounds: usize) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    // Produce decodes by itself, and allocates nothing.
    for api in TABLE.iter().filter(|api| api.key != ApiKey::Produce) {
        let decode = decoder(api);
        let mut worst = BTreeMap::new();
        for version in api.min..=api.max {
            for len in [60, 1000, 10_000, 200_000] {
                let rounds = if len > 10_000 { rounds / 10 } else { rounds };
                let mut best = (0, Body::random(&mut random));
                for round in 0..rounds {
                    let body = match round % 3 {
                        0 => Body::random(&mut random),
                        _ => best.1.changed(&mut random),
                    };
                    let found = memory(decode, version, &body.bytes(len));
                    if found >= best.0 {
                        best = (found, body);
                    }
                }
                let (found, body) = best;
                let charged = api.memory(len);
                assert!(found <= charged, "{api:?} v{version}: {found} for {len} of {body:02x?}");
                let seen = worst.entry(len).or_insert(0);
                *seen = found.max(*seen);
            }
        }
        let worst = worst.into_iter().map(|(len, found)| format!("{len}: x{}", found / len));
        println!("{:?} {}", api.key, worst.collect::<Vec<_>>().join(", "));
    }
}

#[test]
fn decoding_takes_no_more_memory_than_is_charged() {
    search(40);
}

#[test]
#[ignore = "searches for minutes; run alone"]
fn decoding_takes_no_more_memory_than_is_charged_at_length() {
    search(5_000);
}
