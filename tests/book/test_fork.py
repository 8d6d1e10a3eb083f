"""A fork becomes one's own by one command: no address of the book that it was made from is left."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from book.sample_book import build_sample, copy_sample
from book.test_readme import wrong_addresses

from tools import fork
from tools.ext.landing import cite, read_edition
from tools.repository import make_repository, read_repository

ROOT = Path(__file__).resolve().parents[2]
OLD = read_repository(ROOT)
NEW = "https://github.com/Ada-B/attention-book"
ARGUMENTS = ["--repository", NEW, "--author", "Ada Byron", "--author", 'Bo "Li" Núñez', "--year", "2031"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tracked file of this repository, after the command."""
    root = tmp_path_factory.mktemp("fork")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    assert fork.main([*ARGUMENTS, "--book", str(root)]) == 0
    return root


def left(root: Path) -> list[str]:
    """Files with an address of the old repository."""
    old = (OLD.slug.encode(), OLD.site.encode(), OLD.site.split("/")[2].encode())
    files = [file for file in sorted(root.rglob("*")) if file.is_file()]
    kept = [file for file in files if not file.relative_to(root).as_posix().startswith(fork.LEFT)]
    return [file.relative_to(root).as_posix() for file in kept if any(one in file.read_bytes() for one in old)]


def test_no_old_address_is_left(own: Path) -> None:
    assert len(left(ROOT / "notebooks")) > 20
    assert left(own) == []
    readme, citation = ((own / name).read_text("utf8") for name in ("README.md", "CITATION.cff"))
    assert wrong_addresses(readme, citation, make_repository(NEW, OLD.branch)) == []
    assert "cd attention-book\n" in readme


def test_authors_and_licences(own: Path) -> None:
    assert read_edition(own)["authors"] == 'Ada Byron and Bo "Li" Núñez'
    assert "author  = {Ada Byron and Bo" in cite(read_edition(own)).replace("author =", "author  =")
    assert yaml.safe_load((own / "_config.yml").read_text("utf8"))["author"] == 'Ada Byron and Bo "Li" Núñez'
    record = json.loads((own / ".zenodo.json").read_text("utf8"))
    assert [who["name"] for who in record["creators"]] == ["Ada Byron", 'Bo "Li" Núñez']
    for name in ("LICENSE", "LICENSE-text"):
        old, new = (root.joinpath(name).read_text("utf8") for root in (ROOT, own))
        assert new == old.replace("Copyright (c)", 'Copyright (c) 2031 Ada Byron and Bo "Li" Núñez\nCopyright (c)', 1)


def test_once_more_changes_nothing(own: Path) -> None:
    assert fork.plan(own, make_repository(NEW, "main"), ["Ada Byron", 'Bo "Li" Núñez'], "", 2031) == {}


def test_names_that_begin_alike_are_others() -> None:
    new = make_repository(NEW, "main")
    text = f"{OLD.url}-data {OLD.url}/issues git+{OLD.url}.git {OLD.site}x"
    made = f"{OLD.url}-data {NEW}/issues git+{NEW}.git {new.site}x"
    assert fork.readdress(text, OLD, new) == made


def test_dry_run_and_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = copy_sample(tmp_path)
    before = {file: file.read_bytes() for file in book.rglob("*") if file.is_file()}
    for arguments, says in (
        ([*ARGUMENTS, "--dry-run"], "would write _config.yml"),
        (["--repository", "https://example.org/a/b", "--author", "A"], "repository.url: expected"),
        (["--repository", NEW], "--author: expected a name"),
        (["--repository", NEW, "--author", " "], "--author: expected a name"),
    ):
        assert fork.main([*arguments, "--book", str(book)]) == (0 if "--dry-run" in arguments else 1)
        said = capsys.readouterr()
        assert says in said.out + said.err
    assert {file: file.read_bytes() for file in book.rglob("*") if file.is_file()} == before


def test_forked_book_builds(tmp_path: Path) -> None:
    """The sample, whose pages lead to the fork and nowhere else."""
    book = copy_sample(tmp_path)
    assert fork.main([*ARGUMENTS, "--book", str(book)]) == 0
    build_sample(book)
    assert left(book / "_build" / "html") == []
    page = (book / "_build" / "html" / "chapters" / "sample.html").read_text("utf8")
    assert f'href="{make_repository(NEW, "main").site}chapters/sample.html"' in page
