//! Record batches: what producers send, and what stands inside.

use std::io::Write;

use millrace_log::{
    batch::{self, BatchBuilder, BatchHeader, Compression, RecordHeader},
    compression::{Codec, DecompressError, decompress},
    records::{self as log_records, Record},
};
use millrace_types::{LeaderEpoch, Offset, Timestamp};

use crate::{
    memory::bounded,
    stored::{mend, producer_stamp},
};

/// Most bytes that may come out of a compressed batch here.
const LIMIT: usize = 1 << 20;
/// Memory of a codec beside what comes out: LZ4's blocks of up to 4 MiB.
const CODEC_MEMORY: usize = 10 << 20;

/// A batch as a producer sends it.
pub fn batch(bytes: &[u8]) {
    check_batch(bytes);
    check_batch(&mend::batch(bytes));
}

fn check_batch(bytes: &[u8]) {
    for (header, batch) in batch::batches(bytes).flatten() {
        assert_eq!((header.len, BatchHeader::parse(batch)), (batch.len(), Ok(header)));
        let _crc = batch::check_crc(&header, batch);
    }
    let Ok(header) = bounded(0, || batch::check(bytes)) else { return };
    assert_eq!(header.len, bytes.len());
    assert!(header.count > 0 && header.last_offset_delta == header.count - 1);

    let mut stored = bytes.to_vec();
    batch::stamp(&mut stored, Offset(1 << 40), LeaderEpoch(3)).unwrap();
    batch::stamp_append_time(&mut stored, Timestamp(17)).unwrap();
    let stamped = BatchHeader::parse(&stored).unwrap();
    assert_eq!(batch::check_crc(&stamped, &stored), Ok(()));
    assert_eq!((stamped.base_offset, stamped.max_timestamp), (Offset(1 << 40), Timestamp(17)));
    assert_eq!((stamped.count, stamped.producer), (header.count, header.producer));

    let body = bounded(CODEC_MEMORY + 3 * LIMIT, || log_records::body(&stamped, &stored, LIMIT));
    let Ok(body) = body else { return };
    assert!(body.len() <= LIMIT);
    let mut whole = 0;
    for record in log_records::records(&stamped, &body) {
        let Ok(record) = record else { return };
        check_record(&record);
        let (_at, _offset) = (record.timestamp(&stamped), record.offset(&stamped));
        whole += 1;
    }
    assert_eq!(whole, stamped.count, "neither all records nor an error");
    for codec in [Codec::None, Codec::Snappy, Codec::Lz4, Codec::Zstd { level: 1 }] {
        let (recoded, again) = batch::recode(&header, bytes, &body, codec, header.max_timestamp);
        assert_eq!(batch::check(&again), Ok(recoded));
        assert_eq!(log_records::body(&recoded, &again, LIMIT).as_ref(), Ok(&body));
    }
}

fn check_record(record: &Record<'_>) {
    assert_eq!(record.headers.iter().count(), record.headers.len());
}

/// The records of a batch, behind their number in two bytes.
pub fn records(bytes: &[u8]) {
    let Some((count, body)) = bytes.split_first_chunk() else { return };
    let header = BatchHeader {
        count: i32::from(u16::from_be_bytes(*count)),
        ..BatchHeader::parse(&BatchBuilder::new(Timestamp(0)).build()).unwrap()
    };
    let read = || log_records::records(&header, body).try_for_each(|record| record.map(drop));
    if bounded(0, read).is_err() {
        return;
    }
    let found: Vec<Record<'_>> = log_records::records(&header, body).map(Result::unwrap).collect();
    assert_eq!(found.len(), usize::from(u16::from_be_bytes(*count)));
    let mut builder = BatchBuilder::new(Timestamp(0));
    for record in &found {
        check_record(record);
        let headers: Vec<RecordHeader<'_>> = record.headers.iter().collect();
        builder.record(record.timestamp_delta, record.key, record.value, &headers);
    }
    let again = builder.build();
    let header = BatchHeader::parse(&again).unwrap();
    let body = log_records::body(&header, &again, again.len()).unwrap();
    let again = log_records::records(&header, &body).map(Result::unwrap);
    for (index, (record, again)) in (0..).zip(found.iter().zip(again)) {
        assert_eq!((again.key, again.value), (record.key, record.value));
        assert_eq!(again.offset_delta, index);
        assert_eq!(again.timestamp_delta, record.timestamp_delta);
        assert!(again.headers.iter().eq(record.headers.iter()));
    }
}

/// Whatever `bytes` decompress to is within the limit; and they come back when
/// they are compressed first.
fn check_codec(codec: Compression, bytes: &[u8]) {
    let whole = bounded(CODEC_MEMORY + 3 * LIMIT, || decompress(codec, bytes, LIMIT));
    if let Ok(whole) = &whole {
        assert!(whole.len() <= LIMIT);
        assert_eq!(decompress(codec, bytes, whole.len()).as_ref(), Ok(whole));
        if let Some(less) = whole.len().checked_sub(1) {
            let capped = decompress(codec, bytes, less);
            assert!(matches!(capped, Err(DecompressError::TooLarge { .. })), "{capped:?}");
        }
    }
    let again = compress(codec, bytes);
    assert_eq!(&*decompress(codec, &again, bytes.len()).unwrap(), bytes);
}

