"""The ``{api}`` directive, an entry for every public name of the library, and links from code in the text to them.

The library is imported only where a page holds the directive. What JAX, NumPy and Python document is known from the
inventories beside this file, in Sphinx's plain format: nothing is fetched.
"""

from __future__ import annotations

import inspect
import re
from functools import cache, partial, reduce
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.ext.intersphinx import InventoryAdapter
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from tools.docstrings import to_rst
from tools.ext.pages import details_title
from tools.ext.quiz import quiz_legend, quiz_text
from tools.repository import make_repository

logger = logging.getLogger(__name__)

CODE = re.compile(r"((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?:\(.*\))?", re.DOTALL)
ELSEWHERE = ("jax.", "numpy.")
# A link in a heading would be in every table of contents; in what opens a box, a control inside a control.
NO_LINK = (nodes.title, nodes.reference, nodes.rubric, addnodes.desc_signature, details_title, quiz_legend, quiz_text)


class ApiDirective(SphinxDirective):
    """``{api} MODULE …``: a section for each of these public modules, an entry for each of its names.

    ``PACKAGE.*`` is a package and every public module in it.
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Write the entries and let MyST and autodoc read them; a name without docstring or entry is an error."""
        from tools import names

        wanted = self.arguments[0].split()
        rooms = [room for room in names.rooms() if any(map(partial(_asks_for, room.path), wanted))]
        if missing := {name for name in wanted if not any(_asks_for(room.path, name) for room in rooms)}:
            self._fail(f"expected public modules, got {', '.join(sorted(missing))}")
        shown(self.env).update(room.path for room in rooms)
        text = []
        for room in rooms:
            text += [f"## {room.path}", "", "```{eval-rst}", *_module(room), "```", ""]
        box = nodes.Element()
        self.state.nested_parse(StringList(text), self.content_offset, box, match_titles=True)
        made = _entries(self.env)
        for room in rooms:
            for name in room.names:
                if not names.documentation(room, name):
                    self._fail(f"{room.path}.{name} has no docstring")
                if f"{room.path}.{name}" not in made:
                    self._fail(f"{room.path}.{name} is public and has no entry")
        return list(box.children)

    def _fail(self, message: str) -> None:
        logger.error("api: %s", message, location=(self.env.docname, self.lineno), type="api")


def _asks_for(path: str, wanted: str) -> bool:
    package = wanted.removesuffix(".*")
    return path == package or (package != wanted and path.startswith(f"{package}."))


def shown(env: BuildEnvironment) -> set[str]:
    """The public modules whose entries the pages read so far hold."""
    found: set[str] = env.__dict__.setdefault("attnlib_modules_shown", set())
    return found


def every_module_is_shown(app: Sphinx, env: BuildEnvironment) -> None:
    """A book with an API page holds the entries of every public module."""
    if not shown(env):
        return
    from tools import names

    for room in names.rooms():
        if room.path not in shown(env):
            logger.error("api: %s is public and on no page", room.path, type="api")


def _module(room: Any) -> list[str]:
    """The entries of a module, in reStructuredText."""
    from tools import names

    lines = [f".. py:module:: {room.path}", "", *to_rst(inspect.getdoc(room.module) or ""), ""]
    for name in room.names:
        value = room.find(name)
        # What is before "::" is imported, the rest are attributes: `attnlib.count` is no module's own name.
        root, _, rest = f"{room.path}.{name}".partition(".")
        if inspect.isclass(value):
            lines += [f".. autoclass:: {root}::{rest}", "   :members:", ""]
        elif inspect.isfunction(value):
            lines += [f".. autofunction:: {root}::{rest}", ""]
        else:
            text = to_rst(names.documentation(room, name))
            lines += [f".. py:data:: {name}", f"   :module: {room.path}", "", *(f"   {line}" for line in text), ""]
    return [*lines, ".. py:currentmodule:: None"]


