"""What goes wrong around a server: disks of a size, system calls that fail, clocks that jump. Each undone by its `with`.

What a machine doesn't have, or doesn't allow, skips the test by name.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.process import Process, until


def needs(*commands: str):
    missing = [command for command in commands if not shutil.which(command)]
    if missing:
        pytest.skip(f"no {' or '.join(missing)} on this machine: see tests/setup")


@contextmanager
def mounted(kind: str, at: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own: `tmpfs`, or `ext4` in a file, on which direct I/O works as on a disk."""
    needs("mount", "umount")
    at.mkdir(parents=True)
    if kind == "tmpfs":
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", at]
    else:
        needs("mkfs.ext4")
        image = at.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        # No blocks for root alone, and none promised that are not there.
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
        mount = ["mount", "-o", "loop", image, at]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a {kind} cannot be mounted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        until(lambda: subprocess.run(["umount", at], capture_output=True).returncode == 0, f"{at} is unmounted")


@contextmanager
def failing(server: Process, calls: str, error: str, when: str, log: Path) -> Iterator[Process]:
    """While inside, system calls of the server fail: `when` counts them per thread, as strace's `inject` has it."""
    with injecting(server, calls, f"error={error}:when={when}", log) as strace:
        yield strace


@contextmanager
def injecting(server: Process, calls: str, what: str, log: Path) -> Iterator[Process]:
    """While inside, strace does `what` to system calls of the server."""
    needs("strace")
    words = ["strace", "-f", "-p", str(server.process.pid), "-o", log, "-e", f"trace={calls}", "-e", f"inject={calls}:{what}"]
    strace = Process(words, log.with_suffix(".said"))
    try:
        until(lambda: "attached" in strace.log.read_text() or not strace.alive(), "strace is attached")
        if not strace.alive():
            pytest.skip(f"strace may not trace here: {strace.log.read_text().strip()}")
        yield strace
    finally:
        if strace.alive():
            # It lets go of the server first; a kill would leave it stopped.
            strace.child.send_signal(signal.SIGINT)
            strace.child.wait(30)


@contextmanager
def slowed(server: Process, calls: str, seconds: float, when: str, log: Path) -> Iterator[Process]:
    """While inside, system calls of the server begin so much later; `when` counts them per thread."""
    delay = f"delay_enter={round(seconds * 1e6)}"
    with injecting(server, calls, f"{delay}:when={when}", log) as strace:
        yield strace


def injected(log: Path) -> int:
    """How many calls were made to fail."""
    return log.read_text().count("(INJECTED)")


class Clock:
    """The wall clock of a server, which libfaketime lets jump; its monotonic clock stays true."""

    def __init__(self, file: Path):
        libraries = [path for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
        if not libraries:
            pytest.skip("no libfaketime on this machine (Debian's package faketime)")
        self.file = file
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int):
        """So far from the true time it is from now on."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        os.replace(fresh, self.file)
