//! How long a check takes, and what memory it needs. Not a test of anything:
//!
//!     cargo test --release -p millrace-history --test measure -- --ignored --nocapture

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufReader, Write as _};
use std::time::Instant;

use millrace_history::{Checker, Merge, Options, ReadError};

const RECORDS: u64 = 4_800_000;
const IN_A_POLL: u64 = 25;
const PARTITIONS: u64 = 8;

/// Ten million events: 4.8 million records sent and acknowledged, and read
/// by two readers, in polls of 25.
fn write(path: &std::path::Path) {
    let mut out = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut time = 0_u64;
    for reader in 0..2 {
        let logs: Vec<String> = (0..PARTITIONS).map(|p| format!("[\"t#1\",{p},0]")).collect();
        let logs = logs.join(",");
        writeln!(out, r#"{{"time":0,"process":"c{reader}","event":"assigned","logs":[{logs}]}}"#)
            .unwrap();
    }
    for first in (0..RECORDS).step_by(usize::try_from(IN_A_POLL * PARTITIONS).unwrap()) {
        for number in first..first + IN_A_POLL * PARTITIONS {
            time += 1000;
            let (partition, offset) = (number % PARTITIONS, number / PARTITIONS);
            writeln!(out, r#"{{"time":{time},"process":"p{partition}","event":"send","op":{number},"topic":"t#1","partition":{partition},"value":"p{partition}-{number}","idempotent":true}}"#).unwrap();
            writeln!(out, r#"{{"time":{time},"process":"p{partition}","event":"sent","op":{number},"offset":{offset}}}"#).unwrap();
        }
        for (reader, partition) in (0..2).flat_map(|r| (0..PARTITIONS).map(move |p| (r, p))) {
            let records: Vec<String> = (0..IN_A_POLL)
                .map(|index| first + index * PARTITIONS + partition)
                .map(|n| format!(r#"["t#1",{partition},{},"p{partition}-{n}"]"#, n / PARTITIONS))
                .collect();
            let records = records.join(",");
            writeln!(
                out,
                r#"{{"time":{time},"process":"c{reader}","event":"polled","records":[{records}]}}"#
            )
            .unwrap();
        }
    }
    out.flush().unwrap();
}

fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "takes a minute and a gigabyte"]
fn ten_million_events() {
    let path = std::env::temp_dir().join(format!("history-{}.jsonl", std::process::id()));
    write(&path);
    let begun = Instant::now();
    let mut checker = Checker::new(Options { dense: true, ..Options::default() });
    let file = BufReader::with_capacity(1 << 18, fs::File::open(&path).unwrap());
    let mut merge = Merge::new([("h".to_owned(), file)]).unwrap();
    let read = merge.each::<ReadError>(|event, _, _| {
        checker.event(event).unwrap();
        Ok(true)
    });
    fs::remove_file(&path).unwrap();
    read.unwrap();
    let report = checker.finish();
    assert!(report.is_clean(), "{:?}", report.totals);
    println!(
        "{} events, {} records read: {:.1} s, {} MB",
        report.counts.events,
        report.counts.records_read,
        begun.elapsed().as_secs_f64(),
        peak_bytes() / 1_000_000
    );
}
