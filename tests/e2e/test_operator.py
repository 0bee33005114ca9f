"""What an operator sees: whether it is ready, what it counts, what it logs."""

import json
import os
import re
import signal
import time
import urllib.error
import urllib.request

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from harness.faults import needs, slowed
from harness.load import Load, read
from harness.process import until

pytestmark = pytest.mark.millrace


def ready(server, accept: str = "*/*") -> tuple[int, str]:
    """What /readyz says: 0 while nobody listens."""
    request = urllib.request.Request(f"http://{server.http}/readyz", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return 0, ""


def series(server, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """What /metrics says of one metric, by its labels."""
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    said = (re.fullmatch(rf"{name}(?:{{(.*)}})? (.*)", line) for line in lines)
    return {tuple(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', row[1] or "")): float(row[2]) for row in said if row}


def of(server, name: str, **labels: str) -> float | None:
    """One series of a metric; None where it is not there."""
    return series(server, name).get(tuple(labels.items()))


def test_a_flush_that_hangs_is_not_ready_until_it_returns(start_millrace, admin_of, name, tmp_path):
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    with Load(server.bootstrap, name) as load:
        load.goes_on()
        assert ready(server) == (200, "ready\n")
        with slowed(server, "fdatasync", 8, "1", tmp_path / "strace"):
            status, said = until(lambda: (now := ready(server))[0] == 503 and now, "it is not ready")
            assert said.startswith("hanging: a flush of the log has not returned for 5."), said
            told = json.loads(ready(server, "application/json")[1])
            assert (told["ready"], told["state"], told["doing"]) == (False, "hanging", "a flush")
            assert told["seconds"] >= 5
            assert server.metric("millrace_ready") == 0
            assert server.metric("millrace_log_io_pending_seconds") >= 5
            until(lambda: ready(server) == (200, "ready\n"), "the flush has returned")
        load.goes_on()
        load.finish()
    assert server.metric("millrace_ready") == 1
    assert server.metric("millrace_log_failures_total") == 0, "what is slow has not failed"
    load.check()


def test_a_start_says_how_far_it_is(start_millrace, admin_of, name, tmp_path):
    """A log that was killed is read back over a slow disk: the figures rise, and in the end it is ready."""
    needs("strace")
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    with Load(server.bootstrap, name, size=10_000) as load:
        load.goes_on(1_000)
        load.finish()
    server.kill()
    slow = ("strace", "-f", "-o", str(tmp_path / "strace"), "-e", "trace=pread64", "-e", "inject=pread64:delay_enter=50000")
    server.spawn(under=slow)
    try:
        seen: list[dict] = []

        def is_ready() -> bool:
            status, said = ready(server, "application/json")
            if status == 503:
                seen.append(json.loads(said))
            return status == 200

        until(is_ready, "it has read its log", 60)
        told = [s for s in seen if s.get("doing") == "reading the log"]
        assert told, seen
        assert all(s["state"] == "recovering" and s["files"] >= 1 for s in told)
        read = [s["bytes_read"] for s in told]
        assert read == sorted(read) and len(set(read)) > 2, read
        assert told[-1]["bytes"] >= read[-1] > 0
        until(lambda: (server.data / "endpoints.json").exists(), "it serves")
        os.kill(json.loads((server.data / "endpoints.json").read_text())["pid"], signal.SIGTERM)
        server.process.child.wait(30)
    finally:
        server.stop()
    server.start()
    load.check()


def produce(server, topic: str, count: int, size: int = 100, partition: int = 0):
    producer = Producer({"bootstrap.servers": server.bootstrap, "linger.ms": 5, "log_level": 0})
    for n in range(count):
        producer.produce(topic, str(n).encode().ljust(size), partition=partition)
    assert producer.flush(30) == 0


def commit(server, group: str, topic: str, offset: int, partition: int = 0):
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
    consumer.close()


def test_lag_is_told_in_records_and_seconds(start_millrace, admin_of, name):
    """By what a consumer committed: how many records are left, and how old the next one is."""
    server = start_millrace()
    admin_of(server.bootstrap).create(name, partitions=2)
    produce(server, name, 299)
    produce(server, name, 1, partition=1)
    began = time.time()
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": name, "auto.offset.reset": "earliest", "log_level": 0})
    consumer.subscribe([name])
    seen = []
    until(lambda: seen.extend(m for m in consumer.consume(1000, 0.1) if not m.error()) or len(seen) == 300, "all is read")
    consumer.commit(asynchronous=False)
    lag = {"group": name, "topic": name}
    assert until(lambda: of(server, "millrace_group_lag_records", **lag) == 0, "it has caught up")
    assert of(server, "millrace_group_lag_seconds", **lag) == 0, "who has nothing to read is not behind, however old the end is"

    produce(server, name, 7)
    produced = time.time()
    produce(server, name, 5, partition=1)
    assert of(server, "millrace_group_lag_records", **lag) == 12
    until(lambda: of(server, "millrace_group_lag_seconds", **lag) >= 2, "time goes by")
    lag_s = of(server, "millrace_group_lag_seconds", **lag)
    assert time.time() - produced - 0.1 <= lag_s + 0.1 and lag_s <= time.time() - began + 0.1
    consumer.close()
    # An orderly stop: the answer to who leaves does not wait for the disk, and commits without a member are for groups without one.
    assert server.terminate() == 0
    server.start()
    assert of(server, "millrace_group_lag_records", **lag) == 12
    assert of(server, "millrace_group_lag_seconds", **lag) >= lag_s, "the age counts from when they were appended"
    commit(server, name, name, 306)
    commit(server, name, name, 6, 1)
    assert of(server, "millrace_group_lag_records", **lag) == 0


def test_topics_and_groups_have_no_more_series_than_asked_for(start_millrace, admin_of, name):
    server = start_millrace(metrics_topics_max=2, metrics_groups_max=2)
    admin = admin_of(server.bootstrap)
    for n in range(4):
        admin.create(f"{name}-{n}")
        produce(server, f"{name}-{n}", 10 * (n + 1))
        commit(server, f'"{n}\\', f"{name}-{n}", 0)
    shown = {dict(labels)["topic"]: value for labels, value in series(server, "millrace_topic_appended_records_total").items()}
    assert shown == {f"{name}-2": 30, f"{name}-3": 40, "(others)": 30}
    assert sum(shown.values()) == server.metric("millrace_log_appended_records_total")
    behind = series(server, "millrace_group_lag_records")
    assert len(behind) == 3 and sum(behind.values()) == 100
    times = series(server, "millrace_group_lag_seconds")
    oldest = {dict(labels)["topic"] for labels in times} - {"(others)"}
    assert oldest == {f"{name}-0", f"{name}-1"}, "those that are longest behind"
    end = {0: 40}
    read(server.bootstrap, f"{name}-3", end)
    assert of(server, "millrace_topic_read_records_total", topic=f"{name}-3") >= 40
    assert of(server, "millrace_topic_read_bytes_total", topic=f"{name}-3") >= 40 * 100

    none = start_millrace(metrics_topics_max=0, metrics_groups_max=0)
    admin_of(none.bootstrap).create(name)
    produce(none, name, 1)
    assert name not in urllib.request.urlopen(f"http://{none.http}/metrics", timeout=30).read().decode()


def lines(server, message: str) -> list[dict]:
    """What the log says in JSON under one message."""
    every = [json.loads(line) for line in server.logged().splitlines() if line.startswith("{")]
    return [line for line in every if line.get("message") == message]


def test_a_slow_request_says_where_its_time_went(start_millrace, admin_of, name, tmp_path):
    """A flush that takes 1.5 s is one; a fetch that waits as long for records is not."""
    server = start_millrace(log_format="json")
    admin_of(server.bootstrap).create(name)
    produce(server, name, 1)
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": name, "auto.offset.reset": "earliest",
                         "fetch.wait.max.ms": 2500, "fetch.min.bytes": 1 << 20, "log_level": 0})  # fmt: skip
    consumer.subscribe([name])
    until(lambda: consumer.poll(0.1), "the record that is there")
    consumer.close()
    assert not lines(server, "slow request")
    producer = Producer({"bootstrap.servers": server.bootstrap, "client.id": 'a "client"\n', "log_level": 0})
    with slowed(server, "fdatasync", 1.5, "1", tmp_path / "strace"):
        producer.produce(name, b"late" * 100)
        assert producer.flush(30) == 0
    (line,) = until(lambda: [line for line in lines(server, "slow request") if line["api"] == "Produce"], "it is told of")
    assert line["level"] == "WARN" and line["front"] == "kafka" and line["error"] == "none"
    assert line["client_id"] == '"a \\"client\\"\\n"' and line["peer"] == "127.0.0.1" and line["version"] >= 7
    assert line["request_bytes"] > 400 and line["response_bytes"] > 0
    assert 1000 <= line["log_ms"] <= line["total_ms"] < 30_000
    assert line["waited_for"] == "the log"
    assert line["total_ms"] >= line["queue_ms"] + line["work_ms"] + line["log_ms"] + line["response_ms"] - 4
    labels = {"front": "kafka", "api": "Produce"}
    assert of(server, "millrace_front_slow_requests_total", **labels) == 1
    assert of(server, "millrace_front_request_log_duration_seconds_sum", **labels) >= 1.5
    assert of(server, "millrace_front_request_queue_duration_seconds_count", **labels) == 2
    assert of(server, "millrace_front_response_duration_seconds_count", **labels) == 2
    assert of(server, "millrace_front_response_duration_seconds_sum", **labels) < 0.5


def test_each_line_of_the_log_is_json_where_that_is_asked_for(start_millrace, admin_of, name):
    server = start_millrace(log_format="json", log_level="debug")
    admin_of(server.bootstrap).create(name)
    produce(server, name, 1)
    assert server.terminate() == 0
    told = [json.loads(line) for line in server.logged().splitlines()]
    assert len(told) > 3 and all({"timestamp", "level"} <= set(line) for line in told if "message" in line)


def test_no_colours_where_there_is_no_terminal(start_millrace):
    server = start_millrace()
    assert server.terminate() == 0
    assert "\x1b[" not in server.logged()


def test_the_log_tells_its_bytes_apart(start_millrace, admin_of, name):
    server = start_millrace(log_file_bytes=16 << 20)
    admin = admin_of(server.bootstrap)
    admin.create(name)
    payload = 20 * 1_000_000
    produce(server, name, 1_000, size=20_000)

    def said(what: str) -> float:
        return server.metric(f"millrace_{what}_bytes")

    def parts() -> dict[str, float]:
        return {what: said(f"log_{what}") for what in ("live", "dead", "padding", "reserved")}

    def on_disk() -> int:
        return sum(file.stat().st_size for file in server.data.glob("*.wal"))

    assert payload <= parts()["live"] < payload * 1.02 and parts()["dead"] < 10_000
    until(lambda: 0 <= sum(parts().values()) - on_disk() <= 4 << 20, "the parts add up to the files")
    assert server.metric("millrace_log_commit_batches_count") == server.metric("millrace_log_commits_total")
    assert server.metric("millrace_log_commit_batches_sum") >= 20
    free = os.statvfs(server.data)
    assert abs(said("disk_free") - free.f_bavail * free.f_frsize) < said("disk") * 0.1
    admin.delete_records(name, before=900)
    assert parts()["dead"] > payload * 0.2, "one file is mostly live yet, or both are dead"
    assert server.terminate() == 0
    server.start()
    assert parts()["live"] < payload * 0.8
    until(lambda: parts()["padding"] > 0, "what the checkpoint doesn't tell is read from footers")
