"""What a client did and saw, as JSON lines for `millrace history check` (docs/history.md)."""

import json
import threading
import time
from collections.abc import Iterable


class History:
    """One process's file. Its lines are in the order of their times, whichever thread writes them."""

    def __init__(self, path, process: str):
        self.process = process
        self.file = open(path, "a", buffering=1 << 16)  # noqa: SIM115
        self.lock = threading.Lock()
        self.ops = 0

    def add(self, event: str, **fields):
        with self.lock:
            line = {"time": time.monotonic_ns(), "process": self.process, "event": event, **fields}
            self.file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def begin(self, event: str, **fields) -> int:
        """An invocation; its number is for the completion."""
        self.ops += 1
        op = self.ops
        self.add(event, op=op, **fields)
        return op

    def close(self):
        with self.lock:
            self.file.close()


def triples(label: str, offsets: Iterable[tuple[int, int | None]]) -> list:
    return [[label, partition, offset] for partition, offset in offsets]
