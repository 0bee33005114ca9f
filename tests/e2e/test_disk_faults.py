"""Disks that are full, and disks that fail: nothing acknowledged is lost or doubled, and the server goes on by itself."""

import socket
import struct

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from harness.faults import failing, injected, mounted
from harness.load import Load, read
from harness.process import until
from test_hostile import batch, connect, framed, header

pytestmark = pytest.mark.millrace

#: A disk on which the log is full within a second.
SMALL = {"log_file_bytes": 16 << 20, "reserve_bytes": 4 << 20}


@pytest.fixture
def small_disk(request, tmp_path):
    """80 MB, on ext4 unless the test says otherwise."""
    with mounted(getattr(request, "param", "ext4"), tmp_path / "disk", 80) as disk:
        yield disk


@pytest.fixture
def on_small_disk(small_disk, start_millrace):
    """A server whose data directory is on it; gone before the disk is."""
    server = start_millrace(data=small_disk / "data", **SMALL)
    yield server
    server.stop()


def full(server) -> bool:
    return server.metric("millrace_log_storage_full") == 1


def produce_once(bootstrap: str, topic: str) -> KafkaError | None:
    """What a producer is told that does not retry."""
    told = []
    producer = Producer({"bootstrap.servers": bootstrap, "retries": 0, "message.timeout.ms": 20_000, "log_level": 0})
    producer.produce(topic, b"once", on_delivery=lambda error, _: told.append(error))
    producer.flush(30)
    return told[0]


def refused(server, topic: str) -> bool:
    error = produce_once(server.bootstrap, topic)
    return error is not None and error.code() == KafkaError.KAFKA_STORAGE_ERROR


@pytest.mark.parametrize(
    ("small_disk", "freed_by"),
    [("tmpfs", "deleting a topic"), ("ext4", "deleting a topic"), ("ext4", "deleting records"), ("ext4", "retention")],
    indirect=["small_disk"],
)
def test_a_full_disk_gets_room_again(on_small_disk, admin_of, name, freed_by):
    """Produce and commits are refused; fetching and deleting go on, and what is freed lets all resume by itself."""
    server, admin = on_small_disk, admin_of(on_small_disk.bootstrap)
    admin.create(name, partitions=2)
    admin.create(name + "-old")
    admin.create(name + "-once")
    with Load(server.bootstrap, name + "-old", size=10_000) as old:
        old.goes_on(2_000)
        old.finish()
    with Load(server.bootstrap, name, partitions=2, size=4_000) as load:
        until(lambda: full(server), "the disk is full", 60)
        until(lambda: refused(server, name + "-once"), "what was allocated is used up, and a producer is told so")
        stood = dict(load.acked)
        ends = {p: 1 + max(o for where, o in stood.values() if where == p) for p in range(2)}
        rows = read(server.bootstrap, name, ends)
        assert sum(len(r) for r in rows.values()) >= len(stood), "what was acknowledged is read while the disk is full"
        assert not commits(server, name), "a group's records are a client's: the reserve is not for them"
        assert full(server)
        assert server.logged().count("could not be stored") == 1, "many refusals are one line"

        load.end()  # else it fills what is freed at once
        if freed_by == "deleting a topic":
            admin.delete(name + "-old")
        elif freed_by == "deleting records":
            admin.delete_records(name + "-old", before=1_900)
        else:
            admin.set_config(name + "-old", **{"retention.bytes": 100_000})
        load.finish(30)
    assert not full(server)
    assert "the disk has space again" in server.logged()
    load.check()
    assert commits(server, name)


def test_a_full_disk_survives_kill_9(small_disk, start_millrace, request, admin_of, name):
    """A start on a full disk serves what there is, and lets it be deleted."""
    server = start_millrace(data=small_disk / "data", log_file_bytes=16 << 20, reserve_bytes=12 << 20)
    request.addfinalizer(server.stop)  # before the disk goes
    admin = admin_of(server.bootstrap)
    admin.create(name)
    admin.create(name + "-old")
    with Load(server.bootstrap, name + "-old", size=10_000) as old:
        old.goes_on(2_000)
        old.finish()
    with Load(server.bootstrap, name, size=4_000) as load:
        for _ in range(3):
            until(lambda: full(server), "the disk is full", 60)
            server.restart()
        until(lambda: full(server), "the disk is full", 60)
        load.end()
        admin_of(server.bootstrap).delete(name + "-old")
        load.finish()
    load.check()


def test_others_may_fill_the_disk(small_disk, on_small_disk, admin_of, name):
    """Not the log but another program takes the last byte, reserve or not, and gives it back."""
    server, admin = on_small_disk, admin_of(on_small_disk.bootstrap)
    admin.create(name)
    with Load(server.bootstrap, name, size=4_000) as load:
        load.goes_on()
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            with pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(1 << 16))
            with pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(512))
        until(lambda: full(server), "the disk is full", 60)
        ballast.unlink()
        load.goes_on()
        load.finish()
    load.check()
    assert server.process.alive()


def commits(server, group: str) -> bool:
    """Whether an offset can be committed."""
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0})
    try:
        consumer.commit(offsets=[TopicPartition(group, 0, 7)], asynchronous=False)
        return True
    except KafkaException:
        return False
    finally:
        consumer.close()


#: What fails, how, and at which call of a thread. Each of them ends the incarnation under load.
ENDINGS = [
    ("fdatasync", "EIO", "1"),
    ("fdatasync", "EIO", "2"),
    ("fdatasync", "EIO", "7"),
    ("fdatasync", "EIO", "2..4"),
    ("pwritev", "EIO", "1"),
    ("pwritev", "EIO", "9"),
    ("pwritev", "ENOSPC", "5"),
    ("fallocate", "EIO", "1"),
]


