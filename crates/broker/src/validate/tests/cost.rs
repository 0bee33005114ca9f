//! What looking inside costs: the figures of docs/perf come from here.

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};

use super::*;

const CODECS: [(&str, Codec); 10] = [
    ("uncompressed", Codec::None),
    ("gzip 1", Codec::Gzip { level: 1 }),
    ("gzip 6", Codec::Gzip { level: 6 }),
    ("gzip 9", Codec::Gzip { level: 9 }),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd 1", Codec::Zstd { level: 1 }),
    ("zstd 3", Codec::Zstd { level: 3 }),
    ("zstd 9", Codec::Zstd { level: 9 }),
    ("zstd 19", Codec::Zstd { level: 19 }),
];

/// CPU time of this thread, in ns.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// The least of five averages, in ns.
fn cost(work: impl Fn()) -> u64 {
    const ROUNDS: u64 = 200;
    let average = |_| {
        let begun = cpu_ns();
        (0..ROUNDS).for_each(|_| work());
        (cpu_ns() - begun) / ROUNDS
    };
    (0..5).map(average).min().unwrap()
}

/// Records of 1 KB that look like logs: words of a small vocabulary, numbers.
fn lines(count: usize) -> Vec<u8> {
    let words = ["GET", "POST", "/api/v1/orders", "/api/v1/users", "status=200", "status=404"];
    let mut random = 1_u64;
    let mut draw = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(random >> 40).unwrap()
    };
    let mut line = || {
        let mut line = String::new();
        while line.len() < 1_000 {
            line.push_str(words[draw() % words.len()]);
            line.push_str(&format!(" {} ", draw()));
        }
        line.truncate(1_000);
        line
    };
    plain(&(0..count).map(|_| line()).collect::<Vec<_>>())
}

#[test]
#[ignore = "measures; docs/perf/0004 says how to run it"]
fn of_looking_inside() {
    let kept = TopicConfig::default();
    for plain in [lines(16), lines(62)] {
        let whole = batch::check(&plain).unwrap();
        println!("{} bytes; in ns of CPU time:", plain.len());
        for (name, codec) in CODECS {
            let sent = encoded(&plain, codec);
            let header = batch::check(&sent).unwrap();
            let checking = cost(|| assert!(black_box(batch::check(&sent)).is_ok()));
            let inside = cost(|| {
                let body = records::body(&header, &sent, DECODED_MAX).unwrap();
                assert_eq!(judged(&kept, NOW, &header, &sent, &body), Ok(None));
            });
            let mut anew = kept.clone();
            anew.compression = Some(codec);
            let compressing = cost(|| {
                let judged = judged(&anew, NOW, &whole, &plain, &plain[HEADER_LEN..]);
                assert!(black_box(judged).is_ok());
            });
            println!(
                "{name:14} {:6} bytes: header {checking:6}, full + {inside:8}, compressing {compressing:9}",
                sent.len()
            );
        }
    }
}
