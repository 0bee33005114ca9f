//! What every [`Disk`] must do, as tests that any driver's suite calls:
//! [`run`] with a function that gives an empty disk each time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests, which other crates' tests call"
)]

use std::io::{IoSlice, IoSliceMut};

use super::{Access, Disk, DiskErrorKind, DiskFile, Mode};
use crate::{BLOCK, aligned::AlignedBuffer};

/// Runs the whole suite.
///
/// # Panics
/// If the driver does not conform.
pub fn run<D: Disk>(new: impl Fn() -> D) {
    for mode in [Mode::Direct, Mode::Buffered] {
        what_was_written_is_read(&new(), mode);
        a_read_ends_with_the_file(&new(), mode);
        pieces_are_written_back_to_back(&new(), mode);
        pieces_are_read_back_to_back(&new(), mode);
        writes_leave_zeros_where_they_skip(&new(), mode);
        allocated_space_reads_as_zeros(&new(), mode);
        allocating_keeps_what_is_there(&new(), mode);
        a_file_is_cut_and_grows_with_zeros(&new(), mode);
        an_unlinked_file_is_read_to_the_end(&new(), mode);
        two_handles_see_one_file(&new(), mode);
        content_survives_a_sync_and_a_new_handle(&new(), mode);
    }
    a_buffered_file_takes_any_position(&new());
    names_are_created_once(&new());
    what_is_missing_is_not_found(&new());
    a_link_is_a_second_name(&new());
    a_rename_replaces(&new());
    the_list_is_sorted_and_complete(&new());
    a_reader_cannot_write(&new());
    the_directory_has_one_owner(&new());
    space_is_told(&new());
    direct_files_want_alignment(&new());
    names_stay_within_the_directory(&new());
}

/// `blocks` blocks of which each byte is `byte`.
fn aligned(blocks: usize, byte: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(blocks * BLOCK);
    buffer.fill(byte);
    buffer
}

fn write(file: &dyn DiskFile, position: u64, bytes: &[u8]) {
    file.write_at(position, &[IoSlice::new(bytes)]).unwrap();
}

/// What a read of `len` bytes brings.
fn read(file: &dyn DiskFile, position: u64, len: usize) -> Vec<u8> {
    let mut buffer = AlignedBuffer::zeroed(len);
    buffer.fill(0xee);
    let got = file.read_at(position, &mut buffer).unwrap();
    buffer[..got].to_vec()
}

const B: u64 = BLOCK as u64;

fn what_was_written_is_read(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    assert_eq!(file.name(), "a");
    assert_eq!(file.length(), Ok(0));
    write(&*file, 0, &aligned(3, 1));
    write(&*file, B, &aligned(1, 2));
    assert_eq!(file.length(), Ok(3 * B));
    let expected = [vec![1; BLOCK], vec![2; BLOCK], vec![1; BLOCK]].concat();
    assert_eq!(read(&*file, 0, 3 * BLOCK), expected);
    assert_eq!(read(&*file, B, BLOCK), [2; BLOCK]);
    assert_eq!(file.write_at(0, &[]), Ok(()), "nothing to write is written");
    assert_eq!(file.length(), Ok(3 * B));
}

fn a_read_ends_with_the_file(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    assert_eq!(read(&*file, 0, BLOCK), []);
    write(&*file, 0, &aligned(2, 1));
    assert_eq!(read(&*file, B, 4 * BLOCK).len(), BLOCK);
    assert_eq!(read(&*file, 8 * B, BLOCK), []);
    assert_eq!(read(&*file, 0, 0), []);
    file.set_length(B + 100).unwrap();
    assert_eq!(read(&*file, 0, 2 * BLOCK).len(), BLOCK + 100, "a file may end anywhere");
}

fn pieces_are_written_back_to_back(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    // More pieces than one system call takes.
    let blocks: Vec<_> = (0..1500u32).map(|n| aligned(1, n.to_le_bytes()[0])).collect();
    let mut pieces: Vec<_> = blocks.iter().map(|block| IoSlice::new(block)).collect();
    pieces.insert(7, IoSlice::new(&[]));
    file.write_at(B, &pieces).unwrap();
    assert_eq!(file.length(), Ok(1501 * B));
    let content = read(&*file, B, 1500 * BLOCK);
    for (block, expected) in content.chunks(BLOCK).zip(&blocks) {
        assert_eq!(block, &expected[..]);
    }
}

