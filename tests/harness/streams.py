"""Streams through boto3: clients that never try again by themselves, sequence numbers taken apart, shards read to their ends."""

import base64
import json
import re

import boto3
from botocore.config import Config
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape


def client(server, region="eu-west-1", **config):
    """A client that tries once: what became of a call is for its caller to judge."""
    made = boto3.client(
        "kinesis",
        endpoint_url=f"http://{server.http}",
        region_name=region,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False, read_timeout=30, connect_timeout=5, **config),
    )
    return checked(made)


def checked(client):
    """The same client: what it is answered has to be what botocore's model says, member for member."""
    client.meta.events.register("before-parse.kinesis.*", check_answer)
    return client


def check_answer(operation_model: OperationModel, response_dict: dict, **_):
    if response_dict["status_code"] == 200 and operation_model.output_shape and not operation_model.has_event_stream_output:
        check_shape(operation_model.output_shape, json.loads(response_dict["body"]), operation_model.name)


def check_shape(shape: Shape, value, at: str):
    """Fails on members that the model doesn't have or that are missing, on types, and on what a constraint refuses."""
    types = {"structure": dict, "map": dict, "list": list, "string": str, "blob": str, "boolean": bool, "timestamp": (int, float)}
    kind = types.get(shape.type_name, int)
    assert isinstance(value, kind) and isinstance(value, bool) == (kind is bool), (at, shape.type_name, value)
    match shape:
        case StructureShape():
            assert value.keys() <= shape.members.keys(), (at, value.keys() - shape.members.keys())
            assert value.keys() >= set(shape.required_members), (at, set(shape.required_members) - value.keys())
            for name, member in value.items():
                check_shape(shape.members[name], member, f"{at}.{name}")
        case ListShape():
            for n, item in enumerate(value):
                check_shape(shape.member, item, f"{at}[{n}]")
        case MapShape():
            for key, item in value.items():
                check_shape(shape.value, item, f"{at}[{key}]")
        case _ if shape.type_name == "string":
            pattern = shape.metadata.get("pattern")
            if shape.name == "StreamId":
                value = value.replace("_", "-")  # docs/kinesis.md says why
            assert not pattern or re.fullmatch(pattern, value), (at, pattern, value)
            assert len(value) >= shape.metadata.get("min", 0), (at, value)
            assert len(value) <= shape.metadata.get("max", len(value)), (at, value)
            assert not shape.metadata.get("enum") or value in shape.metadata["enum"], (at, value)
        case _ if shape.type_name == "blob":
            base64.b64decode(value, validate=True)


def shard_id(number: int) -> str:
    return f"shardId-{number:012}"


def shard_number(name: str) -> int:
    return int(name.removeprefix("shardId-"))


def offset_of(sequence: str) -> int:
    """The offset that a sequence number carries: docs/kinesis.md."""
    digits = f"{int(sequence):047x}"
    assert digits[0] == "2" and digits[-1] == "2", sequence
    return int(digits[11:27], 16) - 1


def shards(kinesis, name: str) -> dict[int, dict]:
    """All that are listed, by number."""
    found, token = {}, None
    while True:
        page = kinesis.list_shards(NextToken=token) if token else kinesis.list_shards(StreamName=name)
        found |= {shard_number(shard["ShardId"]): shard for shard in page["Shards"]}
        if not (token := page.get("NextToken")):
            return found


def is_open(shard: dict) -> bool:
    return "EndingSequenceNumber" not in shard["SequenceNumberRange"]


def iterator(kinesis, name: str, shard: int, kind: str = "TRIM_HORIZON", **more) -> str:
    return kinesis.get_shard_iterator(StreamName=name, ShardId=shard_id(shard), ShardIteratorType=kind, **more)["ShardIterator"]


def read_shard(kinesis, name: str, shard: int) -> tuple[list[dict], list[dict] | None]:
    """All records of a shard, and its children if it has ended."""
    at, records = iterator(kinesis, name, shard), []
    while True:
        page = kinesis.get_records(ShardIterator=at, Limit=10_000)
        records += page["Records"]
        at = page.get("NextShardIterator")
        # At its end a shard has children and no way on; before, the opposite.
        assert bool(at) != bool(page.get("ChildShards")), page
        if not at:
            return records, page["ChildShards"]
        if page["MillisBehindLatest"] == 0 and not page["Records"]:
            return records, None


def check_lineage(found: dict[int, dict]):
    """The open shards share out all hashes; each child has parents that are sealed and whose numbers come before its own."""
    ranges = sorted((int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"])) for s in found.values() if is_open(s))
    assert ranges[0][0] == 0 and ranges[-1][1] == 2**128 - 1, ranges
    assert all(end + 1 == start for (_, end), (start, _) in zip(ranges, ranges[1:], strict=False)), ranges
    for shard in found.values():
        for parent in (shard.get("ParentShardId"), shard.get("AdjacentParentShardId")):
            if parent:
                numbers = found[shard_number(parent)]["SequenceNumberRange"]
                assert int(numbers["EndingSequenceNumber"]) < int(shard["SequenceNumberRange"]["StartingSequenceNumber"])
