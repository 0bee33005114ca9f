"""The client commands of the binary: against Millrace, and with --kafka against Apache Kafka, whose broker they must serve alike."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from harness.process import until
from harness.servers import KAFKA_IMPATIENT, ApacheKafka, free_port, millrace_binary
from harness.terminal import Terminal


class Cli:
    """The binary's commands against one broker."""

    def __init__(self, bootstrap: str):
        self.environment = {**os.environ, "MILLRACE_BROKERS": bootstrap}
        self.environment.pop("MILLRACE_PROFILE", None)

    def __call__(self, *words, stdin: str | bytes = b"", code: int = 0, **more) -> subprocess.CompletedProcess:
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(self.command(words), input=stdin, capture_output=True, env=self.environment, timeout=90, **more)
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.out}\n{done.err}"
        return done

    def command(self, words) -> list[str]:
        return [str(millrace_binary()), *(str(word) for word in words)]

    def json(self, *words):
        return json.loads(self(*words, "--json").out)


@pytest.fixture
def cli(broker) -> Cli:
    return Cli(broker.bootstrap)


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_topics_live_their_life(cli, name):
    assert cli("topic", "create", name, "--partitions", 3, "--config", "retention.ms=7200000").out == f"created topic {name}\n"
    until(lambda: any(topic["topic"] == name for topic in cli.json("topic", "list")), "the topic is listed")
    listed = next(topic for topic in cli.json("topic", "list") if topic["topic"] == name)
    assert listed == {"topic": name, "partitions": 3, "replicas": 1, "records": 0, "internal": False}
    [described] = cli.json("topic", "describe", name)
    assert [p["partition"] for p in described["partitions"]] == [0, 1, 2]
    assert described["partitions"][0] | {"leader": 1} == {
        "partition": 0, "leader": 1, "replicas": described["partitions"][0]["replicas"],
        "in_sync": described["partitions"][0]["in_sync"], "start": 0, "end": 0, "records": 0}  # fmt: skip
    own = [config for config in described["configs"] if config["source"] == "topic"]
    assert [(config["name"], config["value"]) for config in own] == [("retention.ms", "7200000")]
    cli("topic", "alter", name, "--set", "retention.bytes=1000000", "--unset", "retention.ms")

    def altered():
        configs = cli.json("topic", "describe", name)[0]["configs"]
        return [(c["name"], c["value"]) for c in configs if c["source"] == "topic"] == [("retention.bytes", "1000000")]

    until(altered, "the change is shown")
    cli("topic", "add-partitions", name, "--to", 5)
    until(lambda: len(cli.json("topic", "describe", name)[0]["partitions"]) == 5, "it has five partitions")
    assert "has 5 partitions" in cli("topic", "add-partitions", name, "--to", 5, code=1).err
    assert "Say --yes" in cli("topic", "delete", name, code=2).err
    cli("topic", "delete", name, "--yes")
    until(lambda: all(topic["topic"] != name for topic in cli.json("topic", "list")), "it is gone")


def test_mistakes_are_told_with_a_guess(cli, name):
    cli("topic", "create", name)
    until(lambda: any(topic["topic"] == name for topic in cli.json("topic", "list")), "the topic is listed")
    mistyped = name.replace("told", "tld")
    for command in (["topic", "describe", mistyped], ["consume", mistyped], ["produce", mistyped],
                    ["topic", "alter", mistyped, "--set", "a=b"], ["topic", "trim", mistyped, "--before", "end"]):  # fmt: skip
        assert cli(*command, code=1).err.startswith(f'millrace: there is no topic "{mistyped}"; did you mean "{name}"?')
    assert "did you mean" in cli("topic", "create", name + "-2", "--config", "retention.mss=1", code=1).err
    assert "did you mean" in cli("topic", "alter", name, "--set", "retention.mss=1", code=1).err
    assert 'did you mean "num.partitions"?' in cli("cluster", "config", "get", "num.partition", code=1).err
    assert "already" in cli("topic", "create", name, code=1).err
    assert "there is no group" in cli("group", "describe", name, code=1).err


