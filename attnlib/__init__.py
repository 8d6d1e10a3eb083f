"""Self-attention and its alternatives in JAX, each with a cost model that agrees with what the compiler counts.

Names are imported when they are used, so that `attnlib.cost` works, and quickly, where there is no JAX. What there is
stands in `__init__.pyi`, which type checkers read as well.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

_HOMES = {
    name.name: statement.module
    for statement in ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf8")).body
    if isinstance(statement, ast.ImportFrom) and statement.module
    for name in statement.names
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":  # asked of the installation: it stands in pyproject.toml alone
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("attnlib")
        except PackageNotFoundError:
            raise AttributeError("attnlib is not installed, so it has no __version__") from None
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name])
    if home.__name__ == __name__ or not hasattr(home, name):
        globals()[name] = import_module(f"{home.__name__}.{name}")  # a module
    else:
        globals()[name] = getattr(home, name)
    return globals()[name]


def __dir__() -> list[str]:
    return [*globals(), *__all__]
