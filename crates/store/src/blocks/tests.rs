use std::slice;

use proptest::prelude::*;

use super::*;
use crate::BLOCK;

#[test]
fn readers_see_what_is_published_and_nothing_more() {
    let pool = BlockPool::new(BLOCK_BYTES);
    let mut writer = pool.take().unwrap();
    let block = writer.share();
    assert_eq!(writer.append(b"frame"), 5);
    assert_eq!(block.slice(0..1), None);
    writer.publish();
    assert_eq!(writer.append(b"next"), 4);
    assert_eq!(block.slice(0..5), Some(&b"frame"[..]));
    assert_eq!(block.bytes(0..6), None);
    assert_eq!(block.bytes(1..4).unwrap(), &b"ram"[..]);
    assert_eq!(block.slice(5..5), Some(&[][..]));
    #[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake")]
    let reversed = block.slice(3..2);
    assert_eq!(reversed, None);
    assert_eq!(writer.bytes(), b"framenext");
}

#[test]
fn blocks_are_aligned_for_direct_io() {
    let pool = BlockPool::new(4 * BLOCK_BYTES);
    let writers: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(writers.len(), 4);
    for writer in &writers {
        assert_eq!(writer.bytes().as_ptr().addr() % BLOCK, 0);
    }
}

#[test]
fn a_header_is_filled_in_after_its_payload() {
    let pool = BlockPool::new(BLOCK_BYTES);
    let mut writer = pool.take().unwrap();
    let at = writer.reserve(4).unwrap();
    writer.append(b"payload");
    writer.fill(at, b"head");
    writer.region_mut(4..5).copy_from_slice(b"P");
    writer.zero(9..11);
    assert_eq!(writer.bytes(), b"headPaylo\0\0");
}

#[test]
fn an_append_takes_what_fits_and_a_reservation_all_or_nothing() {
    let pool = BlockPool::new(BLOCK_BYTES);
    let mut writer = pool.take().unwrap();
    assert_eq!(writer.append(&vec![1; BLOCK_BYTES - 10]), BLOCK_BYTES - 10);
    assert_eq!(writer.reserve(11), None);
    assert_eq!(writer.append(&[2; 20]), 10);
    assert_eq!((writer.remaining(), writer.append(&[3])), (0, 0));
    assert_eq!(writer.reserve(0), Some(BLOCK_BYTES));
}

#[test]
fn space_of_a_refused_batch_is_given_back() {
    let pool = BlockPool::new(BLOCK_BYTES);
    let mut writer = pool.take().unwrap();
    writer.append(b"kept");
    writer.append(b"refused");
    writer.truncate(4);
    writer.append(b"!");
    assert_eq!(writer.bytes(), b"kept!");
}

#[test]
#[should_panic(expected = "not within the unpublished 5..5")]
fn published_bytes_cannot_be_changed() {
    let mut writer = BlockPool::new(BLOCK_BYTES).take().unwrap();
    writer.append(b"frame");
    writer.publish();
    writer.fill(4, b"x");
}

#[test]
#[should_panic(expected = "cannot take back to 4")]
fn published_bytes_cannot_be_taken_back() {
    let mut writer = BlockPool::new(BLOCK_BYTES).take().unwrap();
    writer.append(b"frame");
    writer.publish();
    writer.truncate(4);
}

#[test]
fn reserved_space_of_a_recycled_block_shows_nothing_of_its_former_life() {
    let pool = BlockPool::new(BLOCK_BYTES);
    pool.take().unwrap().append(b"secret");
    let mut writer = pool.take().unwrap();
    writer.reserve(6).unwrap();
    assert_eq!(writer.bytes(), &[0; 6]);
}