def test_what_acts_tells_programs_what_it_did(cli, name):
    """Every command that changes something, by --json; what failed stands in it beside what did not."""

    def partly(*words, **more):
        done = cli(*words, "--json", code=1, **more)
        return json.loads(done.out), done.err

    two = f"{name}-2"
    assert cli.json("topic", "create", name) == [{"topic": name, "created": True, "error": None}]
    done, said = partly("topic", "create", name, two)
    assert [(row["topic"], row["created"]) for row in done] == [(name, False), (two, True)]
    assert "already" in done[0]["error"] and done[1]["error"] is None and done[0]["error"] in said
    assert [row["created"] for row in cli.json("topic", "create", name, two, "--if-not-exists")] == [False, False]
    assert cli("topic", "create", name, "--if-not-exists").out == f"topic {name} was created before\n"
    until(lambda: {name, two} <= {topic["topic"] for topic in cli.json("topic", "list")}, "both are listed")
    altered = cli.json("topic", "alter", name, two, "--set", "retention.ms=7200000")
    assert altered == [{"topic": topic, "changed": True, "error": None} for topic in (name, two)]
    done, _ = partly("topic", "alter", name, "--set", "retention.ms=soon")
    assert done[0]["changed"] is False and done[0]["error"]
    assert cli.json("topic", "add-partitions", name, "--to", 3) == {"topic": name, "partitions": 3, "added": 2}
    until(lambda: len(cli.json("topic", "describe", name)[0]["partitions"]) == 3, "it has three partitions")

    wrote = json.loads(cli("produce", name, "-p", 1, "--json", stdin="a\n").out)
    assert wrote | {"seconds": 0} == {
        "topic": name, "records": 1, "bytes": 1, "not_acknowledged": 0, "seconds": 0, "partition": 1, "offset": 0}  # fmt: skip
    wrote, said = partly("produce", name, "-p", 1, "-f", "json", stdin='{}\n[]\n{\n')
    assert (wrote["records"], wrote["offset"]) == (2, None) and ":3:" in said
    assert cli("consume", name, "--group", name).out == "a\n{}\n[]\n"
    moved = cli.json("group", "reset-offsets", name, "--to", "start", "--yes")
    assert moved["group"] == name
    assert [(p["partition"], p["old"], p["new"], p["error"]) for p in moved["partitions"]] == [(0, 0, 0, None), (1, 3, 0, None), (2, 0, 0, None)]
    trimmed = cli.json("topic", "trim", name, "--before", 2, "-p", 1, "--yes")
    assert trimmed == {"topic": name, "deleted": 2, "partitions": [{"partition": 1, "old_start": 0, "start": 2, "end": 3, "error": None}]}
    assert cli.json("topic", "trim", name, "--before", "start", "--yes") == {"topic": name, "deleted": 0, "partitions": []}
    assert cli.json("cluster", "config", "set", "log.cleaner.threads=2") == {"broker": None, "changed": ["log.cleaner.threads"]}
    cli("cluster", "config", "set", "--unset", "log.cleaner.threads")
    assert cli.json("group", "delete", name, "--yes") == [{"group": name, "deleted": True, "error": None}]
    assert cli.json("topic", "delete", name, two, "--yes") == [{"topic": topic, "deleted": True, "error": None} for topic in (name, two)]


def test_what_is_no_broker_is_told_at_once(cli, broker):
    begun = time.monotonic()
    refused = cli("topic", "list", "--brokers", "127.0.0.1:1", code=1).err
    assert "connection refused" in refused and "millrace serve" in refused
    assert time.monotonic() - begun < 5


