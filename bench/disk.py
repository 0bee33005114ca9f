"""What the disk itself takes for a commit: a direct write into allocated space and fdatasync, at most a thousand a second, with no server."""

import mmap
import os
import time
from pathlib import Path

BLOCK = 4096
INTERVAL_S = 0.001


def commits(folder: Path, bytes_per_second: float, seconds: float) -> list[float]:
    """Commits so many bytes a second to a new file in `folder`, which is gone afterwards; how long each took, in ms, sorted."""
    size = max(BLOCK, round(bytes_per_second * INTERVAL_S / BLOCK) * BLOCK)
    count = round(seconds / INTERVAL_S)
    path = folder / "disk-probe"
    memory = mmap.mmap(-1, size)
    memory.write(os.urandom(size))
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_DIRECT, 0o600)
    try:
        os.posix_fallocate(file, 0, size * count)
        os.fsync(file)
        took, until = [], time.monotonic() + seconds
        for number in range(count):
            began = time.monotonic()
            if began >= until:
                break
            os.pwrite(file, memory, number * size)
            os.fdatasync(file)
            took.append((time.monotonic() - began) * 1000)
            time.sleep(max(0.0, began + INTERVAL_S - time.monotonic()))
        return sorted(took)
    finally:
        os.close(file)
        path.unlink()
