//! How long a start takes: `cargo test --release -p millrace-store measure --
//! --ignored --nocapture`.

use std::time::Instant;

use super::*;
use crate::disk::os::OsDisk;

const PARTITIONS: u32 = 10_000;
const PRODUCERS: u32 = 20_000;

fn request(env: &TestEnv, disk: &Arc<OsDisk>, incarnation: u64) -> OpenRequest {
    OpenRequest {
        env: Arc::new(env.clone()),
        disk: Arc::clone(disk) as Arc<dyn Disk>,
        lock: Arc::new(DiskLock::new(())),
        options: EngineOptions { file_bytes: 64 << 20, ..EngineOptions::default() },
        incarnation: Incarnation(incarnation),
        log_id: [5; 16],
        catalog_is_new: incarnation == 1,
        hidden: BTreeMap::new(),
        synced: Synced::new(),
        progress: Arc::default(),
    }
}

#[test]
#[ignore = "takes a minute, and a release build"]
fn ten_thousand_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let env = TestEnv::new(1);
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    let engine = Engine::open(request(&env, &disk, 1)).unwrap().engine;
    let mut writer = WriterState::default();
    let partitions: Vec<_> = (0..PARTITIONS).map(|n| engine.open_nth_partition(TOPIC, n)).collect();
    let text = "x".repeat(8_000);
    let mut sequence = 0;
    while engine.stats().checkpoints.load(std::sync::atomic::Ordering::Relaxed) < 4 {
        for n in 0..PRODUCERS {
            let batch = producer_batch(i64::from(n), sequence, &text);
            let header = batch::check(&batch).unwrap();
            let partition = &partitions[(n % PARTITIONS) as usize];
            let append = engine.append(partition, &header, &batch, Class::Client, false);
            let mut append = Box::pin(append);
            while poll_once(&mut append).is_none() {
                engine.write_step(&mut writer);
                engine.maintain_step();
            }
            drop(append);
            if n % 512 == 0 {
                engine.write_step(&mut writer);
                env.advance(1_000);
                engine.maintain_step();
            }
        }
        sequence += 1;
    }
    engine.write_step(&mut writer);
    let bytes = engine.disk_usage();
    let producers = engine.producer_count();
    drop((engine, partitions));
    for (name, incarnation, close) in [("killed", 2, true), ("stopped", 3, false)] {
        let started = Instant::now();
        let opened = Engine::open(request(&env, &disk, incarnation)).unwrap();
        let took = started.elapsed();
        println!(
            "{name}: open in {took:?}; {} files read beside the checkpoint, {bytes:?} bytes \
             (all, live), {} producers",
            opened.files,
            opened.engine.producer_count(),
        );
        assert_eq!(opened.engine.producer_count(), producers);
        if close {
            let started = Instant::now();
            opened.engine.stop();
            opened.engine.close();
            println!("closed in {:?}", started.elapsed());
        }
    }
}