fn pieces_are_read_back_to_back(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("file", mode).unwrap();
    let pieces = [aligned(1, 1), aligned(2, 2), aligned(1, 3)];
    file.write_at(0, &pieces.each_ref().map(|piece| IoSlice::new(piece))).unwrap();
    let (mut first, mut second) = (aligned(2, 0), aligned(3, 0));
    let mut pieces = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    let got = file.read_vectored_at(BLOCK as u64, &mut pieces).unwrap();
    assert_eq!(got, 3 * BLOCK, "as far as the file goes");
    assert_eq!(*first, *aligned(2, 2));
    assert_eq!(second[..BLOCK], *aligned(1, 3));
}

fn writes_leave_zeros_where_they_skip(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    write(&*file, 2 * B, &aligned(1, 1));
    assert_eq!(read(&*file, 0, 2 * BLOCK), [0; 2 * BLOCK]);
}

fn allocated_space_reads_as_zeros(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    file.preallocate(0, 8 * B).unwrap();
    assert_eq!(file.length(), Ok(8 * B));
    assert_eq!(read(&*file, 0, 16 * BLOCK), [0; 8 * BLOCK]);
    file.preallocate(8 * B, 4 * B).unwrap();
    assert_eq!(file.length(), Ok(12 * B));
    file.preallocate(0, 0).unwrap();
}

fn allocating_keeps_what_is_there(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    write(&*file, 0, &aligned(2, 1));
    file.preallocate(B, 2 * B).unwrap();
    assert_eq!(file.length(), Ok(3 * B));
    assert_eq!(read(&*file, 0, 2 * BLOCK), [1; 2 * BLOCK]);
    file.preallocate(0, B).unwrap();
    assert_eq!(file.length(), Ok(3 * B), "allocating never cuts");
}

fn a_file_is_cut_and_grows_with_zeros(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    write(&*file, 0, &aligned(3, 1));
    file.set_length(B + 10).unwrap();
    assert_eq!(file.length(), Ok(B + 10));
    file.set_length(3 * B).unwrap();
    let content = read(&*file, 0, 3 * BLOCK);
    assert!(content[..BLOCK + 10].iter().all(|byte| *byte == 1));
    assert!(content[BLOCK + 10..].iter().all(|byte| *byte == 0));
    file.set_length(0).unwrap();
    assert_eq!(file.length(), Ok(0));
}

fn an_unlinked_file_is_read_to_the_end(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    write(&*file, 0, &aligned(1, 1));
    disk.unlink("a").unwrap();
    assert_eq!(read(&*file, 0, BLOCK), [1; BLOCK]);
    write(&*disk.create("a", mode).unwrap(), 0, &aligned(1, 2));
    assert_eq!(read(&*file, 0, BLOCK), [1; BLOCK], "the name is another file's now");
}

fn two_handles_see_one_file(disk: &dyn Disk, mode: Mode) {
    let writer = disk.create("a", mode).unwrap();
    let reader = disk.open("a", Access::Read, mode).unwrap();
    write(&*writer, 0, &aligned(1, 1));
    assert_eq!(read(&*reader, 0, BLOCK), [1; BLOCK]);
    assert_eq!(reader.length(), Ok(B));
}

fn content_survives_a_sync_and_a_new_handle(disk: &dyn Disk, mode: Mode) {
    let file = disk.create("a", mode).unwrap();
    write(&*file, 0, &aligned(2, 1));
    file.sync().unwrap();
    disk.sync_directory().unwrap();
    drop(file);
    let file = disk.open("a", Access::ReadWrite, mode).unwrap();
    assert_eq!(read(&*file, 0, 2 * BLOCK), [1; 2 * BLOCK]);
    write(&*file, 0, &aligned(1, 2));
    file.sync().unwrap();
    assert_eq!(read(&*file, 0, BLOCK), [2; BLOCK]);
}

fn a_buffered_file_takes_any_position(disk: &dyn Disk) {
    let file = disk.create("a", Mode::Buffered).unwrap();
    file.write_at(3, &[IoSlice::new(b"off"), IoSlice::new(b"beat")]).unwrap();
    assert_eq!(read(&*file, 1, 100), b"\0\0offbeat");
    file.preallocate(5, 9).unwrap();
    assert_eq!(file.length(), Ok(14));
}

fn names_are_created_once(disk: &dyn Disk) {
    disk.create("a", Mode::Buffered).unwrap();
    let error = disk.create("a", Mode::Buffered).err().unwrap();
    assert_eq!(error.kind, DiskErrorKind::Exists);
    assert!(error.to_string().starts_with("cannot create a:"), "{error}");
}

