"""`millrace bench` against a broker: what it says of a run, and that it drives Apache Kafka as well (--kafka)."""

import json
import signal
import subprocess
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaException
from harness.process import Process, until
from harness.servers import millrace_binary

SHORT = ("--warm-up", "200ms", "--duration", "1s", "--json", "--quiet")


def bench(broker, *options, exits: int = 0, seconds: float = 120) -> dict:
    """Runs it to its end; its JSON, or with `exits` other than 0 what it said."""
    command = [str(millrace_binary()), "bench", "--bootstrap", broker.bootstrap, *(str(o) for o in options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    assert done.returncode == exits, f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if exits == 0 else {"said": done.stderr}


def test_a_rate_is_kept_and_what_is_read_is_verified(broker):
    report = bench(broker, "--rate", 2000, "--producers", 3, "--readers", 2, "--record-bytes", 200, *SHORT)
    (phase,) = report["phases"]
    assert phase["name"] == "produce+read"
    assert phase["latency_ms"]["records"] == 2000, "each record that was due is in the histogram, once"
    assert phase["end_to_end_ms"]["records"] == 4000, "twice: there are two readers"
    assert 0 < phase["latency_ms"]["p50"] <= phase["latency_ms"]["p99"] <= phase["latency_ms"]["max"]
    assert report["unsent_records"] == 0
    assert report["verified"]["is_clean"] and report["verified"]["is_complete"], report["verified"]
    assert report["verified"]["records"] == 2 * 2400, "the warm-up is verified too"
    assert report["verified"]["foreign"] == 0
    assert phase["client"]["cpu_s"] > 0


def test_saturation_then_readers(broker):
    report = bench(broker, "--producers", 2, "--batches-per-request", 3, "--readers", 1, "--read", "after", *SHORT)
    produced, read = report["phases"]
    assert (produced["name"], read["name"]) == ("produce", "read")
    assert produced["records_in"] > 0 and produced["records_out"] == 0
    assert read["records_out"] >= produced["records_in"], "the warm-up is read too"
    assert report["verified"]["is_clean"] and report["verified"]["lost"] == 0
    assert report["verified"]["records"] == read["records_out"]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec(broker, codec):
    report = bench(broker, "--records", 3000, "--warm-up", "0s", "--compression", codec, "--readers", 1, "--json")
    (phase,) = report["phases"]
    assert phase["latency_ms"]["records"] == 3000
    assert report["verified"]["records"] == 3000 and report["verified"]["is_clean"]
    assert (phase["wire_bytes_per_byte_in"] < 0.9) == (codec in ("gzip", "zstd")) or codec in ("snappy", "lz4")


def test_keys_without_idempotence_and_with_acks_1(broker):
    options = ("--keys", 100, "--idempotence", "false", "--acks", 1, "--in-flight", 8, "--compression", "lz4")
    report = bench(broker, *options, "--rate", 5000, "--producers", 2, "--readers", 1, "--reader-connections", 2, *SHORT)
    assert report["verified"]["is_clean"] and report["verified"]["records"] == 6000


def test_acks_0(broker):
    (phase,) = bench(broker, "--acks", 0, "--rate", 1000, *SHORT)["phases"]
    assert phase["latency_ms"]["records"] == 1000


def test_one_record_a_request(broker):
    (phase,) = bench(broker, "--producers", 10, "--batch-records", 1, "--record-bytes", 100, "--in-flight", 1, *SHORT)["phases"]
    # The last request of each producer may be counted on either side of the end.
    assert phase["batches_in"] == phase["records_in"] > 0
    assert abs(phase["produce_requests"] - phase["batches_in"]) <= 10


def test_what_was_there_before_is_read_beside_producers(broker, admin, name):
    admin.create(name, partitions=3)
    bench(broker, "--topic", name, "--records", 5000, "--warm-up", "0s", "--json")
    report = bench(broker, "--topic", name, "--rate", 500, "--readers", 1, "--read", "old", "--read-rate", "20MB", *SHORT)
    assert report["verified"]["is_clean"] and report["verified"]["records"] >= 5000
    alone = bench(broker, "--topic", name, "--producers", 0, "--readers", 1, "--read", "old", "--json")
    assert alone["verified"]["records"] == 5000 + 600, "the run before wrote for 1.2 s"
    assert name in admin.topics(), "a topic with a name is kept"


def test_its_own_topic_goes(broker, admin):
    report = bench(broker, "--rate", 100, *SHORT)
    assert report["topic"].startswith("millrace-bench-")
    until(lambda: report["topic"] not in admin.topics(), "the topic is gone")


def test_the_server_is_measured(broker):
    if not broker.process:
        pytest.skip("needs the broker's process")
    (phase,) = bench(broker, "--server-pid", broker.process.pid, *SHORT)["phases"]
    assert phase["server"]["cpu_s"] > 0 and phase["server"]["anonymous_peak_bytes"] > 1_000_000
    assert phase["server"]["cpu_s_per_gb_in"] > 0 and phase["server"]["requests_per_cpu_s"] > 0


def test_two_endpoints_are_compared(broker):
    command = [str(millrace_binary()), "bench", "--compare", broker.bootstrap, broker.bootstrap, "--rounds", "2", "--rate", "500", *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["a_rounds"]) == len(report["b_rounds"]) == 2
    figures = {figure["name"]: figure for figure in report["figures"]}
    rate = figures["in, records/s"]
    assert rate["ratio_min"] <= rate["ratio"] <= rate["ratio_max"]
    assert 0.5 < rate["ratio"] < 2


def test_ctrl_c_ends_with_a_table(broker, admin, name, tmp_path):
    out = tmp_path / "out"
    command = [millrace_binary(), "bench", "--bootstrap", broker.bootstrap, "--topic", name, "--rate", 500, "--duration", "1h"]
    with out.open("wb") as stdout:
        run = Process([*command, "--readers", 1, "--warm-up", "0s"], tmp_path / "log", stdout=stdout)
    until(lambda: _has_records(admin, name), "it began")
    run.child.send_signal(signal.SIGINT)
    assert run.child.wait(30) == 0, (tmp_path / "log").read_text()
    assert "stopped early" in out.read_text()


def _has_records(admin, topic: str) -> bool:
    try:
        return bool(admin.partitions(topic)) and admin.start_and_end(topic)[1] > 0
    except KafkaException:  # Kafka tells of a new topic before its leader does
        return False


def test_it_goes_on_after_a_kill(own_broker, admin_of, tmp_path):
    """Idempotent producers, and readers, find the server again; nothing acknowledged is lost, nothing is there twice."""
    out = tmp_path / "out"
    command = [millrace_binary(), "bench", "--bootstrap", own_broker.bootstrap, "--topic", "t", "--rate", 3000, "--duration", "6s"]
    with out.open("wb") as stdout:
        run = Process([*command, "--readers", 1, "--warm-up", "0s", "--json"], tmp_path / "log", stdout=stdout)
    admin = admin_of(own_broker.bootstrap)
    until(lambda: _has_records(admin, "t"), "it began")
    own_broker.restart()
    assert run.child.wait(120) == 0, out.read_text() + (tmp_path / "log").read_text()
    report = json.loads(out.read_text())
    assert report["verified"]["is_clean"] and report["verified"]["records"] == 18_000
    assert report["unsent_records"] == report["unacknowledged_records"] == 0


def test_errors_say_what_to_do(broker):
    said = bench(broker, "--record-bytes", 10, exits=2)["said"]
    assert "--record-bytes is 10; a record takes 28" in said
    said = bench(broker, "--producers", 0, "--readers", 1, "--read", "old", "--topic", "no-such-topic", exits=1)["said"]
    assert "there is no topic no-such-topic" in said

    class Nobody:
        bootstrap = "127.0.0.1:1"

    assert "is a Kafka server listening there?" in bench(Nobody, exits=1)["said"]


KINESIS = ("--protocol", "kinesis", "--rate", 2000, "--record-bytes", 200)


def kinesis(broker, *options, **more) -> dict:
    return bench(SimpleNamespace(bootstrap=broker.http), *KINESIS, *options, *SHORT, **more)


@pytest.mark.millrace
@pytest.mark.parametrize("how", [("--fetch-wait", "20ms"), ("--fan-out",)], ids=["polled", "pushed"])
def test_kinesis_is_measured_and_verified_too(broker, how):
    report = kinesis(broker, "--producers", 2, "--readers", 2, *how)
    (phase,) = report["phases"]
    assert (phase["name"], report["partitions"]) == ("produce+read", 4)
    assert phase["latency_ms"]["records"] == 2000, "each record that was due is in the histogram, once"
    assert phase["end_to_end_ms"]["records"] == 4000, "twice: there are two readers"
    assert report["verified"]["is_clean"] and report["verified"]["is_complete"], report["verified"]
    assert report["verified"]["records"] == 2 * 2400, "the warm-up is verified too"


@pytest.mark.millrace
def test_kinesis_readers_may_come_later_and_names_are_given(broker, name):
    report = kinesis(broker, "--topic", name, "--partitions", 2, "--readers", 1, "--read", "after")
    assert [phase["name"] for phase in report["phases"]] == ["produce", "read"]
    assert (report["topic"], report["partitions"], report["verified"]["records"]) == (name, 2, 2400)
    said = kinesis(broker, "--read", "old", "--topic", name, exits=2)["said"]
    assert "--read old" in said
