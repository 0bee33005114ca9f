//! A busy log that dies at any operation of its disk: what was acknowledged is
//! there, what was deleted stays deleted.

use std::io::IoSlice;

use millrace_log::frame::{self, FrameHeader};

use super::*;
use crate::{
    disk::{Access, Mode},
    engine::OpenError,
    env::testing::split_mix,
};

/// What the clients of the log were told.
#[derive(Clone, Default)]
struct Told {
    /// Acknowledged texts of each partition, by offset.
    texts: [Vec<String>; 3],
    log_starts: [i64; 3],
    /// Acknowledged links of the chain.
    links: u64,
}

impl Told {
    /// Does something at random. `None` once the log has failed.
    fn act(&mut self, world: &mut World, random: &mut u64) -> Option<()> {
        let number = u32::try_from(split_mix(random) % 3).unwrap();
        let at = usize::try_from(number).unwrap();
        match split_mix(random) % 10 {
            0..7 => {
                // Partition 2 is small and kept for ever.
                let size = if number == 2 { 10 } else { 6000 };
                let text = format!("{number}-{}-{}", self.texts[at].len(), "x".repeat(size));
                let appended = world.append(number, &text_batch(&text)).ok()?;
                world.commit();
                let durable = poll_once(&mut Box::pin(world.engine.durable(appended.lsn)));
                matches!(durable, Some(Ok(()))).then_some(())?;
                self.texts[at].push(text);
            }
            7..9 if number != 2 => {
                let end = i64::try_from(self.texts[at].len()).unwrap();
                world.move_log_start(number, end - 1).ok()?;
                self.log_starts[at] = self.log_starts[at].max(end - 1);
            }
            7..9 => {
                world.link(self.links).ok()?;
                self.links += 1;
            }
            _ => {
                world.env.advance(11_000);
                world.engine.maintain_step();
            }
        }
        (!world.engine.is_ended()).then_some(())
    }

    fn check(&self, world: &World, context: &str) {
        let links = world.chain.links(context);
        assert!(links >= self.links, "{context}: {links} of {} links are left", self.links);
        for number in 0..3u32 {
            let at = usize::try_from(number).unwrap();
            let offsets = world.partition(number).offsets();
            let start = offsets.log_start.get();
            assert!(start >= self.log_starts[at], "{context}: the log start of {number} went back");
            let read = world
                .read_to_end(number, start)
                .unwrap_or_else(|error| panic!("{context}: partition {number}: {error}"));
            // What was under way when it failed may be there as well.
            let from = usize::try_from(start).unwrap().min(self.texts[at].len());
            let told = &self.texts[at][from..];
            assert!(read.len() >= told.len(), "{context}: partition {number} lost records");
            assert_eq!(&read[..told.len()], told, "{context}: partition {number}");
            assert!(world.partition(number).quarantined().is_empty(), "{context}");
        }
    }

    /// Takes over what was not acknowledged and is there.
    fn look(&mut self, world: &World) {
        self.links = world.chain.links("now");
        for number in 0..3u32 {
            let at = usize::try_from(number).unwrap();
            let start = world.partition(number).offsets().log_start.get();
            self.log_starts[at] = start;
            self.texts[at].truncate(usize::try_from(start).unwrap());
            self.texts[at].resize(usize::try_from(start).unwrap(), String::new());
            self.texts[at].extend(world.read_to_end(number, start).unwrap());
        }
    }
}

/// A busy log: `actions` at random, on files so small that they are sealed,
/// rewritten and deleted all the time.
fn busy(seed: u64, actions: usize) -> (World, Told, u64) {
    let options =
        EngineOptions { file_bytes: 32 << 10, reserve_bytes: 64 << 10, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::new(seed));
    let mut told = Told::default();
    let mut random = seed;
    for _ in 0..actions {
        told.act(&mut world, &mut random).unwrap();
    }
    (world, told, random)
}

#[test]
fn a_busy_log_deletes_rewrites_and_keeps_its_word() {
    let (mut world, mut told, mut random) = busy(3, 250);
    let stats = world.engine.stats();
    let figures = [&stats.checkpoints, &stats.files_deleted, &stats.files_rewritten]
        .map(|figure| figure.load(std::sync::atomic::Ordering::Relaxed));
    assert!(figures.iter().all(|figure| *figure > 1), "{figures:?}");
    for crash in [POWER_CUT, Crash::Kill, Crash::PowerCut(Unsynced::Torn)].repeat(4) {
        told.check(&world, "before");
        world.crash(crash);
        told.check(&world, &format!("{crash:?}"));
        told.look(&world);
        for _ in 0..40 {
            told.act(&mut world, &mut random).unwrap();
        }
    }
}

