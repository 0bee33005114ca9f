"""Places, waiting, and one child process with its log."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(os.environ.get("MILLRACE_TOOLS") or ROOT / ".tools").resolve()
TESTS = ROOT / "tests"
T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """The first true answer of `condition`, asked again and again for at most `seconds`."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return answer


class Process:
    """A child process. Its output goes to a file, so that a full pipe can't stop it."""

    def __init__(self, args: list[str | Path], log: Path, **more):
        self.log = log
        with log.open("ab") as out:
            self.child = subprocess.Popen(
                [str(a) for a in args], **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **more}
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    def alive(self) -> bool:
        return self.child.poll() is None

    def kill(self):
        """SIGKILL, and wait for its end."""
        self.child.kill()
        self.child.wait()

    def terminate(self, seconds: float = 30) -> int:
        """SIGTERM, and the exit code that follows; SIGKILL and an error if it doesn't end in time."""
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def pause(self):
        """SIGSTOP: it does nothing until it is resumed."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self):
        self.child.send_signal(signal.SIGCONT)

    def stop(self):
        """Whatever it takes."""
        if self.alive():
            self.kill()

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, field: str = "RssAnon") -> int:
        """A field of /proc/PID/status in bytes: RssAnon is the memory that is its own, VmHWM the highest total."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
        raise KeyError(field)
