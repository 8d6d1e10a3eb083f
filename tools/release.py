"""A release: its version in every file, its section in CHANGELOG.md, wheel and source archive built and checked.

    make release                          # build and check what a release of the tree as it stands would hold
    make release VERSION=0.2.0            # say what would change, build and check that
    make release VERSION=0.2.0 DRY=0      # write it; the commands that remain are printed

The version stands in pyproject.toml. `attnlib.__version__`, the front page and the citation show it, CITATION.cff and
CHANGELOG.md repeat it. With ``INDEX=1`` the notebooks install this release from the package index, and not the
repository: for owners who publish there.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from datetime import date
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("pyproject.toml", "README.md", "LICENSE")  # beside the library, to build it
NUMBER = re.compile(r"\d+\.\d+\.\d+")


def read_version(root: Path) -> str:
    """The version of pyproject.toml."""
    return str(tomllib.loads((root / "pyproject.toml").read_text("utf8"))["project"]["version"])


def _once(pattern: str, new: str, text: str, file: str) -> str:
    made, count = re.subn(pattern, lambda _: new, text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"{file}: expected one line like {pattern!r}, got {count}")
    return made


def cut(changelog: str, version: str, day: str) -> str:
    r"""The changelog with what is under "Unreleased" as the section of a version, and an empty one above it.

    Example:
        >>> print(cut("# C\n\n## Unreleased\n\n- A\n\n## 0.1.0 — 2026-01-01\n", "0.2.0", "2026-02-01"))
        # C
        <BLANKLINE>
        ## Unreleased
        <BLANKLINE>
        ## 0.2.0 — 2026-02-01
        <BLANKLINE>
        - A
        <BLANKLINE>
        ## 0.1.0 — 2026-01-01
        <BLANKLINE>
    """
    parts = re.split(r"^## Unreleased\n", changelog, flags=re.MULTILINE)
    if len(parts) != 2:
        raise ValueError(f"CHANGELOG.md: expected one heading '## Unreleased', got {len(parts) - 1}")
    if not re.split(r"^## ", parts[1], maxsplit=1, flags=re.MULTILINE)[0].strip():
        raise ValueError("CHANGELOG.md: expected something under '## Unreleased', got nothing: there is no release")
    return f"{parts[0]}## Unreleased\n\n## {version} — {day}\n{parts[1]}"


def plan(root: Path, version: str, day: str, index: bool) -> dict[str, str]:
    """`file: its new text` of a release.

    Raises:
        ValueError: the version or the day is none, or no later one; a file has no place for it, or nothing is new.
    """
    if not NUMBER.fullmatch(version):
        raise ValueError(f"VERSION: expected three numbers such as 0.2.0, got {version!r}")
    before = read_version(root)
    if tuple(map(int, version.split("."))) <= tuple(map(int, before.split("."))):
        raise ValueError(f"VERSION: expected one later than {before}, got {version}")
    day = date.fromisoformat(day).isoformat()
    texts = {name: (root / name).read_text("utf8") for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")}
    made = _once(r'^version = ".*"$', f'version = "{version}"', texts["pyproject.toml"], "pyproject.toml")
    released = version if index else ""
    texts["pyproject.toml"] = _once(r'^released = "[^"]*"', f'released = "{released}"', made, "pyproject.toml")
    made = _once(r"^version: .*$", f"version: {version}", texts["CITATION.cff"], "CITATION.cff")
    texts["CITATION.cff"] = _once(r"^date-released: .*$", f'date-released: "{day}"', made, "CITATION.cff")
    texts["CHANGELOG.md"] = cut(texts["CHANGELOG.md"], version, day)
    return texts


def build_dist(root: Path, folder: Path, texts: dict[str, str] | None = None) -> tuple[Path, Path]:
    """Build wheel and source archive into `folder`, from a copy of the tracked files in which `texts` are changed."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(["git", "ls-files", "attnlib"], cwd=root, capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as made:  # setuptools leaves folders of its own beside what it builds
        source = Path(made) / "source"
        for name in (*NEEDED, *listed.stdout.splitlines()):
            if (root / name).is_file():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, source / name)
        for name in set(texts or {}) & set(NEEDED):
            (source / name).write_text((texts or {})[name], "utf8")
        for what in ("wheel", "sdist"):
            program = f"import sys; from setuptools import build_meta; build_meta.build_{what}(sys.argv[1])"
            command = [sys.executable, "-W", "ignore", "-c", program, made]
            done = subprocess.run(command, cwd=source, capture_output=True, text=True)
            if done.returncode:
                raise ValueError(f"{what}: not built: {done.stderr.strip().splitlines()[-1]}")
        (wheel,), (archive,) = Path(made).glob("*.whl"), Path(made).glob("*.tar.gz")
        return Path(shutil.copy(wheel, folder)), Path(shutil.copy(archive, folder))