@pytest.mark.parametrize(("call", "error", "when"), ENDINGS, ids=["-".join(e) for e in ENDINGS])
def test_a_failed_write_ends_the_incarnation_and_not_the_process(start_millrace, admin_of, name, tmp_path, call, error, when):
    server = start_millrace(log_file_bytes=16 << 20)
    pid = server.process.pid
    admin_of(server.bootstrap).create(name, partitions=3)
    with Load(server.bootstrap, name, partitions=3, size=2_000) as load:
        load.goes_on()
        before = server.metric("millrace_broker_incarnations_total")
        with failing(server, call, error, when, tmp_path / "strace"):
            until(lambda: server.metric("millrace_broker_incarnations_total") > before, "another incarnation serves", 60)
        load.goes_on(1_000)
        load.finish()
    assert injected(tmp_path / "strace") > 0
    assert server.metric("millrace_log_failures_total") >= 1
    assert server.process.alive() and server.process.pid == pid
    load.check()
    server.restart()
    load.check()


#: Calls that fail beside the log: whatever is done about it, the log goes on.
BESIDE = [
    ("fsync", "EIO", "1"),
    ("openat", "EIO", "3"),
    ("openat", "ENOSPC", "1..5"),
    ("openat", "EMFILE", "1..50"),
    ("fallocate", "ENOSPC", "1..3"),
    ("ftruncate", "EIO", "1"),
    ("unlinkat", "EIO", "1..2"),
    ("pread64", "EIO", "1..3"),
    ("renameat,renameat2", "EIO", "1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "error", "when"), BESIDE, ids=["-".join(e) for e in BESIDE])
def test_a_call_that_fails_anywhere_loses_nothing(start_millrace, admin_of, name, tmp_path, call, error, when):
    """Through several log files, with topics made, filled and deleted beside."""
    server = start_millrace(log_file_bytes=16 << 20, cache_bytes=8 << 20)
    admin = admin_of(server.bootstrap)
    admin.create(name, partitions=3)
    with Load(server.bootstrap, name, partitions=3, size=4_000) as load:
        load.goes_on()
        with failing(server, call, error, when, tmp_path / "strace"):
            for n in range(3):
                try:
                    admin.create(f"{name}-{n}")
                    produce_once(server.bootstrap, f"{name}-{n}")
                    admin.delete(f"{name}-{n}")
                except (KafkaException, AssertionError):
                    pass  # that may fail, too
                load.goes_on(2_500, 120)
        load.goes_on(2_500)
        load.finish()
    assert server.process.alive()
    load.check()
    server.restart()
    load.check()


def test_a_disk_that_keeps_failing_is_tried_until_it_works(start_millrace, admin_of, name, tmp_path):
    """Recovery fails as well, again and again; as soon as the disk works, so does the server."""
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    with Load(server.bootstrap, name) as load:
        load.goes_on()
        with failing(server, "fdatasync", "EIO", "1+", tmp_path / "strace"):
            until(lambda: server.logged().count("cannot be recovered yet") >= 2, "it tried twice", 60)
        load.goes_on()
        load.finish()
    load.check()


def test_who_waits_for_a_failed_write_is_told_nothing(start_millrace, admin_of, name, tmp_path):
    """No error, which clients would take as final: the connection closes, and a retry says what became of it."""
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    assert produce_raw(server, name, 0) == (0, 0)
    with failing(server, "fdatasync", "EIO", "1", tmp_path / "strace"), connect(server) as s:
        s.sendall(framed(produce_request(name, 1)))
        assert closed_unanswered(s)
    # The same batch again, by the same producer: it takes the place that it would have had.
    assert until(lambda: produce_raw(server, name, 1), "it serves again") == (0, 1)
    assert produce_raw(server, name, 1) == (0, 1), "a retry is known"
    assert admin_of(server.bootstrap).start_and_end(name) == (0, 2)


def produce_request(topic: str, sequence: int) -> bytes:
    records = batch(producer=4711, producer_epoch=0, sequence=sequence)
    name = topic.encode()
    body = struct.pack(">hhiih", -1, -1, 20_000, 1, len(name)) + name + struct.pack(">iii", 1, 0, len(records)) + records
    return header(0, 7) + body


def produce_raw(server, topic: str, sequence: int) -> tuple[int, int] | None:
    """Error code and base offset of one batch of an idempotent producer; None when there is no answer."""
    try:
        with connect(server) as s:
            s.sendall(framed(produce_request(topic, sequence)))
            said = s.recv(65536)
    except OSError:
        return None
    if not said:
        return None
    at = 4 + 4 + 4 + 2 + len(topic) + 4 + 4
    return struct.unpack(">hq", said[at : at + 10])


def closed_unanswered(s: socket.socket) -> bool:
    s.settimeout(30)
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(20))
def test_calls_that_fail_at_random(start_millrace, admin_of, name, tmp_path, seed):
    """Any call, now and then, for a while; then the truth."""
    import random

    chance = random.Random(seed)
    server = start_millrace(log_file_bytes=16 << 20, cache_bytes=8 << 20)
    admin_of(server.bootstrap).create(name, partitions=3)
    with Load(server.bootstrap, name, partitions=3, size=4_000) as load:
        for round_ in range(4):
            call = chance.choice(["fdatasync", "pwritev", "fallocate", "fsync", "ftruncate", "pread64", "unlinkat", "openat"])
            error = chance.choice(["EIO", "ENOSPC"])
            first = chance.randrange(1, 40)
            with failing(server, call, error, f"{first}+{chance.randrange(5, 50)}", tmp_path / f"strace-{round_}"):
                load.goes_on(1_500, 120)
            if chance.random() < 0.5:
                server.restart()
            load.goes_on()
        load.finish()
    load.check()


