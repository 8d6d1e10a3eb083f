"""Format the code cells of chapters with ruff, in lines that fit the page's column.

`python -m tools.format_cells chapters/*.md` rewrites them; with `--check` it reports those that would change.
Lines that stay too long, strings and comments, are reported either way.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tools.files import save

COLUMNS = 76  # what the text column of a page shows without scrolling
CELL = re.compile(
    r"(?ms)^```\{code-cell\}[^\n]*\n"
    r"(?:---\n.*?^---\n|(?::[\w-]+:[^\n]*\n)*\n?)"  # options, as a block or as lines
    r"(?P<code>.*?)^```$"
)


def formatted(source: str) -> str:
    """Return a chapter with every code cell as ruff would write it."""

    def cell(match: re.Match[str]) -> str:
        ruff = [sys.executable, "-m", "ruff", "format", "--quiet", f"--line-length={COLUMNS}", "-"]
        code = subprocess.run(
            [*ruff, "--stdin-filename=cell.ipynb.py"], input=match["code"], capture_output=True, text=True, check=True
        ).stdout
        # A semicolon at the end of a cell hides what its last line returns; ruff takes it for a slip.
        if match["code"].rstrip().endswith(";"):
            code = code.rstrip() + ";\n"
        return match[0][: match.start("code") - match.start()] + code + "```"

    return CELL.sub(cell, source)


def too_long(source: str) -> list[tuple[int, str]]:
    """Return the lines of code that do not fit, with their numbers."""
    found = []
    for match in CELL.finditer(source):
        first = source.count("\n", 0, match.start("code")) + 1
        lines = enumerate(match["code"].splitlines(), first)
        found += [(number, line) for number, line in lines if len(line) > COLUMNS]
    return found


def main() -> int:
    """Format or check the chapters named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("chapters", nargs="+", type=Path)
    options = parser.parse_args()
    problems = []
    for path in options.chapters:
        source = path.read_text()
        try:
            new = formatted(source)
        except subprocess.CalledProcessError as error:
            problems.append(f"{path}: a cell is not Python: {error.stderr.strip()}")
            continue
        problems += [f"{path}:{number}: {len(line)} columns, at most {COLUMNS}" for number, line in too_long(new)]
        if new == source:
            continue
        if options.check:
            problems.append(f"{path}: code cells are not formatted: run `python -m tools.format_cells {path}`")
        else:
            save(path, new)
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
