"""Build the sample book (tests/book/sample) with this repository's own tools and settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "book" / "sample"


def copy_sample(book: Path, url: str | None = None, branch: str | None = None) -> Path:
    """Make a repository whose chapters are the sample's; `url` and `branch` as if it were a fork."""
    shutil.copytree(SAMPLE, book, dirs_exist_ok=True)
    for name in ("tools", "theme"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, book / name, ignore=ignored, dirs_exist_ok=True)
    for name in ("requirements.txt", "CITATION.cff"):
        shutil.copy(ROOT / name, book)
    settings = (ROOT / "_config.yml").read_text("utf8").splitlines()
    place = settings.index("repository:")
    for offset, (key, value) in enumerate((("url", url), ("branch", branch)), 1):
        assert settings[place + offset].strip().startswith(f"{key}:")
        if value:
            settings[place + offset] = f"  {key}: {value}"
    (book / "_config.yml").write_text("\n".join(settings) + "\n", "utf8")
    return book


def build_sample(book: Path) -> Path:
    """Build a copy of the sample; its pages are in `_build/html`."""
    done = run(book, "build")
    assert done.returncode == 0, done.stdout[-3000:]
    return book


def run(book: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the book's own tools; both streams come in `stdout`."""
    command = [sys.executable, "-m", f"tools.{tool}", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    return subprocess.run(
        command, cwd=book, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
