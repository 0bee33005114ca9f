//! `millrace check`: verifies a stopped server's data directory, and says what
//! to do about what it finds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use millrace_cli::Failure;
use millrace_cli::terminal::{Out, Progress, Tone, toned};
use millrace_store::catalog::{CatalogError, CatalogState, sqlite};
use millrace_store::check::{
    CheckProgress, CheckRequest, Checked, Finding, FindingKind, LostOffsets, check,
};
use millrace_store::disk::os::OsDisk;
use millrace_store::disk::{Disk as _, DiskError, DiskErrorKind, DiskLock};
use millrace_types::{Offset, TopicPartition};
use serde_json::{Value, json};

use crate::env::TokioEnv;

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Verify the data directory of a stopped server
///
/// Every checksum is verified: both tables of each frame, each batch, footers, checkpoints, the
/// catalog; and a start is tried in memory. Nothing is written. What a power cut has torn, which a
/// start drops, is no finding.
///
/// Exits with 0 where nothing is wrong, 1 where something is, 2 where it can't be checked.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Data directory, or a backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Verifies a directory.
///
/// # Errors
/// [`Failure`], where it can't be verified.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let held = Held::open(&args.dir)?;
    let mut out = Out::stdout(args.json);
    let mut found = Vec::new();
    let mut printed = Ok(());
    let catalog = match held.catalog() {
        Ok(catalog) => Some(catalog),
        Err(error) => {
            found.push(of_catalog(&error));
            None
        }
    };
    let mut checked = Checked::default();
    if let Some(catalog) = catalog {
        let names = catalog.clone();
        let mut each = |finding: Finding| {
            if out.is_json() {
                found.push(as_json(&finding, &names));
            } else if printed.is_ok() {
                found.push(Value::Null);
                printed = print(&mut out, &finding, &names, &args.dir);
            }
        };
        checked = held.check(catalog, None, &mut each)?;
    } else if !out.is_json() {
        out.line(format!(
            "{}: {}\n  restore it from a backup, together with the log files; the log was not \
             checked, since it needs the catalog",
            sqlite::FILE,
            found.first().and_then(|f| f.get("what")).and_then(Value::as_str).unwrap_or_default()
        ))?;
    }
    printed?;
    let Checked { files, bytes, frames, batches, .. } = checked;
    if out.is_json() {
        out.json(&json!({
            "dir": args.dir,
            "clean": found.is_empty(),
            "files": files,
            "bytes": bytes,
            "frames": frames,
            "batches": batches,
            "findings": found,
        }))?;
    } else {
        let size = size_of_bytes(bytes);
        let what = format!("{files} files, {size}, {batches} batches verified");
        out.line(match found.len() {
            0 => format!("{what}: {}", toned(Tone::Good, "nothing is wrong")),
            1 => format!("{what}: {}", toned(Tone::Bad, "1 finding")),
            n => format!("{what}: {}", toned(Tone::Bad, &format!("{n} findings"))),
        })?;
    }
    out.flush()?;
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Bytes in binary units.
fn size_of_bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => {
            let tenths = (bytes >> (shift - 4)) * 10 / 16;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

/// A directory that no server has while this lives.
pub(crate) struct Held {
    dir: PathBuf,
    disk: Arc<OsDisk>,
    _lock: Option<DiskLock>,
}

impl Held {
    /// Takes the directory of a stopped server, to look at it.
    ///
    /// # Errors
    /// [`Failure::Usage`] where there is none, or a server has it.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        Self::open_by(dir, OsDisk::lock_shared)
    }

    /// Takes it alone, to write to it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_alone(dir: &Path) -> Result<Self, Failure> {
        Self::open_by(dir, |disk| disk.lock().map(Some))
    }

    fn open_by(
        dir: &Path,
        lock: impl FnOnce(&OsDisk) -> Result<Option<DiskLock>, DiskError>,
    ) -> Result<Self, Failure> {
        if !dir.is_dir() {
            return Err(Failure::Usage(format!("there is no directory {}", dir.display())));
        }
        let refused = |error: DiskError| match error.kind {
            DiskErrorKind::Locked => Failure::Usage(format!(
                "a server runs on {}: {}; stop it, or check a backup of it (`millrace backup`)",
                dir.display(),
                error.detail
            )),
            _ => Failure::Failed(format!("can't look at {}: {error}", dir.display())),
        };
        let disk = OsDisk::open(dir).map_err(refused)?;
        let disk = disk.through_page_cache("nothing is to be written, not even to try it");
        let lock = lock(&disk).map_err(refused)?;
        Ok(Self { dir: dir.to_owned(), disk: Arc::new(disk), _lock: lock })
    }

    /// The directory itself.
    pub(crate) fn disk(&self) -> &OsDisk {
        &self.disk
    }

    /// Its catalog, which is found to be sound.
    pub(crate) fn catalog(&self) -> Result<CatalogState, CatalogError> {
        let scratch = tempfile::tempdir()
            .map_err(|error| CatalogError::Away(format!("no temporary directory: {error}")))?;
        sqlite::check(&self.dir, scratch.path())
    }

    /// Verifies it, or one file of it, and shows how far that is.
    ///
    /// # Errors
    /// [`Failure::Failed`] where the disk fails.
    pub(crate) fn check(
        &self,
        catalog: CatalogState,
        only: Option<&str>,
        each: &mut dyn FnMut(Finding),
    ) -> Result<Checked, Failure> {
        let dir = self.dir.display();
        // What recovery would run beside itself does not begin here.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::Failed(format!("can't check {dir}: {error}")))?;
        let _entered = runtime.enter();
        let env = Arc::new(TokioEnv::new());
        let only = only.map(str::to_owned);
        let request = CheckRequest { env, disk: Arc::clone(&self.disk) as _, catalog, only };
        let progress = CheckProgress::default();
        let over = AtomicBool::new(false);
        let checked = std::thread::scope(|scope| {
            let shown = scope.spawn(|| show(&progress, &over));
            let checked = check(&request, &progress, each);
            over.store(true, Ordering::Release);
            shown.thread().unpark();
            checked
        });
        checked.map_err(|error| Failure::Failed(format!("can't check {dir}: {error}")))
    }
}