def test_the_cluster_is_described(cli, broker):
    info = cli.json("cluster", "info")
    assert info["cluster_id"] and info["brokers"][0]["address"] == broker.bootstrap
    assert broker.name != "kafka" or info["kafka_release"] == "4.3"
    configs = cli.json("cluster", "config", "get", "num.partitions")
    assert configs[0]["name"] == "num.partitions" and configs[0]["value"] == "1"
    cli("cluster", "config", "set", "log.retention.ms=7200000")
    until(lambda: cli.json("cluster", "config", "get", "log.retention.ms")[0]["source"] == "cluster", "it is set")
    assert cli.json("cluster", "config", "get", "log.retention.ms")[0]["default"] == "604800000", "in its own unit, not hours"
    cli("cluster", "config", "set", "--unset", "log.retention.ms")
    cli("cluster", "config", "set", "log.cleaner.threads=2")
    until(lambda: cli.json("cluster", "config", "get", "log.cleaner.threads")[0]["source"] == "cluster", "it is set")
    cli("cluster", "config", "set", "--unset", "log.cleaner.threads")
    until(lambda: cli.json("cluster", "config", "get", "log.cleaner.threads")[0]["source"] == "default", "it is as it was")


def test_lines_come_back_as_they_went_in(cli, name):
    text = "one\n\ntwo words\nümlaut\n"
    told = cli("produce", name, "--create", stdin=text).err
    assert told.startswith(f"wrote 4 records (19 B) to {name}")
    assert cli("consume", name).out == text
    told = cli("produce", name, stdin="k:v\n:w\n", *["-K", ":", "-H", "a=b", "-H", "c=d"]).err
    assert "wrote 2 records" in told
    last = cli("consume", name, "--from", "-2", "--format", "%o %k %K %v %h\\n").out
    assert last == "4 k 1 v a=b,c=d\n5  0 w a=b,c=d\n"


def test_json_and_csv_files_become_records_with_keys(cli, name, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"user": {"id": 7}, "n": 1.10}\n{"user": {"id": "x"}, "n": 30}\n')
    (tmp_path / "b.csv").write_text('n,carrier,note\n12,AA,"a, b"\n,UA,\n')
    cli("topic", "create", name, "--partitions", 2)
    cli("produce", name, tmp_path / "a.jsonl", "--key", "user.id", "--compression", "zstd", "--partition", 1)
    cli("produce", name, tmp_path / "b.csv", "--key", "carrier", "--compression", "lz4", "--partition", 1)
    read = rows(cli("consume", name, "--json").out)
    assert [(row["key"], row["value"]) for row in read] == [
        ("7", {"user": {"id": 7}, "n": 1.1}), ("x", {"user": {"id": "x"}, "n": 30}),
        ("AA", {"n": 12, "carrier": "AA", "note": "a, b"}), ("UA", {"n": None, "carrier": "UA", "note": None})]  # fmt: skip
    assert [(row["topic"], row["partition"], row["offset"]) for row in read] == [(name, 1, offset) for offset in range(4)]

    def keys(*filters):
        words = [word for filter in filters for word in ("--filter", filter)]
        return cli("consume", name, "--format", "%k\\n", *words).out.split()

    assert keys("n>=12") == ["x", "AA"]
    assert keys("n>=12", "carrier~^A") == ["AA"]
    assert keys("user.id=7") == ["7"]
    assert keys("n!=12") == ["7", "x", "UA"]


def test_a_bad_line_is_named_and_what_was_written_is_told(cli, name, tmp_path):
    cli("topic", "create", name)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"a": 1}\n{"a": }\n')
    told = cli("produce", name, bad, code=1).err
    assert f"{bad}:2:7: no JSON value: expected value" in told
    assert "wrote 1 record to" in told
    assert cli("consume", name).out == '{"a": 1}\n'
    too_large = cli("produce", name, stdin="x" * 2_000_000, code=1).err
    assert "(standard input):1" in too_large and "max.message.bytes" in too_large, too_large


