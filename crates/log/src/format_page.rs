//! Holds docs/format.md to the code: every structure with a heading
//! `### Name (n bytes)` has a table of fields without gaps, and its size is the
//! code's.

use std::collections::BTreeMap;

use crate::{
    backup, batch, checkpoint,
    checkpoint::chunk::{FILE_RECORD_LEN, PARTITION_RECORD_LEN, SPAN_LEN},
    frame,
    partition::snapshot::{EPOCH_LEN, KEPT_LEN, PRODUCER_LEN, SNAPSHOT_HEADER_LEN},
    skips,
};

const PAGE: &str = include_str!("../../../docs/format.md");

/// Sizes of the stored structures in the code.
const SIZES: [(&str, usize); 19] = [
    ("Chunk header", checkpoint::CHUNK_HEADER_LEN),
    ("Checkpoint header", checkpoint::CHECKPOINT_HEADER_LEN),
    ("Directory entry", frame::DIRECTORY_ENTRY_LEN),
    ("Extent", frame::EXTENT_LEN),
    ("File header", frame::FILE_HEADER_LEN),
    ("File record", FILE_RECORD_LEN),
    ("Frame header", frame::FRAME_HEADER_LEN),
    ("Leader epoch", EPOCH_LEN),
    ("Manifest entry", backup::MANIFEST_ENTRY_LEN),
    ("Manifest header", backup::MANIFEST_HEADER_LEN),
    ("Partition record", PARTITION_RECORD_LEN),
    ("Partition state", SNAPSHOT_HEADER_LEN),
    ("Producer", PRODUCER_LEN),
    ("Producer's batch", KEPT_LEN),
    ("Record batch header", batch::HEADER_LEN),
    ("Skip", skips::SKIP_LEN),
    ("Skip file header", skips::SKIPS_HEADER_LEN),
    ("Span", SPAN_LEN),
    ("Trailer", frame::TRAILER_LEN),
];

/// Name and size of a heading `### Name (n bytes)`.
fn heading(line: &str) -> Option<(&str, usize)> {
    let (name, size) = line.strip_prefix("### ")?.split_once(" (")?;
    Some((name, size.strip_suffix(" bytes)")?.parse().unwrap()))
}

/// Position and size of a row `| at | bytes | field |`.
fn row(line: &str) -> Option<(usize, usize)> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
}

#[test]
fn tables_have_no_gaps_and_sizes_are_the_codes() {
    let mut found = BTreeMap::new();
    let mut current: Option<(&str, usize)> = None;
    for line in PAGE.lines() {
        if let Some((name, size)) = heading(line) {
            assert_eq!(found.insert(name, size), None, "{name} is there twice");
            current = Some((name, 0));
        } else if let Some((name, end)) = &mut current
            && let Some((at, len)) = row(line)
        {
            assert_eq!(at, *end, "{name}: {line}");
            *end = at + len;
            assert!(*end <= found[*name], "{name}: {line}");
        } else if line.is_empty()
            && let Some((name, end)) = current.filter(|(_, end)| *end > 0)
        {
            assert_eq!(found[name], end, "{name}");
            current = None;
        }
    }
    assert_eq!(current, None, "the last table does not end");
    assert_eq!(found, BTreeMap::from(SIZES));
}

#[test]
fn figures_in_the_text_are_the_codes() {
    let with = |text: &str| assert!(PAGE.contains(text), "docs/format.md does not say: {text}");
    with(&format!("A block is {} bytes", crate::BLOCK));
    with(&format!("Format version {}.", crate::FORMAT_VERSION));
    with(&format!("at most {} GiB", frame::FRAME_LEN_MAX >> 30));
    with(&format!("{} bytes for each batch", 2 * frame::EXTENT_LEN));
    with(&format!("two headers of {} bytes", frame::FRAME_HEADER_LEN));
    with(&format!("on the disk at most {}", PRODUCER_LEN + 5 * KEPT_LEN));
    with(&format!("takes {} bytes for what one file", size_of::<crate::index::Span>()));
    with(&format!("and {} bytes a batch", size_of::<crate::index::IndexEntry>()));
}