#[test]
fn a_read_counts_what_it_brought() {
    let mut writer = BlockPool::new(BLOCK_BYTES).take().unwrap();
    let got = BlockWriter::fill_from(slice::from_mut(&mut writer), 100, |buffers| {
        buffers[0][..3].copy_from_slice(b"abc");
        Ok::<_, ()>(3)
    });
    assert_eq!(got, Ok(3));
    let failed = BlockWriter::fill_from(slice::from_mut(&mut writer), 100, |_| Err("failed"));
    assert_eq!(failed, Err("failed"));
    assert_eq!(writer.bytes(), b"abc");
}

#[test]
fn a_read_goes_on_in_the_next_block() {
    let pool = BlockPool::new(3 * BLOCK_BYTES);
    let mut writers = [(); 3].map(|()| pool.take().unwrap());
    let got = BlockWriter::fill_from(&mut writers, 2 * BLOCK_BYTES + 100, |buffers| {
        assert_eq!(
            buffers.iter().map(|b| b.len()).collect::<Vec<_>>(),
            [BLOCK_BYTES, BLOCK_BYTES, 100]
        );
        buffers[1][..7].fill(7);
        Ok::<_, ()>(BLOCK_BYTES + 7)
    });
    assert_eq!(got, Ok(BLOCK_BYTES + 7));
    assert_eq!(writers.each_ref().map(BlockWriter::filled), [BLOCK_BYTES, 7, 0]);
    assert_eq!(writers[1].bytes(), [7; 7]);
}

#[test]
fn memory_comes_back_with_the_last_reference_whatever_its_kind() {
    let pool = BlockPool::new(2 * BLOCK_BYTES);
    let mut writer = pool.take().unwrap();
    let other = pool.take().unwrap();
    assert!(pool.take().is_none(), "the capacity is in use");
    writer.append(b"frame");
    writer.publish();
    let block = writer.share();
    let bytes = block.bytes(0..5).unwrap();
    drop(writer);
    assert!(block.is_shared());
    drop(block);
    assert_eq!(pool.usage().in_use, 2 * BLOCK_BYTES);
    assert_eq!(bytes, &b"frame"[..]);
    drop(bytes);
    assert_eq!(pool.usage().in_use, BLOCK_BYTES);
    assert_eq!(pool.usage().idle, BLOCK_BYTES);
    drop(other);
    let (idle, capacity) = (2 * BLOCK_BYTES, 2 * BLOCK_BYTES);
    assert_eq!(pool.usage(), PoolUse { in_use: 0, idle, pinned: 0, capacity });
    assert!(pool.take().is_some());
}

#[test]
fn readers_on_other_threads_see_whole_frames() {
    const FRAMES: usize = if cfg!(miri) { 20 } else { 2000 };
    let pool = BlockPool::new(BLOCK_BYTES);
    let mut writer = pool.take().unwrap();
    let block = writer.share();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let block = block.clone();
            scope.spawn(move || {
                while block.published() < FRAMES * 100 {
                    let published = block.published();
                    for (at, frame) in block.slice(0..published).unwrap().chunks(100).enumerate() {
                        let expected = u8::try_from(at % 251).unwrap();
                        assert!(frame.iter().all(|byte| *byte == expected));
                    }
                }
            });
        }
        for frame in 0..FRAMES {
            writer.append(&[u8::try_from(frame % 251).unwrap(); 100]);
            writer.publish();
        }
    });
}

#[test]
fn a_pool_is_shared_by_threads() {
    let pool = BlockPool::new(8 * BLOCK_BYTES);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let pool = pool.clone();
            scope.spawn(move || {
                for _ in 0..if cfg!(miri) { 5 } else { 500 } {
                    let mut writer = pool.take().unwrap();
                    writer.append(&[thread; 64]);
                    writer.publish();
                    let bytes = writer.share().bytes(0..64).unwrap();
                    drop(writer);
                    assert!(bytes.iter().all(|byte| *byte == thread));
                }
            });
        }
    });
    assert_eq!(pool.usage().in_use, 0);
}

