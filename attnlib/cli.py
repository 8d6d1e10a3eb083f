"""The command `python -m attnlib`: what mechanisms cost side by side, how long they take, whether a formula holds.

Costs come from `attnlib.cost`, mechanisms and layers from `attnlib.registry`; JAX is not needed but for `sat`.
`model` asks what a whole model takes: `attnlib._model`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from attnlib import _model, cost, registry
from attnlib._numbers import binary
from attnlib.cost.formats import near

PREFIXES = ("", "k", "M", "G", "T", "P", "E")
# Options whose names are too long for a column, as the text writes them; without a letter, in the JSON alone.
LETTERS = {
    "features": "D",
    "rank": "r",
    "landmarks": "l",
    "global_tokens": "g",
    "window": "",
    "block": "b",
    "buckets": "b",
    "clusters": "C",
    "top": "t",
}

HEADS = ("mechanism", "exact", "FLOPs", "live", "state", "path", "time", "waits for")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and leave with status 2."""
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["sat"]:
        from attnlib.hardness.__main__ import main as sat

        return sat(arguments[1:])
    parser = Parser("python -m attnlib", description="What attention costs, from the models of attnlib.cost.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="table | roofline | model | sat")
    table = commands.add_parser("table", help="all mechanisms side by side")
    steps = commands.add_parser("roofline", help="the steps of one mechanism or layer, and what each waits for")
    whole = commands.add_parser("model", help="what a published model, or a config.json, takes on some devices")
    commands.add_parser("sat", help="decide a formula by one call of attention (python -m attnlib.hardness)")
    steps.add_argument("name", help=", ".join(costs()))
    for command in (table, steps):
        command.add_argument("--n", type=_size, required=True, help="positions")
        command.add_argument("--d", type=_size, required=True, help="model width")
        command.add_argument("--h", type=_size, default=1, help="heads, a divisor of d; default: %(default)s")
        command.add_argument("--batch", type=_size, default=1, help="sequences; default: %(default)s")
        command.add_argument("--backward", action="store_true", help="with the gradients")
        command.add_argument("--device", type=_device, default="H100", help=f"{', '.join(cost.ACCELERATORS)}")
        command.add_argument("--dtype", default="bfloat16", help="of queries, keys and values; default: %(default)s")
        command.add_argument("--json", action="store_true", help="numbers for a program")
    _model.arguments(whole, _size, _device)
    options = parser.parse_args(arguments)
    if options.command == "model":
        try:
            print(_model.run(options))
        except (OSError, ValueError) as error:
            whole.error(str(error).removeprefix(f"{whole.prog}: "))
        return 0
    if options.d % options.h:
        parser.error(f"--h: expected a divisor of d = {options.d}, got {options.h}")
    run = _table if options.command == "table" else _roofline
    try:
        print(run(options))
    except ValueError as error:
        parser.error(str(error))
    return 0


def table_rows(
    n: int, d: int, h: int, device: cost.Device, *, batch: int = 1, backward: bool = False, dtype: str = "bfloat16"
) -> list[dict[str, Any]]:
    """Return what each mechanism of the registry costs at these sizes, one dict a mechanism.

    Args:
        n: positions.
        d: model width; a head has d/h of it.
        h: heads.
        device: the machine whose rates predict the time.
        batch: sequences.
        backward: add the gradients.
        dtype: of queries, keys and values.

    Returns:
        Dicts with "mechanism", "options", "exact", "flops", "live" (bytes of intermediate results), "state" (bytes
        that decoding keeps after n positions, None for what cannot decode), "path", "seconds", "bound", what the
        slowest step waits for, and "device".

    Raises:
        ValueError: as the cost models and `cost.roofline`.

    Example:
        >>> rows = table_rows(8192, 1024, 16, cost.ACCELERATORS["H100"])
        >>> [row["mechanism"] for row in rows if row["exact"] and row["live"] < 2**27]
        ['flash_attention', 'window_attention', 'bigbird_attention']
    """
    rows = []
    for entry in registry.MECHANISMS:
        model = entry.cost(n, d // h, h=h, batch=batch, backward=backward, dtype=dtype, **entry.typical)
        time = cost.roofline(model, device, dtype=dtype)
        width = 4 if entry.sums else cost.BYTES[dtype]
        kept = entry.state
        rows.append(
            {
                "mechanism": entry.name,
                "options": dict(entry.typical),
                "exact": entry.exact,
                "flops": model.flops,
                "live": model.live,
                "state": None if kept is None else batch * h * kept(n, d // h, d // h, **entry.typical) * width,
                "path": model.path,
                "seconds": time.seconds,
                "bound": max(time.steps, key=lambda step: step.seconds).bound,
                "device": device.name,
            }
        )
    return rows


def costs() -> dict[str, Any]:
    """Return the cost models that `roofline` knows, by name: (n, d, h, **sizes) → `Cost`."""

    def core(entry: registry.Mechanism) -> Any:
        return lambda n, d, h, **sizes: entry.cost(n, d // h, h=h, **sizes, **entry.typical)

    def whole(layer: registry.Layer) -> Any:
        return lambda n, d, h, **sizes: layer.cost(n, d, **({"h": h} if "h" in layer.options else {}), **sizes)

    names = [layer.name for layer in registry.LAYERS]
    return {
        **{entry.name: core(entry) for entry in registry.MECHANISMS},
        # Two layers of one name are told apart by their titles.
        **{layer.name if names.count(layer.name) == 1 else layer.title: whole(layer) for layer in registry.LAYERS},
        "transformer_layer": cost.transformer_layer,
    }


def _table(options: argparse.Namespace) -> str:
    sizes = {"batch": options.batch, "backward": options.backward, "dtype": options.dtype}
    rows = table_rows(options.n, options.d, options.h, options.device, **sizes)
    if options.json:
        return json.dumps(rows, indent=1, default=_plain)
    cells = [HEADS]
    for row in rows:
        letters = ((LETTERS.get(name, name), value) for name, value in row["options"].items())
        given = "".join(f" {letter}={value}" for letter, value in letters if letter)
        cells.append(
            (
                row["mechanism"].removesuffix("_attention") + given,
                "yes" if row["exact"] else "no",
                _scaled(row["flops"]),
                binary(row["live"]),
                "–" if row["state"] is None else binary(row["state"]),
                str(row["path"]),
                _seconds(row["seconds"]),
                str(row["bound"]),
            )
        )
    what = f"n = {options.n}, d = {options.d}, h = {options.h}, batch = {options.batch}, {options.dtype}"
    ends = ", with gradients" if options.backward else ""
    return f"{what}{ends}, {options.device.name}\n{_aligned(cells)}"


def _roofline(options: argparse.Namespace) -> str:
    known = costs()
    # `table` prints mechanisms without the word that all share.
    name = options.name if options.name in known else f"{options.name}_attention"
    if name not in known:
        raise ValueError(f"name: expected one of {', '.join(known)}, got {options.name!r}")
    sizes = {"batch": options.batch, "backward": options.backward, "dtype": options.dtype}
    model = known[name](options.n, options.d, options.h, **sizes)
    time = cost.roofline(model, options.device, dtype=options.dtype)
    if not options.json:
        return str(time)
    steps = [
        {"step": s.name, "seconds": s.seconds, "bound": str(s.bound), "flop_per_byte": s.intensity}
        for s in time.steps
    ]
    return json.dumps({"device": options.device.name, "seconds": time.seconds, "steps": steps}, indent=1)


def _size(text: str) -> int:
    plain = text.replace(",", "").replace("_", "")
    unit = {"k": 2**10, "m": 2**20}.get(plain[-1:].lower(), 1)  # 64k is 65,536, as lengths are meant
    try:
        value = int(plain if unit == 1 else plain[:-1]) * unit
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return value


def _device(text: str) -> cost.Device:
    """Return the accelerator whose name this is, whatever the case and the spaces."""
    known = {_plainly(name): device for name, device in cost.ACCELERATORS.items()}
    if _plainly(text) not in known:
        hint = near(_plainly(text), known)
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(cost.ACCELERATORS)}, got {text!r}{hint}")
    return known[_plainly(text)]


def _plainly(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _plain(value: Any) -> Any:
    return value.item()


def _scaled(value: float | int) -> str:
    """Return a number with the largest prefix that leaves it at least 1."""
    power = 0
    while value >= 1000 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {PREFIXES[power]}".rstrip()


def _seconds(value: float | int) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.2g} µs"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = (
        "  ".join(x.ljust(w) if c in (0, 7) else x.rjust(w) for c, (x, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
