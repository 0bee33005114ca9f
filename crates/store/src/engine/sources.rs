//! What a start has to read besides its checkpoint: younger files by their
//! footers, and the file whose writer died by its frames.
//!
//! Invariants: what is unlinked here is listed by no kept checkpoint and older
//! than the base, half made, or a rewritten file that no checkpoint lists; a
//! log whose beginning is missing is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use millrace_log::frame::{self, Extent, FileHeader, FileKind, Footer, FooterInfo};
use millrace_types::{FileId, Incarnation, Lsn};

use super::{
    Progress,
    files::{self, LogFile},
    reader::read_aligned,
    recovery::{OpenError, OpenRequest},
    restore::Base,
    scan::{self, Hole},
    sequential,
};
use crate::{
    BLOCK,
    disk::{Access, Disk, Mode},
};

/// One file's part of the log, as recovery found it.
pub(super) struct Source {
    pub(super) file: Arc<LogFile>,
    pub(super) incarnation: Incarnation,
    /// What counts, in an order in which each partition's offsets rise.
    pub(super) extents: Vec<Extent>,
    pub(super) holes: Vec<Hole>,
    /// Set where the file has no footer yet.
    pub(super) dead: Option<Dead>,
    /// The first frame, as the file's header says.
    pub(super) header_lsn: Option<Lsn>,
    /// It ends with a footer of its own, whole or not.
    pub(super) was_sealed: bool,
}

/// A file whose writer died.
pub(super) struct Dead {
    pub(super) frames: Vec<scan::Found>,
    pub(super) synced_to: u64,
}

/// The names of a directory, without what a dead process left half made.
pub(super) fn clean_names(
    disk: &dyn Disk,
    request: &OpenRequest,
) -> Result<BTreeSet<String>, OpenError> {
    let mut names: BTreeSet<String> = disk.list()?.into_iter().collect();
    if request.catalog_is_new
        && let Some(name) = names.iter().find(|name| super::is_log_file(name))
    {
        return Err(OpenError::CatalogLost(name.clone()));
    }
    for name in names.extract_if(.., |name| sequential::is_temporary(name)) {
        disk.unlink(&name)?;
    }
    Ok(names)
}

/// The log files of a directory besides those of the checkpoint.
pub(super) struct Found {
    /// What the checkpoint does not cover, oldest first.
    pub(super) sources: Vec<Source>,
    /// Files that only the older checkpoint needs.
    pub(super) superseded: Vec<Arc<LogFile>>,
}

pub(super) fn find_sources(
    disk: &dyn Disk,
    request: &OpenRequest,
    names: &BTreeSet<String>,
    base: &Base,
) -> Result<Found, OpenError> {
    let has_companion = |id| names.contains(&files::name(id, FileKind::Companion));
    let (mut sources, mut superseded, mut leftover) = (Vec::new(), Vec::new(), Vec::new());
    let mut without_footer = Vec::new();
    let progress = &*request.progress;
    let is_read = |name: &&String| {
        files::parse_name(name)
            .is_some_and(|(id, kind)| kind != FileKind::Companion && !base.lists(id))
    };
    progress.expect_files(names.iter().filter(is_read).count());
    for name in names {
        let Some((id, kind)) = files::parse_name(name) else { continue };
        if base.lists(id) {
            continue;
        }
        if kind == FileKind::Companion {
            // Its file went first.
            if !names.contains(&files::name(id, FileKind::Wal)) {
                leftover.push(name.clone());
            }
            continue;
        }
        let handle = disk.open(name, Access::ReadWrite, Mode::Direct)?;
        let file = Arc::new(LogFile::new(id, kind, handle));
        let header_lsn = check_version(&file, &request.log_id)?;
        let footer = match request.synced.contains_key(&id) {
            true => None,
            false => file.read_footer(disk, has_companion(id))?,
        };
        let covered = footer.as_ref().is_some_and(|f| f.trailer.info.last_lsn <= base.lsn());
        if kind == FileKind::Sorted || covered {
            // Its batches lie in files that the checkpoint lists, or nowhere.
            let footer = footer.filter(|_| base.checkpoints.list(id));
            progress.file_is_read();
            let Some(footer) = footer else {
                leftover.push(name.clone());
                continue;
            };
            describe(&file, &footer.trailer.info)?;
            file.supersede();
            superseded.push(file);
            continue;
        }
        let was_sealed = footer.is_some() && !file.has_companion();
        let told = match footer {
            Some(footer) => sealed(disk, &file, &footer)?,
            None => None,
        };
        match told {
            Some(source) => {
                progress.file_is_read();
                sources.push(Source { header_lsn, was_sealed, ..source });
            }
            None => {
                progress.expect_bytes(file.handle.length()?);
                without_footer.push((file, header_lsn, was_sealed));
            }
        }
    }
    for (file, header_lsn, was_sealed) in without_footer {
        sources.push(Source { header_lsn, was_sealed, ..dead(file, progress)? });
        progress.file_is_read();
    }
    distrust_last_footers(&mut sources, progress)?;
    sources.sort_by_key(|source| (source.file.first_lsn(), source.file.id));
    check_whole(&sources, base)?;
    for name in leftover {
        disk.unlink(&name)?;
    }
    Ok(Found { sources, superseded })
}