/// Lets a busy log fail at its n-th operation, by `fail`, for one of `stride`
/// operations, and checks what the next start finds.
fn fail_everywhere(stride: u64, fail: impl Fn(&mut World, u64) -> Option<Crash>) {
    let mut nth = 1;
    loop {
        let (mut world, mut told, mut random) = busy(7, 60);
        // Every file's death and every checkpoint is among what follows.
        let from = world.disk.operations();
        let crash = fail(&mut world, nth);
        let mut done = 0;
        while done < 50 && told.act(&mut world, &mut random).is_some() {
            done += 1;
        }
        let context = format!("operation {nth}, {crash:?}");
        let over = world.disk.operations() - from < nth;
        match crash {
            Some(crash) => world.crash(crash),
            None => {
                world.disk.heal();
                if world.engine.is_ended() {
                    let synced = world.engine.synced();
                    world.reopen(synced).unwrap();
                }
            }
        }
        told.check(&world, &context);
        told.look(&world);
        for _ in 0..10 {
            told.act(&mut world, &mut random).unwrap_or_else(|| panic!("{context}: it ended"));
        }
        world.crash(POWER_CUT);
        told.check(&world, &context);
        if over {
            return;
        }
        nth += stride;
    }
}

#[test]
fn a_process_killed_at_any_operation_keeps_its_word() {
    fail_everywhere(7, |world, nth| {
        world.disk.stop_at_nth(nth);
        Some(Crash::Kill)
    });
}

#[test]
fn a_power_cut_at_any_operation_keeps_its_word() {
    for (stride, unsynced) in [(7, Unsynced::Lost), (5, Unsynced::Torn), (11, Unsynced::Kept)] {
        fail_everywhere(stride, |world, nth| {
            world.disk.stop_at_nth(nth);
            Some(Crash::PowerCut(unsynced))
        });
    }
}

#[test]
fn a_disk_that_fails_once_keeps_its_word() {
    for (stride, fault) in [(7, Fault::Io), (9, Fault::Full)] {
        fail_everywhere(stride, |world, nth| {
            world.disk.fail_nth(nth, fault);
            None
        });
    }
}

/// Found by the fuzz target `directory`: it panicked where the companion was
/// written.
#[test]
fn frames_that_contradict_each_other_are_refused() {
    let mut world = World::new();
    world.put(0, &["a"]);
    world.put(0, &["b"]);
    let name = world.engine.gather.lock().gather.file().name.clone();
    world.disk = world.disk.crash(POWER_CUT);
    {
        let file = world.disk.open(&name, Access::ReadWrite, Mode::Buffered).unwrap();
        let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        let mut at = crate::BLOCK;
        while let Ok(header) = FrameHeader::peek(&bytes[at..]) {
            let (_, mut extents) = frame::decode_front(&bytes[at..], header.seed()).unwrap();
            // Each says that it holds the partition's first offset.
            extents.iter_mut().for_each(|extent| extent.base_offset = Offset(0));
            let front = &mut bytes[at..at + header.front_len as usize];
            frame::encode_front(&header, &extents, front);
            at += header.frame_len as usize;
        }
        file.write_at(0, &[IoSlice::new(&bytes)]).unwrap();
    }
    world.lock = Arc::new(world.disk.lock().unwrap());
    let refused = world.reopen(Synced::new());
    assert!(matches!(refused, Err(OpenError::Format { .. })), "{refused:?}");
}

#[test]
fn a_frame_of_thousands_of_batches_is_recovered() {
    // Its tables are longer than a block of memory.
    let batches = crate::blocks::BLOCK_BYTES / 70;
    let options = EngineOptions { flush: Flush::Os, ..EngineOptions::default() };
    let mut world = World::with(options, MemDisk::new(1));
    for _ in 0..batches {
        world.append(0, &text_batch("x")).unwrap();
    }
    world.commit();
    world.crash(Crash::Kill);
    assert_eq!(usize::try_from(world.high_watermark(0)).unwrap(), batches);
    assert_eq!(world.read_to_end(0, 0).unwrap().len(), batches);
}

/// Found by the fuzz target `directory`: the companion told where the file
/// begins, and the second start did not ask it.
#[test]
fn a_rotten_file_header_is_no_missing_file() {
    let mut world = World::new();
    world.put(0, &["a", "b"]);
    let name = world.engine.gather.lock().gather.file().name.clone();
    world.disk.rot(&name, 0, 7);
    for _ in 0..3 {
        world.crash(POWER_CUT);
        assert_eq!(world.read(0, 0).unwrap(), ["a", "b"]);
    }
}

/// A power cut may leave a footer's trailer and not what stands before it, if
/// they lie in different sectors.
#[test]
fn a_footer_of_which_the_end_alone_arrived_is_not_believed() {
    let mut world = World::small_files();
    let texts: Vec<String> = (0..40).map(|n| format!("{n}-{}", "x".repeat(1500))).collect();
    for text in &texts {
        world.put(0, &[text]);
    }
    let sealed =
        world.engine.files.all().into_iter().filter(|file| file.is_sealed()).max_by_key(|f| f.id);
    let sealed = sealed.unwrap();
    // The first byte of the footer is an extent's.
    world.disk.rot(&sealed.name, sealed.data_end(), 3);
    world.crash(POWER_CUT);
    assert_eq!(world.read_to_end(0, 0).unwrap(), texts);
    assert!(world.partition(0).quarantined().is_empty());
}
