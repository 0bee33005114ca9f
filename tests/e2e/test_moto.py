"""moto's own suite of Kinesis tests (tests/moto): every test passes but those listed with a reason."""

import os
import subprocess

import pytest
from harness.process import TESTS, TOOLS
from harness.servers import millrace_binary

pytestmark = pytest.mark.millrace


@pytest.mark.timeout(600)
def test_the_suite_of_moto():
    if not (TOOLS / "moto.stamp").exists():
        pytest.skip("moto's suite is not set up: see tests/setup")
    environment = {**os.environ, "MILLRACE_BIN": str(millrace_binary())}
    done = subprocess.run([TESTS / "moto/run"], capture_output=True, text=True, env=environment)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
