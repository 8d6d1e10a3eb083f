"""Execute the chapters of a book into its cache, before Sphinx asks for them.

MyST-NB would execute a chapter while it reads the page: the first that fails then ends the build, in a message that
does not say which cell it was. Here every chapter runs whatever becomes of the others: two at a time those that
measure no time, then the others, each alone. MyST-NB finds the executed notebooks in the cache, under the keys it
uses itself.

One process and one thread do all this; the chapters run in their kernels, which end with it.
"""

from __future__ import annotations

import ast
import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import MystMetadataParsingError
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output

from tools.files import read_documents, read_extensions, read_notebook, read_settings

TOGETHER = 2  # chapters that execute at a time
STARTS = 3  # how often a kernel is started that dies before its first cell
CLOCKS = frozenset({"measure_device", "perf_counter", "time", "timeit", "train"})
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Chapter:
    """A page with cells: its file relative to the book, and the notebook that it is read as."""

    file: str
    path: Path
    notebook: NotebookNode = field(repr=False)


@dataclass(frozen=True)
class Failure:
    """Why a chapter failed; `where` names its file, cell and line, `error` is one line."""

    chapter: Chapter
    where: str
    error: str
    traceback: str = field(repr=False)
    seconds: float

    def __str__(self) -> str:
        return f"{self.where}: {self.error}"


def read_chapters(book: Path) -> list[Chapter]:
    """Every page of _toc.yml that MyST-NB would execute. What cannot be read is left to Sphinx, which says why."""
    extensions = read_extensions(read_settings(book))
    chapters = []
    for document in read_documents(book):
        path = book / f"{document}.md"
        try:
            notebook = read_notebook(path, extensions)
        except (OSError, ValueError, MystMetadataParsingError):
            continue
        if notebook is not None:
            chapters.append(Chapter(f"{document}.md", path, notebook))
    return chapters


def measures(notebook: NotebookNode) -> bool:
    """Whether a chapter measures time: then it runs alone, or its numbers would be those of its neighbour as well.

    Its cells say so: they use `attnlib.clock` for more than the machine's name, or `measure_device`, or Python's own
    clocks, or `attnlib.train`, which takes both cores. What is not plain Python, a magic, counts as measuring.
    """
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    try:
        return any(map(_reads_clock, (node for source in sources for node in ast.walk(ast.parse(source)))))
    except SyntaxError:
        return True