def test_tombstones_and_times_of_records(cli, name, tmp_path):
    cli("produce", name, "--create", *["-K", "\\x3a", "-Z"], stdin="k:v\nk:\n")
    read = rows(cli("consume", name, "--json").out)
    assert [(row["key"], row["value"]) for row in read] == [("k", "v"), ("k", None)]
    past = datetime.now(UTC).replace(microsecond=250_000) - timedelta(hours=2)
    ms = int(past.timestamp() * 1000)
    elsewhere = past.astimezone(timezone(timedelta(hours=2)))
    (tmp_path / "a.csv").write_text(f"at,n\n{ms},1\n{elsewhere.isoformat(timespec='milliseconds')},2\n{elsewhere:%Y-%m-%dT%H:%M:%S%z},3\n")
    cli("produce", name, tmp_path / "a.csv", "--timestamp", "at")
    read = rows(cli("consume", name, "--from", 2, "--json").out)
    assert [row["timestamp"] for row in read] == [ms, ms, ms - 250]
    assert read[0]["time"] == past.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_large_and_binary_records_come_back_as_they_are(cli, name):
    cli("topic", "create", name, "--config", "max.message.bytes=20000000")
    large = b"x" * 8_000_000 + b"\n"
    until(lambda: any(topic["topic"] == name for topic in cli.json("topic", "list")), "the topic is listed")
    cli("produce", name, stdin=large)
    assert cli("consume", name).stdout == large
    cli("produce", name, "-K", "\\xfe", stdin=b"k\xff\x00\xfe\x80v\xff\n")
    assert cli("consume", name, "--from", 1, "--format", "%K %V").out == "3 3"
    [row] = rows(cli("consume", name, "--from", 1, "--json").out)
    assert (row["key"], row["value"]) == ({"base64": "a/8A"}, {"base64": "gHb/"})


def test_what_transactions_left_is_passed_over(broker, cli, name):
    """Against Kafka alone: Millrace has no transactions."""
    if broker.name != "kafka":
        pytest.skip("needs transactions: runs with --kafka")
    cli("produce", name, "--create", stdin="before\n")

    def begin(value):
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"{name}-{value}", "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(name, value)
        producer.flush(30)
        return producer

    begin("aborted").abort_transaction(30)
    assert cli("consume", name).out == "before\n", "the topic ends in an aborted transaction"
    assert cli("consume", name, "--group", name).out == "before\n"
    [partition] = cli.json("group", "describe", name)["partitions"]
    assert (partition["committed"], partition["lag_records"]) == (3, 0)
    still_open = begin("open")
    cli("produce", name, stdin="behind\n")
    assert cli("consume", name).out == "before\n", "it ends before the open transaction"
    still_open.commit_transaction(30)
    assert cli("consume", name).out == "before\nopen\nbehind\n"


def test_who_follows_from_beyond_the_end_gets_what_comes(cli, name):
    cli("produce", name, "--create", stdin="old\n")
    with on_terminal(cli, "consume", name, "--follow", "--from", 99, "--format", "%o %v\\n", "-n", 1) as reader:
        # It prints only what comes: so something comes until it has printed.
        until(lambda: cli("produce", name, stdin="new\n") and reader.child.poll() is not None, "it has read one")
        shown = reader.ends()
    assert "new" in shown and "old" not in shown


def test_places_by_offset_time_and_count(cli, name):
    cli("produce", name, "--create", stdin="".join(f"{n}\n" for n in range(10)))
    after = time.time()
    until(lambda: time.time() > after + 0.01, "the clock moves on")
    middle = int(time.time() * 1000)
    cli("produce", name, stdin="".join(f"{n}\n" for n in range(10, 15)))

    def read(*words):
        return [int(line) for line in cli("consume", name, *words).out.split()]

    assert read("--from", 12) == [12, 13, 14]
    assert read("--from", "-3") == [12, 13, 14]
    assert read("--from", f"@{middle}") == list(range(10, 15))
    assert read("--to", f"@{middle}") == list(range(10))
    assert read("--from", 2, "--to", 4) == [2, 3]
    assert read("-n", 2) == [0, 1]
    assert read("--from", "-1h") == list(range(15))
    assert read("--from", "end") == []
    assert read("--from", 99) == []
    cli("topic", "trim", name, "--before", 5, "--yes")
    assert read() == list(range(5, 15))
    assert cli.json("topic", "describe", name)[0]["partitions"][0]["start"] == 5
    assert "ends at offset 15" in cli("topic", "trim", name, "--before", 99, "--yes", code=1).err


