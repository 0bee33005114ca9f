//! Every codec comes back, is capped, and takes garbage calmly; what is
//! compressed here has the form that Java's clients write.

use std::io::Write;

use proptest::prelude::*;

use super::*;

fn decompress(codec: Compression, bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    super::decompress(codec, bytes, limit).map(Cow::into_owned)
}

/// What clients send: `data` in the codec's usual form.
fn compress(compression: Compression, data: &[u8]) -> Vec<u8> {
    match compression {
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

/// As snappy-java writes it: blocks of at most `block` bytes behind a header.
fn xerial(data: &[u8], block: usize) -> Vec<u8> {
    let mut out = XERIAL_MAGIC.to_vec();
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    for part in data.chunks(block) {
        let part = snap::raw::Encoder::new().compress_vec(part).unwrap();
        out.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&part);
    }
    out
}

const ALL: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

#[test]
fn a_small_bomb_does_not_go_off() {
    let zeros = vec![0; 10 << 20];
    for codec in ALL {
        let bytes = compress(codec, &zeros);
        assert_eq!(decompress(codec, &bytes, zeros.len()).unwrap(), zeros, "{codec}");
        let capped = decompress(codec, &bytes, zeros.len() - 1);
        assert_eq!(capped, Err(DecompressError::TooLarge { limit: zeros.len() - 1 }), "{codec}");
    }
    let capped = decompress(Compression::Snappy, &xerial(&zeros, 32 << 10), 1 << 20);
    assert_eq!(capped, Err(DecompressError::TooLarge { limit: 1 << 20 }));
}

#[test]
fn snappy_that_announces_more_than_it_can_hold_is_refused_before_memory_is_given() {
    // A length of 2^32 - 1 and nothing behind it.
    let bytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    assert_eq!(
        decompress(Compression::Snappy, &bytes, usize::MAX),
        Err(DecompressError::Malformed(Compression::Snappy))
    );
}

const CODECS: [Codec; 8] = [
    Codec::None,
    Codec::Gzip { level: 1 },
    Codec::Gzip { level: 9 },
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd { level: -131_072 },
    Codec::Zstd { level: 3 },
    Codec::Zstd { level: 22 },
];

fn compressed(codec: Codec, data: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    super::compress(codec, data, &mut out);
    assert_eq!(out.drain(..6).as_slice(), b"before", "{codec:?} appends");
    out
}

#[test]
fn snappy_and_lz4_have_the_blocks_that_java_reads() {
    let data = [b'x'; 100_000];
    assert_eq!(compressed(Codec::Snappy, &data), xerial(&data, 32 << 10));
    let lz4 = compressed(Codec::Lz4, &data);
    // Version 1, independent blocks, no checksums, no size; blocks of 64 KiB.
    assert_eq!(lz4[4..6], [0b0110_0000, 4 << 4]);
}

#[test]
fn a_megabyte_comes_back_from_every_codec() {
    let data: Vec<u8> = (0..1_u32 << 18).flat_map(|n| (n / 3).to_le_bytes()).collect();
    for codec in CODECS {
        let bytes = compressed(codec, &data);
        assert_eq!(decompress(codec.compression(), &bytes, data.len()).unwrap(), data, "{codec:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_compressed_comes_back(data in proptest::collection::vec(0u8..4, 0..5_000), block in 1usize..2_000) {
        for codec in ALL {
            prop_assert_eq!(decompress(codec, &compress(codec, &data), 5_000).unwrap(), &data[..]);
        }
        prop_assert_eq!(decompress(Compression::Snappy, &xerial(&data, block), 5_000).unwrap(), &data[..]);
        for codec in CODECS {
            let bytes = compressed(codec, &data);
            prop_assert_eq!(decompress(codec.compression(), &bytes, 5_000).unwrap(), &data[..]);
        }
    }

    #[test]
    fn cut_or_garbled_bytes_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..2_000), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        for codec in ALL {
            let mut bytes = compress(codec, &data);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if cut { bytes.truncate(at); }
            }
            if let Ok(out) = decompress(codec, &bytes, 10_000) {
                prop_assert!(out.len() <= 10_000);
            }
            if let Ok(out) = decompress(codec, &data, 10_000) {
                prop_assert!(out.len() <= 10_000);
            }
        }
    }
}

/// Found by the fuzz target `batch`: 119 bytes took 16 MiB.
#[test]
fn legacy_lz4_is_refused_as_kafka_does() {
    let data = b"a block";
    let block = lz4_flex::block::compress(data);
    let mut legacy = 0x184C_2102_u32.to_le_bytes().to_vec();
    legacy.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
    legacy.extend_from_slice(&block);
    let refused = decompress(Compression::Lz4, &legacy, 100);
    assert_eq!(refused, Err(DecompressError::Malformed(Compression::Lz4)));
}
