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
