"""Ask every address in the book whether it answers; execute nothing, touch nothing of the built book.

python -m tools.linkcheck
"""

from __future__ import annotations

import json
import os
import sys

from jupyter_book.sphinx import build_sphinx

from tools.files import ROOT

# Anchors are often made by scripts; a slow server deserves a second try.
SETTINGS = {
    "nb_execution_mode": "off",
    "linkcheck_anchors": False,
    "linkcheck_timeout": 20,
    "linkcheck_retries": 2,
    "linkcheck_report_timeouts_as_broken": False,
}


def main() -> int:
    os.chdir(ROOT)
    work = ROOT / "_build" / "linkcheck"
    results = work / "output.json"
    results.unlink(missing_ok=True)
    # What does not answer is in the results, and warnings are the business of `make book`.
    build_sphinx(
        str(ROOT),
        str(work),
        noconfig=True,
        path_config=str(ROOT / "_config.yml"),
        confoverrides={**SETTINGS, "external_toc_path": str(ROOT / "_toc.yml"), "latex_individualpages": False},
        builder="linkcheck",
        freshenv=True,
        really_quiet=True,
    )
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