/// A footer may live in a cache only, as long as no frame behind it was
/// written: the frames tell then, and a companion is written.
fn distrust_last_footers(sources: &mut [Source], progress: &Progress) -> Result<(), OpenError> {
    let mut last: BTreeMap<Incarnation, Lsn> = BTreeMap::new();
    for source in &*sources {
        if source.dead.as_ref().is_none_or(|dead| !dead.frames.is_empty()) {
            let last = last.entry(source.incarnation).or_default();
            *last = source.file.first_lsn().max(*last);
        }
    }
    for source in sources.iter_mut().filter(|source| source.dead.is_none()) {
        let is_last = last.get(&source.incarnation) == Some(&source.file.first_lsn());
        if is_last && !source.file.has_companion() {
            let LogFile { id, kind, .. } = *source.file;
            let handle = Arc::clone(&source.file.handle);
            let header_lsn = source.header_lsn;
            let file = Arc::new(LogFile::new(id, kind, handle));
            header_lsn.into_iter().for_each(|lsn| file.start(lsn));
            let was_sealed = source.was_sealed;
            progress.expect_bytes(file.handle.length()?);
            *source = Source { header_lsn, was_sealed, ..dead(file, progress)? };
        }
    }
    Ok(())
}

/// Refuses a log whose beginning is gone.
fn check_whole(sources: &[Source], base: &Base) -> Result<(), OpenError> {
    let missing = |what: String| {
        let why = match &base.damaged {
            Some((name, error)) => format!("{name} does not stand in for it: {error}"),
            None => "no checkpoint stands in for it".to_owned(),
        };
        Err(OpenError::Missing { what, why })
    };
    let expected = base.lsn().next();
    // Where the header is rotten the footer tells, or the frames: their first
    // ones may be rotten too, which is found later.
    let begins = |source: &Source| {
        let (first, _) = source.range()?;
        Some(if source.dead.is_some() { first.min(expected) } else { first })
    };
    let begins = |source: &Source| source.header_lsn.or_else(|| begins(source));
    let first = sources.iter().find_map(begins);
    if let Some(first) = first.filter(|first| *first > expected) {
        return missing(format!("the log file that begins with frame {expected} (before {first})"));
    }
    if base.content.is_none() && base.damaged.is_some() {
        // Files may have been deleted: all must follow each other.
        let mut next = expected;
        for source in sources.iter().filter(|source| source.file.is_sealed()) {
            if source.file.first_lsn() > next {
                return missing(format!("the log file that begins with frame {next}"));
            }
            next = source.file.last_lsn().next();
        }
        if sources.is_empty() {
            return missing("the log".to_owned());
        }
    }
    Ok(())
}

/// Finds frames that are gone although files behind them are there: numbers
/// have no gap, and a file is synced before the next one's first frame. Where
/// a file ends short of them that is a hole at its end; where no file can have
/// held them the log is refused. To be called once it is settled which frames
/// count; `covered` is the last one that the checkpoint stands for.
pub(super) fn find_gaps(sources: &mut [Source], covered: Lsn) -> Result<(), OpenError> {
    let mut last = covered;
    let mut short: Option<&mut Source> = None;
    for source in sources {
        let Some((first, end)) = source.range() else {
            if source.header_lsn.is_some() {
                short = Some(source);
            }
            continue;
        };
        if first > last.next() {
            if source.holes.first().is_some_and(|hole| hole.before == first) {
                // Its own first frames are rotten, and its header too.
                source.header_lsn = Some(last.next());
            } else if let Some(short) = short {
                short.holes.push(Hole { byte: short.end(), before: first });
            } else {
                return Err(OpenError::Missing {
                    what: format!("the log file with frame {}", last.next()),
                    why: format!("the log goes on with frame {first} in {}", source.file.name),
                });
            }
        }
        last = last.max(end);
        short = source.dead.is_some().then_some(source);
    }
    Ok(())
}

impl Source {
    /// Its first and last frame, where any counts.
    fn range(&self) -> Option<(Lsn, Lsn)> {
        let Some(dead) = &self.dead else {
            return Some((self.file.first_lsn(), self.file.last_lsn()));
        };
        let (first, last) = (dead.frames.first()?, dead.frames.last()?);
        Some((self.header_lsn.unwrap_or(first.header.lsn), last.header.lsn))
    }

