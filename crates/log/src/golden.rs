//! Samples of every stored structure, bit by bit: what this format version
//! wrote once must be read for ever. A change here is a new format version,
//! not a new sample.

use std::fmt::Write;

use millrace_types::{
    FileId, Incarnation, LeaderEpoch, Lsn, Offset, PartitionId, ProducerEpoch, ProducerId,
    Sequence, Timestamp, TopicId, TopicPartition,
};

use crate::{
    BLOCK,
    backup::{Manifest, ManifestEntry, ManifestKind},
    batch::{self, BatchBuilder, BatchHeader, ProducerStamp, RecordHeader},
    checkpoint::{
        self, CheckpointHeader, CheckpointWriter, Chunk, FileRecord, HiddenRecord, PartitionRecord,
    },
    frame::{self, Extent, ExtentKind, FileHeader, FileKind, FooterInfo, FrameHeader, Seed},
    index::Span,
    partition::{Admission, Partition},
    skips::{Skip, Skips},
};

/// Bytes as lines of 16, `offset: hex`; runs of zero lines are left out.
fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, part) in bytes.chunks(16).enumerate() {
        if part.iter().any(|byte| *byte != 0) {
            write!(out, "{:06x}:", line * 16).unwrap();
            part.iter().for_each(|byte| write!(out, " {byte:02x}").unwrap());
            out.push('\n');
        }
    }
    writeln!(out, "{:06x}", bytes.len()).unwrap();
    out
}

/// Compares with a sample; on a difference shows what was written.
fn check(name: &str, bytes: &[u8], golden: &str) {
    let written = dump(bytes);
    assert!(written == golden, "{name} differs from its sample. Written:\n{written}");
}

const PRODUCER: ProducerStamp = ProducerStamp {
    id: ProducerId(0x0102_0304_0506_0708),
    epoch: ProducerEpoch(0x090a),
    base_sequence: Sequence(0x0b0c_0d0e),
};

fn sample_batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Timestamp(1_700_000_000_000)).producer(PRODUCER);
    let header = RecordHeader { key: b"h", value: None };
    builder.record(0, Some(b"key"), Some(b"value"), &[header]);
    builder.record(-300, None, None, &[]);
    let mut bytes = builder.build();
    batch::stamp(&mut bytes, Offset(1_000_000), LeaderEpoch(4)).unwrap();
    bytes
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: TopicId(*b"0123456789abcdef"), partition: PartitionId(number) }
}

fn sample_extents() -> [Extent; 2] {
    let first = Extent {
        partition: partition(1),
        kind: ExtentKind::Batch,
        base_offset: Offset(1_000_000),
        last_offset_delta: 1,
        leader_epoch: LeaderEpoch(4),
        position: 0,
        len: 97,
        max_timestamp: Timestamp(1_700_000_000_000),
        append_time: Timestamp(1_700_000_000_123),
        producer: Some(PRODUCER),
        crc: 0xdead_beef,
    };
    let second = Extent { partition: partition(2), producer: None, position: 97, ..first };
    [first, second]
}

fn sample_file_header() -> FileHeader {
    FileHeader {
        kind: FileKind::Wal,
        log_id: *b"a data directory",
        incarnation: Incarnation(3),
        file: FileId(7),
        first_lsn: Lsn(42),
        created: Timestamp(1_700_000_000_000),
    }
}

fn sample_frame() -> (FrameHeader, Vec<u8>) {
    let seed = Seed { incarnation: Incarnation(3), file: FileId(7), position: 8192 };
    let front = frame::front_len(2);
    let header =
        FrameHeader::new(Lsn(43), seed, 4096, Timestamp(1_700_000_000_456), front, 194, 2).unwrap();
    let mut bytes = vec![0; frame::to_usize(header.frame_len)];
    frame::encode_front(&header, &sample_extents(), &mut bytes[..front]);
    bytes[front..front + 194].fill(b'p');
    frame::encode_back(&header, &sample_extents(), &mut bytes[front + 194..]);
    (header, bytes)
}

fn sample_footer() -> (FooterInfo, Vec<u8>) {
    let info = FooterInfo {
        file: FileId(7),
        incarnation: Incarnation(3),
        data_end: 20_480,
        first_lsn: Lsn(42),
        last_lsn: Lsn(43),
    };
    let extents = sample_extents().map(|extent| extent.located(12_288).unwrap());
    (info, frame::encode_footer(20_480, info, &extents, &[FileId(5), FileId(6)]))
}

