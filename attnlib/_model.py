"""The command `python -m attnlib model`: what a model takes on some devices, what fits, and what to change first."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attnlib import cost
from attnlib._numbers import binary
from attnlib.cost.formats import near
from attnlib.cost.roofline import Roofline
from attnlib.cost.training import PHASES

USUAL = 8192
"""The context of a model whose authors give none."""


def arguments(parser: argparse.ArgumentParser, size: Callable[[str], int], device: Callable[[str], Any]) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("name", nargs="?", help="of a published model; --list shows them")
    add("--config", metavar="FILE", help="a config.json in its place")
    add("--list", action="store_true", help="the published models, and the families of config.json that are read")
    add("--context", type=size, help="positions of each sequence; default: what its authors give")
    add("--batch", type=size, help="sequences; default: 1; with --train as many as devices share them")
    add("--device", type=device, default="H100", help=f"{', '.join(cost.ACCELERATORS)}; default: %(default)s")
    add("--devices", type=size, default=1, help="how many share the model; default: %(default)s")
    ways = (
        f"how: {', '.join(cost.parallel.WAYS)}, or counts such as tensor=4,data=2; default: tensor; with --train data"
    )
    add("--parallel", help=ways)
    add("--link", type=linked, help=f"what joins them, in place of the device's own: {', '.join(cost.LINKS)}")
    add("--dtype", default="bfloat16", help=f"of weights: {', '.join(cost.FORMATS)}; default: %(default)s")
    add("--kv-dtype", help="of keys and values: the same; default: bfloat16")
    add("--page", type=size, help="positions that are allocated together; default: 16")
    add("--usable", type=float, default=0.9, help="share of the memory that may be used; default: %(default)s")
    add("--fit", action="store_true", default=None, help="the longest context and the largest batch that fit")
    add("--train", action="store_true", help="a step of training in place of prefill and tokens")
    add("--micro", type=size, help="with --train: sequences at a time on a device; default: all of its own")
    add("--zero", type=int, choices=range(4), help="with --train: stage of ZeRO; default: 0")
    add("--recompute", choices=cost.passes.RECOMPUTED, help="with --train: what is computed twice; default: scores")
    add("--json", action="store_true", help="numbers for a program")


TRAIN = ("micro", "zero", "recompute")
"""Options of a step of training alone."""
SERVE = ("fit", "page", "kv_dtype")
"""Options of prefill and tokens alone."""


def run(options: argparse.Namespace) -> str:
    """Return what the command prints."""
    if options.list:
        if options.name or options.config or options.json:
            raise ValueError("--list: expected alone, got it with a model or --json")
        return listing()
    for name in SERVE if options.train else TRAIN:
        if getattr(options, name) is not None:
            how = "without --train, got it with it" if options.train else "with --train, got it without"
            raise ValueError(f"--{name.replace('_', '-')}: expected {how}")
    model = chosen(options.name, options.config)
    common: dict[str, Any] = {"devices": options.devices, "page": options.page or 16, "usable": options.usable}
    given = options.parallel or ("data" if options.train else "tensor")
    common["parallel"] = cost.parallel.parallel_of("python -m attnlib model", options.devices, given)
    common["link"] = options.link
    formats: dict[str, Any] = {
        "weights": cost.formats.format_of("python -m attnlib model", "--dtype", options.dtype),
        "cache": cost.formats.format_of("python -m attnlib model", "--kv-dtype", options.kv_dtype or "bfloat16"),
    }
    device = options.device
    if options.train:
        return train(model, options, common)
    common["dtype"] = "bfloat16" if "bfloat16" in device.matmul else "float16"
    context = options.context or model.context or USUAL
    found = cost.serving(model, context, device, batch=options.batch or 1, **common, **formats)
    if options.fit:
        if not model.causal:
            raise ValueError(f"--fit: expected a model that generates, got {model.name}")
        return fit(found, common, options.json)
    return as_json(found) if options.json else report(found)


def train(model: cost.Model, options: argparse.Namespace, common: dict[str, Any]) -> str:
    """Return what the command prints of a step of training."""
    trained = {name: getattr(options, name) for name in TRAIN if getattr(options, name) is not None}
    device, dtype = options.device, options.dtype
    if dtype == "bfloat16" and dtype not in device.matmul:
        dtype = "float16"
    context = options.context or model.context or USUAL
    batch = options.batch or common["parallel"].data
    shared = {key: common[key] for key in ("devices", "usable", "parallel", "link")}
    found = cost.training(model, context, device, batch=batch, dtype=dtype, **shared, **trained)
    return training_json(found) if options.json else training_report(found)


def linked(name: str) -> cost.Link:
    """Return the link of that name."""
    for key, link in cost.LINKS.items():
        if key.lower() == name.lower().replace("-", " "):
            return link
    raise argparse.ArgumentTypeError(f"expected one of {', '.join(cost.LINKS)}, got {name!r}")


def chosen(name: str | None, config: str | None) -> cost.Model:
    """Return the model of that name, or of that file."""
    if config is not None and name is None:
        try:
            fields = json.loads(Path(config).read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise ValueError(f"--config: expected a file of JSON, got {config!r}, which is no text") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"--config: expected a file of JSON, got {config!r}: {error}") from None
        except OSError as error:
            raise ValueError(f"--config: expected a file, got {config!r}: {error.strerror}") from None
        if not isinstance(fields, dict):
            raise ValueError(f"--config: expected an object of JSON, got {type(fields).__name__} in {config!r}")
        return cost.read_config(fields, name=Path(config).stem if Path(config).stem != "config" else "")
    if name is None or config is not None:
        given = "neither" if name is None else "both"
        raise ValueError(f"name: expected the name of a model or --config FILE, got {given}; --list shows the names")
    return published(name)


def published(name: str) -> cost.Model:
    """Return the published model of that name, or raise and list near ones."""
    key = name.strip().lower().replace("_", "-").replace(" ", "-")
    if key not in cost.MODELS:
        hint = near(key, cost.MODELS) or f"; --list shows all {len(cost.MODELS)}"
        raise ValueError(f"name: expected the name of a published model, got {name!r}{hint}")
    return cost.MODELS[key]


def listing() -> str:
    """Return the published models, one a line, and the families that are read."""
    rows = [("name", "parameters", "at work", "layers", "cache a token")]
    for name, model in cost.MODELS.items():
        whole, active = cost.model_parameters(model), cost.model_parameters(model, active=True)
        kept = "–"
        if model.causal:
            # What one position more adds, where no window is full and no state is counted.
            kept = binary(cost.model_cache(model, 2).needed - cost.model_cache(model, 1).needed)
        rows.append((name, f"{whole:,}", f"{active / 1e9:.2f} B", str(len(model.layers)), kept))
    read = "config.json of: " + ", ".join(cost.published.FAMILIES)
    return aligned(rows) + "\n" + wrapped(read)


def report(found: cost.Serving) -> str:
    """Return the tables and what follows from them."""
    model, stored, kept = found.model, *found.formats
    kinds = ", ".join(f"{count} × {mixer.title}" for mixer, count in model.mixers.items())
    whole, active = cost.model_parameters(model), cost.model_parameters(model, active=True)
    work = f", {scaled(active)} at work" if active < 0.9 * whole else ""
    shared = "" if found.devices == 1 else f" ({found.parallel})".replace(",", ", ")
    lines = [
        wrapped(f"{model.name}: {scaled(whole)} parameters{work}, d = {model.d}; attention: {kinds}"),
        wrapped(
            f"context {found.context:,}, batch {found.batch}, {found.devices} × {found.device.name}"
            f"{shared}, "
            f"weights {stored.name}, cache {kept.name}"
        ),
    ]
    if model.context is not None and found.context > model.context:
        lines.append(f"longer than the {model.context:,} positions that its authors give")
    lines += ["", memory_table(found), "", *(wrapped(x) for x in (*verdict(found), *repeated(found)))]
    lines += ["", time_table(found), ""]
    lines += [changes_table(found), "", *(wrapped(x) for x in advice(found, cost.alternatives(found)))]
    return "\n".join(lines)


def memory_table(found: cost.Serving) -> str:
    """Return what one device holds."""
    return aligned([("on each device", "bytes", "share", ""), *memory_rows(found)], right=(1, 2))


def memory_rows(found: cost.Serving) -> list[tuple[str, str, str, str]]:
    """Return what, how many bytes, their share, and a remark."""
    rows = []

    def row(what: str, size: int, remark: str = "") -> None:
        rows.append((what, binary(size), f"{100 * size / max(1, found.needed):.0f} %", remark))

    row("weights", found.weights)
    if found.model.causal:
        row("cache", found.cache.allocated)
        if len(found.cache.kinds) > 1:
            for kind in found.cache.kinds:
                row(f"  {kind.layers} × {kind.title}", kind.allocated)
    row("activations", found.activations)
    row("needed", found.needed)
    share = f"{100 * found.usable:.3g} % of {found.device.memory / 1e9:.3g} GB"
    rows.append(("usable", binary(found.memory), "", share))
    return rows


def verdict(found: cost.Serving) -> list[str]:
    """Say whether it fits, and what needs most."""
    parts = {"the weights": found.weights, "the cache": found.cache.allocated, "activations": found.activations}
    most = max(parts, key=lambda what: parts[what])
    if found.fits:
        return [f"It fits: {binary(found.memory - found.needed)} free. Most is {most}."]
    return [f"It does not fit: {binary(found.needed - found.memory)} too much. Most is {most}."]


def repeated(found: cost.Serving) -> list[str]:
    """Say what several devices hold each for themselves, though it is the same."""
    lines = []
    mixers = found.model.mixers
    heads = {mixer.heads for mixer in mixers if isinstance(mixer, cost.SelfAttention)}
    tensor = found.parallel.tensor
    few = min(heads, default=tensor)
    if few < tensor:
        lines.append(f"Fewer key and value heads ({few}) than devices ({tensor}): each is on several.")
    if tensor > 1 and any(isinstance(mixer, cost.LatentAttention) for mixer in mixers):
        lines.append("Every device holds the whole latent, which belongs to all heads.")
    if found.devices > tensor:
        lines.append(
            f"Sharing {'positions' if found.parallel.data == 1 else 'sequences'} repeats the weights "
            f"{found.devices // tensor} times."
        )
    return lines


def time_table(found: cost.Serving) -> str:
    """Return how long a prefill and a token take."""
    return aligned([("time, at peak rates", "", "waits for", "most of it"), *time_rows(found)], right=(1,))


def time_rows(found: cost.Serving) -> list[tuple[str, str, str, str]]:
    """Return what, how long, what its slowest part waits for, and its two slowest parts."""
    rows = []
    prefill = f"prefill, {found.batch} × {found.context:,}" if found.model.causal else "one pass"
    rows.append((prefill, seconds(found.prefill.seconds), *where(found.prefill)))
    if found.decode is not None:
        rows.append(("one token of each", seconds(found.decode.seconds), *where(found.decode)))
        rate = found.batch / found.decode.seconds
        rows.append(("tokens a second", f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}", "", ""))
    if found.sent:
        rows.append(("a device sends", binary(found.sent), "", "for each token" if found.decode else "in the pass"))
    return rows


def where(time: Roofline) -> tuple[str, str]:
    """Return what the slowest part waits for, and the two slowest parts with their shares."""
    slowest = sorted(time.steps, key=lambda step: -step.seconds)[:2]
    shares = ", ".join(f"{x.name.replace(', ', ' ')} {100 * x.seconds / time.seconds:.0f} %" for x in slowest)
    return str(slowest[0].bound), shares if len(shares) <= 36 else shares.split(", ")[0]


def changes_table(found: cost.Serving) -> str:
    """Return what one change does to memory and time."""
    last = "a token" if found.decode is not None else "one pass"
    rows = changes_rows(found, cost.alternatives(found))
    return aligned([("one change", "needed", "fits", last), *rows], right=(1, 3))


def changes_rows(found: cost.Serving, others: dict[str, cost.Serving]) -> list[tuple[str, str, str, str]]:
    """Return what is changed, the bytes that a device then needs, whether they fit, and the time of a token."""
    rows = []
    for name, other in {"none": found, **others}.items():
        time = other.prefill if other.decode is None else other.decode
        rows.append((name, binary(other.needed), "yes" if other.fits else "no", seconds(time.seconds)))
    return rows


def advice(found: cost.Serving, others: dict[str, cost.Serving]) -> list[str]:
    """Say what changes most, and what to quantise first."""
    lines = []
    halves = {name: other for name, other in others.items() if name.startswith(("half", "twice"))}
    best = min(halves, key=lambda name: halves[name].needed)
    time = {name: (x.prefill if x.decode is None else x.decode).seconds for name, x in halves.items()}
    fastest = min(time, key=lambda name: time[name])
    saves = "and saves most time" if fastest == best else f"{fastest} saves most time"
    lines.append(
        f"Apart from formats, {best} frees most ({binary(found.needed - halves[best].needed)} on each device)"
        f"{' ' if fastest == best else ', '}{saves}."
    )
    first = {what: others[f"{what} in fp8"] for what in ("weights", "cache") if f"{what} in fp8" in others}
    first = first or {what: others[f"{what} in int4"] for what in ("weights", "cache") if f"{what} in int4" in others}
    if not first:
        return lines
    freed = {what: found.needed - other.needed for what, other in first.items()}
    what = max(freed, key=lambda name: freed[name])
    rest = [f"{binary(size)} for the {name}" for name, size in freed.items() if name != what]
    name = first[what].formats[0 if what == "weights" else 1].name
    said = f"Quantise the {what} first: {name} frees {binary(freed[what])} on each device"
    alone = "" if found.fits or first[what].fits else " Alone it is not enough."
    lines.append(said + (f", against {rest[0]}." if rest else ".") + alone)
    if not found.fits:
        enough = [name for name, other in others.items() if other.fits]
        small = sorted(enough, key=lambda name: (name in halves, "int4" in name, "both" in name))
        lines.append(f"Enough to fit: {', '.join(small)}." if small else "No single change is enough to fit.")
    return lines


def fit(found: cost.Serving, common: dict[str, Any], in_json: bool) -> str:
    """Return the longest context for the batch and the largest batch for the context, by formats."""
    model, stored, kept = found.model, *found.formats
    pairs = [(stored, kept)]
    for a, b in ((stored, cost.FORMATS["fp8"]), (cost.FORMATS["fp8"],) * 2, (cost.FORMATS["int4"],) * 2):
        if a.bits_each <= stored.bits_each and b.bits_each <= kept.bits_each and (a, b) not in pairs:
            pairs.append((a, b))
    rows: list[dict[str, Any]] = []
    for a, b in pairs:
        options = common | {"weights": a, "cache": b}
        longest = cost.longest_context(model, found.device, batch=found.batch, **options)
        largest = cost.largest_batch(model, found.context, found.device, **options)
        rows.append({"weights": a.name, "cache": b.name, "longest_context": longest, "largest_batch": largest})
    if in_json:
        given = {"model": model.name, "context": found.context, "batch": found.batch, "devices": found.devices}
        return json.dumps(
            {**given, "parallel": vars(found.parallel), "device": found.device.name, "fits": rows}, indent=1
        )
    head = ("weights", "cache", f"context, batch {found.batch}", f"batch, context {found.context:,}")
    cells = [(x["weights"], x["cache"], _most(x["longest_context"]), f"{x['largest_batch']:,}") for x in rows]
    shared = "" if found.devices == 1 else f" ({found.parallel})"
    title = f"{model.name} on {found.devices} × {found.device.name}{shared}: what fits at most"
    limit = "" if model.context is None else f"\nIts authors give a context of {model.context:,}."
    return f"{wrapped(title)}\n\n{aligned([head, *cells], right=(2, 3))}{limit}"


def _most(value: int | None) -> str:
    return "any" if value is None else f"{value:,}"


def as_json(found: cost.Serving) -> str:
    """Return every number of the report."""

    def times(time: Roofline | None) -> Any:
        if time is None:
            return None
        steps = [{"step": s.name, "seconds": s.seconds, "bound": str(s.bound)} for s in time.steps]
        return {"seconds": time.seconds, "steps": steps}

    def short(x: cost.Serving) -> dict[str, Any]:
        step = None if x.decode is None else x.decode.seconds
        return {"needed": x.needed, "fits": x.fits, "prefill": x.prefill.seconds, "token": step}

    model = found.model
    kinds = [vars(kind) for kind in found.cache.kinds]
    return json.dumps(
        {
            "model": model.name,
            "source": model.source,
            "parameters": cost.model_parameters(model),
            "active_parameters": cost.model_parameters(model, active=True),
            "context": found.context,
            "batch": found.batch,
            "device": found.device.name,
            "devices": found.devices,
            "parallel": vars(found.parallel),
            "link": None if found.link is None else found.link.name,
            "weights_format": found.formats[0].name,
            "cache_format": found.formats[1].name,
            "weights": found.weights,
            "cache": {"needed": found.cache.needed, "allocated": found.cache.allocated, "kinds": kinds},
            "activations": found.activations,
            "usable": found.memory,
            **short(found),
            "prefill": times(found.prefill),
            "token": times(found.decode),
            "sent": found.sent,
            "alternatives": {name: short(other) for name, other in cost.alternatives(found).items()},
        },
        indent=1,
    )


def training_report(found: cost.Training) -> str:
    """Return the tables of a step of training and what follows from them."""
    model = found.model
    whole, active = cost.model_parameters(model), cost.model_parameters(model, active=True)
    work = f", {scaled(active)} at work" if active < 0.9 * whole else ""
    shared = "" if found.devices == 1 else f" ({found.parallel}, ZeRO stage {found.zero})".replace(",", ", ")
    shared = shared.replace("  ", " ")
    again = {"nothing": "nothing computed again"}.get(found.recompute, f"{found.recompute} computed again")
    lines = [
        wrapped(f"{model.name}: {scaled(whole)} parameters{work}, trained with Adam in {found.dtype}"),
        wrapped(
            f"{found.batch} × {found.n:,} positions, {found.micro} of these at a time on a device; "
            f"{found.devices} × {found.device.name}{shared}, {again}"
        ),
    ]
    if model.context is not None and found.n > model.context:
        lines.append(f"longer than the {model.context:,} positions that its authors give")
    held = {**found.state, "a layer's weights": found.gathered, "activations": found.activations}
    rows = [("on each device", "bytes", "share", "")]
    for what, size in {**held, "needed": found.needed}.items():
        if size:
            rows.append((what, binary(size), f"{100 * size / found.needed:.0f} %", ""))
    usable = f"{100 * found.usable:.3g} % of {found.device.memory / 1e9:.3g} GB"
    rows.append(("usable", binary(found.memory), "", usable))
    most = max(held, key=lambda what: held[what])
    free = found.memory - found.needed
    said = f"It fits: {binary(free)} free." if found.fits else f"It does not fit: {binary(-free)} too much."
    lines += ["", aligned(rows, right=(1, 2)), "", f"{said} Most is {most}.", "", step_table(found), ""]
    others = cost.training_alternatives(found)
    head = ("one change", "needed", "fits", "step", "tokens/s", "MFU")
    cells = [
        (
            *(name, binary(x.needed), "yes" if x.fits else "no", seconds(x.time.seconds)),
            *(f"{x.tokens_per_second:,.0f}", f"{100 * x.utilisation:.0f} %"),
        )
        for name, x in {"none": found, **others}.items()
    ]
    lines += [aligned([head, *cells], right=(1, 3, 4, 5)), ""]
    fit = {name: x for name, x in others.items() if x.fits}
    if not found.fits and fit:
        best = max(fit, key=lambda name: fit[name].tokens_per_second / fit[name].devices)
        lines.append(wrapped(f"Enough to fit, and fastest on a device: {best}."))
    elif not found.fits:
        lines.append("None of these is enough to fit.")
    return "\n".join([*lines, wrapped("Times are at peak rates: programs take longer, and their MFU is lower.")])


def step_table(found: cost.Training) -> str:
    """Return where the time of a step of training goes."""
    whole = found.time.seconds
    rows = [("one step, at peak rates", "", "share", "waits for", "most of it")]

    def row(name: str, steps: list[cost.StepTime]) -> None:
        time, slowest = sum(x.seconds for x in steps), max(steps, key=lambda x: x.seconds)
        within = slowest.name.partition(", ")[2] if len(steps) > 1 else ""
        rows.append((name, seconds(time), f"{100 * time / whole:.0f} %", str(slowest.bound), within))

    rest = list(found.time.steps)
    for phase, title in zip(PHASES, ("forward", "backward", "computed again"), strict=True):
        own = [x for x in rest if x.name.startswith(f"{phase}, ")]
        rest = [x for x in rest if x not in own]
        if own:
            row(f"{title}, {found.passes} ×" if found.passes > 1 else title, own)
    for step in rest:
        row(step.name, [step])
    rows.append(("the step", seconds(whole), "", "", ""))
    rows.append(("tokens a second", f"{found.tokens_per_second:,.0f}", "", "", "of all devices"))
    rows.append(("MFU, at most", f"{100 * found.utilisation:.1f} %", "", "", "of the peak"))
    if found.sent:
        rows.append(("a device sends", binary(found.sent), "", "", "in the step"))
    return aligned(rows, right=(1, 2))


def training_json(found: cost.Training) -> str:
    """Return every number of the report of a step of training."""

    def short(x: cost.Training) -> dict[str, Any]:
        rates = {"tokens_per_second": x.tokens_per_second, "utilisation": x.utilisation}
        return {"needed": x.needed, "fits": x.fits, "step_seconds": x.time.seconds, **rates}

    steps = [{"step": s.name, "seconds": s.seconds, "bound": str(s.bound)} for s in found.time.steps]
    settings = ("batch", "micro", "passes", "devices", "zero", "recompute", "dtype")
    return json.dumps(
        {
            "model": found.model.name,
            "source": found.model.source,
            "parameters": cost.model_parameters(found.model),
            "active_parameters": cost.model_parameters(found.model, active=True),
            "context": found.n,
            **{x: getattr(found, x) for x in settings},
            "device": found.device.name,
            "parallel": vars(found.parallel),
            "link": None if found.link is None else found.link.name,
            "state": found.state,
            "gathered": found.gathered,
            "activations": found.activations,
            "usable": found.memory,
            **short(found),
            "steps": steps,
            "sent": found.sent,
            "alternatives": {name: short(other) for name, other in cost.training_alternatives(found).items()},
        },
        indent=1,
    )


def scaled(count: int) -> str:
    """Write a number of parameters: millions, billions.

    Example:
        >>> scaled(124439808), scaled(70553706496)
        ('124 M', '70.6 B')
    """
    return f"{count / 1e6:.3g} M" if count < 999.5e6 else f"{count / 1e9:.{1 if count >= 1e10 else 2}f} B"


def seconds(value: float | int) -> str:
    """Write a time with three digits.

    Example:
        >>> seconds(0.01813), seconds(75.2), seconds(7300)
        ('18.1 ms', '75.2 s', '2.03 h')
    """
    for least, factor, unit in ((3600, 1 / 3600, "h"), (1, 1, "s"), (1e-3, 1e3, "ms")):
        if value >= least:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def aligned(rows: Sequence[Sequence[str]], right: tuple[int, ...] = (1, 2, 3, 4)) -> str:
    """Set rows in columns, of which some are aligned to the right."""
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = (
        "  ".join(x.rjust(w) if c in right else x.ljust(w) for c, (x, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def wrapped(text: str) -> str:
    """Break a line at 80 columns."""
    import textwrap

    return "\n".join(textwrap.wrap(text, 80, subsequent_indent="  "))
