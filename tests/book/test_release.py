"""A release: what it changes, what it builds, and that everything that names the version says the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import jsonschema
import pytest
import yaml
from book.test_notebooks import ROOT

import attnlib
from tools import notebooks, release
from tools.ext.landing import read_edition
from tools.files import read_settings
from tools.repository import make_repository, read_repository

CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf8")
FILES = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a release changes and builds, as a repository of its own."""
    for name in (*FILES, "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "attnlib", tmp_path / "attnlib", ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def texts(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text("utf8") for name in FILES}


def test_version_is_one() -> None:
    version = release.read_version(ROOT)
    assert version == attnlib.__version__ == str(CITATION["version"]) == read_edition(ROOT)["version"]


def test_citation_follows_its_schema() -> None:
    """The schema of the Citation File Format 1.2.0, CC BY 4.0: github.com/citation-file-format."""
    schema = json.loads((ROOT / "tests" / "book" / "cff-1.2.0.json").read_text("utf8"))
    cff = yaml.load((ROOT / "CITATION.cff").read_text("utf8"), Loader=yaml.BaseLoader)
    checker = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in checker.iter_errors(cff)] == []
    for wrong in ({"authors": []}, {"license": "MINE"}, {"version": None}, {"date-released": "22.11.2026"}):
        assert [*checker.iter_errors(cff | wrong)], wrong


def test_archive_is_described_as_in_the_citation() -> None:
    record = json.loads((ROOT / ".zenodo.json").read_text("utf8"))
    assert record["title"] == CITATION["title"] == read_settings(ROOT)["title"]
    assert [who["name"] for who in record["creators"]] == [who["name"] for who in CITATION["authors"]]
    assert record["keywords"] == CITATION["keywords"]
    assert record["license"] in CITATION["license"]
    assert record["description"].startswith(CITATION["abstract"])


def test_package_leads_to_the_book() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    repository = read_repository(ROOT)
    assert project["urls"] == {
        "Book": repository.site,
        "Source": repository.url,
        "Changelog": repository.blob("CHANGELOG.md"),
    }
    assert [who["name"] for who in project["authors"]] == [who["name"] for who in CITATION["authors"]]


def test_dry_run_builds_and_changes_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = texts(copy)
    assert release.main(["9.8.7", "--root", str(copy)]) == 0
    assert texts(copy) == before
    said = capsys.readouterr().out
    assert all(f"would write {name}" in said for name in FILES)
    (wheel,) = (copy / "_build" / "dist").glob("*.whl")
    assert wheel.name == "attnlib-9.8.7-py3-none-any.whl"
    # What the library needs beside its modules.
    held = set(zipfile.ZipFile(wheel).namelist())
    data = {
        "attnlib/py.typed",
        "attnlib/__init__.pyi",
        "attnlib/book/questions/__init__.py",
        "attnlib/book/data/heads.npz",
    }
    assert data <= held
    assert any(re.match(r"attnlib/book/data/exact-.*\.json", name) for name in held)
    assert any(name.startswith("attnlib/book/static/") for name in held)
    # Such a wheel is refused.
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(copy / "part.whl", "w") as part:
        for name in held - {"attnlib/py.typed"}:
            part.writestr(name, whole.read(name))
        part.writestr("tests/test_x.py", "")
    (archive,) = (copy / "_build" / "dist").glob("*.tar.gz")
    found = "\n".join(release.check_dist(copy, copy / "part.whl", archive, "9.8.7"))
    assert "lacks attnlib/py.typed" in found
    assert "holds tests/test_x.py" in found


def test_release_writes_one_version_everywhere(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "build_dist", lambda *_: (copy / "a.whl", copy / "a.tar.gz"))
    monkeypatch.setattr(release, "check_dist", lambda *_: [])
    arguments = ["9.8.7", "--date", "2031-02-03", "--write", "--index", "--root", str(copy)]
    unreleased = texts(copy)["CHANGELOG.md"].partition("## Unreleased\n")[2]
    assert release.main(arguments) == 0
    made = texts(copy)
    assert release.read_version(copy) == "9.8.7"
    assert (read_edition(copy)["version"], read_edition(copy)["date"]) == ("9.8.7", "3 February 2031")
    assert made["CHANGELOG.md"].endswith(f"## Unreleased\n\n## 9.8.7 — 2031-02-03\n{unreleased}")
    assert notebooks.read_released(copy) == "9.8.7"
    assert release.main(arguments) == 1  # it is released


@pytest.mark.parametrize(
    ("version", "day", "says"),
    [
        ("0.2", "2031-02-03", "VERSION: expected three numbers"),
        ("v1.0.0", "2031-02-03", "VERSION: expected three numbers"),
        ("0.0.1", "2031-02-03", "VERSION: expected one later than"),
        ("9.9.9", "3 Feb", "Invalid isoformat"),
    ],
)
def test_release_that_is_none_is_refused(version: str, day: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        release.plan(ROOT, version, day, False)


def test_release_without_news_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no release"):
        release.cut("# C\n\n## Unreleased\n\n## 0.1.0 — 2026-01-01\n\n- A\n", "0.2.0", "2026-02-01")
    with pytest.raises(ValueError, match="expected one heading"):
        release.cut("# C\n", "0.2.0", "2026-02-01")


def test_notebooks_install_the_release_where_they_go_with_one() -> None:
    """Notebooks of a tree that has moved on need what is not in the release."""
    repository = make_repository("https://github.com/a/b", "main")
    assert '%pip install -q "attnlib[book]==1.2.3"' in notebooks.install(repository, "1.2.3")
    assert '%pip install -q "attnlib[book] @ git+https://github.com/a/b"' in notebooks.install(repository)
    news = CHANGELOG.partition("## Unreleased\n")[2].partition("\n## ")[0].strip()
    released = notebooks.read_released(ROOT)
    assert released in ("", release.read_version(ROOT))
    assert not (released and news), 'pyproject.toml: set released = "", then `make notebooks`: this is no release'


def test_renamed_things_have_a_line_each() -> None:
    """The old place is gone, the new one is there."""
    moved = re.findall(r"^- `((?:from|import) [^`]+)` is `((?:from|import) [^`]+)`", CHANGELOG, re.MULTILINE)
    assert len(moved) >= 8
    for old, new in moved:
        for line, there in ((old, False), (new, True)):
            words = line.split()
            try:
                module = import_module(words[1])
                found = len(words) == 2 or hasattr(module, words[3])
            except ModuleNotFoundError:
                found = False
            assert found == there, line


def test_workflow_publishes_only_what_the_owner_switches_on() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf8"))["jobs"]
    assert jobs["publish"]["if"] == "vars.PUBLISH == 'true'"
    assert jobs["archive"]["if"] == "vars.ARCHIVE == 'true'"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert {jobs[name]["needs"] for name in ("publish", "archive")} == {"build"}
    steps = [step.get("run", "") for step in jobs["build"]["steps"]]
    (tag,) = [step for step in steps if "GITHUB_REF_NAME" in step]
    environment = {"GITHUB_REF_NAME": f"v{release.read_version(ROOT)}", "PATH": str(Path(sys.executable).parent)}
    for name, code in ((environment["GITHUB_REF_NAME"], 0), ("v0.0.0", 1)):
        done = subprocess.run(
            ["/bin/bash", "-c", tag], cwd=ROOT, env=environment | {"GITHUB_REF_NAME": name}, capture_output=True
        )
        assert done.returncode == code, done.stderr
