"""Point the theme's Colab button at the chapter's notebook, and show it only where there is one.

The theme links to the page's source, a `.md`, which Colab cannot read. Addresses come from `repository` in
_config.yml, which Jupyter Book hands to the theme.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from tools.notebooks import has_twin
from tools.repository import make_repository


def point_at_notebook(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Rewrite or remove the launch buttons of one page."""
    groups = [group for group in context.get("header_buttons", []) if group.get("label") == "launch-buttons"]
    if not groups:
        return
    extensions = tuple(app.config.myst_enable_extensions)
    twin = doctree is not None and has_twin(Path(app.env.doc2path(pagename)), extensions)
    theme = app.config.html_theme_options
    for group in groups:
        kept = [button for button in group["buttons"] if twin or button["text"] != "Colab"]
        for button in kept:
            if button["text"] == "Colab":
                repository = make_repository(theme.get("repository_url"), theme.get("repository_branch"))
                button["url"] = repository.colab(pagename)
        group["buttons"] = kept
        if not kept:
            context["header_buttons"].remove(group)


def setup(app: Sphinx) -> dict[str, Any]:
    # The theme makes its buttons at priority 501.
    app.connect("html-page-context", point_at_notebook, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
