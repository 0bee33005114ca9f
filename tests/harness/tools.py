"""Kafka's own command line tools, as their scripts start them: for tests, and for people by `tests/tool`."""

import os
import subprocess
import sys
from pathlib import Path

from harness.clients import JAVA_SHORT
from harness.process import TESTS, TOOLS, Process

CLASSES = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "cluster": "org.apache.kafka.tools.ClusterTool",
}


def command(tool: str, *args, java=JAVA_SHORT) -> list[str]:
    return [*java, "-cp", f"{TOOLS}/jars/*:{TESTS}/java", CLASSES[tool], *(str(a) for a in args)]


def kafka(tool: str, *args, fails: bool = False, seconds: float = 60) -> str:
    """Runs a tool to its end; its stdout and stderr. With `fails`, it must have failed."""
    done = subprocess.run(command(tool, *args), capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, f"{tool} {args} exited {done.returncode}:\n{said[-4000:]}"
    return said


def start(tool: str, *args, log: Path) -> Process:
    """Starts a tool that runs until it is told to stop."""
    return Process(command(tool, *args), log)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in CLASSES:
        sys.exit(f"usage: tests/tool TOOL [ARGUMENT...]\nKafka's command line tools: {', '.join(CLASSES)}")
    words = command(*sys.argv[1:])
    os.execvp(words[0], words)
