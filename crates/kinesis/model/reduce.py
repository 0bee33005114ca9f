#!/usr/bin/env python3
"""Reduces botocore's model of Kinesis to what the server reads of it: each operation's input, with the type and the
constraints of every member. Prints it; `--check` compares it with the file in the tree instead.

    .tools/venv/bin/python crates/kinesis/model/reduce.py > crates/kinesis/model/kinesis-2013-12-02.json
"""

import gzip
import json
import sys
from pathlib import Path

import botocore

HERE = Path(__file__).parent
REDUCED = HERE / "kinesis-2013-12-02.json"
# What of a shape constrains a request; the rest documents it.
KEPT = ("type", "min", "max", "pattern", "enum", "required")


def service() -> dict:
    path = Path(botocore.__file__).parent / "data" / "kinesis" / "2013-12-02" / "service-2.json"
    if path.exists():
        return json.loads(path.read_text())
    return json.loads(gzip.decompress(path.with_name(path.name + ".gz").read_bytes()))


def reduced(model: dict) -> dict:
    shapes = {}

    def take(name: str):
        if name in shapes:
            return
        shape = model["shapes"][name]
        kept = shapes[name] = {key: shape[key] for key in KEPT if shape.get(key)}
        if "min" in shape:
            kept["min"] = shape["min"]
        if "members" in shape:
            kept["members"] = [[member, of["shape"]] for member, of in shape["members"].items()]
            for _, of in kept["members"]:
                take(of)
        for part in ("member", "key", "value"):
            if part in shape:
                kept[part] = shape[part]["shape"]
                take(kept[part])

    operations = {}
    for name, operation in model["operations"].items():
        operations[name] = operation["input"]["shape"] if "input" in operation else None
        if operations[name]:
            take(operations[name])
    return {"operations": operations, "shapes": dict(sorted(shapes.items()))}


def rendered(table: dict) -> str:
    lines = ["{", '"operations": {']
    lines.append(",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table["operations"].items()))
    lines += ["},", '"shapes": {']
    lines.append(",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table["shapes"].items()))
    lines += ["}", "}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    text = rendered(reduced(service()))
    if sys.argv[1:] == ["--check"]:
        if text != REDUCED.read_text():
            sys.exit(f"{REDUCED} is not what botocore {botocore.__version__} says: write it anew, and look at the difference")
    else:
        sys.stdout.write(text)
