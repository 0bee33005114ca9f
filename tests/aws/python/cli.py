"""The AWS CLI, a process a call, behind the calls that tests/harness/kinesis.py describes."""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

AWS = Path(sys.executable).with_name("aws")
ENDPOINT, REGION = sys.argv[1:]
ENVIRONMENT = {
    "PATH": os.environ["PATH"], "AWS_ENDPOINT_URL_KINESIS": ENDPOINT, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
    "AWS_CONFIG_FILE": "/dev/null", "PYTHONUTF8": "1",
}  # fmt: skip


class Refused(Exception):
    pass


def aws(operation: str, **options) -> dict:
    """Runs `aws kinesis OPERATION`; options that are None are left out."""
    words = [AWS, "kinesis", operation, "--output", "json"]
    for name, value in options.items():
        if value is not None:
            words.append(f"--{name.replace('_', '-')}")
            if value is not True:
                words.append(value if isinstance(value, str) else json.dumps(value))
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        found = re.search(r"An error occurred \((\w+)\) when calling the \w+ operation: (.*)", done.stderr, re.DOTALL)
        raise Refused(*(found.groups() if found else ("client", done.stderr)))
    return json.loads(done.stdout) if done.stdout.strip() else {}


def milliseconds(shown: str | float) -> int:
    at = datetime.fromisoformat(shown).timestamp() if isinstance(shown, str) else shown
    return round(at * 1000)


def create(c):
    aws("create-stream", stream_name=c["stream"], shard_count=c["shards"])
    words = [AWS, "kinesis", "wait", "stream-exists", "--stream-name", c["stream"]]
    subprocess.run(words, env=ENVIRONMENT, check=True, capture_output=True)
    return {"arn": aws("describe-stream-summary", stream_name=c["stream"])["StreamDescriptionSummary"]["StreamARN"]}


def delete(c):
    return aws("delete-stream", stream_name=c["stream"], enforce_consumer_deletion=True)


def put(c):
    with tempfile.NamedTemporaryFile() as file:
        file.write(base64.b64decode(c["data"]))
        file.flush()
        where = f"fileb://{file.name}"
        done = aws("put-record", stream_name=c["stream"], partition_key=c["key"], data=where, explicit_hash_key=c.get("hash"))
    return {"shard": done["ShardId"], "sequence": done["SequenceNumber"]}


def put_many(c):
    # Version 1 of the CLI takes data in a list as it is written, so that it has to be text.
    rows = [{"PartitionKey": r["key"], "Data": base64.b64decode(r["data"]).decode()} for r in c["records"]]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # a list this long is no argument
        json.dump(rows, file)
        file.flush()
        done = aws("put-records", stream_name=c["stream"], records=f"file://{file.name}")
    return {
        "failed": done["FailedRecordCount"],
        "records": [{"shard": r["ShardId"], "sequence": r["SequenceNumber"]} for r in done["Records"]],
    }


def shards(c):
    # Left to itself, the CLI gives the stream's name beside the token, which AWS refuses (aws/aws-cli#9635).
    page = aws("list-shards", stream_name=c["stream"], max_results="2", no_paginate=True)
    found = page["Shards"]
    while "NextToken" in page:
        page = aws("list-shards", next_token=page["NextToken"], max_results="2", no_paginate=True)
        found += page["Shards"]
    ranges = [(s["ShardId"], s["HashKeyRange"]) for s in found]
    return {"shards": [{"id": shard, "first": of["StartingHashKey"], "last": of["EndingHashKey"]} for shard, of in ranges]}


def read(c):
    timestamp = str(c["timestamp_ms"] / 1000) if "timestamp_ms" in c else None
    at = aws(
        "get-shard-iterator", stream_name=c["stream"], shard_id=c["shard"], shard_iterator_type=c["type"],
        starting_sequence_number=c.get("sequence"), timestamp=timestamp,
    )["ShardIterator"]  # fmt: skip
    records = []
    while True:
        page = aws("get-records", shard_iterator=at, limit=30)
        records += [
            {
                "sequence": r["SequenceNumber"], "key": r["PartitionKey"], "data": r["Data"],
                "arrived_ms": milliseconds(r["ApproximateArrivalTimestamp"]),
            }
            for r in page["Records"]
        ]  # fmt: skip
        if page["MillisBehindLatest"] == 0:
            return {"records": records}
        at = page["NextShardIterator"]


def retain(c):
    aws("increase-stream-retention-period", stream_name=c["stream"], retention_period_hours=c["hours"])
    return {"hours": aws("describe-stream-summary", stream_name=c["stream"])["StreamDescriptionSummary"]["RetentionPeriodHours"]}


def tag(c):
    aws("add-tags-to-stream", stream_name=c["stream"], tags=c["tags"])
    return {"tags": {t["Key"]: t["Value"] for t in aws("list-tags-for-stream", stream_name=c["stream"])["Tags"]}}


def register(c):
    return {"arn": aws("register-stream-consumer", stream_arn=c["arn"], consumer_name=c["consumer"])["Consumer"]["ConsumerARN"]}


CALLS = {f.__name__: f for f in (create, delete, put, put_many, shards, read, retain, tag, register)}

for line in sys.stdin:
    call = json.loads(line)
    try:
        said = CALLS[call["do"]](call)
    except Refused as refused:
        code, message = refused.args
        said = {"error": code, "message": message.strip()}
    print(json.dumps(said), flush=True)
