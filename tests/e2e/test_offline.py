"""Backup of a running server, and what is done to a stopped one's data directory: check and repair."""

import json
import os
import shutil
import stat
import subprocess
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from harness.load import Load, read
from harness.process import until
from harness.servers import millrace_binary

pytestmark = pytest.mark.millrace


def millrace(*arguments, code: int = 0) -> subprocess.CompletedProcess:
    """Runs a command of the binary to its end."""
    command = [str(word) for word in (millrace_binary(), *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def backup(server, dest: Path, code: int = 0) -> subprocess.CompletedProcess:
    return millrace("backup", dest, "--data-dir", server.data, code=code)


@pytest.fixture
def elsewhere():
    """A directory on another file system than the tests' own."""
    path = Path(f"/dev/shm/millrace-test-{uuid.uuid4().hex[:8]}")
    path.mkdir()
    if path.stat().st_dev == Path.cwd().stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    yield path
    shutil.rmtree(path)


def commit(server, topic: str, offset: int):
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": "kept", "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def committed(server, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": "kept", "log_level": 0})
    place = consumer.committed([TopicPartition(topic, 0)], timeout=30)[0]
    consumer.close()
    return place.offset


def test_a_backup_under_load_is_restored_and_both_go_on(start_millrace, admin_of, name, tmp_path):
    """What was acknowledged before is there, at its offset; the copy and the original then live apart."""
    server = start_millrace(log_file_bytes=16 << 20)
    admin = admin_of(server.bootstrap)
    admin.create(name, partitions=2, **{"retention.ms": 3_600_000})
    with Load(server.bootstrap, name, partitions=2, size=2_000) as load:
        load.goes_on(5_000)
        commit(server, name, 123)
        before = dict(load.acked)
        said = backup(server, tmp_path / "backup").stdout
        assert "linked, not copied" in said
        load.goes_on(1_000)
        load.finish()
    copy = start_millrace(data=tmp_path / "backup")
    theirs = admin_of(copy.bootstrap)
    ends = {p: theirs.start_and_end(name, p)[1] for p in range(2)}
    rows = {p: dict(found) for p, found in read(copy.bootstrap, name, ends).items()}
    for number, (partition, offset) in before.items():
        assert int(rows[partition][offset]) == number
    for partition, found in rows.items():
        assert sorted(found) == list(range(ends[partition])), "without a gap"
        assert all(load.acked[int(value)] == (partition, offset) for offset, value in found.items()), "nothing was made up"
    assert committed(copy, name) == 123
    assert theirs.config(name)["retention.ms"].value == "3600000"
    for running in (server, copy):
        running.restart()
        producer = Producer({"bootstrap.servers": running.bootstrap, "enable.idempotence": True, "log_level": 0})
        producer.produce(name, b"more", partition=0)
        assert producer.flush(30) == 0
    assert admin_of(copy.bootstrap).start_and_end(name, 0)[1] == ends[0] + 1
    load.check()


def test_a_backup_on_another_file_system(start_millrace, admin_of, name, elsewhere):
    server = start_millrace(log_file_bytes=16 << 20)
    admin_of(server.bootstrap).create(name)
    with Load(server.bootstrap, name, size=2_000) as load:
        load.goes_on(3_000)
        load.finish()
    said = millrace("backup", elsewhere / "backup", "--data-dir", server.data, "--json").stdout
    figures = json.loads(said)["backup"]
    assert figures["linked"] == 0 and figures["files"] == figures["files_total"] > 2
    server.stop()
    copy = start_millrace(data=elsewhere / "backup")
    load.bootstrap = copy.bootstrap
    load.check()
    copy.stop()


def test_a_copy_of_a_backup_that_is_not_whole_is_refused(start_millrace, admin_of, name, tmp_path):
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    with Load(server.bootstrap, name) as load:
        load.finish()
    backup(server, tmp_path / "backup")
    partial = tmp_path / "partial"
    shutil.copytree(tmp_path / "backup", partial)
    lost = next(partial.glob("*.wal"))
    lost.unlink()
    serve = ("serve", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir")
    said = millrace(*serve, partial, code=1).stderr
    assert lost.name in said and "copy the backup again" in said
    broken_off = tmp_path / "broken-off"
    shutil.copytree(tmp_path / "backup", broken_off)
    (broken_off / "backup.manifest").rename(broken_off / "backup.unfinished")
    said = millrace(*serve, broken_off, code=1).stderr
    assert "never finished" in said


def test_a_backup_needs_the_token_and_loopback(start_millrace, tmp_path):
    server = start_millrace()
    token = server.data / "admin.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    told = token.read_text()
    token.write_text("0" * 64 + "\n")
    said = backup(server, tmp_path / "backup", code=1).stderr
    assert "admin.token" in said
    assert not (tmp_path / "backup").exists()
    token.write_text(told)
    backup(server, tmp_path / "backup")
    assert "is not empty" in backup(server, tmp_path / "backup", code=1).stderr
    server.terminate()
    said = backup(server, tmp_path / "another", code=1).stderr
    assert "no server runs" in said


def test_a_backup_to_where_the_server_may_not_write_says_so(start_millrace, tmp_path):
    server = start_millrace()
    (tmp_path / "file").write_text("mine")
    said = backup(server, tmp_path / "file", code=1).stderr
    assert "a file of that name is there" in said
    said = backup(server, Path("/proc/nothing"), code=1).stderr
    assert "/proc/nothing" in said
    assert (tmp_path / "file").read_text() == "mine"


def flip(path: Path, byte: int):
    """One bit of a file rots."""
    with path.open("r+b") as file:
        file.seek(byte)
        old = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([old ^ 0x10]))


def findings(data: Path) -> list[dict]:
    done = millrace("check", data, "--json", code=1)
    said = json.loads(done.stdout)
    assert not said["clean"]
    return said["findings"]


def image(data: Path) -> dict[str, tuple[int, int, int]]:
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_size, file.stat().st_ino) for file in data.iterdir()}


def place_of(data: Path, value: bytes) -> tuple[Path, int]:
    """The file, and the byte in it, where a record's value stands."""
    for path in sorted(data.glob("*.wal")) + sorted(data.glob("*.sorted")):
        at = path.read_bytes().find(value)
        if at >= 0:
            return path, at
    raise AssertionError(f"{value!r} is in no log file")


def produce(server, topic: str, values: list[bytes]) -> list[int]:
    """Each in a batch of its own; their offsets."""
    offsets = []
    producer = Producer({"bootstrap.servers": server.bootstrap, "linger.ms": 0, "enable.idempotence": True, "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=lambda error, message: offsets.append(message.offset()))
        assert producer.flush(30) == 0
    return offsets


def test_check_finds_nothing_and_changes_nothing(start_millrace, admin_of, name, tmp_path):
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    produce(server, name, [b"a" * 5000, b"b" * 5000])
    said = millrace("check", server.data, code=2).stderr
    assert "a server runs on" in said and str(server.process.pid) in said and " serve " in said
    backup(server, tmp_path / "backup")
    server.kill()  # an unsealed file, and a torn tail maybe
    for data in (server.data, tmp_path / "backup"):
        before = image(data)
        said = millrace("check", data).stdout
        assert "nothing is wrong" in said
        assert image(data) == before


def test_check_names_file_byte_and_offsets(start_millrace, admin_of, name):
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    values = [f"value-{n}-".encode() * 300 for n in range(5)]
    assert produce(server, name, values) == list(range(5))
    server.terminate()
    path, byte = place_of(server.data, values[3])
    flip(path, byte + 100)
    found = findings(server.data)
    assert [finding["kind"] for finding in found] == ["batch"], found
    assert found[0]["file"] == path.name and byte - 100 < found[0]["byte"] <= byte, "where the batch begins"
    assert found[0]["lost"] == [{**found[0]["lost"][0], "topic": name, "partition": 0, "first": 3, "last": 3}]
    said = millrace("check", server.data, code=1).stdout
    assert f"topic {name}, partition 0: offset 3" in said
    assert f"--skip {path.name}:{found[0]['byte']}" in said


def test_check_of_a_rotten_catalog(start_millrace, admin_of, name):
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    server.terminate()
    catalog = server.data / "catalog.sqlite"
    size = catalog.stat().st_size
    catalog.write_bytes(catalog.read_bytes()[:4096] + os.urandom(size - 4096))
    found = findings(server.data)
    assert found[0]["file"] == "catalog.sqlite"


def everything(server, topic: str) -> dict[int, bytes]:
    """What librdkafka reads of a partition from its start on."""
    end = Consumer({"bootstrap.servers": server.bootstrap, "group.id": "unused", "log_level": 0})
    high = end.get_watermark_offsets(TopicPartition(topic, 0), 30)[1]
    end.close()
    return dict(read(server.bootstrap, topic, {0: high})[0])


def test_repair_lets_readers_pass_one_batch(start_millrace, admin_of, name):
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    values = [f"value-{n}-".encode() * 300 for n in range(5)]
    produce(server, name, values)
    server.terminate()
    path, byte = place_of(server.data, values[2])
    flip(path, byte + 100)
    found = findings(server.data)[0]
    place = f"{found['file']}:{found['byte']}"
    before = image(server.data)
    said = millrace("repair", server.data, "--skip", f"{found['file']}:{found['byte'] + 1}", code=2).stderr
    assert "nothing is wrong at byte" in said and "millrace check" in said
    said = millrace("repair", server.data, "--skip", place, code=2)
    assert f"topic {name}, partition 0: offset 2" in said.stdout and "--yes" in said.stderr
    changed = {file for file, was in image(server.data).items() if before.get(file) != was}
    assert changed <= {"LOCK"}, "nothing is given up without a yes"
    millrace("repair", server.data, "--skip", place, "--yes")
    after = image(server.data)
    assert {file for file in after if before.get(file) != after[file]} <= {"LOCK", "skips-1"}
    server.start()
    for _ in range(2):
        assert everything(server, name) == {offset: value for offset, value in enumerate(values) if offset != 2}
        assert not (server.data / "skips-1").exists()
        server.restart()
    assert produce(server, name, [b"more"]) == [5]


def test_repair_of_a_lost_end_lets_producers_go_on(start_millrace, admin_of, name):
    """Both tables of the only frame with a partition's records rot: nobody knows its end."""
    server = start_millrace()
    admin = admin_of(server.bootstrap)
    admin.create(name)
    admin.create(name + "-other")
    produce(server, name, [b"lost-" * 300])
    produce(server, name + "-other", [b"kept-" * 300])
    until(lambda: server.metric("millrace_log_commits_total") >= 3, "a mark is written behind the two records")
    server.kill()
    path, byte = place_of(server.data, b"lost-" * 300)
    frame = byte // 4096 * 4096 - 4096  # its front is the block before the payload's
    content = path.read_bytes()
    assert content[frame : frame + 4] == b"MLRF"
    length = int.from_bytes(content[frame + 8 : frame + 12], "little")
    flip(path, frame + 20)
    flip(path, frame + length - 20)
    found = [finding for finding in findings(server.data) if finding["kind"] == "frames"]
    assert (found[0]["file"], found[0]["byte"]) == (path.name, frame)
    server.start()
    refused = []
    producer = Producer({"bootstrap.servers": server.bootstrap, "retries": 0, "message.timeout.ms": 3000, "log_level": 0})
    producer.produce(name, b"x", on_delivery=lambda error, _: refused.append(error))
    producer.flush(30)
    assert refused[0] is not None
    server.terminate()
    said = millrace("repair", server.data, "--skip", f"{path.name}:{frame}", "--yes").stdout
    assert f"topic {name}, partition 0: maybe records from offset 0 on" in said
    server.start()
    [offset] = produce(server, name, [b"after"])
    assert offset >= 1_000_000_000_000
    server.restart()
    assert everything(server, name) == {offset: b"after"}
    assert len(everything(server, name + "-other")) == 1
    assert produce(server, name, [b"more"]) == [offset + 1]
