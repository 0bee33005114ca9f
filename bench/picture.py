"""Draws one column of a scenario's results (`bench/run NAME --json FILE`) as an SVG: a bar for the median of each server and variant, a line from
the least to the most of its rounds.

    PYTHONPATH=tests:bench .tools/venv/bin/python bench/picture.py small.json requests_cpu > docs/perf/small.svg
"""

import json
import statistics
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from scenarios import COLUMNS, Run

ROW, LEFT, WIDTH, RIGHT, HEAD = 30, 190, 440, 110, 44


def bars(results: list[dict], column: str) -> list[tuple[str, list[float]]]:
    series: dict[str, list[float]] = {}
    for result in results:
        run = Run(result["server"], result["variant"], result["report"], result["metrics"], result["calls_per_gb"])
        if (value := run.get(column)) is not None:
            series.setdefault(f"{run.server} {run.variant}".strip(), []).append(value)
    return list(series.items())


def draw(what: str, column: str, rows: list[tuple[str, list[float]]]) -> str:
    title, digits, _ = COLUMNS[column]
    scale = WIDTH / max(max(values) for _, values in rows)
    width, height = LEFT + WIDTH + RIGHT, HEAD + ROW * len(rows) + 10
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" fill="#222">',
        f"<title>{escape(what)}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="10" y="26" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (name, values) in enumerate(rows):
        top, middle = HEAD + ROW * number, HEAD + ROW * number + ROW // 2 - 4
        low, median, high = min(values), statistics.median(values), max(values)
        colour = "#2a6f97" if name.startswith("millrace") else "#a9a9a9"
        out += [
            f'<text x="{LEFT - 8}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{median * scale:.1f}" height="{ROW - 8}" fill="{colour}"/>',
            f'<line x1="{LEFT + low * scale:.1f}" x2="{LEFT + high * scale:.1f}" y1="{middle}" y2="{middle}" stroke="#222"/>',
            f'<text x="{LEFT + max(median, high) * scale + 8:.1f}" y="{middle + 5}">{median:,.{digits}f}</text>',
        ]
    return "\n".join([*out, "</svg>"])


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[2] not in COLUMNS:
        print(f"usage: picture.py RESULTS.json COLUMN, which is one of {', '.join(COLUMNS)}", file=sys.stderr)
        return 2
    content = json.loads(Path(sys.argv[1]).read_text())
    rows = bars(content["results"], sys.argv[2])
    if not rows:
        print(f"no run of {sys.argv[1]} has {sys.argv[2]}", file=sys.stderr)
        return 1
    print(draw(content["what"], sys.argv[2], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
