"""A command on a pseudo-terminal, as a person runs it."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time


class Terminal:
    """Use it with `with`: the command is ended behind the block if it still runs."""

    def __init__(self, command: list, environment: dict[str, str] | None = None, columns: int = 80):
        self.shown = ""
        self.mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.child = subprocess.Popen(
            [str(word) for word in command], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={"TERM": "xterm", **(os.environ if environment is None else environment)},
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        os.close(self.mine)

    def shows(self, text: str, seconds: float = 60) -> str:
        """All that it has shown once `text` is in it."""
        self._read(lambda: text in self.shown, seconds, repr(text))
        assert text in self.shown, f"it ended without {text!r}: {self.shown!r}"
        return self.shown

    def ends(self, code: int = 0, seconds: float = 60) -> str:
        """All that it has shown, once it has ended with this exit code."""
        self._read(lambda: False, seconds, "its end")
        assert self.child.wait(seconds) == code, self.shown
        return self.shown

    def _read(self, enough, seconds: float, what: str):
        end = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < end, f"not within {seconds} s: {what} in {self.shown!r}"
            if select.select([self.mine], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.mine, 65536).decode(errors="replace")
                except OSError:  # Linux says so where the other end is closed
                    return

    def types(self, text: str):
        os.write(self.mine, text.encode())

    def interrupt(self):
        """Ctrl-C."""
        self.child.send_signal(signal.SIGINT)