/// `data` as clients compress it.
fn compress(codec: Compression, data: &[u8]) -> Vec<u8> {
    match codec {
        Compression::None => data.to_vec(),
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(data).unwrap();
            out.finish().unwrap()
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(data).unwrap(),
        Compression::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(data).unwrap();
            out.finish().unwrap()
        }
        Compression::Zstd => zstd::stream::encode_all(data, 3).unwrap(),
    }
}

/// Gzip, of one member or several.
pub fn decompress_gzip(bytes: &[u8]) {
    check_codec(Compression::Gzip, bytes);
}

/// Snappy, raw or in xerial's blocks.
pub fn decompress_snappy(bytes: &[u8]) {
    check_codec(Compression::Snappy, bytes);
}

/// LZ4 frames.
pub fn decompress_lz4(bytes: &[u8]) {
    check_codec(Compression::Lz4, bytes);
}

/// Zstandard frames.
pub fn decompress_zstd(bytes: &[u8]) {
    check_codec(Compression::Zstd, bytes);
}

/// Texts that compress well, badly and not at all.
fn texts() -> Vec<Vec<u8>> {
    let sentence = b"A millrace is the channel of fast water that drives a mill. ";
    let noise = (0..200_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![Vec::new(), b"a".to_vec(), sentence.repeat(3), vec![0; 70_000], noise]
}

fn compressed(codec: Compression) -> Vec<Vec<u8>> {
    texts().iter().map(|text| compress(codec, text)).collect()
}

/// Valid inputs of [`decompress_gzip`].
pub fn gzip_seeds() -> Vec<Vec<u8>> {
    let mut seeds = compressed(Compression::Gzip);
    seeds.push([seeds[1].clone(), seeds[2].clone()].concat());
    seeds
}

/// Valid inputs of [`decompress_snappy`].
pub fn snappy_seeds() -> Vec<Vec<u8>> {
    let raw = compressed(Compression::Snappy);
    // As snappy-java writes it: magic, two versions, blocks with their lengths.
    let blocks = |blocks: &[Vec<u8>]| {
        let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for block in blocks {
            out.extend((block.len() as u32).to_be_bytes());
            out.extend(block);
        }
        out
    };
    let mut seeds = raw.clone();
    seeds.extend([blocks(&[]), blocks(&raw[1..2]), blocks(&raw[..3])]);
    seeds
}

/// Valid inputs of [`decompress_lz4`].
pub fn lz4_seeds() -> Vec<Vec<u8>> {
    let mut seeds = compressed(Compression::Lz4);
    // Checksums, a content size, blocks that depend on each other.
    let mut info = lz4_flex::frame::FrameInfo::new();
    info.block_checksums = true;
    info.content_checksum = true;
    info.content_size = Some(180);
    info.block_mode = lz4_flex::frame::BlockMode::Linked;
    let mut out = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    out.write_all(&texts()[2]).unwrap();
    seeds.push(out.finish().unwrap());
    seeds
}

/// Valid inputs of [`decompress_zstd`].
pub fn zstd_seeds() -> Vec<Vec<u8>> {
    let mut seeds = compressed(Compression::Zstd);
    seeds.push(zstd::stream::encode_all(&texts()[2][..], 19).unwrap());
    seeds
}

/// Batches of no, one and more records, with and without all that they may
/// have.
pub fn batch_seeds() -> Vec<Vec<u8>> {
    let mut plain = BatchBuilder::new(Timestamp(1_700_000_000_000));
    plain.record(0, None, Some(b"value"), &[]);
    let mut full = BatchBuilder::new(Timestamp(1_700_000_000_000)).producer(producer_stamp(9, 3));
    let headers =
        [RecordHeader { key: b"h", value: None }, RecordHeader { key: b"i", value: Some(b"j") }];
    full.record(0, Some(b"key"), Some(b"value"), &headers);
    full.record(-300, None, None, &[]).record(1 << 40, Some(b""), Some(b""), &[]);
    let plain = plain.build();
    let full = full.build();
    let mut seeds = vec![plain.clone(), [plain, full.clone()].concat()];
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (number, codec) in (1..).zip(codecs) {
        let mut batch = full[..batch::HEADER_LEN].to_vec();
        batch[22] |= number;
        batch.extend(compress(codec, &full[batch::HEADER_LEN..]));
        seeds.push(mend::batch(&batch));
    }
    seeds.push(full);
    seeds
}

/// The bodies of the uncompressed ones.
pub fn records_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0, 0]];
    for batch in batch_seeds() {
        let header = BatchHeader::parse(&batch).unwrap();
        if header.compression == Compression::None && header.len == batch.len() {
            seeds.push([&batch[59..61], &batch[batch::HEADER_LEN..]].concat());
        }
    }
    seeds
}
