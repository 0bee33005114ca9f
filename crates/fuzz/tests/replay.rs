//! Replays the corpus of every target, and its seeds, on any toolchain: what
//! the fuzzer once found stays found. And changes them at random, for those
//! who have no fuzzer at hand.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use millrace_fuzz::{TARGETS, Target};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The seeds and the corpus of a target, each with a name.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target.name);
    let mut inputs: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    let seeds = (target.seeds)().into_iter().enumerate();
    inputs.extend(seeds.map(|(n, seed)| (format!("seed {n} of {}", target.name), seed)));
    inputs
}

fn survives(target: &Target, bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_ok()
}

/// Deterministic random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    /// Bytes that lengths and counts are made of, mostly.
    fn byte(&mut self) -> u8 {
        const LIKELY: [u8; 8] = [0, 0, 1, 2, 0x7f, 0x80, 0xfe, 0xff];
        if self.below(2) == 0 { LIKELY[self.below(8)] } else { self.below(256) as u8 }
    }

    /// `bytes` with a few changes; parts of `other` may come in.
    fn change(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(out.len());
            let to = (at + self.below(16)).min(out.len());
            match self.below(7) {
                0 => out.truncate(at),
                1 => drop(out.drain(at..to)),
                2 => drop(out.splice(at..at, other.iter().copied().skip(at).take(32))),
                3 => out.insert(at, self.byte()),
                4 => out[at..to].iter_mut().for_each(|byte| *byte = 0xff),
                _ if at < out.len() => out[at] = self.byte(),
                _ => {}
            }
        }
        out
    }
}

/// Changes inputs of every target for a time each; what broke.
fn search(time: Duration) -> Vec<String> {
    let mut broken = Vec::new();
    let wanted = std::env::var("FUZZ_TARGET").ok();
    for target in in_order() {
        if wanted.as_ref().is_some_and(|wanted| wanted != target.name) {
            continue;
        }
        let inputs = inputs(&target);
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let (start, mut rounds) = (Instant::now(), 0_u64);
        while start.elapsed() < time {
            let (name, bytes) = &inputs[random.below(inputs.len())];
            let other = &inputs[random.below(inputs.len())].1;
            let changed = random.change(bytes, other);
            rounds += 1;
            if !survives(&target, &changed) {
                broken.push(format!("{}, from {name}: {changed:02x?}", target.name));
                break;
            }
        }
        println!("{}: {rounds} inputs", target.name);
    }
    broken
}

/// What targets allocate is counted for the whole process: the one with
/// threads of its own comes last, and tests take turns.
fn in_order() -> Vec<Target> {
    let mut targets = TARGETS.to_vec();
    targets.sort_by_key(|target| target.name == "kafka_connection");
    targets
}

#[test]
fn every_corpus_file_is_survived() {
    let mut broken = Vec::new();
    for target in in_order() {
        let inputs = inputs(&target);
        broken.extend(inputs.into_iter().filter(|(_, b)| !survives(&target, b)).map(|(n, _)| n));
    }
    assert!(broken.is_empty(), "these inputs break their targets: {broken:#?}");
}

#[test]
#[ignore = "searches for minutes; run alone"]
fn changed_corpus_files_are_survived() {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(30, |text| text.parse().unwrap());
    let broken = search(Duration::from_secs(seconds));
    assert!(broken.is_empty(), "these inputs break their targets: {broken:#?}");
}

/// cargo-fuzz takes a target by the name of its file.
#[test]
fn every_target_has_its_file_and_its_corpus() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let files = |folder: &str| {
        let list = fs::read_dir(fuzz().join(folder)).unwrap();
        let mut names: Vec<String> = list
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files("fuzz_targets"), names);
    assert_eq!(files("corpus"), names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
    }
}
