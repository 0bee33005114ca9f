"""What the three Python clients share: the options, and the lines in and out."""

import json
import sys


def options() -> tuple[str, dict[str, str]]:
    """The command and its `--name value` pairs."""
    words = sys.argv[2:]
    return sys.argv[1], {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def records():
    """The records to produce: one JSON object a line on stdin, absent fields as None."""
    for line in sys.stdin:
        record = {"key": None, "value": None, "headers": [], "timestamp": None, "partition": None, **json.loads(line)}
        for name in ("key", "value"):
            if record[name] is not None:
                record[name] = record[name].encode()
        record["headers"] = [(name, value.encode()) for name, value in record["headers"]]
        yield record


def show(partition, offset, key, value, headers, timestamp):
    text = lambda data: None if data is None else bytes(data).decode()  # noqa: E731
    print(
        json.dumps({
            "partition": partition, "offset": offset, "key": text(key), "value": text(value),
            "headers": [[name, text(data)] for name, data in headers or []], "timestamp": timestamp,
        }),
        flush=True,
    )  # fmt: skip


def say(what: str, partitions):
    print(what, ",".join(str(p) for p in sorted(partitions)), flush=True)