def _reads_clock(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return bool(CLOCKS.intersection(part for name in names for part in name.name.split(".")))
        case ast.ImportFrom(module=module, names=names):
            parts = (module or "").split(".")
            return parts[-1] == "clock" or bool(CLOCKS.intersection([*parts, *(name.name for name in names)]))
        case ast.Attribute(value=ast.Name(id="clock") | ast.Attribute(attr="clock"), attr=used):
            return used != "machine"
        case ast.Attribute(attr=used):
            return used in CLOCKS
    return False


def execute(book: Path, chapters: list[Chapter], cache: Any) -> list[Failure]:
    """Execute those chapters that the cache does not hold; return those that failed, in the order of the book."""
    waiting = [chapter for chapter in chapters if not _cached(cache, chapter.notebook)]
    timeout = (read_settings(book).get("execute") or {}).get("timeout", 30)  # Jupyter Book's default

    async def run(chapter: Chapter, room: asyncio.Semaphore) -> Failure | None:
        async with room:
            print(f"executing {chapter.file}", flush=True)
            ended = await _execute(chapter, timeout)
        if isinstance(ended, Failure):
            print(f"failed    {ended}", flush=True)
            return ended
        _keep(cache, chapter, {"execution_seconds": ended})
        print(f"executed {chapter.file} in {ended:.1f} s", flush=True)
        return None

    async def run_all() -> list[Failure]:
        ended = []
        for alone, room in ((False, TOGETHER), (True, 1)):
            group = [chapter for chapter in waiting if measures(chapter.notebook) == alone]
            some = asyncio.Semaphore(room)
            ended += await asyncio.gather(*(run(chapter, some) for chapter in group))
        return sorted((failure for failure in ended if failure), key=lambda failure: chapters.index(failure.chapter))

    with asyncio.Runner() as runner:
        # nbclient would take Ctrl-C for itself, end the one kernel it thinks of, and let the build go on.
        runner.get_loop().add_signal_handler = _refuse  # type: ignore[assignment, method-assign]
        failures = runner.run(run_all())
    executed = len(waiting) - len(failures)
    print(f"executed {executed or 'no'} chapter(s); {len(chapters) - len(waiting)} came from the cache", flush=True)
    return failures


def _refuse(*arguments: Any) -> None:
    """What a loop outside the main thread does, where nbclient does without signals."""
    raise RuntimeError("the loop takes no signals")


async def _execute(chapter: Chapter, timeout: float) -> float | Failure:
    """Execute a chapter's notebook in place; return the seconds it took, or what went wrong."""
    since = time.monotonic()
    for left in reversed(range(STARTS)):
        begun: list[int] = []
        client = NotebookClient(
            chapter.notebook,
            timeout=timeout,
            record_timing=False,  # it would be written into the cells, and change the key
            on_cell_execute=lambda cell, cell_index, begun=begun: begun.append(cell_index),
            resources={"metadata": {"path": str(chapter.path.parent)}},
        )
        try:
            await client.async_execute()
            break
        except Exception as error:  # whatever it is, it ended this chapter only
            task = asyncio.current_task()
            if task and task.cancelling():  # nbclient takes an interrupt for a dead kernel
                raise asyncio.CancelledError from error
            # Jupyter chooses a kernel's ports before the kernel takes them, and another program can be faster.
            if begun or not left or not isinstance(error, RuntimeError):
                return _failure(chapter, begun[-1] if begun else None, error, timeout, time.monotonic() - since)
    return time.monotonic() - since


def _failure(chapter: Chapter, index: int | None, error: Exception, timeout: float, seconds: float) -> Failure:
    """Say what went wrong and where, and leave it as the output of its cell, as Jupyter would."""
    notebook = chapter.notebook
    if isinstance(error, CellExecutionError):
        name, value = error.ename, error.evalue
    elif isinstance(error, CellTimeoutError):
        name, value = "CellTimeoutError", f"not done after {timeout} s"
    elif isinstance(error, DeadKernelError):
        name, value = "DeadKernelError", "the process that ran the cell died (killed, or out of memory)"
    else:
        name, value = type(error).__name__, str(error)
    line = f"{name}: {' '.join(ANSI.sub('', value).split())}".removesuffix(": ")[:300]
    code = [place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    place = f"code cell {code.index(index) + 1}" if index is not None else "before code cell 1"
    at = code[0] if index is None else index
    cell = notebook.cells[at]
    where = f"{chapter.file}, {place} (line {notebook.metadata.source_map[at]})"
    if not isinstance(error, CellExecutionError):
        # Before an interrupted cell's own traceback, which says where it was and not why it was interrupted.
        place_of_traces = next((i for i, out in enumerate(cell.outputs) if out.output_type == "error"), None)
        said = new_output("error", ename=name, evalue=value, traceback=[line])
        cell.outputs.insert(len(cell.outputs) if place_of_traces is None else place_of_traces, said)
    traces = [row for output in cell.outputs if output.output_type == "error" for row in output.traceback]
    return Failure(chapter, where, line, ANSI.sub("", "\n".join(traces)), seconds)


def _cached(cache: Any, notebook: NotebookNode) -> bool:
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        return False
    return True


def _keep(cache: Any, chapter: Chapter, data: dict[str, Any]) -> None:
    bundle = CacheBundleIn(chapter.notebook, str(chapter.path), data=data)
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


@contextmanager
def shown(cache: Any, failures: list[Failure]) -> Iterator[None]:
    """Let MyST-NB find failed chapters, too, with the outputs up to the failure and its traceback.

    The records say that they failed: a build that is killed meanwhile leaves them, and `build.open_cache` drops them.
    """
    for failure in failures:
        _keep(cache, failure.chapter, {"execution_seconds": failure.seconds, "failed": True})
    try:
        yield
    finally:
        for failure in failures:
            cache.remove_cache(cache.match_cache_notebook(failure.chapter.notebook).pk)


def versions() -> str:
    """The versions that most often decide whether a chapter runs: Python's, JAX's and NumPy's."""
    return ", ".join([f"Python {python_version()}", *map(_version, ("jax", "numpy"))])


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