def test_a_closed_pipe_ends_it_quietly(cli, name):
    cli("produce", name, "--create", stdin="".join(f"{n}\n" for n in range(50_000)))
    with open(os.devnull, "rb") as nothing:
        child = subprocess.Popen(
            cli.command(["consume", name, "--follow", "--from", "start"]),
            stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environment)  # fmt: skip
    assert child.stdout.readline() == b"0\n"
    child.stdout.close()
    assert child.wait(30) == 0
    assert child.stderr.read() == b""
    child.stderr.close()


def on_terminal(cli, *words, **more) -> Terminal:
    return Terminal(cli.command(words), cli.environment, **more)


def test_ctrl_c_commits_and_leaves_the_group(cli, name):
    cli("produce", name, "--create", stdin="a\nb\nc\n")
    with on_terminal(cli, "consume", name, "--group", name, "--follow", "--from", "start") as reader:
        reader.shows("c\r\n")
        described = cli.json("group", "describe", name)
        assert described["state"] == "Stable" and len(described["members"]) == 1
        assert "1 active member," in cli("group", "reset-offsets", name, "--to", "start", "--yes", code=1).err
        reader.interrupt()
        reader.ends()
    described = cli.json("group", "describe", name)
    assert described["members"] == [] and described["state"] == "Empty"
    [partition] = described["partitions"]
    assert (partition["committed"], partition["lag_records"], partition["lag_ms"]) == (3, 0, 0)
    # Who comes next goes on there, and a group that has read all ends at once.
    cli("produce", name, stdin="d\n")
    assert cli("consume", name, "--group", name).out == "d\n"


def test_a_group_is_behind_in_what_it_was_to_read_and_did_not(cli, name):
    """Also in partitions of which it printed nothing: it stands at their start."""
    cli("topic", "create", name, "--partitions", 3)
    until(lambda: any(topic["topic"] == name for topic in cli.json("topic", "list")), "the topic is listed")
    for partition in range(2):
        cli("produce", name, "-p", partition, stdin="a\nb\n")
    assert len(cli("consume", name, "--group", name, "-n", 1).out.splitlines()) == 1
    described = cli.json("group", "describe", name)["partitions"]
    assert sorted(p["committed"] for p in described) == [0, 0, 1]
    assert sum(p["lag_records"] for p in described) == 3
    assert "lag 3 records" in cli("group", "describe", name).out
    assert sorted(cli("consume", name, "--group", name).out.split()) == ["a", "b", "b"]
    assert "lag 0 records" in cli("group", "describe", name).out


