"""What the three Python clients share: the options, and the lines in and out."""

import json
import sys


def options() -> tuple[str, dict[str, str]]:
    """The command and its `--name value` pairs."""
    words = sys.argv[2:]
    return sys.argv[1], {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def producer_options(o) -> dict:
    """What aiokafka and kafka-python call alike."""
    compression = o.get("compression", "none")
    return {
        "bootstrap_servers": o["bootstrap"],
        "acks": {"0": 0, "1": 1, "all": "all"}[o.get("acks", "all")],
        "enable_idempotence": o.get("idempotent") == "true",
        "compression_type": None if compression == "none" else compression,
        "max_request_size": 50_000_000,
    }


def consumer_options(o) -> dict:
    """What aiokafka and kafka-python call alike, for a consumer without a group."""
    return {
        "bootstrap_servers": o["bootstrap"],
        "auto_offset_reset": "earliest",
        "isolation_level": o.get("isolation", "read_uncommitted"),
        "max_partition_fetch_bytes": 50_000_000,
    }


def member_options(o) -> dict:
    """What aiokafka and kafka-python call alike, for a member of a group."""
    return {
        "bootstrap_servers": o["bootstrap"],
        "group_id": o["group"],
        "group_instance_id": o.get("instance"),
        "session_timeout_ms": int(o.get("session-ms", "6000")),
        "heartbeat_interval_ms": 500,
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }


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