fn what_is_missing_is_not_found(disk: &dyn Disk) {
    let kind = |error: super::DiskError| error.kind;
    let open = |access| disk.open("a", access, Mode::Direct).err().map(kind);
    assert_eq!(open(Access::Read), Some(DiskErrorKind::NotFound));
    assert_eq!(open(Access::ReadWrite), Some(DiskErrorKind::NotFound));
    assert_eq!(disk.unlink("a").map_err(kind), Err(DiskErrorKind::NotFound));
    assert_eq!(disk.link("a", "b").map_err(kind), Err(DiskErrorKind::NotFound));
    assert_eq!(disk.rename("a", "b").map_err(kind), Err(DiskErrorKind::NotFound));
}

fn a_link_is_a_second_name(disk: &dyn Disk) {
    let file = disk.create("a", Mode::Buffered).unwrap();
    disk.link("a", "b").unwrap();
    assert_eq!(disk.link("a", "b").unwrap_err().kind, DiskErrorKind::Exists);
    write(&*file, 0, b"content");
    disk.unlink("a").unwrap();
    let other = disk.open("b", Access::Read, Mode::Buffered).unwrap();
    assert_eq!(read(&*other, 0, 100), b"content");
}

fn a_rename_replaces(disk: &dyn Disk) {
    write(&*disk.create("a", Mode::Buffered).unwrap(), 0, b"new");
    let replaced = disk.create("b", Mode::Buffered).unwrap();
    write(&*replaced, 0, b"old");
    disk.rename("a", "b").unwrap();
    assert_eq!(disk.list().unwrap().iter().filter(|name| *name == "a").count(), 0);
    let file = disk.open("b", Access::Read, Mode::Buffered).unwrap();
    assert_eq!(read(&*file, 0, 100), b"new");
    assert_eq!(read(&*replaced, 0, 100), b"old", "open handles keep the replaced file");
}

fn the_list_is_sorted_and_complete(disk: &dyn Disk) {
    let before = disk.list().unwrap();
    for name in ["b", "c", "a", "0001.log"] {
        disk.create(name, Mode::Buffered).unwrap();
    }
    disk.unlink("c").unwrap();
    let mut names = disk.list().unwrap();
    names.retain(|name| !before.contains(name));
    assert_eq!(names, ["0001.log", "a", "b"]);
}

fn a_reader_cannot_write(disk: &dyn Disk) {
    write(&*disk.create("a", Mode::Buffered).unwrap(), 0, b"content");
    let reader = disk.open("a", Access::Read, Mode::Buffered).unwrap();
    let error = reader.write_at(0, &[IoSlice::new(b"other")]).unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::Io);
    assert!(reader.set_length(0).is_err());
    assert!(reader.preallocate(0, 100).is_err());
    assert_eq!(read(&*reader, 0, 100), b"content");
}

fn the_directory_has_one_owner(disk: &dyn Disk) {
    let lock = disk.lock().unwrap();
    let error = disk.lock().unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::Locked);
    assert!(error.to_string().contains("process"), "{error}");
    drop(lock);
    drop(disk.lock().unwrap());
}

fn space_is_told(disk: &dyn Disk) {
    let space = disk.space().unwrap();
    assert!(space.free <= space.total && space.free > 0, "{space:?}");
}

fn direct_files_want_alignment(disk: &dyn Disk) {
    let file = disk.create("a", Mode::Direct).unwrap();
    let block = aligned(2, 1);
    let refused = |what: &str, call: &dyn Fn()| {
        let call = std::panic::AssertUnwindSafe(call);
        assert!(std::panic::catch_unwind(call).is_err(), "{what} passed");
    };
    refused("a position", &|| write(&*file, 512, &block));
    refused("a length", &|| write(&*file, 0, &block[..100]));
    refused("memory", &|| write(&*file, 0, &block[1..=BLOCK]));
    refused("a read", &|| drop(read(&*file, 1, BLOCK)));
    assert_eq!(file.length(), Ok(0));
}

fn names_stay_within_the_directory(disk: &dyn Disk) {
    for name in ["", ".", "..", "../a", "a/b", "/etc/passwd"] {
        let create = std::panic::AssertUnwindSafe(|| disk.create(name, Mode::Buffered).map(drop));
        assert!(std::panic::catch_unwind(create).is_err(), "{name:?} passed");
    }
}
