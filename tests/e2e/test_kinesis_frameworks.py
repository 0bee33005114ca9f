"""What builds on AWS's SDKs: async-kinesis, and Apache Camel as source and sink; Kafka's clients on the other side."""

import subprocess

import boto3
import pytest
from confluent_kafka import Consumer, Producer
from harness.clients import JAVA_SHORT
from harness.kinesis import REGION, python_program
from harness.process import TESTS, TOOLS

pytestmark = pytest.mark.millrace


def run(command: list[str], *arguments, stdin: str = "") -> list[str]:
    """Runs a program to its end; the lines that it printed."""
    done = subprocess.run([*command, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{arguments} exited {done.returncode}:\n{done.stderr[-4000:]}"
    return done.stdout.splitlines()


def needs(part: str):
    if not (TOOLS / f"{part}.stamp").exists():
        pytest.skip(f"{part} is not set up: see tests/setup")


def produce(broker, name, rows, **options):
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for key, value in rows:
        producer.produce(name, value, key, **options)
    assert producer.flush(30) == 0


def consumed(broker, name, count) -> list[tuple[str, str]]:
    """The topic's keys and values, sorted."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name, "auto.offset.reset": "earliest"})
    consumer.subscribe([name])
    seen = []
    while len(seen) < count:
        message = consumer.poll(30)
        assert message is not None and message.error() is None
        seen.append((message.key().decode(), message.value().decode()))
    consumer.close()
    return sorted(seen)


def test_async_kinesis(broker, name):
    needs("aws-python")
    program = [*python_program("async_kinesis.py")]
    where = (f"http://{broker.http}", REGION, name)
    lines = [f"line {n}" for n in range(700)]
    run(program, "produce", *where, stdin="\n".join(lines))
    assert sorted(value for _, value in consumed(broker, name, 700)) == sorted(lines)
    produce(broker, name, [(f"k{n}", f"kafka {n}") for n in range(100)])
    assert sorted(run(program, "consume", *where, 800)) == sorted(lines + [f"kafka {n}" for n in range(100)])


@pytest.mark.parametrize("asynchronous", ["true", "false"], ids=["asynchronous", "synchronous"])
def test_camel(broker, name, asynchronous):
    needs("aws-java")
    program = [*JAVA_SHORT, "-cp", f"{TOOLS}/aws-java:{TOOLS}/aws-jars/*", "CamelKinesis"]
    kinesis = boto3.client(
        "kinesis", endpoint_url=f"http://{broker.http}", region_name=REGION, aws_access_key_id="key", aws_secret_access_key="secret"
    )
    kinesis.create_stream(StreamName=name, ShardCount=3)
    where = (f"http://{broker.http}", REGION, name, asynchronous)
    rows = [(f"key-{n}", f"camel {n}") for n in range(50)]
    run(program, "sink", *where, stdin="".join(f"{key}\t{value}\n" for key, value in rows))
    assert consumed(broker, name, 50) == sorted(rows)
    more = [(f"key-{n}", f"kafka {n}") for n in range(50)]
    produce(broker, name, more)
    found = run(program, "source", *where, 100)
    assert sorted(tuple(line.split("\t")) for line in found) == sorted(rows + more)
