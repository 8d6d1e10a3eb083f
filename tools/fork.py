"""Make a fork one's own: its address, its authors, its licence's holder, in every file that names them.

    python -m tools.fork --repository https://github.com/x/y --author "Ada Byron" --author "Bo Li"

Rewrites _config.yml, pyproject.toml, CITATION.cff, .zenodo.json, README.md and the links in notebooks/. Credit stays
where the licences ask for it: LICENSE and LICENSE-text get a line for the new authors above that for the old ones.
All files are read before the first is written. `--dry-run` names them and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import yaml

from tools.files import ROOT, read_settings, save
from tools.repository import Repository, make_repository, read_repository

# They tell of the past, or are other people's.
LEFT = ("CHANGELOG.md", "theme/vendor/", "references.bib", "tests/")


def addresses(old: Repository, new: Repository) -> dict[str, str]:
    """What stands for the old repository in a file, and what for the new; longer ones first."""
    pairs = {
        f"{old.url}/blob/{old.branch}/": f"{new.url}/blob/{new.branch}/",
        f"github/{old.slug}/blob/{old.branch}/": f"github/{new.slug}/blob/{new.branch}/",
        f"githubusercontent.com/{old.slug}/{old.branch}/": f"githubusercontent.com/{new.slug}/{new.branch}/",
        old.site: new.site,
        old.site.rstrip("/"): new.site.rstrip("/"),
        old.url: new.url,
        f"github/{old.slug}": f"github/{new.slug}",
    }
    return dict(sorted(pairs.items(), key=lambda pair: -len(pair[0])))


def readdress(text: str, old: Repository, new: Repository) -> str:
    """A text with every address of the old repository as the new one's, each replaced once."""
    pairs = addresses(old, new)
    # The name of another repository may begin with this one's.
    found = re.compile("|".join(re.escape(one) + ("" if one.endswith("/") else r"(?![\w-])") for one in pairs))
    text = found.sub(lambda at: pairs[at[0]], text)
    clone = f"cd {old.slug.rpartition('/')[2]}\n"
    return text.replace(clone, f"cd {new.slug.rpartition('/')[2]}\n")


def _line(pattern: str, new: str, text: str, file: str) -> str:
    made, count = re.subn(pattern, lambda _: new, text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"{file}: expected one place like {pattern!r}, got {count}")
    return made


def _credit(text: str, authors: str, year: int, file: str) -> str:
    """The licence with a line for the new authors above the old ones'."""
    line = f"Copyright (c) {year} {authors}\n"
    made, count = re.subn(r"^(?=Copyright \(c\))", lambda _: line, text, count=1, flags=re.MULTILINE)
    if not count:
        raise ValueError(f"{file}: expected a line 'Copyright (c) …', got none")
    return text if line in text else made


def quoted(text: str) -> str:
    """A text as YAML, TOML and JSON alike write it."""
    return json.dumps(text, ensure_ascii=False)


def plan(root: Path, new: Repository, authors: list[str], holder: str, year: int) -> dict[str, str]:
    """`file: its new text` for every file that changes.

    Raises:
        ValueError: nobody is named, or a file has no place for what has to stand in it.
    """
    if not authors or not all(name.strip() for name in authors):
        raise ValueError("--author: expected a name, got nothing")
    old, said = read_repository(root), " and ".join(authors)
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False).stdout
    names = listed.splitlines() or [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    texts: dict[str, str] = {}
    for name in names:
        file = root / name
        if name.startswith((*LEFT, "_build/", ".git/")) or not file.is_file():
            continue
        try:
            texts[name] = file.read_text("utf8")
        except UnicodeDecodeError:  # a picture
            continue
    made = {name: readdress(text, old, new) for name, text in texts.items()}

    def change(name: str, *changes: tuple[str, str]) -> None:
        for pattern, line in changes:
            if name in made:
                made[name] = _line(pattern, line, made[name], name)

    branch = (r"^  branch: \S+", f"  branch: {new.branch}")
    change("_config.yml", (r"^author: .*$", f"author: {quoted(said)}"), branch)
    own = ", ".join(f"{{ name = {quoted(name)} }}" for name in authors)
    # No release of this fork is on the package index.
    released = (r'^released = "[^"]*"', 'released = ""')
    change("pyproject.toml", (r"^authors = \[.*\]$", f"authors = [{own}]"), released)
    people = "".join(f"  - name: {quoted(name)}\n" for name in authors)
    change("CITATION.cff", (r"^authors:\n(?:[ ]+.*\n)+", f"authors:\n{people}"))
    if ".zenodo.json" in made:
        record = json.loads(made[".zenodo.json"]) | {"creators": [{"name": name} for name in authors]}
        made[".zenodo.json"] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    for name in ("LICENSE", "LICENSE-text"):
        if name in made:
            made[name] = _credit(made[name], holder or said, year, name)
    return {name: text for name, text in made.items() if text != texts[name]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repository", required=True, metavar="URL", help="https://github.com/<you>/<fork>")
    parser.add_argument("--branch", default="main", help="the branch that is published")
    parser.add_argument("--author", action="append", default=[], help="once for each author")
    parser.add_argument("--holder", default="", help="who holds the rights, if not the authors")
    parser.add_argument("--year", type=int, default=date.today().year)
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--book", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    try:
        new = make_repository(options.repository, options.branch)
        texts = plan(options.book, new, options.author, options.holder, options.year)
        for name in ("_config.yml", "CITATION.cff"):
            yaml.safe_load(texts.get(name, ""))
        for name, text in texts.items():
            if not options.dry_run:
                save(options.book / name, text)
            print(f"{'would write' if options.dry_run else 'wrote'} {name}")
        print(f"{read_settings(options.book).get('title')}: {new.url}, published at {new.site}")
    except (ValueError, OSError, yaml.YAMLError) as error:
        print(f"fork: {error}", file=sys.stderr)
        return 1
    if not options.dry_run:
        print("What remains: `make test`, then on GitHub: Settings, Pages, Source: GitHub Actions.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
