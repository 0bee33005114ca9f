//! Footers that rot in files which checkpoints list: what else the file holds
//! stands in for them.

use millrace_log::frame::{FileKind, Trailer};

use super::{checks::check_disk, *};
use crate::{
    check::FindingKind,
    disk::{Access, Mode},
    repair::{give_up, skips_of},
};

const POSITIONS: [Part; 3] = [Part::Extents, Part::Directory, Part::Trailer];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Extents,
    Directory,
    Trailer,
}

/// What partitions 0 to 2 have, from which offset on.
struct Filled {
    world: World,
    texts: [Vec<String>; 3],
    starts: [i64; 3],
}

/// Files that two checkpoints list, rewritten ones among them.
fn filled() -> Filled {
    let mut filled =
        Filled { world: World::small_files(), texts: Default::default(), starts: [0; 3] };
    filled.rounds(12, [30_000, 2000, 2000]);
    // Most of it dies: the rest is rewritten.
    filled.cut(0, 12);
    filled.rounds(12, [9000; 3]);
    filled.world.maintain();
    filled.world.crash(POWER_CUT);
    filled
}

impl Filled {
    fn rounds(&mut self, rounds: usize, lengths: [usize; 3]) {
        for _ in 0..rounds {
            for (number, (texts, len)) in (0..).zip(self.texts.iter_mut().zip(lengths)) {
                let text = format!("{number}-{}-{}", texts.len(), "x".repeat(len));
                self.world.append(number, &text_batch(&text)).unwrap();
                texts.push(text);
            }
            self.world.commit();
        }
        self.world.maintain();
    }

    fn cut(&mut self, number: usize, start: i64) {
        let dead = usize::try_from(start - self.starts[number]).unwrap();
        self.world.move_log_start(u32::try_from(number).unwrap(), start).unwrap();
        self.texts[number].drain(..dead);
        self.starts[number] = start;
        self.world.maintain();
    }

    fn check_all(&self, context: &str) {
        for (number, texts) in (0..).zip(&self.texts) {
            let start = self.starts[usize::try_from(number).unwrap()];
            let read = self.world.read_to_end(number, start).unwrap();
            assert!(read == *texts, "{context}: {} of {} are there", read.len(), texts.len());
        }
    }

    /// Sealed files of a kind that are listed and have spans.
    fn files(&self, kind: FileKind) -> Vec<String> {
        let engine = &self.world.engine;
        let listed = engine.housekeeping.lock().checkpoints.kept.last().unwrap().files.clone();
        let files = engine.files.all().into_iter().filter(|file| listed.contains(&file.id));
        files.filter(|file| file.kind == kind).map(|file| file.name.clone()).collect()
    }

    fn rot(&self, name: &str, part: Part) {
        let disk = &self.world.disk;
        let companion = name.replace(".wal", ".companion");
        let name = if self.world.names(&companion).is_empty() { name } else { &companion };
        let file = disk.open(name, Access::Read, Mode::Buffered).unwrap();
        let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        let trailer = Trailer::decode(&bytes, bytes.len() as u64).unwrap();
        let position = match part {
            Part::Extents => trailer.table_position + 36,
            Part::Directory => trailer.directory_range().start + 30,
            Part::Trailer => bytes.len() as u64 - 100,
        };
        disk.rot(name, position, 2);
    }

    fn restart(&mut self) {
        self.world.crash(POWER_CUT);
        (0..3).for_each(|number| drop(self.world.partition(number)));
        self.world.engine.all_opened().unwrap();
    }
}

