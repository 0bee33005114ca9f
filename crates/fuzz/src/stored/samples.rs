//! Valid structures: what the fuzzer begins with.

use millrace_log::{
    batch::{BatchBuilder, BatchHeader, ProducerStamp},
    checkpoint::{
        CheckpointHeader, CheckpointWriter, Chunk, FileRecord, HiddenRecord, PartitionRecord,
    },
    frame::{
        self, EXTENT_LEN, Extent, ExtentKind, FRAME_HEADER_LEN, FileHeader, FileKind, FooterInfo,
        FrameHeader, Seed, TRAILER_LEN,
    },
    index::Span,
    partition::{Admission, Partition, PartitionSnapshot},
};
use millrace_types::{
    FileId, Incarnation, LeaderEpoch, Lsn, Offset, PartitionId, ProducerEpoch, ProducerId,
    Sequence, Timestamp, TopicId, TopicPartition,
};

use super::mend;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Partition `number` of the topic that samples are about.
pub(crate) const fn partition_of(number: i32) -> TopicPartition {
    TopicPartition::new(TopicId([7; 16]), PartitionId(number))
}

pub(crate) const fn producer_stamp(id: i64, sequence: i32) -> ProducerStamp {
    ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: Sequence(sequence) }
}

/// As many extents, of two partitions, sorted; positions from 0.
pub(crate) fn sample_extents(count: u32) -> Vec<Extent> {
    let extent = |index: u32| Extent {
        partition: partition_of(i32::from(index >= count / 2)),
        kind: ExtentKind::Batch,
        base_offset: Offset(i64::from(index) * 10),
        last_offset_delta: 9,
        leader_epoch: LeaderEpoch(1),
        position: index * 100,
        len: 100,
        max_timestamp: NOW,
        append_time: NOW,
        producer: index.is_multiple_of(2).then(|| producer_stamp(5, 10)),
        crc: 0xdead_beef,
    };
    (0..count).map(extent).collect()
}

fn frames() -> impl Iterator<Item = (FrameHeader, Vec<Extent>)> {
    [0_u32, 1, 2, 7].into_iter().map(|count| {
        let seed = Seed { incarnation: Incarnation(3), file: FileId(7), position: 8192 };
        let extents = sample_extents(count);
        let (front, payload) = (frame::front_len(count as usize), count as usize * 100);
        let header =
            FrameHeader::new(Lsn(43), seed, 4096, NOW, front, payload, count as usize).unwrap();
        (header, extents)
    })
}

/// Valid inputs of [`super::frame_front`].
pub fn frame_front_seeds() -> Vec<Vec<u8>> {
    let encode = |(header, extents): (FrameHeader, Vec<Extent>)| {
        let mut out = vec![0; header.front_len as usize];
        frame::encode_front(&header, &extents, &mut out);
        out.truncate(FRAME_HEADER_LEN + extents.len() * EXTENT_LEN);
        out
    };
    frames().map(encode).collect()
}

/// Valid inputs of [`super::frame_back`].
pub fn frame_back_seeds() -> Vec<Vec<u8>> {
    let encode = |(header, extents): (FrameHeader, Vec<Extent>)| {
        let end = header.front_len as usize + header.payload_len as usize;
        let mut out = vec![0; frame::back_len(end, extents.len())];
        frame::encode_back(&header, &extents, &mut out);
        out.split_off(out.len() - FRAME_HEADER_LEN - extents.len() * EXTENT_LEN)
    };
    frames().map(encode).collect()
}

fn header_of(kind: FileKind) -> Vec<u8> {
    let header = FileHeader {
        kind,
        log_id: [5; 16],
        incarnation: Incarnation(3),
        file: FileId(7),
        first_lsn: Lsn(42),
        created: NOW,
    };
    header.encode()[..mend::FILE_HEADER_USED].to_vec()
}

/// Valid inputs of [`super::file_header`].
pub fn file_header_seeds() -> Vec<Vec<u8>> {
    [FileKind::Wal, FileKind::Sorted, FileKind::Companion].map(header_of).into()
}