/// Shows how far a check is until it is over, when it is unparked.
fn show(progress: &CheckProgress, over: &AtomicBool) {
    let mut bar: Option<Progress> = None;
    loop {
        let is_over = over.load(Ordering::Acquire);
        let (done, total) = progress.bytes();
        if total > 0 {
            bar.get_or_insert_with(|| Progress::new("verifying", Some(total))).at(done);
        }
        if is_over {
            return;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// What can be done about a finding.
pub(crate) fn advice(finding: &Finding, dir: &Path) -> String {
    let Finding { file, byte, kind, .. } = finding;
    let repair = format!("millrace repair {} --skip {file}:{byte}", dir.display());
    match kind {
        FindingKind::Start if file.starts_with("skips-") => {
            format!("remove {file}, and give up anew what a check finds")
        }
        FindingKind::Start => "restore the directory from a backup".to_owned(),
        FindingKind::Backup => "take another backup, or copy it again".to_owned(),
        FindingKind::Batch | FindingKind::Frames | FindingKind::Lost => {
            format!("restore {file} from a backup, or give these offsets up: {repair}")
        }
        FindingKind::DeadBatch => {
            "nothing to do: nobody can read these offsets any more, and the file goes with its \
             last live records"
                .to_owned()
        }
        FindingKind::Spare => {
            "nothing is lost; restore the file from a backup before its other copy rots too"
                .to_owned()
        }
        FindingKind::Footer if finding.lost.is_empty() => format!(
            "nothing is lost; restore {file} from a backup before what stands in for it rots too"
        ),
        FindingKind::Footer => {
            format!("restore {file} from a backup, or give these offsets up: {repair}")
        }
        FindingKind::Index => format!(
            "restore {file} from a backup; until then reads that need it are refused as \
             unavailable"
        ),
        FindingKind::Checkpoint => {
            "nothing to do while the other checkpoint is sound: the next one replaces it".to_owned()
        }
        FindingKind::Topic => {
            "restore the catalog from a backup of the same time; the records stay until then"
                .to_owned()
        }
    }
}

fn print(
    out: &mut Out,
    finding: &Finding,
    catalog: &CatalogState,
    dir: &Path,
) -> Result<(), Failure> {
    let at = format!("{}, byte {}", finding.file, finding.byte);
    out.line(format!("{}: {}", toned(Tone::Strong, &at), finding.detail))?;
    for lost in &finding.lost {
        out.line(format!("  {}", lost_offsets(lost, catalog)))?;
    }
    out.line(format!("  {}", advice(finding, dir)))
}

/// Which offsets are lost, in words.
pub(crate) fn lost_offsets(lost: &LostOffsets, catalog: &CatalogState) -> String {
    let of = partition_name(lost.partition, catalog);
    match lost.end {
        Some(end) if end.get() == lost.first.get() + 1 => format!("{of}: offset {}", lost.first),
        Some(end) => format!("{of}: offsets {} to {}", lost.first, Offset(end.get() - 1)),
        None => format!(
            "{of}: maybe records from offset {} on; it takes none until this is settled",
            lost.first
        ),
    }
}

/// A partition as people know it.
fn partition_name(partition: TopicPartition, catalog: &CatalogState) -> String {
    match catalog.topics.get(&partition.topic) {
        Some(topic) => format!("topic {}, partition {}", topic.name, partition.partition),
        None if partition.topic.is_hidden() => "the server's own records".to_owned(),
        None => format!("topic id {}, partition {}", partition.topic, partition.partition),
    }
}

fn of_catalog(error: &CatalogError) -> Value {
    json!({ "file": sqlite::FILE, "byte": 0, "kind": "catalog", "what": error.to_string() })
}

fn as_json(finding: &Finding, catalog: &CatalogState) -> Value {
    let lost: Vec<Value> = finding
        .lost
        .iter()
        .map(|lost| {
            json!({
                "topic": catalog.topics.get(&lost.partition.topic).map(|topic| topic.name.as_str()),
                "topic_id": lost.partition.topic.to_string(),
                "partition": lost.partition.partition.get(),
                "first": lost.first.get(),
                "last": lost.end.map(|end| end.get() - 1),
            })
        })
        .collect();
    json!({
        "file": finding.file,
        "byte": finding.byte,
        "kind": kind(finding.kind),
        "what": finding.detail,
        "lost": lost,
    })
}

/// Its name in JSON.
const fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Start => "start",
        FindingKind::Backup => "backup",
        FindingKind::Batch => "batch",
        FindingKind::DeadBatch => "dead_batch",
        FindingKind::Frames => "frames",
        FindingKind::Spare => "spare",
        FindingKind::Footer => "footer",
        FindingKind::Index => "index",
        FindingKind::Checkpoint => "checkpoint",
        FindingKind::Lost => "lost",
        FindingKind::Topic => "topic",
    }
}
