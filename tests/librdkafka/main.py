"""librdkafka's own test suite, entry by entry, against a broker.

An entry is a number of tests/test.c; those that need no broker are left out. Each runs alone in a process with a time limit, in quick
mode (-Q), or whole where quick mode would leave out all of it. The table says pass, skip (the suite skips it: another scenario, TLS, SASL), FAIL or TIME; an entry in expected-failures.txt that
fails counts as known. Exits 1 if any other entry failed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from harness.process import TESTS, TOOLS
from harness.servers import ApacheKafka, External, Millrace

SUITE = TOOLS / "librdkafka/tests"
#: Manual entries: they run until somebody stops them.
MANUAL = {"8000", "8001", "0190"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/librdkafka/run", description=__doc__)
    parser.add_argument("entries", nargs="*", metavar="NUMBER", help="only these, as 0012 (default: all that talk to a broker)")
    parser.add_argument("--server", choices=("millrace", "kafka"), default="millrace", help="start this one with num.partitions=4")
    parser.add_argument("--bootstrap", help="run against this broker instead")
    parser.add_argument("--seconds", type=float, default=300, help="time limit of an entry (default: 300)")
    parser.add_argument("--keep", type=Path, help="keep the entries' output and the table in this folder")
    return parser.parse_args()


def entries() -> list[str]:
    """The numbers of all entries that talk to a broker, once each."""
    source = (SUITE / "test.c").read_text()
    table = source[source.index("struct test tests[] = {"):]
    found = re.findall(r"_TEST\(\s*(\d{4})\w*,\s*([^,)]+)", table[: table.index("{NULL}")])
    numbers = [number for number, flags in found if "TEST_F_LOCAL" not in flags]
    return [number for number in dict.fromkeys(numbers) if number not in MANUAL]


def known_failures() -> dict[str, str]:
    lines = (TESTS / "librdkafka/expected-failures.txt").read_text().splitlines()
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def run_entry(number: str, bootstrap: str, folder: Path, seconds: float, mode: tuple[str, ...] = ("-Q",)) -> tuple[str, float]:
    """One entry in a process of its own: pass, skip, FAIL or TIME, and how long it took."""
    work = folder / number
    work.mkdir(parents=True, exist_ok=True)
    (work / "test.conf").write_text(f"bootstrap.servers={bootstrap}\n")
    environment = {
        **os.environ, "TESTS": number, "TEST_KAFKA_VERSION": "4.3.0", "RDKAFKA_TEST_CONF": str(work / "test.conf"),
        "LD_LIBRARY_PATH": f"{SUITE.parent}/src:{SUITE.parent}/src-cpp",
    }  # fmt: skip
    started = time.monotonic()
    with (work / "output.log").open("wb") as out:
        child = subprocess.Popen(
            [SUITE / "test-runner", "-p1", *mode, "-E", "-L"], cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return "TIME", seconds
        finally:
            child.kill()
    took = time.monotonic() - started
    if code != 0:
        return ("FAIL" if code > 0 else f"FAIL (signal {-code})"), took
    output = re.sub(r"\x1b\[[0-9;]*m", "", (work / "output.log").read_text(errors="replace"))
    passed = re.findall(rf"^\|\s*{number}_\w+\s*\|\s*PASSED\s*\|\s*([\d.]+)s", output, re.MULTILINE)
    if passed and mode and max(map(float, passed)) < 0.005:
        return run_entry(number, bootstrap, folder, seconds, mode=())  # quick mode leaves nothing of it
    return ("pass" if passed else "skip"), took


def main() -> int:
    options = arguments()
    known = known_failures() if options.server == "millrace" else {}
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="librdkafka-")))
        folder = folder.resolve()
        if options.bootstrap:
            server = External(options.bootstrap)
        elif options.server == "kafka":
            server = ApacheKafka(folder / "server", **{"num.partitions": 4})
        else:
            server = Millrace(folder / "server", **{"kafka.num.partitions": 4})
        stack.callback(server.stop)
        server.start()
        results: Counter[str] = Counter()
        table = stack.enter_context((folder / "table.txt").open("w"))
        for number in options.entries or entries():
            outcome, took = run_entry(number, server.bootstrap, folder, options.seconds)
            if outcome.startswith(("FAIL", "TIME")) and number in known:
                outcome = f"known {outcome.lower()}: {known[number]}"
            results[outcome.split(" ")[0]] += 1
            line = f"{number}  {took:6.1f} s  {outcome}"
            if outcome == "pass" and number in known:
                line += f"  (though expected-failures.txt names it: {known[number]})"
            for out in (sys.stdout, table):
                print(line, file=out, flush=True)
    failed = results["FAIL"] + results["TIME"]
    print(f"{results['pass']} passed, {failed} failed, {results['skip'] + results['known']} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