    /// Where the frames of a dead file end.
    fn end(&self) -> u64 {
        let last = self.dead.as_ref().and_then(|dead| dead.frames.last());
        last.map_or(BLOCK as u64, |last| last.header.end())
    }

    /// Where the last frames that it should have and has not would be.
    pub(super) fn last_hole(&self) -> Option<(FileId, u64)> {
        self.holes.last().map(|hole| (self.file.id, hole.byte))
    }

    /// Says how far a file without footer can be read.
    pub(super) fn tell_ends(&self) {
        if self.dead.is_some()
            && let Some(info) = self.info()
        {
            self.file.set_data_end(info.data_end, info.last_lsn);
        }
    }

    /// What the footer of a dead file has to say, with what is lost at its
    /// end; `None` where nothing in it counts.
    pub(super) fn info(&self) -> Option<FooterInfo> {
        let frames = self.dead.as_ref().map_or(&[][..], |dead| &dead.frames);
        let lost = self.holes.last().map(|hole| Lsn(hole.before.get().saturating_sub(1)));
        Some(FooterInfo {
            file: self.file.id,
            incarnation: self.incarnation,
            data_end: self.end(),
            first_lsn: self.header_lsn.or_else(|| Some(frames.first()?.header.lsn))?,
            last_lsn: frames.last().map(|last| last.header.lsn).max(lost)?,
        })
    }
}

/// Refuses files of another format or another directory. A header that is not
/// there at all says nothing: the file may never have been used.
fn check_version(file: &LogFile, log_id: &[u8; 16]) -> Result<Option<Lsn>, OpenError> {
    let (bytes, _) = read_aligned(&*file.handle, 0, BLOCK as u64)?;
    let refuse = |detail: String| Err(OpenError::Format { name: file.name.clone(), detail });
    match FileHeader::decode(&bytes) {
        Err(error @ frame::FileError::Version(_)) => refuse(error.to_string()),
        Ok(header) if header.log_id != *log_id => {
            refuse("it belongs to another data directory".into())
        }
        Ok(header) => {
            file.start(header.first_lsn);
            Ok(Some(header.first_lsn))
        }
        Err(_) => Ok(None),
    }
}

/// A file as its footer tells of it; `None` where a part of the footer is
/// torn (its trailer may reach the disk before it) or rotten: the frames tell.
fn sealed(
    disk: &dyn Disk,
    file: &Arc<LogFile>,
    footer: &Footer,
) -> Result<Option<Source>, OpenError> {
    let info = footer.trailer.info;
    let mut extents = Vec::with_capacity(footer.trailer.extents as usize);
    let table = footer.trailer.table_position..footer.trailer.directory_range().start;
    let bytes = file.read_footer_bytes(disk, table).map_err(OpenError::Hidden)?;
    for entry in &footer.directory {
        let range = entry.extents_range(&footer.trailer);
        let from = usize::try_from(range.start - footer.trailer.table_position).unwrap_or(0);
        let to = from + usize::try_from(range.end - range.start).unwrap_or(0);
        let decoded =
            frame::decode_extents(&footer.trailer, entry, bytes.get(from..to).unwrap_or_default());
        match decoded {
            Ok(decoded) => extents.extend(decoded),
            Err(error) => {
                tracing::warn!(file = %file.name, %error, "its frames are read instead");
                return Ok(None);
            }
        }
    }
    describe(file, &info)?;
    let (incarnation, holes, file) = (info.incarnation, Vec::new(), Arc::clone(file));
    let (header_lsn, was_sealed) = (None, false);
    Ok(Some(Source { file, incarnation, extents, holes, dead: None, header_lsn, was_sealed }))
}

/// Takes over what a footer says of its file.
fn describe(file: &LogFile, info: &FooterInfo) -> Result<(), OpenError> {
    file.set_incarnation(info.incarnation);
    file.start(info.first_lsn);
    file.set_data_end(info.data_end, info.last_lsn);
    file.seal(file.handle.length()?);
    Ok(())
}

fn dead(file: Arc<LogFile>, progress: &Progress) -> Result<Source, OpenError> {
    let scan = scan::scan(&*file.handle, file.id, progress)?;
    let incarnation = scan.frames.first().map_or(Incarnation(0), |found| found.header.incarnation);
    if let Some(first) = scan.frames.first() {
        file.start(first.header.lsn);
    }
    let dead = Some(Dead { frames: scan.frames, synced_to: scan.synced_to });
    let (extents, holes) = (Vec::new(), scan.holes);
    let (header_lsn, was_sealed) = (None, false);
    Ok(Source { file, incarnation, extents, holes, dead, header_lsn, was_sealed })
}

pub(super) fn next_file_id(names: &BTreeSet<String>) -> u64 {
    let ids = names.iter().filter_map(|name| files::parse_name(name)).map(|(id, _)| id.get());
    ids.max().map_or(1, |last| last + 1)
}