#[test]
fn nothing_is_lost_with_a_footer() {
    for kind in [FileKind::Wal, FileKind::Sorted] {
        for part in POSITIONS {
            let mut filled = filled();
            let names = filled.files(kind);
            assert!(!names.is_empty(), "{kind:?}: {:?}", filled.world.disk.list());
            let context = format!("{part:?} of {names:?}");
            names.iter().for_each(|name| filled.rot(name, part));
            filled.restart();
            filled.check_all(&context);
            filled.world.engine.idle_step(&mut filled.world.writer);
            filled.world.disk = filled.world.disk.crash(POWER_CUT);
            let (findings, _) = check_disk(&filled.world.env, &filled.world.disk);
            let kinds: Vec<_> = findings.iter().map(|finding| finding.kind).collect();
            assert_eq!(kinds, vec![FindingKind::Footer; names.len()], "{context}: {findings:?}");
            assert!(findings.iter().all(|finding| finding.lost.is_empty()), "{findings:?}");
            filled.restart();
            // A rewriting needs it too, and makes it good.
            (0..3).for_each(|number| filled.cut(number, 20));
            filled.rounds(4, [9000; 3]);
            filled.check_all(&context);
            filled.restart();
            filled.check_all(&context);
        }
    }
}

#[test]
fn what_only_the_footer_told_is_corrupt_and_can_be_given_up() {
    let mut filled = filled();
    // Whose the rest of a rewritten file is cannot be told without its
    // directory, once a partition in it is gone.
    filled.cut(1, 24);
    let names = filled.files(FileKind::Sorted);
    let name = names.first().unwrap().clone();
    filled.rot(&name, Part::Directory);
    filled.restart();
    let corrupt = filled.world.read_to_end(2, 0).unwrap_err();
    let ReadError::Corrupt { file, first, last, .. } = corrupt else { panic!("{corrupt}") };
    assert!(name.starts_with(&format!("{:020}.", file.get())), "{corrupt}");
    filled.world.engine.idle_step(&mut filled.world.writer);
    filled.world.disk = filled.world.disk.crash(POWER_CUT);
    let (findings, _) = check_disk(&filled.world.env, &filled.world.disk);
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!((finding.kind, &finding.file), (FindingKind::Footer, &name));
    let of_2 = finding.lost.iter().find(|lost| lost.partition == filled.world.partition(2).id());
    assert_eq!(of_2.map(|lost| (lost.first, lost.end)), Some((first, last.checked_add(1))));
    give_up(&filled.world.disk, [5; 16], &skips_of(finding).unwrap()).unwrap();
    for _ in 0..3 {
        filled.restart();
        for number in [0, 2] {
            let partition = filled.world.partition(number);
            let mut at = filled.starts[usize::try_from(number).unwrap()];
            let mut read = Vec::new();
            while at < filled.world.high_watermark(number) {
                let texts = filled.world.read(number, at).unwrap();
                let given_up = partition.lock().given_up.clone();
                let behind = given_up.iter().find(|(range, _)| range.first.get() <= at);
                let from = behind.map_or(at, |(range, _)| at.max(range.end.get()));
                at = from + i64::try_from(texts.len()).unwrap();
                read.extend(texts);
            }
            let lost = finding.lost.iter().filter(|lost| lost.partition == partition.id());
            let lost: u64 = lost.map(|lost| lost.end.unwrap().since(lost.first)).sum();
            let texts = &filled.texts[usize::try_from(number).unwrap()];
            assert_eq!(read.len() + usize::try_from(lost).unwrap(), texts.len());
        }
        filled.world.maintain();
    }
}

#[test]
fn frames_that_rotted_with_the_footer_are_corrupt() {
    let mut filled = filled();
    let name = filled.files(FileKind::Wal).first().unwrap().clone();
    filled.rot(&name, Part::Directory);
    let file = filled.world.disk.open(&name, Access::ReadWrite, Mode::Buffered).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let headers = (0..bytes.len()).step_by(crate::BLOCK);
    let frame = headers
        .filter_map(|at| millrace_log::frame::FrameHeader::peek(&bytes[at..]).ok())
        .nth(1)
        .unwrap();
    for at in [frame.position, frame.end() - crate::BLOCK as u64] {
        file.write_at(at, &[std::io::IoSlice::new(&[0xee; crate::BLOCK])]).unwrap();
    }
    file.sync().unwrap();
    filled.restart();
    let corrupt: Vec<_> =
        (0..3).filter_map(|number| filled.world.read_to_end(number, 12).err()).collect();
    assert_eq!(corrupt.len(), 3);
    for error in corrupt {
        assert!(
            matches!(error, ReadError::Corrupt { byte, .. } if byte == frame.position),
            "{error}"
        );
    }
}