/// Valid inputs of [`super::footer`].
pub fn footer_seeds() -> Vec<Vec<u8>> {
    let encode = |(count, inputs): (u32, &[FileId])| {
        let info = FooterInfo {
            file: FileId(7),
            incarnation: Incarnation(3),
            data_end: 20_480,
            first_lsn: Lsn(42),
            last_lsn: Lsn(43),
        };
        let mut out = frame::encode_footer(20_480, info, &sample_extents(count), inputs);
        // Without the zeros.
        let trailer = out.split_off(out.len() - TRAILER_LEN);
        let partitions = count.min(2) as usize;
        out.truncate(
            count as usize * EXTENT_LEN
                + partitions * frame::DIRECTORY_ENTRY_LEN
                + inputs.len() * 8,
        );
        [out, trailer].concat()
    };
    let footers: [(u32, &[FileId]); 4] =
        [(0, &[]), (1, &[]), (2, &[FileId(5), FileId(6)]), (7, &[])];
    footers.map(encode).into()
}

/// Valid inputs of [`super::companion`].
pub fn companion_seeds() -> Vec<Vec<u8>> {
    let header = header_of(FileKind::Companion);
    footer_seeds().into_iter().map(|footer| [header.clone(), footer].concat()).collect()
}

/// Partitions without and with records, epochs and producers.
pub(crate) fn snapshots() -> Vec<PartitionSnapshot> {
    let mut partition = Partition::new();
    let mut snapshots = vec![partition.snapshot()];
    for (id, sequence) in [(3, 0), (3, 2), (3, 4), (4, 7), (3, 6), (3, 8), (3, 10), (-1, 0)] {
        let mut builder = BatchBuilder::new(NOW);
        if id >= 0 {
            builder = builder.producer(producer_stamp(id, sequence));
        }
        builder.record(0, None, Some(b"a"), &[]).record(1, None, Some(b"b"), &[]);
        let batch = BatchHeader::parse(&builder.build()).unwrap();
        let admitted = partition.admit(&batch, Lsn(1), NOW).unwrap();
        let Admission::Append { base_offset, leader_epoch, append_time } = admitted else {
            panic!("a sample is no duplicate")
        };
        partition.committed(&Extent {
            base_offset,
            leader_epoch,
            append_time,
            last_offset_delta: 1,
            producer: batch.producer,
            ..sample_extents(1)[0]
        });
        snapshots.push(partition.snapshot());
        partition = Partition::restore(partition.snapshot());
    }
    partition.move_log_start(Offset(5));
    snapshots.push(partition.snapshot());
    snapshots
}

/// Valid inputs of [`super::checkpoint`].
pub fn checkpoint_seeds() -> Vec<Vec<u8>> {
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
    let files = Chunk::Files(vec![file, FileRecord { file: FileId(9), companion: None, ..file }]);
    let record = |state: PartitionSnapshot| PartitionRecord {
        partition: partition_of(1),
        lsn: Lsn(43),
        state,
        spans: sample_extents(2).iter().map(|e| Span::of_extent(FileId(7), e)).collect(),
    };
    let partitions = snapshots().into_iter().map(|s| Chunk::Partition(Box::new(record(s))));
    let hidden =
        HiddenRecord { topic: TopicId::GROUPS, offset: Offset(12), state: b"state".to_vec() };
    let encode = |chunks: &[Chunk]| {
        let header = CheckpointHeader {
            log_id: [5; 16],
            incarnation: Incarnation(3),
            number: 9,
            lsn: Lsn(43),
            time: NOW,
        };
        let mut bytes = Vec::new();
        let mut writer = CheckpointWriter::new(&header, &mut bytes);
        chunks.iter().for_each(|chunk| writer.chunk(chunk, &mut bytes));
        writer.finish(&mut bytes);
        bytes
    };
    let mut seeds = vec![encode(&[]), encode(&[files.clone(), Chunk::Hidden(hidden.clone())])];
    let mut all = vec![files];
    for partition in partitions {
        seeds.push(encode(std::slice::from_ref(&partition)));
        all.push(partition);
    }
    all.push(Chunk::Hidden(hidden));
    seeds.push(encode(&all));
    seeds
}
