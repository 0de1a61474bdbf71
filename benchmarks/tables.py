"""The tables of benchmarks/README.md from benchmarks/results/*.json: `python -m benchmarks.tables [--check]`.

A table stands between `<!-- results: NAME -->` and `<!-- end -->`.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS

README = Path(__file__).parent / "README.md"
_PLACE = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.S)


def table(content: dict[str, Any]) -> str:
    """Markdown of a result file."""
    lines = [content["columns"], ["---"] * len(content["columns"]), *content["rows"]]
    marked = "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)
    load = f"load {content['load'][0]}" if content["load"][0] >= 0.5 else "idle otherwise"
    note = f"{content['note']}\n\n" if content["note"] else ""
    return f"`{content['command']}` ({content['processor']}, {load}):\n\n{marked}\n\n{note}"


def filled(text: str) -> str:
    """The text with every table as its file has it."""

    def fill(place: re.Match[str]) -> str:
        content = json.loads((RESULTS / f"{place[2]}.json").read_text(encoding="utf-8"))
        return f"{place[1]}{table(content)}{place[3]}"

    return _PLACE.sub(fill, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; end with 1 if something would change"
    )
    args = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    if args.check:
        sys.exit(text != filled(text))
    README.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    main()
