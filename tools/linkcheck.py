"""Ask every address in the book whether it answers; execute nothing, touch nothing of the built book.

python tools/linkcheck.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


def settings_for_links(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the book's settings with execution off, and paths that hold wherever the file lies."""
    sphinx = settings["sphinx"]
    return {
        **settings,
        "execute": {**settings["execute"], "execute_notebooks": "off"},
        "sphinx": {
            **sphinx,
            "local_extensions": {name: str(ROOT / path) for name, path in sphinx["local_extensions"].items()},
            # Anchors are often made by scripts; a slow server deserves a second try.
            "config": {
                **sphinx["config"],
                "linkcheck_anchors": False,
                "linkcheck_timeout": 20,
                "linkcheck_retries": 2,
            },
        },
    }


def main() -> int:
    work = ROOT / "_build" / "linkcheck"
    work.mkdir(parents=True, exist_ok=True)
    config = work / "_config.yml"
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    config.write_text(yaml.safe_dump(settings_for_links(settings), sort_keys=False), encoding="utf8")
    results = work / "_build" / "html" / "output.json"
    results.unlink(missing_ok=True)
    # The program beside this Python: Jupyter Book cannot be run as a module.
    program = Path(sys.executable).parent / "jupyter-book"
    options = ["--config", str(config), "--path-output", str(work), "--builder", "linkcheck", "--all", "-q"]
    subprocess.run([str(program), "build", str(ROOT), *options], cwd=ROOT, check=False)
    if not results.exists():
        print("linkcheck: the builder wrote no results; see its messages above", file=sys.stderr)
        return 2
    links = [json.loads(line) for line in results.read_text(encoding="utf8").splitlines()]
    broken = [link for link in links if link["status"] in {"broken", "timeout"}]
    for link in broken:
        print(f"{link['filename']}:{link['lineno']}: {link['uri']}: {link['info']}", file=sys.stderr)
    print(f"linkcheck: {len(broken)} of {len(links)} addresses are broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