fn sample_checkpoint() -> (CheckpointHeader, Vec<Chunk>, Vec<u8>) {
    let mut state = Partition::new();
    state.move_log_start(Offset(1_000_000));
    let batch = BatchHeader::parse(&sample_batch()).unwrap();
    let admission = state.admit(&batch, Lsn(43), Timestamp(1_700_000_000_123)).unwrap();
    assert!(matches!(admission, Admission::Append { base_offset: Offset(1_000_000), .. }));
    let [extent, _] = sample_extents();
    state.committed(&extent);

    let file = FileRecord {
        file: FileId(7),
        kind: FileKind::Wal,
        quarantined: false,
        incarnation: Incarnation(3),
        first_lsn: Lsn(42),
        last_lsn: Lsn(43),
        data_end: 20_480,
        len: 24_576,
        companion: Some(FileId(8)),
    };
    let partition = PartitionRecord {
        partition: partition(1),
        lsn: Lsn(43),
        state: state.snapshot(),
        spans: vec![Span::of_extent(FileId(7), &extent)],
    };
    let hidden =
        HiddenRecord { topic: TopicId::GROUPS, offset: Offset(12), state: b"state".to_vec() };
    let chunks = vec![
        Chunk::Files(vec![file]),
        Chunk::Partition(Box::new(partition)),
        Chunk::Hidden(hidden),
    ];
    let header = CheckpointHeader {
        log_id: *b"a data directory",
        incarnation: Incarnation(3),
        number: 9,
        lsn: Lsn(43),
        time: Timestamp(1_700_000_000_789),
    };
    let mut bytes = Vec::new();
    let mut writer = CheckpointWriter::new(&header, &mut bytes);
    chunks.iter().for_each(|chunk| writer.chunk(chunk, &mut bytes));
    writer.finish(&mut bytes);
    (header, chunks, bytes)
}

#[test]
fn batches() {
    let bytes = sample_batch();
    check("batch", &bytes, include_str!("golden/batch.hex"));
    let header = BatchHeader::parse(&bytes).unwrap();
    batch::check_crc(&header, &bytes).unwrap();
    assert_eq!(header.producer, Some(PRODUCER));
}

#[test]
fn file_headers() {
    let bytes = sample_file_header().encode();
    check("file header", &bytes, include_str!("golden/file_header.hex"));
    assert_eq!(FileHeader::decode(&bytes), Ok(sample_file_header()));
}

#[test]
fn frames() {
    let (header, bytes) = sample_frame();
    check("frame", &bytes, include_str!("golden/frame.hex"));
    let wanted = Ok((header, sample_extents().to_vec()));
    assert_eq!(frame::decode_front(&bytes, header.seed()), wanted);
    assert_eq!(frame::decode_back(&bytes, Incarnation(3), FileId(7), header.end()), wanted);
}

#[test]
fn footers() {
    let (info, bytes) = sample_footer();
    check("footer", &bytes, include_str!("golden/footer.hex"));
    assert_eq!(bytes.len(), BLOCK);
    assert_eq!(frame::Trailer::decode(&bytes, 24_576).map(|trailer| trailer.info), Ok(info));
}

#[test]
fn checkpoints() {
    let (header, chunks, bytes) = sample_checkpoint();
    check("checkpoint", &bytes, include_str!("golden/checkpoint.hex"));
    let (found, read) = checkpoint::read(&bytes).unwrap();
    assert_eq!(found, header);
    assert_eq!(read.collect::<Result<Vec<_>, _>>(), Ok(chunks));
}

#[test]
fn manifests() {
    let entry = |kind, number, len| ManifestEntry { kind, number, len };
    let manifest = Manifest {
        log_id: *b"a data directory",
        incarnation: Incarnation(3),
        last_lsn: Lsn(43),
        time: Timestamp(1_700_000_000_789),
        entries: vec![
            entry(ManifestKind::Wal, 7, 24_576),
            entry(ManifestKind::Checkpoint, 9, 4096),
            entry(ManifestKind::Catalog, 0, 12_288),
        ],
    };
    let bytes = manifest.encode();
    check("manifest", &bytes, include_str!("golden/manifest.hex"));
    assert_eq!(Manifest::decode(&bytes), Ok(manifest));
}

#[test]
fn skip_files() {
    let skip = Skip {
        partition: partition(1),
        first: Offset(1_000_000),
        end: Offset(1_000_002),
        file: FileId(7),
        byte: 12_288,
        ends: false,
    };
    let ends = Skip { first: Offset(1_000_002), end: Offset(1 << 40), ends: true, ..skip };
    let skips = Skips { log_id: *b"a data directory", entries: vec![skip, ends] };
    let bytes = skips.encode();
    check("skip file", &bytes, include_str!("golden/skips.hex"));
    assert_eq!(Skips::decode(&bytes), Ok(skips));
}