def _write_docstring(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    try:
        lines[:] = to_rst("\n".join(lines))
    except ValueError as error:
        logger.error("api: %s: %s", name, error, type="api")


def _skip_fields(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    # What "Attributes" in the docstring of a class says about the fields of a named tuple, Python says less well.
    return True if type(value).__name__ == "_tuplegetter" else None


def source_address(app: Sphinx, domain: str, found: dict[str, str]) -> str | None:
    """Where the repository shows the lines of an entry; None for what has none."""
    try:
        value: Any = reduce(getattr, found["fullname"].split("."), import_module(found["module"]))
        written: Any = value.fget if isinstance(value, property) else value
        value = inspect.unwrap(written)
        if value.__module__.partition(".")[0] != found["module"].partition(".")[0]:
            return None  # a name of ours for what is another library's: a type, say
        file, (lines, first) = Path(inspect.getsourcefile(value) or ""), inspect.getsourcelines(value)
    except (AttributeError, ImportError, OSError, TypeError):
        return None
    root = Path(import_module(value.__module__.partition(".")[0]).__file__ or "").parent.parent
    theme = app.config.html_theme_options
    repository = make_repository(theme.get("repository_url"), theme.get("repository_branch"))
    path = file.relative_to(root).as_posix()
    return f"{repository.blob(path)}#L{first}-L{first + len(lines) - 1}"


class CodeLinks(SphinxPostTransform):
    """Lead from code in the text to what it names, once in a section (an entry of the API page is one)."""

    default_priority = 220  # after pages.py has written boxes
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Link every code of the page that is the name of something, alone or called."""
        seen = set()
        for code in list(self.document.findall(nodes.literal)):
            above = list(_ancestors(code))
            found = CODE.fullmatch(code.astext())
            if not found or any(isinstance(node, NO_LINK) for node in above):
                continue
            entry = next((node for node in above if isinstance(node, addnodes.desc)), None)
            place = entry or next((node for node in above if isinstance(node, nodes.section)), self.document)
            link, target = self._link(found[1], code, *_names_of(entry))
            if link is not None and (id(place), target) not in seen:
                seen.add((id(place), target))
                code.replace_self(link)

    def _link(self, name: str, code: nodes.literal, module: str, own: str) -> tuple[nodes.reference | None, str]:
        """A link around the code and what it leads to; none when the name is that of the entry itself."""
        objects = _entries(self.env)
        for full in (f"{module}.{name}" if module else name, name, f"attnlib.{name}"):
            if full in objects:
                to = objects[full]
                link = make_refnode(self.app.builder, self.env.docname, to.docname, to.node_id, code.deepcopy(), full)
                return (None if full == own else link), full
        if name.startswith(ELSEWHERE):
            if address := _elsewhere(self.app).get(name):
                return nodes.reference("", "", code.deepcopy(), internal=False, refuri=address), name
            if module:
                message = "api: %s is in none of the inventories in tools/ext/inventory"
                logger.error(message, name, location=self.env.docname, type="api")
        return None, ""


def _entries(env: BuildEnvironment) -> Any:
    """`attnlib.cost.Cost: where its entry is`, … of the pages read so far."""
    return cast(PythonDomain, env.get_domain("py")).objects


def _ancestors(node: nodes.Node) -> Any:
    while node.parent is not None:
        node = node.parent
        yield node


def _names_of(entry: addnodes.desc | None) -> tuple[str, str]:
    """Module and full name of an entry of the API page; '' outside one."""
    signature = entry.next_node(addnodes.desc_signature) if entry is not None else None
    if signature is None or not signature.get("ids"):
        return "", ""
    full = signature["ids"][0]
    return full.rpartition(".")[0], full


@cache
def _elsewhere(app: Sphinx) -> dict[str, str]:
    """`jax.jit: address`, … of all inventories."""
    kinds = InventoryAdapter(app.env).main_inventory.values()
    return {name: address for kind in kinds for name, (_, _, address, _) in kind.items()}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the links."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.linkcode")
    app.config.linkcode_resolve = lambda domain, found: source_address(app, domain, found)
    app.add_directive("api", ApiDirective)
    app.add_post_transform(CodeLinks)
    app.connect("env-check-consistency", every_module_is_shown)
    app.connect("autodoc-process-docstring", _write_docstring)
    app.connect("autodoc-skip-member", _skip_fields)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