def test_what_comes_while_a_group_reads_to_the_end_is_left_to_who_reads_next(cli, name):
    """The last records that it polls are newer than the end at which it began."""
    old, new = [f"{n:0100}\n" for n in range(29_990)], [f"{n:0100}\n" for n in range(29_990, 30_500)]
    cli("produce", name, "--create", stdin="".join(old))
    child = subprocess.Popen(
        cli.command(["consume", name, "--group", name]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=cli.environment)  # fmt: skip
    with child:
        # The pipe is full soon: it waits, far from the end.
        printed = [child.stdout.readline().decode()]
        cli("produce", name, stdin="".join(new))
        printed += [line.decode() for line in child.stdout]
        assert child.wait(60) == 0
    assert printed == old
    assert cli("consume", name, "--group", name).out == "".join(new)


def test_groups_are_described_moved_and_deleted(cli, name):
    cli("produce", name, "--create", stdin="".join(f"{n}\n" for n in range(20)))
    group = f"{name}-group"
    read = cli("consume", name, "--group", group, "-n", 5).out
    assert read == "0\n1\n2\n3\n4\n"
    assert {"group": group, "state": "Empty", "type": "classic"} in cli.json("group", "list")
    [partition] = cli.json("group", "describe", group)["partitions"]
    assert (partition["topic"], partition["committed"], partition["end"], partition["lag_records"]) == (name, 5, 20, 15)
    assert 0 <= partition["lag_ms"] < 120_000
    shown = cli("group", "describe", group).out
    assert "lag 15 records" in shown and "LAG IN TIME" in shown
    moved = cli("group", "reset-offsets", group, "--to", 18, "--yes").out
    assert ["0", "5", "18"] == next(line.split()[1:] for line in moved.splitlines() if line.startswith(name))
    assert cli("consume", name, "--group", group).out == "18\n19\n"
    cli("group", "reset-offsets", group, "--to", "start", "--topic", f"{name}:0", "--yes")
    assert cli.json("group", "describe", group)["partitions"][0]["committed"] == 0
    cli("group", "delete", group, "--yes")
    assert all(listed["group"] != group for listed in cli.json("group", "list"))
    assert "there is no group" in cli("group", "delete", group, "--yes", code=1).err


def test_a_second_ctrl_c_ends_it_whatever_it_waits_for(own_broker, name):
    cli = Cli(own_broker.bootstrap)
    cli("produce", name, "--create", stdin="a\n")
    with on_terminal(cli, "consume", name, "--group", name, "--follow", "--from", "start") as reader:
        reader.shows("a\r\n")
        own_broker.process.pause()
        try:
            # Two that come at once are one to it: so it is told until it has heard.
            until(lambda: reader.interrupt() or reader.child.poll() is not None, "it ends without the broker")
        finally:
            own_broker.process.resume()
        reader.ends(130)


def test_a_terminal_shows_progress_and_no_color_is_heeded(cli, name, tmp_path):
    cli("topic", "create", name)
    feed = tmp_path / "feed"
    os.mkfifo(feed)
    with on_terminal(cli, "produce", name, feed, columns=120) as writer:
        with feed.open("w") as lines:
            lines.write("x\n" * 1000)
            lines.flush()
            writer.shows("producing")
            writer.shows("records/s")
        writer.shows("wrote 1000 records")
        writer.ends()
    plain = {name: value for name, value in cli.environment.items() if name not in ("NO_COLOR", "CLICOLOR")} | {"TERM": "xterm"}
    for environment, colours in ({"NO_COLOR": "1"}, False), ({}, True):
        cli.environment = {**plain, **environment}
        with on_terminal(cli, "topic", "describe", name) as described:
            shown = described.ends()
        assert name in shown and ("\x1b[" in shown) == colours, shown


def test_a_person_types_records_and_is_asked_before_they_go(cli, name):
    cli("topic", "create", name)
    with on_terminal(cli, "produce", name) as writer:
        writer.shows("Ctrl-D ends")
        writer.types("one\ntwo\n\x04")
        assert "producing" not in writer.ends()
    until(lambda: cli.json("topic", "list") and cli("consume", name).out == "one\ntwo\n", "both are there")
    with on_terminal(cli, "topic", "delete", name) as question:
        question.shows(f"Delete {name} (2 records) for ever? [y/N]")
        question.types("n\n")
        assert "nothing was changed" in question.ends(1)
    with on_terminal(cli, "topic", "trim", name, "--before", "1") as question:
        question.shows(f"Delete 1 record of {name} for ever? [y/N]")
        question.types("y\n")
        assert f"deleted 1 record of {name}" in question.ends()
    with on_terminal(cli, "topic", "delete", name) as question:
        question.shows(f"Delete {name} (1 record) for ever? [y/N]")
        question.types("yes\n")
        assert f"deleted topic {name}" in question.ends()


def test_tables_fit_the_terminal(cli, name):
    topic = f"{name}-{'x' * 60}"
    cli("topic", "create", topic)
    until(lambda: any(listed["topic"] == topic for listed in cli.json("topic", "list")), "it is listed")
    with on_terminal(cli, "topic", "list", columns=60) as listed:
        lines = listed.ends().splitlines()
    assert all(len(line) <= 60 for line in lines), lines
    assert topic in cli("topic", "list").out, "a program gets it whole"


def test_members_share_partitions_and_print_each_record_once(cli, name, tmp_path):
    cli("topic", "create", name, "--partitions", 4)
    members = []

    def join():
        printed = tmp_path / f"member-{len(members)}"
        with printed.open("wb") as out, open(os.devnull, "rb") as nothing:
            command = cli.command(["consume", name, "--group", name, "--follow", "--from", "start"])
            members.append((subprocess.Popen(command, stdin=nothing, stdout=out, stderr=out, env=cli.environment), printed))

    def produce(records):
        cli("produce", name, "-K", ":", stdin="".join(f"{n}:{n}\n" for n in records))

    def printed():
        return sorted(int(line) for _, file in members for line in file.read_text().split())

    def owned():
        described = cli.json("group", "describe", name)
        return sorted(len(member["partitions"]) for member in described["members"])

    try:
        join()
        produce(range(500))
        until(lambda: printed() == list(range(500)), "the first member prints all")
        join()
        until(lambda: owned() == [2, 2], "two members have two partitions each", 60)
        produce(range(500, 1000))
        until(lambda: printed() == list(range(1000)), "both print what is theirs, once")
        members[0][0].send_signal(signal.SIGTERM)
        assert members[0][0].wait(30) == 0
        produce(range(1000, 1500))
        until(lambda: printed() == list(range(1500)), "the other goes on where the first ended", 60)
        members[1][0].send_signal(signal.SIGINT)
        assert members[1][0].wait(30) == 0
    finally:
        for member, _ in members:
            member.kill()
            member.wait()
    assert printed() == list(range(1500))
    assert sum(partition["committed"] for partition in cli.json("group", "describe", name)["partitions"]) == 1500


def test_a_broker_that_restarts_is_waited_for(own_broker, name, tmp_path):
    cli = Cli(own_broker.bootstrap)
    cli("produce", name, "--create", stdin="before\n")
    out = tmp_path / "out"
    with out.open("wb") as to, open(os.devnull, "rb") as nothing:
        reader = subprocess.Popen(cli.command(["consume", name, "--follow", "--from", "start"]), stdin=nothing, stdout=to, stderr=to, env=cli.environment)
    writer = subprocess.Popen(cli.command(["produce", name]), stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environment)
    try:
        writer.stdin.write(b"first\n")
        writer.stdin.flush()
        until(lambda: out.read_text() == "before\nfirst\n", "both are at work")
        own_broker.kill()
        writer.stdin.write(b"meanwhile\n")
        writer.stdin.close()
        own_broker.start()
        assert writer.wait(90) == 0, writer.stderr.read()
        assert b"wrote 2 records" in writer.stderr.read()
        until(lambda: out.read_text() == "before\nfirst\nmeanwhile\n", "the reader goes on", 60)
    finally:
        for child in (reader, writer):
            child.kill()
            child.wait()
        writer.stderr.close()


def certificate(at, name: str) -> tuple:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key, cert = at / f"{name}.key", at / f"{name}.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-addext", "basicConstraints=critical,CA:FALSE"]  # fmt: skip
    subprocess.run(["openssl", *words, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def scram_user(bootstrap: str, user: str, password: str):
    """A user of both SCRAM mechanisms; Kafka takes one of a user at a time."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for mechanism in ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512:
        credential = ScramCredentialInfo(mechanism, 4096)
        asked = [UserScramCredentialUpsertion(user, credential, password.encode())]
        admin.alter_user_scram_credentials(asked)[user].result(30)


def unsecured_token(subject: str) -> str:
    """A token as Kafka's own validator takes it where no other is set: signed by nobody."""
    claims = {"sub": subject, "iat": int(time.time()) - 5, "exp": int(time.time()) + 3600}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, ""])


