//! A few seeds of each build: the many are run in release (CONTRIBUTING.md).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use millrace_sim::{TraceTo, run};

/// Runs seeds, half of them on a thread of their own.
fn check(seeds: std::ops::Range<u64>) {
    let half = |odd: u64| {
        for seed in seeds.clone().filter(|seed| seed % 2 == odd) {
            let report = run(seed, TraceTo::Hash);
            assert!(
                report.violations.is_empty(),
                "seed {seed}: {:#?}\nagain: cargo run --release -p millrace-sim -- --seed {seed} --trace",
                report.violations
            );
            assert!(report.counts.acked > 0 && report.counts.read > 0, "seed {seed} did nothing");
        }
    };
    std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        half(0);
        odd.join().unwrap();
    });
}

#[test]
fn nothing_is_lost_whatever_breaks() {
    check(0..24);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 5] {
        let (first, second) = (run(seed, TraceTo::Memory), run(seed, TraceTo::Memory));
        let (first, second) = (first.text.unwrap(), second.text.unwrap());
        let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn other_seeds_give_other_traces() {
    assert_ne!(run(2, TraceTo::Hash).trace, run(3, TraceTo::Hash).trace);
}