def check_dist(root: Path, wheel: Path, archive: Path, version: str) -> list[str]:
    """What is wrong with a wheel and a source archive: files, metadata, the licence."""
    listed = subprocess.run(["git", "ls-files", "attnlib"], cwd=root, capture_output=True, text=True, check=True)
    wanted = {name for name in listed.stdout.splitlines() if (root / name).is_file()}
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
        info = HeaderParser().parsestr(file.read(f"attnlib-{version}.dist-info/METADATA").decode())
        damaged = file.testzip()
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    project = tomllib.loads((root / "pyproject.toml").read_text("utf8"))["project"]
    problems = [f"{wheel.name}: lacks {name}" for name in sorted(wanted - held)]
    problems += [f"{archive.name}: lacks {name}" for name in sorted(wanted - packed)]
    others = sorted(name for name in held - wanted if not name.startswith(f"attnlib-{version}.dist-info/"))
    problems += [f"{wheel.name}: holds {name}, which is no file of the library" for name in others]
    for field, right in (("Name", "attnlib"), ("Version", version), ("Requires-Python", project["requires-python"])):
        if info[field] != right:
            problems.append(f"{wheel.name}: {field}: expected {right}, got {info[field]}")
    if len(info.get_payload()) < 1000 or info["Description-Content-Type"] != "text/markdown":
        problems.append(f"{wheel.name}: expected README.md as its description")
    if f"attnlib-{version}.dist-info/licenses/LICENSE" not in held:
        problems.append(f"{wheel.name}: lacks the licence")
    return problems + ([f"{wheel.name}: {damaged} is damaged"] if damaged else [])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("version", nargs="?", help="three numbers; without it, nothing is changed")
    parser.add_argument("--date", default=date.today().isoformat(), help="of the release; today")
    parser.add_argument("--write", action="store_true", help="change the files")
    parser.add_argument("--index", action="store_true", help="notebooks install the release from the package index")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    root: Path = options.root
    try:
        texts = plan(root, options.version, options.date, options.index) if options.version else {}
        version = options.version or read_version(root)
        folder = root / "_build" / "dist"
        shutil.rmtree(folder, ignore_errors=True)
        wheel, archive = build_dist(root, folder, texts)
        if problems := check_dist(root, wheel, archive, version):
            raise ValueError("\n".join(problems))
        print(f"built and checked {wheel.relative_to(root)} and {archive.relative_to(root)}")
        for name, text in texts.items():
            if options.write:
                beside = root / f".{name}.new"
                beside.write_text(text, "utf8")
                beside.replace(root / name)
            print(f"{'wrote' if options.write else 'would write'} {name}")
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    if options.version and options.write:
        names = " ".join(texts)
        print("What remains, when `make test-full` is green:")
        if options.index:
            print("    make notebooks && git add notebooks")
        print(f"    git add {names} && git commit -m 'Version {version}'")
        print(f"    git tag v{version} && git push origin HEAD v{version}")
    elif options.version:
        print(f"nothing was changed; `make release VERSION={version} DRY=0` does it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
