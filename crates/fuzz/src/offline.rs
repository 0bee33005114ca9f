//! The small files that a backup and a repair write.

use millrace_log::{
    backup::{
        MANIFEST_ENTRY_LEN, MANIFEST_HEADER_LEN, Manifest, ManifestEntry, ManifestError,
        ManifestKind,
    },
    skips::{SKIP_LEN, SKIPS_HEADER_LEN, Skip, Skips, SkipsError},
};
use millrace_types::{
    FileId, Incarnation, Lsn, Offset, PartitionId, Timestamp, TopicId, TopicPartition,
};

use crate::memory::bounded;

/// A manifest or a skip file, by its magic.
pub fn offline_files(bytes: &[u8]) {
    check(bytes);
    check(&mended(bytes, MANIFEST_HEADER_LEN, MANIFEST_ENTRY_LEN, [56, 60, 64]));
    check(&mended(bytes, SKIPS_HEADER_LEN, SKIP_LEN, [12, 36, 32]));
}

fn check(bytes: &[u8]) {
    match bounded(2 * bytes.len(), || Manifest::decode(bytes)) {
        Ok(manifest) => {
            assert_eq!(
                manifest.entries.len() * MANIFEST_ENTRY_LEN,
                bytes.len() - MANIFEST_HEADER_LEN
            );
            assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
        Err(ManifestError::Damaged | ManifestError::Version(_)) => {}
    }
    match bounded(2 * bytes.len(), || Skips::decode(bytes)) {
        Ok(skips) => {
            assert!(skips.entries.iter().all(|skip| skip.first <= skip.end));
            assert_eq!(Skips::decode(&skips.encode()), Ok(skips));
        }
        Err(SkipsError::Damaged | SkipsError::Version(_)) => {}
    }
}

/// With its count and its checksums put right: where they stand, the header's
/// last. The header's covers all before it.
fn mended(bytes: &[u8], header: usize, entry: usize, [count, entries, own]: [usize; 3]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let Some(len) = bytes.len().checked_sub(header) else { return bytes };
    bytes.truncate(header + len / entry * entry);
    let put = |bytes: &mut Vec<u8>, at: usize, value: u32| {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    put(&mut bytes, count, (len / entry) as u32);
    let crc = crc32c::crc32c(&bytes[header..]);
    put(&mut bytes, entries, crc);
    let crc = crc32c::crc32c(&bytes[..own]);
    put(&mut bytes, own, crc);
    bytes
}

/// Valid inputs of [`offline_files`].
pub fn offline_files_seeds() -> Vec<Vec<u8>> {
    let entry = |kind, number, len| ManifestEntry { kind, number, len };
    let manifest = Manifest {
        log_id: [5; 16],
        incarnation: Incarnation(3),
        last_lsn: Lsn(43),
        time: Timestamp(1_700_000_000_000),
        entries: vec![
            entry(ManifestKind::Wal, 7, 24_576),
            entry(ManifestKind::Sorted, 8, 8192),
            entry(ManifestKind::Companion, 7, 8192),
            entry(ManifestKind::Checkpoint, 9, 4096),
            entry(ManifestKind::Catalog, 0, 12_288),
            entry(ManifestKind::Skips, 1, 96),
        ],
    };
    let skip = Skip {
        partition: TopicPartition::new(TopicId([7; 16]), PartitionId(3)),
        first: Offset(20),
        end: Offset(25),
        file: FileId(12),
        byte: 8192,
        ends: false,
    };
    let skips = Skips { log_id: [5; 16], entries: vec![skip, Skip { ends: true, ..skip }] };
    let empty = Manifest { entries: Vec::new(), ..manifest.clone() };
    vec![manifest.encode(), empty.encode(), skips.encode()]
}
