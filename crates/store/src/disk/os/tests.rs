use super::*;
use crate::disk::conformance;

/// A disk in a directory of its own, which goes when the test ends.
struct Temporary {
    disk: OsDisk,
    directory: tempfile::TempDir,
}

impl Temporary {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(directory.path()).unwrap();
        Self { disk, directory }
    }
}

#[test]
fn conforms() {
    let directories = std::cell::RefCell::new(Vec::new());
    conformance::run(|| {
        let Temporary { disk, directory } = Temporary::new();
        directories.borrow_mut().push(directory);
        disk
    });
}

#[test]
fn conforms_where_direct_io_does_not_work() {
    let parent = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    conformance::run(|| {
        number.set(number.get() + 1);
        let disk = OsDisk::open(&parent.path().join(number.get().to_string())).unwrap();
        disk.direct_io.set(DirectIo::Unavailable("for a test".to_owned())).unwrap();
        disk
    });
}

/// tmpfs refuses direct I/O on older kernels, and on newer ones says yes and
/// does as it likes.
#[test]
fn conforms_on_tmpfs() {
    let Ok(parent) = tempfile::tempdir_in("/dev/shm") else { return };
    let number = std::cell::Cell::new(0);
    conformance::run(|| {
        number.set(number.get() + 1);
        OsDisk::open(&parent.path().join(number.get().to_string())).unwrap()
    });
}

#[test]
fn the_data_directory_is_created_with_its_parents() {
    let parent = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(&parent.path().join("a/b")).unwrap();
    assert_eq!(disk.list(), Ok(Vec::new()));
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = OsDisk::open(file.path()).unwrap_err();
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let Temporary { disk, directory } = Temporary::new();
    let lock = disk.lock().unwrap();
    let second = OsDisk::open(directory.path()).unwrap();
    let message = second.lock().unwrap_err().to_string();
    assert!(message.contains(&directory.path().display().to_string()), "{message}");
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    drop(lock);
    drop(second.lock().unwrap());
}

#[test]
fn the_probe_leaves_no_file_and_no_other_files_are_listed() {
    let Temporary { disk, directory } = Temporary::new();
    let first = disk.direct_io().clone();
    assert_eq!(disk.direct_io(), &first);
    std::fs::create_dir(directory.path().join("directory")).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
    std::fs::write(directory.path().join("file"), b"").unwrap();
    assert_eq!(disk.list().unwrap(), ["file"]);
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let Temporary { disk, directory } = Temporary::new();
    std::os::unix::fs::symlink("/etc/hostname", directory.path().join("link")).unwrap();
    assert!(disk.open("link", Access::Read, Mode::Buffered).is_err());
}

#[test]
fn a_write_that_was_cut_short_goes_on_where_it_stopped() {
    let Temporary { disk, directory: _directory } = Temporary::new();
    let fd = disk.open_at("a", OFlags::CREATE | OFlags::RDWR).unwrap();
    let file = OsFile { name: "a".into(), fd, aligned: true };
    let blocks: Vec<AlignedBuffer> = (1..4u8)
        .map(|byte| {
            let mut block = AlignedBuffer::zeroed(2 * BLOCK);
            block.fill(byte);
            block
        })
        .collect();
    let pieces: Vec<_> = blocks.iter().map(|block| IoSlice::new(block)).collect();
    file.write_at(0, &pieces).unwrap();
    for written in [0, 100, BLOCK, 2 * BLOCK + 1, 5 * BLOCK, 6 * BLOCK] {
        // As if the first call had done that much, and the rest is garbage.
        let kept = file.progress(written);
        let mut garbage = AlignedBuffer::zeroed(6 * BLOCK - kept);
        garbage.fill(9);
        file.write_at(kept as u64, &[IoSlice::new(&garbage)]).unwrap();
        file.write_rest(0, &pieces, written).unwrap();
        let mut content = AlignedBuffer::zeroed(6 * BLOCK);
        assert_eq!(file.read_at(0, &mut content), Ok(6 * BLOCK));
        assert_eq!(&content[..], &blocks.iter().flat_map(|b| b.to_vec()).collect::<Vec<_>>());
    }
}

#[test]
fn zeros_stand_in_for_an_allocation_that_is_not_supported() {
    let Temporary { disk, directory: _directory } = Temporary::new();
    let file = disk.open_at("a", OFlags::CREATE | OFlags::RDWR).unwrap();
    let file = OsFile { name: "a".into(), fd: file, aligned: true };
    let mut block = AlignedBuffer::zeroed(BLOCK);
    block.fill(1);
    file.write_at(0, &[IoSlice::new(&block)]).unwrap();
    let end = 100 * BLOCK as u64;
    file.write_zeros(0, end).unwrap();
    assert_eq!(file.length(), Ok(end));
    let mut content = AlignedBuffer::zeroed(100 * BLOCK);
    assert_eq!(file.read_at(0, &mut content), Ok(100 * BLOCK));
    assert_eq!(content[..BLOCK], block[..]);
    assert!(content[BLOCK..].iter().all(|byte| *byte == 0));
    let blocks = fs::fstat(&file.fd).unwrap().st_blocks;
    assert!(u64::try_from(blocks).unwrap() * 512 >= end, "it has real blocks");
}

/// tmpfs refuses more than its size at once, without filling itself first.
#[test]
fn allocating_beyond_the_file_system_says_that_it_is_full() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
    let disk = OsDisk::open(directory.path()).unwrap();
    let total = disk.space().unwrap().total.next_multiple_of(BLOCK as u64);
    let file = disk.create("a", Mode::Direct).unwrap();
    let error = file.preallocate(0, total + (1 << 30)).unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::Full);
    assert!(error.to_string().contains("free space on the file system"), "{error}");
    assert_eq!(file.length(), Ok(0));
}