/// One call on a writer.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u8>),
    Reserve(usize),
    Fill(prop::sample::Index, u8),
    Read(Vec<u8>),
    Truncate(prop::sample::Index),
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..600);
    prop_oneof![
        4 => bytes().prop_map(Step::Append),
        1 => (0..600usize).prop_map(Step::Reserve),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, b)| Step::Fill(at, b)),
        1 => bytes().prop_map(Step::Read),
        1 => any::<prop::sample::Index>().prop_map(Step::Truncate),
        2 => Just(Step::Publish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// A block is a vector of which a prefix is frozen; every `Bytes` ever
    /// taken of the prefix stays as it was.
    #[test]
    fn content_is_that_of_a_vector(steps in prop::collection::vec(step(), 0..60)) {
        let pool = BlockPool::new(BLOCK_BYTES);
        // A former life, so that stale bytes would show.
        pool.take().unwrap().append(&[0xaa; BLOCK_BYTES]);
        let mut writer = pool.take().unwrap();
        let block = writer.share();
        let (mut model, mut published) = (Vec::new(), 0);
        let mut taken = Vec::new();
        for step in steps {
            match step {
                Step::Append(bytes) => {
                    writer.append(&bytes);
                    model.extend(bytes);
                }
                Step::Reserve(len) => {
                    writer.reserve(len).unwrap();
                    model.resize(model.len() + len, 0);
                }
                Step::Fill(at, byte) if model.len() > published => {
                    let at = published + at.index(model.len() - published);
                    writer.fill(at, &[byte]);
                    model[at] = byte;
                }
                Step::Fill(..) => {}
                Step::Read(bytes) => {
                    BlockWriter::fill_from(slice::from_mut(&mut writer), 600, |buffers| {
                        buffers[0][..bytes.len()].copy_from_slice(&bytes);
                        Ok::<_, ()>(bytes.len())
                    }).unwrap();
                    model.extend(bytes);
                }
                Step::Truncate(to) => {
                    let to = published + to.index(model.len() - published + 1);
                    writer.truncate(to);
                    model.truncate(to);
                }
                Step::Publish => {
                    writer.publish();
                    published = model.len();
                    taken.push((block.bytes(0..published).unwrap(), model.clone()));
                }
            }
            prop_assert_eq!(writer.bytes(), &model[..]);
            prop_assert_eq!(block.slice(0..published), Some(&model[..published]));
            prop_assert_eq!(block.slice(0..published + 1), None);
        }
        drop((writer, block));
        for (bytes, expected) in taken {
            prop_assert_eq!(&bytes[..], &expected[..]);
        }
    }
}

#[test]
fn a_block_is_pinned_while_there_are_bytes_of_it() {
    let pool = BlockPool::new(2 * BLOCK_BYTES);
    let mut writer = pool.take().unwrap();
    writer.append(b"frame");
    writer.publish();
    let block = writer.share();
    assert_eq!(pool.pinned(), 0);
    let (one, other) = (block.bytes(0..2).unwrap(), block.bytes(2..5).unwrap());
    assert_eq!(pool.pinned(), BLOCK_BYTES);
    let (clone, slice) = (one.clone(), other.slice(1..));
    drop((one, other, block, writer));
    drop(clone);
    assert_eq!(pool.pinned(), BLOCK_BYTES);
    drop(slice);
    assert_eq!(pool.pinned(), 0);
}

#[test]
fn who_waits_hears_of_blocks_given_back_and_given_up() {
    fn told(returned: std::pin::Pin<&mut Notified<'_>>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        returned.poll(&mut context).is_ready()
    }
    let pool = BlockPool::new(BLOCK_BYTES);
    let mut writer = pool.take().unwrap();
    writer.append(b"frame");
    writer.publish();
    let bytes = writer.share().bytes(0..5).unwrap();
    let wait = pool.wait();
    let mut returned = std::pin::pin!(wait.returned());
    returned.as_mut().enable();
    assert!(!told(returned.as_mut()));
    drop(bytes);
    assert!(told(returned.as_mut()));
    let mut returned = std::pin::pin!(wait.returned());
    returned.as_mut().enable();
    drop(writer);
    assert!(told(returned.as_mut()));
}
