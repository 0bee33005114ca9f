//! `millrace repair`: gives up offsets that corruption took, so that readers
//! pass them and partitions take records again.
//!
//! Invariant: one new file is written, and nothing else is changed; what is
//! given up is what recovery and the check say is lost at that place.

use std::path::PathBuf;

use clap::Args;
use millrace_cli::Failure;
use millrace_cli::terminal::{Out, confirm};
use millrace_store::check::{Finding, FindingKind};
use millrace_store::repair::{Given, give_up, skips_of};

use crate::check::{Held, advice, lost_offsets};

/// Give up offsets that corruption took
///
/// FILE and BYTE are what `millrace check` says. The offsets that were lost there are printed, and
/// given up once that is confirmed: a small file is written (skips-1), no log file is changed. The
/// next start honours it: readers go on behind these offsets, and a partition that takes no records
/// since its end is unknown goes on far behind every offset that it can have given out.
///
/// Where a backup has the file, restore that instead.
///
/// Exits with 0 where they were given up, 1 where not, 2 where nothing is lost there.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// Data directory of a stopped server
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where corruption took the offsets to give up
    #[arg(long, value_name = "FILE:BYTE")]
    skip: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Gives offsets up.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: &RepairArgs) -> Result<(), Failure> {
    let (file, byte) = place(&args.skip)?;
    let held = Held::open_alone(&args.dir)?;
    let catalog = held.catalog().map_err(|error| Failure::Failed(error.to_string()))?;
    let mut found = Vec::new();
    let mut each = |finding: Finding| {
        if finding.file == file && finding.byte == byte {
            found.push(finding);
        }
    };
    held.check(catalog.clone(), Some(file), &mut each)?;
    let dir = args.dir.display();
    let lost = found.iter().find(|finding| is_repaired(finding));
    let Some(lost) = lost else {
        return Err(Failure::Usage(match found.first() {
            None => format!(
                "nothing is wrong at byte {byte} of {file}; `millrace check {dir}` says where \
                 something is"
            ),
            Some(finding) => format!(
                "byte {byte} of {file}: {}, and there are no offsets to give up: {}",
                finding.detail,
                advice(finding, &args.dir)
            ),
        }));
    };
    let Some(given) = skips_of(lost) else {
        return Err(Failure::Failed(format!("too much is lost at byte {byte} of {file}")));
    };
    let mut out = Out::stdout(false);
    out.line(format!("{file}, byte {byte}: {}. Given up are", lost.detail))?;
    for (lost, Given { skip, ends }) in lost.lost.iter().zip(&given) {
        out.line(format!("  {}", lost_offsets(lost, &catalog)))?;
        if *ends {
            out.line(format!("    and its next record gets offset {}", skip.end))?;
        }
        if skip.partition.topic.is_hidden() {
            out.line(
                "    among them may be committed offsets, deletions and log starts: groups may \
                 read again, and what was deleted may be back",
            )?;
        }
    }
    if given.is_empty() {
        out.line("  no offsets that are known: only that partitions may have lost their end")?;
    }
    out.flush()?;
    confirm("Give these offsets up for ever?", args.yes)?;
    let identity = catalog.identity.as_ref();
    let log_id = identity.map(|identity| identity.log_id).unwrap_or_default();
    let name = give_up(held.disk(), log_id, &given)
        .map_err(|error| Failure::Failed(format!("nothing was given up: {error}")))?;
    out.line(format!("{} is written; the next start honours it", args.dir.join(name).display()))?;
    out.flush()
}

fn is_repaired(finding: &Finding) -> bool {
    match finding.kind {
        FindingKind::Batch | FindingKind::Frames | FindingKind::Lost => true,
        FindingKind::Footer => !finding.lost.is_empty(),
        _ => false,
    }
}

/// The file and the byte that are named.
fn place(skip: &str) -> Result<(&str, u64), Failure> {
    let parsed = skip.rsplit_once(':').and_then(|(file, byte)| Some((file, byte.parse().ok()?)));
    parsed.ok_or_else(|| {
        Failure::Usage(format!(
            "--skip \"{skip}\" is not FILE:BYTE, such as 00000000000000000042.wal:8192; `millrace \
             check` says them"
        ))
    })
}