def test_profiles_hold_tls_and_sasl(pytestconfig, cli, tmp_path):
    """Against Kafka alone: Millrace has neither for Kafka's clients."""
    if not pytestconfig.getoption("--kafka"):
        pytest.skip("needs a broker with TLS and SASL: runs with --kafka")
    if not shutil.which("openssl"):
        pytest.skip("openssl is not here")
    cert, key = certificate(tmp_path, "broker")
    mine, my_key = certificate(tmp_path, "client")
    other, other_key = certificate(tmp_path, "other")
    (tmp_path / "store.pem").write_bytes(key.read_bytes() + cert.read_bytes())
    ports = {name: free_port() for name in ("PLAINTEXT", "SSL", "MUTUAL", "SASL_SSL", "CONTROLLER")}
    plain, tls, mutual, sasl, controller = ports.values()
    module = "org.apache.kafka.common.security"
    server = ApacheKafka(
        tmp_path / "kafka", heap="512m", **{
            **KAFKA_IMPATIENT,
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "ssl.keystore.type": "PEM", "ssl.keystore.location": tmp_path / "store.pem",
            "ssl.truststore.type": "PEM", "ssl.truststore.location": mine,
            "listener.name.mutual.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{module}.plain.PlainLoginModule required user_reader="secret";',
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config":
                f'{module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
        })  # fmt: skip
    server.bootstrap = f"127.0.0.1:{plain}"
    for file, text in ("password", "secret\n"), ("wrong", "guess\n"), ("token", unsecured_token("reader")):
        (tmp_path / file).write_text(text)
    text = f"""
        [tls]\nbrokers = "127.0.0.1:{tls}"\ntls = true\nca_file = "{cert}"
        [stranger]\nbrokers = "127.0.0.1:{tls}"\ntls = true
        [plain]\nbrokers = "127.0.0.1:{tls}"
        [mistaken]\nbrokers = "127.0.0.1:{plain}"\ntls = true\nca_file = "{cert}"
        [known]\nbrokers = "127.0.0.1:{mutual}"\ntls = true\nca_file = "{cert}"\ncert_file = "{mine}"\nkey_file = "{my_key}"
        [unknown]\nbrokers = "127.0.0.1:{mutual}"\ntls = true\nca_file = "{cert}"\ncert_file = "{other}"\nkey_file = "{other_key}"
        [nameless]\nbrokers = "127.0.0.1:{mutual}"\ntls = true\nca_file = "{cert}"
        """

    def with_sasl(profile, mechanism, file):
        return f"""
        [{profile}]\nbrokers = "127.0.0.1:{sasl}"\ntls = true\nca_file = "{cert}"
        sasl_mechanism = "{mechanism}"\nsasl_user = "reader"\nsasl_password_file = "{tmp_path}/{file}"
        """

    mechanisms = {"login": "PLAIN", "scram-256": "SCRAM-SHA-256", "scram-512": "SCRAM-SHA-512"}
    for profile, mechanism in mechanisms.items():
        text += with_sasl(profile, mechanism, "password") + with_sasl(f"{profile}-guess", mechanism, "wrong")
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(text + with_sasl("bearer", "OAUTHBEARER", "token") + with_sasl("bearer-guess", "OAUTHBEARER", "wrong"))
    try:
        server.start()
        scram_user(server.bootstrap, "reader", "secret")
        cli("topic", "create", "secret", "--profiles", profiles, "--profile", "tls")
        cli("produce", "secret", "--profiles", profiles, "--profile", "known", stdin="hush\n")
        for profile in *mechanisms, "bearer", "known", "tls":
            assert cli("consume", "secret", "--profiles", profiles, "--profile", profile).out == "hush\n", profile

        def refused(profile):
            return cli("topic", "list", "--profiles", profiles, "--profile", profile, code=1).err

        told = {profile: refused(profile) for profile in ("stranger", "plain", "mistaken", "unknown", "nameless")}
        guesses = [f"{profile}-guess" for profile in (*mechanisms, "bearer")]
        told |= {profile: refused(profile) for profile in guesses}
        print(json.dumps(told, indent=1))
        assert "ca_file" in told["stranger"]
        assert "needs a profile with tls = true" in told["plain"]
        assert "does not speak TLS" in told["mistaken"]
        assert "cert_file" in told["unknown"] and "cert_file" in told["nameless"]
        assert all("sasl_user or password" in told[profile] for profile in guesses)
    finally:
        server.stop()
