"""Build the book: execute the chapters, render and check the pages, publish them to `_build/html`.

    python -m tools.build [--force] [--keep-going] [BOOK]

Pages are always rendered from scratch: Sphinx does not re-read a page that it has kept, so a warning
in it would be reported once and then never again, and a failed build would turn green by itself. What
is dear is executing the cells, and that is kept in `_build/.jupyter_cache`, keyed by the cells' source.
A chapter that fails is not kept; the others run nevertheless, and are.
Hence, without any bookkeeping between runs: a failed build stays failed; a killed build leaves nothing
behind that the next one uses; readers of `_build/html` see the last good book or the new one, no half.

With `--keep-going` a failed chapter becomes a page, too, with the traceback in its place and a notice at its top.
Such a book is published for its writer to look at, never as up to date: it has no mark, so the next build tries
the failed chapters again; it does not pass `check_pages`, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from tools import check_pages
from tools.execute import Failure, execute, read_chapters, shown, versions
from tools.files import ROOT
from tools.shelf import llms

# What a page is made from. The library is in it: cells may stay as they are while what they compute changes.
LIBRARY = ("attnlib/**/*", "requirements.txt")
SOURCES = (
    *LIBRARY,
    "_config.yml",
    "_toc.yml",
    "pyproject.toml",
    "*.bib",
    "CITATION.cff",
    "index.md",
    "chapters/**/*",
    "assignments/**/*",  # the instructor's guide tells of them
    "notebooks/*.ipynb",
    "theme/**/*",
    "tools/**/*.py",
)


def digest(book: Path, patterns: tuple[str, ...]) -> str:
    """Return one digest of the Python version and of the names and contents of all files that match."""
    state = hashlib.sha256(sys.version.encode())
    files = {file for pattern in patterns for file in book.glob(pattern) if file.is_file()}
    for file in sorted(files):
        name = file.relative_to(book).as_posix()
        if "__pycache__" in name or ".ipynb_checkpoints" in name:
            continue
        content = file.read_bytes()
        state.update(f"{name}\0{len(content)}\0".encode() + content)
    return state.hexdigest()


@contextmanager
def only_build(book: Path) -> Iterator[None]:
    """Wait for any other build of the same book, which may outlive the `make` that started it."""
    (book / "_build").mkdir(exist_ok=True)
    # The system drops the lock when the process ends, however it ends; a mere file would stay.
    with (book / "_build" / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another build of this book is running: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def open_cache(path: Path, library: str) -> Any:
    """Return the cache of executed chapters without what cannot be trusted.

    Dropped are: all of it when the library, the lock file or Python has changed or the database is
    unreadable; what a build that was killed leaves: entries whose notebook is missing or cut short, and those of
    chapters that failed.
    """
    from jupyter_cache import get_cache

    stamp = path / "library.sha256"
    if path.exists() and (not stamp.exists() or stamp.read_text() != library):
        print("attnlib or its environment has changed: every chapter runs again", flush=True)
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    try:
        records = get_cache(path).list_cache_records()
    except Exception as error:  # whatever the database driver raises on a damaged file
        print(f"dropping an unreadable cache ({type(error).__name__})", flush=True)
        shutil.rmtree(path)
        path.mkdir(parents=True)
        records = []
    stamp.write_text(library)
    cache = get_cache(path)
    for record in records:
        notebook = path / "executed" / record.hashkey / "base.ipynb"
        try:
            json.loads(notebook.read_text(encoding="utf8"))
        except (OSError, ValueError):
            print(f"dropping a damaged cache entry of {Path(record.uri).name}", flush=True)
            shutil.rmtree(notebook.parent, ignore_errors=True)
            cache.db.dispose()
            _forget(cache, record.pk)
            continue
        if (record.data or {}).get("failed"):
            cache.remove_cache(record.pk)
    return cache


def _forget(cache: Any, pk: int) -> None:
    """Remove a record whose notebook is gone (`remove_cache` refuses to)."""
    from jupyter_cache.cache.db import NbCacheRecord

    NbCacheRecord.remove_records([pk], cache.db)


def render(book: Path, work: Path) -> bool:
    """Run Jupyter Book with warnings as errors and every reference checked; return whether all is well."""
    from jupyter_book.cli.main import main
    from sphinx.util.console import nocolor

    if not sys.stderr.isatty():
        nocolor()
    arguments = ["build", str(book), "--path-output", str(work), "-W", "-n", "--keep-going"]
    try:
        # In this process, not in a child: a child would go on writing after the parent has been killed.
        with (
            (book / "_build" / "build.log").open("w", encoding="utf8") as log,
            redirect_stdout(log),  # its own messages point to pages at a place they are moved away from
        ):
            main(args=arguments, standalone_mode=False)
    except SystemExit as end:
        return not end.code
    except Exception as error:
        print(f"build: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True


def offer_notebooks(book: Path, html: Path) -> None:
    """Put the clean notebooks where the pages' download button finds them.

    myst-nb puts notebooks there that show raw directives, have random cell ids, and have outputs only
    if this very build executed the chapter. A page without a clean notebook keeps its cells alone.
    """
    for offered in sorted((html / "_sources").rglob("*.ipynb")):
        clean = book / "notebooks" / offered.name
        if clean.is_file():
            shutil.copyfile(clean, offered)
            continue
        notebook = json.loads(offered.read_text(encoding="utf8"))
        notebook["metadata"].pop("language_info", None)
        for number, cell in enumerate(notebook["cells"]):
            cell["id"] = f"{offered.stem[:48]}-{number}"
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        offered.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


def swap(new: Path, final: Path) -> None:
    """Put `new` in the place of `final` by renaming; an interrupted swap is completed by `recover`."""
    old = final.with_name(final.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    new.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def publish(book: Path, new: Path) -> None:
    """Let `_build/html` be the pages in `new`, and nothing of them remain anywhere else."""
    (new / ".nojekyll").touch()  # GitHub Pages would otherwise drop every folder that starts with an underscore
    swap(new, book / "_build" / "html")
    shutil.rmtree(book / "_build" / "work", ignore_errors=True)


def recover(final: Path) -> None:
    """Bring the previous book back if a build was killed between the two renames of `swap`."""
    old = final.with_name(final.name + ".old")
    if old.exists() and not final.exists():
        old.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def isolate_kernels(book: Path) -> None:
    """Let nothing in the user's home (kernel specifications, IPython start-up files) reach the chapters."""
    profile = book / "_build" / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    # Each kernel would otherwise warn that it talks to its client, on this machine, without encryption.
    (profile / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 40\n")
    os.environ["IPYTHONDIR"] = str(profile.parent)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silences a debugger nobody asked for


def explain(failures: list[Failure], chapters: int) -> None:
    """Print the tracebacks, and last of all the cell, the error, the versions, and that the rest is fine."""
    for failure in failures:
        print(f"\n{failure.where}\n{failure.traceback}\n", file=sys.stderr)
    for failure in failures:
        print(f"build: {failure}", file=sys.stderr)
    rest = chapters - len(failures)
    others = f"the other {rest} chapter(s) ran without an error" if rest else "no other chapter holds cells"
    print(f"build: the book is not whole ({versions()}); {others}", file=sys.stderr)


def build(book: Path, *, force: bool = False, keep_going: bool = False) -> int:
    """Build the book in `book`; return the exit code."""
    began = time.monotonic()
    html, work = book / "_build" / "html", book / "_build" / "work"
    recover(html)
    shutil.rmtree(work, ignore_errors=True)

    sources = digest(book, SOURCES)
    mark = html / ".sources.sha256"  # inside the pages, so that it is published and withdrawn with them
    if not force and mark.exists() and mark.read_text() == sources and not check_pages.missing_pages(book, html):
        print(f"{html} is up to date; executed no chapter(s)")
        return 0

    library = digest(book, LIBRARY)
    cache = open_cache(book / "_build" / ".jupyter_cache", library)
    chapters = read_chapters(book)
    failures = execute(book, chapters, cache)
    fine = False
    if keep_going or not failures:
        with shown(cache, failures):
            fine = render(book, work)
    if digest(book, LIBRARY) != library:  # edited meanwhile: nobody knows which chapter saw what
        (cache.path / "library.sha256").unlink()
    new = work / "_build" / "html"
    if failures:
        if keep_going and not check_pages.missing_pages(book, new):
            offer_notebooks(book, new)
            publish(book, new)
            print(f"built {html / 'index.html'} with the traceback in each page that failed", flush=True)
        else:
            hint = "" if keep_going else "; `make book KEEP_GOING=1` builds the others and marks what failed"
            print(f"build: the previous pages, if any, are untouched{hint}", file=sys.stderr)
        explain(failures, len(chapters))
        return 1
    if not fine:
        print(
            "build: failed; the messages above say where. The previous pages, if any, are untouched.",
            file=sys.stderr,
        )
        return 1
    offer_notebooks(book, new)
    problems = check_pages.check(book, new)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        print(
            f"build: {len(problems)} problem(s) in the pages. The previous pages are untouched.",
            file=sys.stderr,
        )
        return 1
    llms.write(book, new)
    (new / ".sources.sha256").write_text(sources)
    publish(book, new)
    print(f"built {html / 'index.html'} in {time.monotonic() - began:.0f} s")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("book", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--force", action="store_true", help="render even if nothing has changed")
    parser.add_argument("--keep-going", action="store_true", help="make pages of chapters that failed, too")
    options = parser.parse_args(argv)
    book = options.book.resolve()
    if not (book / "_toc.yml").is_file():
        print(f"build: {book} is not a book: it has no _toc.yml", file=sys.stderr)
        return 2
    os.chdir(book)  # Jupyter Book reads the cache's path relative to the working directory
    try:
        with only_build(book):
            isolate_kernels(book)
            return build(book, force=options.force, keep_going=options.keep_going)
    except KeyboardInterrupt:
        print("build: interrupted; what was executed is kept", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
