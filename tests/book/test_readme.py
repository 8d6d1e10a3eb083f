"""What the files at the root say: the addresses of _config.yml, one version, a snippet that runs, true needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tools.repository import Repository, make_repository, read_repository

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf8")
CITATION = (ROOT / "CITATION.cff").read_text("utf8")
REPOSITORY = read_repository(ROOT)


def wrong_addresses(readme: str, citation: str, repository: Repository) -> list[str]:
    """Lines that have to follow `repository` of _config.yml and do not."""
    cff = yaml.safe_load(citation)
    chapter = repository.colab("chapters/question")
    said = [
        (
            "README.md: the published book",
            set(re.findall(r"https://[\w-]+\.github\.io[^\s)>]*", readme)),
            repository.site,
        ),
        ("README.md: Colab", set(re.findall(r"https://colab\.research[^\s)>]*", readme)), chapter),
        ("README.md: git clone", set(re.findall(r"git clone (\S+)", readme)), repository.url),
        ("CITATION.cff: url", {cff.get("url")}, repository.site),
        ("CITATION.cff: repository-code", {cff.get("repository-code")}, repository.url),
    ]
    why = "as repository.url and branch of _config.yml have it"
    return [f"{place}: expected {right} {why}, got {got or 'none'}" for place, got, right in said if got != {right}]


def test_addresses_are_those_of_the_settings() -> None:
    assert wrong_addresses(README, CITATION, REPOSITORY) == []


def test_every_address_of_a_fork_that_was_forgotten_is_named() -> None:
    found = wrong_addresses(README, CITATION, make_repository("https://github.com/fork/fork-book", "trunk"))
    places = ["published book", "Colab", "git clone", "CITATION.cff: url", "CITATION.cff: repository-code"]
    assert len(found) == len(places)
    assert all(place in line and "_config.yml" in line for place, line in zip(places, found, strict=True))
    assert len(wrong_addresses("", "title: x", REPOSITORY)) == len(places)


def test_snippet_prints_what_it_says(tmp_path: Path) -> None:
    match = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)
    assert match is not None, "README.md: expected a ```python block and its output in a ```text block"
    done = subprocess.run([sys.executable, "-c", match[1]], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == (match[2], "", 0)


def test_files_named_in_the_readme_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if not link.startswith("https:")]
    assert "theme/picture.png" in links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]["version"]
    released = re.findall(
        r"^## (\d\S*) — (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text("utf8"), re.MULTILINE
    )
    assert released, "CHANGELOG.md: expected a heading such as '## 0.1.0 — 2026-11-22'"
    cff = yaml.safe_load(CITATION)
    assert (str(cff["version"]), str(cff["date-released"])) == released[0]
    assert released[0][0] == version


# --- Interpreters ---------------------------------------------------------------------------------------


def interpreters(folder: Path, *target: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make interpreters` in a fresh clone, on a machine that has nothing but what lies in `folder`/bin."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "bin").mkdir(exist_ok=True)
    make = shutil.which("make")
    assert make is not None
    environment = {"PATH": str(folder / "bin"), "HOME": str(folder)} | variables
    return subprocess.run(
        [make, *(target or ("interpreters",))], cwd=folder, env=environment, capture_output=True, text=True
    )


def pretend(folder: Path, name: str, version: str) -> Path:
    """A program that answers the Makefile's questions as a Python of this version does."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\ncase "$3" in ""|{version}) exit 0;; esac\nexit 1\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", ["3.13", "3.14"])
def test_machine_without_an_interpreter_for_the_tests_hears_it_at_once(tmp_path: Path, version: str) -> None:
    pretend(tmp_path, "python3", version)
    done = interpreters(tmp_path)
    assert done.returncode != 0
    first, *_ = done.stderr.splitlines()
    assert first == (
        "make: .venv-oldest needs Python 3.11 or 3.12 and none was found; name one with PYTHON=/path/to/python"
    )
    assert not any(tmp_path.glob(".venv*"))


@pytest.mark.parametrize(("name", "version"), [("python3", "3.11"), ("python3", "3.12"), ("python3.12", "3.12")])
def test_either_of_two_versions_will_do(tmp_path: Path, name: str, version: str) -> None:
    pretend(tmp_path, name, version)
    done = interpreters(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_interpreter_can_be_named_or_kept_by_pyenv(tmp_path: Path) -> None:
    named = pretend(tmp_path, "elsewhere", "3.11")
    assert interpreters(tmp_path, PYTHON=str(named)).returncode == 0
    assert interpreters(tmp_path).returncode != 0
    kept = tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin"
    kept.mkdir(parents=True)
    os.rename(pretend(tmp_path, "python", "3.12"), kept / "python")
    assert interpreters(tmp_path).returncode == 0


def test_the_newest_interpreter_builds_the_book(tmp_path: Path) -> None:
    pretend(tmp_path, "python3", "3.11")
    assert interpreters(tmp_path, "find").stdout.split() == ["python3"]
    pretend(tmp_path, "python3.12", "3.12")
    newest = pretend(tmp_path, "python3.14", "3.14")
    assert interpreters(tmp_path, "find").stdout.split() == [newest.name]
    assert interpreters(tmp_path, "find", "VERSIONS=3.12 3.13").stdout.split() == ["python3.12"]


def test_readme_names_the_versions_that_make_looks_for() -> None:
    rules, readme = (ROOT / "Makefile").read_text("utf8"), (ROOT / "README.md").read_text("utf8")
    (versions,) = re.findall(r"^VERSIONS = (.*)$", rules, re.MULTILINE)
    tried = readme.partition("Tried with ")[2].partition("`.venv`")[0]
    assert re.findall(r"3\.\d+", tried) == sorted(versions.split())


def test_environments_that_exist_need_no_interpreter(tmp_path: Path) -> None:
    for name in (".venv-oldest", ".venv-colab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".stamp").touch()
    assert interpreters(tmp_path).returncode == 0


def test_tests_ask_for_interpreters_first() -> None:
    rules = (ROOT / "Makefile").read_text("utf8")
    for target in ("test", "test-full"):
        assert re.search(rf"^{target}: interpreters ", rules, re.MULTILINE), target
