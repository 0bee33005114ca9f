"""Time that does strange things: a wall clock that jumps, a process that stands still."""

import time

import pytest
from confluent_kafka import Consumer, TopicPartition
from harness.faults import Clock, failing
from harness.load import Load
from harness.process import until

YEAR_S = 365 * 24 * 3600


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "clock")


@pytest.mark.millrace
def test_a_clock_that_jumps_ahead_by_a_year_deletes_nothing(start_millrace, clock, admin_of, librdkafka, name, tmp_path):
    """Retention stops, and says so; also when a write fails and the log is recovered meanwhile. A clock set right is believed again."""
    short = {"offsets.retention.minutes": 60, "offsets.retention.check.interval.ms": 500}
    server = start_millrace(environment=clock.environment, kafka=short)
    admin = admin_of(server.bootstrap)
    admin.create(name, **{"retention.ms": 3_600_000})
    librdkafka.produce(server.bootstrap, name, [{"value": str(n), "partition": 0} for n in range(100)])
    commit(server, name, 42)

    clock.jump(YEAR_S)
    until(lambda: server.metric("millrace_log_retention_stopped") == 1, "retention stops")
    assert "the wall clock jumped ahead" in server.logged()
    with failing(server, "fdatasync", "EIO", "1", tmp_path / "strace"):
        librdkafka.produce(server.bootstrap, name, [{"value": "100", "partition": 0}])
    assert server.metric("millrace_broker_incarnations_total") > 1
    until(lambda: server.logged().count("the wall clock jumped ahead") == 2, "the next incarnation does not believe it either")
    # The next incarnation is a new leader epoch, which a client that knows the old one asks for first.
    assert admin_of(server.bootstrap).start_and_end(name) == (0, 101)
    assert committed(server, name) == 42

    clock.jump(0)
    until(lambda: server.metric("millrace_log_retention_stopped") == 0, "retention goes on")
    assert [r["value"] for r in librdkafka.consume(server.bootstrap, name, 101)] == [str(n) for n in range(101)]
    assert committed(server, name) == 42


@pytest.mark.millrace
def test_append_times_never_decrease(start_millrace, clock, admin_of, librdkafka, name):
    """Whichever way the clock jumps, appends go on."""
    server = start_millrace(environment=clock.environment)
    admin_of(server.bootstrap).create(name, **{"message.timestamp.type": "LogAppendTime"})
    for seconds in (0, -1800, -YEAR_S, YEAR_S, 0):
        clock.jump(seconds)
        answers = librdkafka.produce(server.bootstrap, name, [{"value": str(seconds), "partition": 0}] * 10)
        assert all("offset" in answer for answer in answers), answers
        server.restart()
    stood = librdkafka.consume(server.bootstrap, name, 50)
    times = [r["timestamp"] for r in stood]
    assert times == sorted(times)
    assert times[-1] - times[0] > YEAR_S * 1000


@pytest.mark.millrace
def test_sessions_and_waits_do_not_follow_the_wall_clock(start_millrace, clock, admin_of, family, name, tmp_path):
    """A member stays a member over jumps that are longer than its session, and producers are served."""
    server = start_millrace(environment=clock.environment)
    admin_of(server.bootstrap).create(name)
    member = family("confluent-kafka").member(server.bootstrap, name, name, tmp_path / "member")
    try:
        with Load(server.bootstrap, name) as load:
            for seconds in (0, 600, -600, 0):
                clock.jump(seconds)
                load.goes_on(500)
            load.finish()
        until(lambda: len(member.rows()) == load.sent, "all are consumed")
        assert member.events() == [("assigned", {0})]
    finally:
        member.stop()
    load.check()


@pytest.mark.parametrize("family_name", ["confluent-kafka", pytest.param("java", marks=pytest.mark.slow)])
@pytest.mark.settings(group_min_session_timeout_ms=1000)
def test_a_server_that_stands_still_longer_than_all_time_outs(own_broker, admin_of, family, name, tmp_path, family_name):
    """SIGSTOP past the producers' request time-outs and the members' sessions, then SIGCONT: all go on, nothing is lost or doubled."""
    admin_of(own_broker.bootstrap).create(name, partitions=2)
    member = family(family_name).member(own_broker.bootstrap, name, name, tmp_path / "member", session_ms=1500)
    try:
        with Load(own_broker.bootstrap, name, partitions=2, **{"socket.timeout.ms": 1000, "request.timeout.ms": 1000}) as load:
            load.goes_on()
            until(lambda: len(member.rows()) > 0, "the member consumes", 60)
            for _ in range(2):
                before = load.timed_out
                own_broker.process.pause()
                stopped = time.monotonic()
                try:
                    until(lambda: load.timed_out > before, "requests time out")
                    until(lambda: time.monotonic() > stopped + 3, "the member's session is over, too")
                finally:
                    own_broker.process.resume()
                load.goes_on(1_000)
            load.finish()
        until(lambda: {(p, o) for p, o, _, _ in member.rows()} >= set(load.acked.values()), "all are consumed", 60)
    finally:
        member.stop()
    load.check()
    values = {(p, o): int(v) for p, o, _, v in member.rows()}
    assert values == {place: number for number, place in load.acked.items()}


def commit(server, group: str, offset: int):
    """By a group that is empty afterwards."""
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(group, 0, offset)], asynchronous=False)
    consumer.close()


def committed(server, group: str) -> int:
    consumer = Consumer({"bootstrap.servers": server.bootstrap, "group.id": group, "log_level": 0})
    [place] = consumer.committed([TopicPartition(group, 0)], timeout=30)
    consumer.close()
    return place.offset
