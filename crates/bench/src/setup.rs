//! What happens before the load: the topic and its leaders, versions, where
//! readers begin, producer ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::batch::{Filler, ProducerId, STAMP_LEN, Sizes, Template};
use crate::cluster::{Routes, Topic};
use crate::control::{Control, Described};
use crate::error::BenchError;
use crate::numbers;
use crate::options::{BenchArgs, Read};
use crate::shared::Given;
use crate::{fetch, produce};

/// How long a cluster may take to make a topic or to find a leader.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Partitions of a topic that is created, if nobody says.
const PARTITIONS_DEFAULT: u32 = 6;
/// Kafka's names of the first and the next offset.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// A run that can begin.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) given: Given,
    pub(crate) control: Control,
    /// The topic was made for this run alone.
    pub(crate) is_own_topic: bool,
    pub(crate) producers: Vec<ProducerId>,
    /// Where readers begin, by partition.
    pub(crate) starts: Vec<i64>,
    /// Where they end, if what they read was there before.
    pub(crate) targets: Option<Vec<i64>>,
}

/// Prepares a run.
pub(crate) fn prepare(
    endpoint: &str,
    options: &BenchArgs,
    stop: &AtomicBool,
) -> Result<Prepared, BenchError> {
    let run = random()?;
    let mut control = Control::connect(endpoint)?;
    let produce_version =
        control.version(produce::KEY, produce::VERSIONS.0, produce::VERSIONS.1)?;
    let fetch_version = control.version(fetch::KEY, fetch::VERSIONS.0, fetch::VERSIONS.1)?;
    let own_name = format!("millrace-bench-{run:08x}");
    let name = options.topic.as_deref().unwrap_or(&own_name);
    let described = topic(&mut control, name, options, stop)?;
    let Described { topic, routes } = described;

    let begin = if options.read == Read::Old { EARLIEST } else { LATEST };
    let ends = offsets(&topic, &routes, LATEST, stop)?;
    let (starts, targets) = if options.readers == 0 || begin == LATEST {
        (ends.clone(), None)
    } else {
        (offsets(&topic, &routes, begin, stop)?, Some(ends.clone()))
    };
    if targets.as_ref().is_some_and(|targets| *targets == starts) {
        return Err(BenchError::Topic(format!(
            "topic {name} is empty: there is nothing to read; run with --topic {name} and producers first"
        )));
    }
    let mut producers = Vec::new();
    for _ in 0..options.producers {
        producers.push(if options.is_idempotent() {
            patiently("give a producer id", stop, || control.producer_id())?
        } else {
            ProducerId::NONE
        });
    }
    let filler = Arc::new(Filler::new(options.record_bytes.saturating_sub(STAMP_LEN)));
    let sizes = Sizes {
        record: options.record_bytes,
        keyed: options.keys > 0,
        batch: options.batch_bytes,
        records_max: options.batch_records.unwrap_or(usize::MAX),
    };
    let template = Arc::new(Template::new(run, sizes, &filler, options.compression.into()));
    let options = options.clone();
    let given = Given {
        options,
        run,
        topic,
        filler,
        template,
        produce_version,
        fetch_version,
        routes,
        ends,
    };
    let is_own_topic = given.options.topic.is_none();
    Ok(Prepared { given, control, is_own_topic, producers, starts, targets })
}

pub(crate) fn random() -> Result<u32, BenchError> {
    getrandom::u32().map_err(|error| BenchError::System {
        what: "get random bytes".to_owned(),
        why: std::io::Error::other(error.to_string()),
    })
}

/// Asks again until there is an answer.
fn patiently<T>(
    what: &str,
    stop: &AtomicBool,
    mut ask: impl FnMut() -> Result<Option<T>, BenchError>,
) -> Result<T, BenchError> {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(BenchError::Stalled("stopped before the load began".to_owned()));
        }
        if since.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(BenchError::Stalled(format!(
                "the server did not {what} within {seconds} s; look at its log"
            )));
        }
        thread::sleep(PAUSE);
    }
}

/// Finds the topic, or makes it.
fn topic(
    control: &mut Control,
    name: &str,
    options: &BenchArgs,
    stop: &AtomicBool,
) -> Result<Described, BenchError> {
    let has_leaders = |described: &Described| {
        !described.routes.leaders.is_empty() && described.routes.leaders.iter().all(|l| *l >= 0)
    };
    let found = if options.topic.is_some() { control.describe(name)? } else { None };
    if found.is_none() {
        if options.producers == 0 || (options.read == Read::Old && options.readers > 0) {
            return Err(BenchError::Topic(format!(
                "there is no topic {name} to read; write one with --topic {name} and producers first"
            )));
        }
        control.create(name, options.partitions.unwrap_or(PARTITIONS_DEFAULT))?;
    }
    let described = match found.filter(has_leaders) {
        Some(described) => described,
        None => patiently("find a leader for each partition", stop, || {
            Ok(control.describe(name)?.filter(has_leaders))
        })?,
    };
    let partitions = described.routes.leaders.len();
    match options.partitions.map(numbers::index) {
        Some(wanted) if wanted != partitions => Err(BenchError::Topic(format!(
            "topic {name} has {partitions} partitions, not {wanted}; choose another --topic or leave --partitions out"
        ))),
        _ => Ok(described),
    }
}

/// The first or next offset of every partition, from their leaders.
fn offsets(
    topic: &Topic,
    routes: &Routes,
    timestamp: i64,
    stop: &AtomicBool,
) -> Result<Vec<i64>, BenchError> {
    let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (place, leader) in routes.leaders.iter().enumerate() {
        let index = i32::try_from(place).unwrap_or(i32::MAX);
        by_leader.entry(*leader).or_default().push(index);
    }
    let mut offsets = vec![0; routes.leaders.len()];
    for (leader, partitions) in by_leader {
        let Some(address) = routes.addresses.get(&leader) else { continue };
        let mut control = Control::connect(&address.to_string())?;
        let ask = || control.offsets(&topic.name, &partitions, timestamp);
        for (index, offset) in patiently("tell offsets", stop, ask)? {
            let place = usize::try_from(index).ok();
            if let Some(place) = place.and_then(|place| offsets.get_mut(place)) {
                *place = offset;
            }
        }
    }
    Ok(offsets)
}
