//! Two endpoints in turn, and the ratios of the second to the first.
//!
//! Invariant: rounds go A B B A A B B A ..., so that a machine that slowly
//! gets slower favours neither; each ratio is of two rounds that stand beside
//! each other.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::report::{Phase, Report};

/// One figure of both endpoints.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Which phase it is of.
    pub phase: &'static str,
    /// Its name and unit.
    pub name: &'static str,
    /// Median of A's rounds.
    pub a: f64,
    /// Median of B's rounds.
    pub b: f64,
    /// Median of the ratios of B to A, each of two neighbouring rounds.
    pub ratio: f64,
    /// The smallest of these.
    pub ratio_min: f64,
    /// The largest.
    pub ratio_max: f64,
}

/// Both endpoints.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Address of the first.
    pub a: String,
    /// Address of the second.
    pub b: String,
    /// What was measured of both.
    pub figures: Vec<Figure>,
    /// A's rounds.
    pub a_rounds: Vec<Report>,
    /// B's rounds.
    pub b_rounds: Vec<Report>,
}

/// A figure of a phase: name with unit, digits to print, and where it is.
type Column = (&'static str, fn(&Phase) -> Option<f64>);

const COLUMNS: &[Column] = &[
    ("in, MB/s", |phase| positive(phase.mb_in_per_s)),
    ("in, records/s", |phase| positive(phase.records_in_per_s)),
    ("latency p50, ms", |phase| Some(phase.latency_ms?.p50)),
    ("latency p99, ms", |phase| Some(phase.latency_ms?.p99)),
    ("latency p99.9, ms", |phase| Some(phase.latency_ms?.p999)),
    ("out, MB/s", |phase| positive(phase.mb_out_per_s)),
    ("end to end p50, ms", |phase| Some(phase.end_to_end_ms?.p50)),
    ("end to end p99, ms", |phase| Some(phase.end_to_end_ms?.p99)),
    ("server CPU s/GB in", |phase| phase.server?.cost.cpu_s_per_gb_in),
    ("server CPU s/GB out", |phase| phase.server?.cost.cpu_s_per_gb_out),
    ("server requests/CPU s", |phase| positive(phase.server?.requests_per_cpu_s)),
    ("server anonymous peak, MB", |phase| Some(phase.server?.anonymous_peak_bytes as f64 / 1e6)),
    ("server bytes written per byte", |phase| phase.server?.disk_bytes_per_byte_in),
    ("generator CPU s", |phase| positive(phase.client.cpu_s)),
];

fn positive(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

/// Whether round `n` (from 0) of `2 * rounds` is B's.
pub(crate) const fn is_second(n: u32) -> bool {
    matches!(n % 4, 1 | 2)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or(f64::NAN);
    if sorted.len().is_multiple_of(2) {
        let lower = sorted.get(middle.saturating_sub(1)).copied().unwrap_or(f64::NAN);
        f64::midpoint(lower, upper)
    } else {
        upper
    }
}

fn figure(name: &'static str, phase: &'static str, pairs: &[(f64, f64)]) -> Figure {
    let a: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
    let b: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let ratios: Vec<f64> = pairs.iter().map(|(a, b)| b / a).collect();
    Figure {
        phase,
        name,
        a: median(&a),
        b: median(&b),
        ratio: median(&ratios),
        ratio_min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratio_max: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}

impl Comparison {
    /// Of rounds as they were run: the n-th of A stands beside the n-th of B.
    pub(crate) fn new(a: String, b: String, a_rounds: Vec<Report>, b_rounds: Vec<Report>) -> Self {
        let mut figures = Vec::new();
        let phases = a_rounds.first().map_or(0, |round| round.phases.len());
        for at in 0..phases {
            for (name, of) in COLUMNS {
                let value = |round: &Report| round.phases.get(at).and_then(of);
                let pairs: Option<Vec<(f64, f64)>> =
                    a_rounds.iter().zip(&b_rounds).map(|(a, b)| value(a).zip(value(b))).collect();
                let phase = a_rounds.first().and_then(|round| round.phases.get(at));
                if let (Some(pairs), Some(phase)) = (pairs, phase) {
                    figures.push(figure(name, phase.name, &pairs));
                }
            }
        }
        Self { a, b, figures, a_rounds, b_rounds }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "A {}, B {}; {} rounds each", self.a, self.b, self.b_rounds.len())?;
        writeln!(f, "{:<32} {:>12} {:>12} {:>8}  (from-to)", "", "A", "B", "B/A")?;
        let mut phase = "";
        for figure in &self.figures {
            if figure.phase != phase {
                phase = figure.phase;
                writeln!(f, "{phase}")?;
            }
            let Figure { name, a, b, ratio, ratio_min, ratio_max, .. } = figure;
            writeln!(
                f,
                "  {name:<30} {a:>12.2} {b:>12.2} {ratio:>8.2}  ({ratio_min:.2}-{ratio_max:.2})"
            )?;
        }
        for round in self.a_rounds.iter().chain(&self.b_rounds) {
            for verified in round.verified.iter().filter(|verified| !verified.is_clean) {
                write!(f, "{}: {verified}", round.endpoint)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_mirror_each_other() {
        let order: String = (0..8).map(|n| if is_second(n) { 'B' } else { 'A' }).collect();
        assert_eq!(order, "ABBAABBA");
    }

    #[test]
    fn a_ratio_is_of_neighbours_and_says_its_spread() {
        let figure = figure("x", "produce", &[(10.0, 5.0), (20.0, 8.0), (10.0, 6.0)]);
        assert_eq!((figure.a, figure.b), (10.0, 6.0));
        assert_eq!((figure.ratio, figure.ratio_min, figure.ratio_max), (0.5, 0.4, 0.6));
        assert_eq!(median(&[1.0, 2.0, 4.0, 8.0]), 3.0);
    }
}
