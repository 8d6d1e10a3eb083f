"""Serve the built book on this machine only, and say where.

python tools/serve.py [--port PORT]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def server(html: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of `html` on the given port of 127.0.0.1, or on any free port if that one is taken."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(html))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8000)
    html = Path(__file__).resolve().parent.parent / "_build" / "html"
    options = parser.parse_args(argv)
    if not (html / "index.html").is_file():
        print(f"serve: {html} holds no book; run `make book`", file=sys.stderr)
        return 1
    with server(html, options.port) as running:
        print(f"the book is at http://127.0.0.1:{running.server_port}/  (Ctrl-C stops it)", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
