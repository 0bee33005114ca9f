"""librdkafka's own test suite (tests/librdkafka): every entry passes but those listed with a reason."""

import os
import subprocess

import pytest
from harness.process import TESTS
from harness.servers import millrace_binary


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_the_suite_of_librdkafka(pytestconfig, family):
    if pytestconfig.getoption("--bootstrap"):
        pytest.skip("starts its server with num.partitions=4")
    family("kafkajs")  # npm brings its source
    server = "kafka" if pytestconfig.getoption("--kafka") else "millrace"
    environment = {**os.environ, "MILLRACE_BIN": str(millrace_binary())}
    done = subprocess.run([TESTS / "librdkafka/run", "--server", server], capture_output=True, text=True, env=environment)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
