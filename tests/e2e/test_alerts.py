"""ops/alerts.yml and ops/grafana.json: they say what the server exports, and what Prometheus understands."""

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from harness.process import ROOT, TOOLS

pytestmark = pytest.mark.millrace

OPS = ROOT / "ops"
#: Variables of Grafana in an expression, and what stands for them.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


def promtool(*args: str | Path) -> subprocess.CompletedProcess:
    found = shutil.which("promtool") or shutil.which(TOOLS / "promtool")
    if not found:
        pytest.skip("no promtool on this machine: see tests/setup (Debian's package prometheus)")
    return subprocess.run([found, *args], cwd=OPS, capture_output=True, text=True)


def alerts() -> dict[str, dict[str, str]]:
    """Expression, severity and annotations by the alert's name."""
    found = {}
    for rule in re.split(r"\n +- alert: ", (OPS / "alerts.yml").read_text())[1:]:
        name, _, rest = rule.partition("\n")
        found[name] = {key: said.strip('"') for key, said in re.findall(r"^ +(expr|labels|summary|description|runbook): (.*)$", rest, re.M)}
    return found


def panels() -> list[dict]:
    return json.loads((OPS / "grafana.json").read_text())["panels"]


def expressions() -> list[str]:
    """Every expression of rules and panels."""
    dashboard = json.loads((OPS / "grafana.json").read_text())
    of_panels = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    of_marks = [mark["expr"] for mark in dashboard["annotations"]["list"]]
    of_lists = [of["definition"] for of in dashboard["templating"]["list"] if "definition" in of]
    return [rule["expr"] for rule in alerts().values()] + of_panels + of_marks + of_lists


def documented() -> dict[str, set[str]]:
    """Labels of each metric, by docs/metrics.md."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", (ROOT / "docs/metrics.md").read_text(), re.M)
    labels = {}
    for name, kind, said in rows:
        own = set(filter(None, said.split(", ")))
        for part in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            labels[name + part] = own | ({"le"} if part == "_bucket" else set())
    return labels


def test_promtool_takes_the_rules_and_their_tests():
    checked = promtool("check", "rules", "alerts.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", "alerts.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_promtool_takes_what_the_panels_ask(tmp_path):
    asked = [e for e in expressions() if not e.startswith("label_values")]
    for name, stands in VARIABLES.items():
        asked = [e.replace(name, stands) for e in asked]
    rules = tmp_path / "panels.yml"
    rows = "".join(f"      - {{record: 'panel:{n}', expr: {json.dumps(e)}}}\n" for n, e in enumerate(asked))
    rules.write_text(f"groups:\n  - name: panels\n    rules:\n{rows}")
    checked = promtool("check", "rules", rules)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_metric_that_is_asked_for_is_exported(broker):
    with urllib.request.urlopen(f"http://{broker.http}/metrics", timeout=30) as answer:
        said = answer.read().decode()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", said, re.M))
    known = documented()
    assert set(kinds) == {re.sub("_(bucket|sum|count)$", "", name) for name in known}, "docs/metrics.md is what the server exports"
    for expression in expressions():
        names = re.findall(r"\bmillrace_\w+", expression)
        assert names or "ALERTS" in expression or "up{" in expression, expression
        for name in names:
            assert name in known, f"{name} in {expression}"
        labels = {label for matchers in re.findall(r"\{(.*?)\}", expression) for label in re.findall(r'(\w+)\s*[=!]~?', matchers)}
        labels |= {label for by in re.findall(r"by \((.*?)\)", expression) for label in re.split(r",\s*", by)}
        there = {"instance", "job", "alertname", "alertstate"}.union(*(known[name] for name in names))
        assert labels <= there, f"{labels - there} in {expression}"


def test_each_alert_says_what_to_do_and_is_tried():
    operations = (ROOT / "docs/operations.md").read_text()
    anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", operations, re.M)}
    tried = (OPS / "alerts.test.yml").read_text()
    assert len(alerts()) >= 15
    for name, rule in alerts().items():
        assert set(rule) == {"expr", "labels", "summary", "description", "runbook"}, name
        assert re.fullmatch(r"\{severity: (page|ticket)\}", rule["labels"]), name
        page, _, anchor = rule["runbook"].partition("#")
        assert page == "docs/operations.md" and anchor in anchors, f"{name}: {rule['runbook']}"
        for what in ("fires", "stays quiet"):
            assert f"- name: {name} {what}\n" in tried, f"{name} {what} is not in alerts.test.yml"


def test_the_dashboard_is_whole():
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows == ["Overview", "Producers", "Consumers and lag", "Log and disk", "Memory"]
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells and at["x"] + at["w"] <= 24, f"{panel['title']} lies over another"
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}", panel["title"]
