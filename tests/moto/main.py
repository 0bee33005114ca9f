"""moto's own suite of Kinesis tests (tests/test_kinesis of its source distribution), in server mode, against Millrace.

The suite asks its server to forget everything between tests, and an STS for the account's number. Neither is a server's of streams to
answer, so a proxy in this process does: it deletes all streams through the API at POST /moto-api/reset, answers GetCallerIdentity, and
hands on everything else. The table says pass, skip or FAIL; a test in expected-failures.txt that fails counts as known. Exits 1 if
any other failed.
"""

import argparse
import http.client
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections import Counter
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3

from harness.process import TESTS, TOOLS
from harness.servers import Millrace

SUITE = TOOLS / "moto/suite"
REGION = "us-east-1"
CALLER = (
    "<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetCallerIdentityResult>"
    "<Arn>arn:aws:sts::123456789012:user/moto</Arn><UserId>moto</UserId><Account>123456789012</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
#: Said of one connection, not of the message: a proxy doesn't hand them on.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/moto/run", description=__doc__)
    parser.add_argument("tests", nargs="*", help="an expression as pytest's -k takes it (default: all)")
    parser.add_argument("--endpoint", metavar="HOST:PORT", help="run against this server instead of one of its own")
    parser.add_argument("--show", action="store_true", help="show why tests failed")
    return parser.parse_args()


def known_failures() -> dict[str, str]:
    """Reasons by the name of a test, or of a file of them."""
    lines = (TESTS / "moto/expected-failures.txt").read_text().splitlines()
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def forget_everything(endpoint: str):
    """Deletes all streams, and with them their consumers, tags and policies."""
    kinesis = boto3.client(
        "kinesis", endpoint_url=f"http://{endpoint}", region_name=REGION, aws_access_key_id="key", aws_secret_access_key="secret"
    )
    while names := kinesis.list_streams()["StreamNames"]:
        for name in names:
            kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True)


def proxy(endpoint: str) -> ThreadingHTTPServer:
    """What the suite talks to, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.path == "/moto-api/reset":
                forget_everything(endpoint)
                self.answer(200, {"Content-Type": "application/json"}, b'{"status": "ok"}')
            elif b"Action=GetCallerIdentity" in body:
                self.answer(200, {"Content-Type": "text/xml"}, CALLER.encode())
            else:
                self.hand_on(body)

        def hand_on(self, body: bytes):
            connection = http.client.HTTPConnection(endpoint, timeout=60)
            connection.request("POST", self.path, body, dict(self.headers))
            got = connection.getresponse()
            headers = {name: value for name, value in got.getheaders() if name.lower() not in HOP_BY_HOP}
            self.answer(got.status, headers, got.read())
            connection.close()

        def answer(self, status: int, headers: dict[str, str], body: bytes):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def run_suite(endpoint: str, expressions: list[str], folder: Path) -> list[xml.Element]:
    """Every test's element of pytest's report in JUnit's form; its output is in folder/output.log."""
    report = folder / "report.xml"
    environment = {
        **os.environ, "TEST_SERVER_MODE": "true", "TEST_SERVER_MODE_ENDPOINT": f"http://{endpoint}",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": REGION,
    }  # fmt: skip
    environment.pop("PYTHONPATH", None)  # it holds this package, which is named as theirs
    chosen = ["-k", " or ".join(expressions)] if expressions else []
    words = [TOOLS / "moto/venv/bin/python", "-m", "pytest", "--timeout=60", "--color=no", "-p", "no:cacheprovider", f"--junit-xml={report}", *chosen]
    words.append("--ignore=tests/test_kinesis/test_server.py")  # of moto's own server, in its process
    with (folder / "output.log").open("wb") as out:
        subprocess.run([*words, "tests/test_kinesis"], cwd=SUITE, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    assert report.exists(), (folder / "output.log").read_text()
    return list(xml.parse(report).iter("testcase"))


def judge(test: xml.Element, known: dict[str, str]) -> tuple[str, str]:
    """Name and outcome: pass, skip, FAIL, or known with the reason."""
    file = test.get("classname", "").split(".")[-1]
    name = f"{file}::{test.get('name')}"
    reason = known.get(name) or known.get(name.split("[")[0]) or known.get(file)
    kinds = {part.tag for part in test}
    if kinds & {"failure", "error"}:
        return name, f"known: {reason}" if reason else "FAIL"
    if "skipped" in kinds:
        return name, "skip"
    return name, f"pass  (though expected-failures.txt names it: {reason})" if reason else "pass"


def main() -> int:
    options = arguments()
    known = known_failures()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moto-")))
        if options.endpoint:
            endpoint = options.endpoint
        else:
            server = Millrace(folder / "server")
            stack.callback(server.stop)
            endpoint = server.start().http
        front = stack.enter_context(proxy(endpoint))
        stack.callback(front.shutdown)
        Thread(target=front.serve_forever, daemon=True).start()
        tests = run_suite(f"127.0.0.1:{front.server_port}", options.tests, folder)
        results: Counter[str] = Counter()
        for test in tests:
            name, outcome = judge(test, known)
            results[outcome.split()[0].rstrip(":")] += 1
            print(f"{float(test.get('time', 0)):6.1f} s  {name}  {outcome}")
            failed = next((part for part in test if part.tag in ("failure", "error")), None)
            if failed is not None and (options.show or outcome == "FAIL"):
                print("".join(f"          {line}\n" for line in (failed.text or "").splitlines()[-30:]))
    print(f"{results['pass']} passed, {results['FAIL']} failed, {results['skip'] + results['known']} skipped")
    return 1 if results["FAIL"] or not results["pass"] else 0


if __name__ == "__main__":
    sys.exit(main())
