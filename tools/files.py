"""The files of a book: its settings, its pages in order, how MyST-NB reads them, and how a file is written whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parent.parent


def read_settings(root: Path) -> dict[str, Any]:
    """Read the _config.yml in `root`."""
    return yaml.safe_load((root / "_config.yml").read_text("utf8")) or {}


def read_documents(root: Path) -> list[str]:
    """Every document of _toc.yml in reading order, without suffix: `index`, `chapters/question`, …."""
    return [document.removesuffix(".md") for document in parse_toc_yaml(root / "_toc.yml")]


def read_extensions(settings: dict[str, Any]) -> tuple[str, ...]:
    """The extensions of MyST that the settings name, or Jupyter Book's own."""
    parse = settings.get("parse") or {}
    return tuple(parse.get("myst_enable_extensions", ["colon_fence", "dollarmath", "tasklist"]))


def read_notebook(path: Path, extensions: Iterable[str]) -> NotebookNode | None:
    """A page as the notebook that the build executes, its cells' lines in `metadata.source_map`; None without cells.

    It matches what MyST-NB reads, so that an executed notebook in the cache is found by it.
    """
    text = path.read_text("utf8")
    if not is_myst_markdown_notebook(text):
        return None
    config = MdParserConfig(enable_extensions=set(extensions))
    notebook: NotebookNode = read_myst_markdown_notebook(text, config, add_source_map=True, path=path)
    return notebook


def save(path: Path, text: str) -> None:
    """Write beside, then rename: the file is whole, or it is the old one."""
    save_bytes(path, text.encode())


def save_bytes(path: Path, content: bytes) -> None:
    """The same for bytes."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)
