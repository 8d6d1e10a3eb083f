"""The calculator: a model, devices and a load in; memory, FLOPs, seconds, what binds and what fits out.

What stands here runs twice, in Python and, written in JavaScript by `tools.javascript` together with what it uses of
`attnlib.cost`, in the page. So both say the same, word for word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote

from attnlib import _model, cost
from attnlib._numbers import binary, three_digits
from attnlib.cost._sizes import parts
from attnlib.cost.devices import best
from attnlib.cost.serving import most_that

_NAME = "calculator"
_MOST = 2**34
"""The largest number that a field takes."""


@dataclass(frozen=True)
class Field:
    """What is asked for.

    Attributes:
        key: its name, in the address of the page, too.
        label: what the page calls it.
        kind: "whole", a number; "count", one that is given in thousands, millions, …; "percent"; "choice"; "flag";
            "name", of a published model; "json".
        start: what it is before anyone has changed it, as one types it.
        group: where it stands: "model", "sizes", "devices" or "load".
        letter: how the book writes it.
        choices: what there is to choose from, and what the page calls each.
        least: the smallest number.
        most: the largest number.
        when: it is asked for while each of these fields has one of these values.
        hint: a few words below it.
    """

    key: str
    label: str
    kind: str
    start: str
    group: str
    letter: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    least: int = 1
    most: int = _MOST
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hint: str = ""

    def asked(self, texts: Mapping[str, str]) -> bool:
        """Return whether it is asked for, with what the other fields say."""
        return all(texts[key] in values for key, values in self.when.items())


_OWN = {"source": ("own",)}
_SERVING, _TRAINING = {"mode": ("serving",)}, {"mode": ("training",)}
_FORMATS = {name: name for name in cost.FORMATS}

FIELDS: tuple[Field, ...] = (
    Field(
        *("mode", "Work", "choice", "serving", "model"),
        choices={"serving": "serving", "training": "training"},
    ),
    Field(
        *("source", "Model", "choice", "published", "model"),
        choices={"published": "a published one", "own": "of my own numbers", "config": "from its config.json"},
    ),
    Field(
        *("model", "Which", "name", "llama-3-70b", "model"),
        choices={name: model.name for name, model in cost.MODELS.items()},
        when={"source": ("published",)},
        hint="type a part of its name",
    ),
    Field(
        *("config", "Its config.json", "json", "", "model"),
        when={"source": ("config",)},
        hint="of " + ", ".join(cost.published.FAMILIES),
    ),
    Field("layers", "Layers", "whole", "32", "sizes", letter="L", most=2000, when=_OWN),
    Field("d", "Model width", "whole", "4096", "sizes", letter="d", most=2**20, when=_OWN),
    Field("vocab", "Vocabulary", "whole", "128256", "sizes", most=2**24, when=_OWN),
    Field("tied", "Head is the embedding", "flag", "no", "sizes", when=_OWN),
    Field(
        *("attention", "Keys and values", "choice", "heads", "sizes"),
        choices={"heads": "in heads", "latent": "from a latent (MLA)"},
        when=_OWN,
    ),
    Field("h", "Query heads", "whole", "32", "sizes", letter="h", most=2**14, when=_OWN),
    Field(
        *("h_kv", "Key and value heads", "whole", "8", "sizes"),
        letter="h_kv",
        most=2**14,
        when={**_OWN, "attention": ("heads",)},
        hint="a divisor of h",
    ),
    Field(
        *("d_k", "Head width", "whole", "128", "sizes"),
        letter="d_k",
        most=2**14,
        when=_OWN,
        hint="often d/h",
    ),
    Field(
        *("rank", "Width of the latent", "whole", "512", "sizes"),
        most=2**16,
        when={**_OWN, "attention": ("latent",)},
    ),
    Field(
        *("d_rope", "Width of the position's part", "whole", "64", "sizes"),
        most=2**14,
        when={**_OWN, "attention": ("latent",)},
        hint="one key for all heads",
    ),
    Field(
        *("pattern", "Layers that see less", "choice", "none", "sizes"),
        choices={
            "none": "none: all see all before",
            "window": "a window",
            "state": "a state (linear attention)",
        },
        when=_OWN,
    ),
    Field("window", "Window", "whole", "4096", "sizes", letter="w", when={**_OWN, "pattern": ("window",)}),
    Field(
        *("state", "Width of the state's keys", "whole", "128", "sizes"),
        most=2**14,
        when={**_OWN, "pattern": ("state",)},
        hint="a head keeps this times d_k numbers",
    ),
    Field(
        *("every", "One full layer in every", "whole", "6", "sizes"),
        least=0,
        most=2000,
        when={**_OWN, "pattern": ("window", "state")},
        hint="0: no full layer",
    ),
    Field(
        *("inner", "Feed-forward layer", "choice", "gated", "sizes"),
        choices={"gated": "gated (three matrices)", "plain": "plain (two matrices)", "experts": "experts, gated"},
        when=_OWN,
    ),
    Field(
        *("d_ff", "Inner width", "whole", "14336", "sizes"),
        letter="d_ff",
        most=2**22,
        when=_OWN,
        hint="of one expert, if there are",
    ),
    Field("experts", "Experts", "whole", "64", "sizes", most=2**16, when={**_OWN, "inner": ("experts",)}),
    Field(
        *("active", "Active for a position", "whole", "6", "sizes"), most=2**16, when={**_OWN, "inner": ("experts",)}
    ),
    Field(
        *("shared", "Shared experts", "whole", "2", "sizes"),
        least=0,
        most=2**12,
        when={**_OWN, "inner": ("experts",)},
    ),
    Field(
        *("device", "Device", "choice", "H100", "devices"),
        choices={name: f"{device.name}, {device.memory / 1e9:.0f} GB" for name, device in cost.ACCELERATORS.items()},
    ),
    Field("devices", "How many", "whole", "4", "devices", most=2**20),
    Field(
        *("parallel", "They share", "choice", "tensor", "devices"),
        choices={"tensor": "heads and widths", "sequence": "positions", "data": "sequences"},
        when=_SERVING,
    ),
    Field("usable", "Usable memory, %", "percent", "90", "devices", most=100, hint="the rest is the runtime's"),
    Field("context", "Context", "whole", "65536", "load", letter="n", hint="64k is 65,536"),
    Field("batch", "Batch", "whole", "16", "load", letter="B", hint="sequences at once"),
    Field("weights", "Weights in", "choice", "bfloat16", "load", choices=_FORMATS, when=_SERVING),
    Field("cache", "Keys and values in", "choice", "bfloat16", "load", choices=_FORMATS, when=_SERVING),
    Field("page", "Page of the cache", "whole", "16", "load", most=2**20, when=_SERVING, hint="positions"),
    Field(
        *("recompute", "Computed twice", "choice", "scores", "load"),
        choices={"nothing": "nothing", "scores": "scores (FlashAttention)", "layers": "whole layers"},
        when=_TRAINING,
    ),
    Field(
        *("utilisation", "Utilisation, %", "percent", "40", "load"),
        most=100,
        when=_TRAINING,
        hint="of the peak, by what the model needs (MFU)",
    ),
    Field("tokens", "Tokens in all", "count", "2T", "load", most=10**16, when=_TRAINING, hint="300B, 15T"),
)
"""What is asked for, in order."""


@dataclass(frozen=True)
class Table:
    """A table of the answer.

    Attributes:
        title: what it shows.
        head: names of its columns.
        rows: its cells.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Answer:
    """What the calculator says.

    Attributes:
        title: the model and the load.
        fits: whether a device has room for its part.
        verdict: that, in a sentence.
        lines: what follows from it, in sentences.
        bar: what takes how many bytes of a device.
        room: bytes of a device that may be used.
        tables: everything else.
        numbers: every number, by name: bytes, FLOPs, seconds, positions, sequences; None where there is no limit, or
            no such thing.
    """

    title: str
    fits: bool
    verdict: str
    lines: tuple[str, ...]
    bar: tuple[tuple[str, int], ...]
    room: int
    tables: tuple[Table, ...]
    numbers: Mapping[str, Any]


def read(entry: Field, text: str) -> Any:
    """Return the value that is written in a field, or raise and say what it expects.

    Example:
        >>> context, tokens = (next(x for x in FIELDS if x.key == key) for key in ("context", "tokens"))
        >>> read(context, "128k"), read(context, "131,072"), read(tokens, "15T")
        (131072, 131072, 15000000000000)
        >>> read(context, "0")
        Traceback (most recent call last):
        ...
        ValueError: calculator: context: expected a whole number from 1 to 17,179,869,184, got '0'
    """
    text = text.strip()
    if entry.kind == "choice" and text not in entry.choices:
        raise ValueError(f"{_NAME}: {entry.key}: expected one of {', '.join(entry.choices)}, got {text!r}")
    if entry.kind == "flag":
        if text not in ("yes", "no"):
            raise ValueError(f"{_NAME}: {entry.key}: expected yes or no, got {text!r}")
        return text == "yes"
    if entry.kind not in ("whole", "count", "percent"):
        return text
    digits = text.replace(",", "").replace("_", "").replace(" ", "").lower()
    units = {"k": 1024, "m": 1024**2} if entry.kind == "whole" else {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
    factor = units.get(digits[-1:], 1)
    if factor > 1:
        digits = digits[:-1]
    known = 0 < len(digits) < 18 and all(x in "0123456789" for x in digits)
    value = factor * int(digits) if known else -1
    if not entry.least <= value <= entry.most:
        expected = f"a whole number from {entry.least:,} to {entry.most:,}"
        raise ValueError(f"{_NAME}: {entry.key}: expected {expected}, got {text!r}")
    return value


def starts() -> dict[str, str]:
    """Return what every field says before anyone has changed it.

    Example:
        >>> starts()["model"], starts()["context"]
        ('llama-3-70b', '65536')
    """
    return {entry.key: entry.start for entry in FIELDS}


def address(**texts: str | int) -> str:
    """Return the fragment of the page's address that brings these settings: those that are not as at the start.

    Example:
        >>> address(model="gemma-3-27b", context="128k", batch=1)
        '#calc=model=gemma-3-27b&context=128k&batch=1'
    """
    known = starts()
    for key in texts:
        if key not in known:
            raise ValueError(f"{_NAME}.address: {key}: expected one of {', '.join(known)}, got {texts[key]!r}")
    return "#calc=" + "&".join(
        f"{key}={quote(str(texts[key]))}" for key in known if str(texts.get(key, known[key])) != known[key]
    )


def settings(**texts: str | int) -> dict[str, Any]:
    """Return the values of all fields, where those that are not given are as at the start.

    Example:
        >>> settings(context="8k", mode="training")["context"]
        8192
    """
    return values({**starts(), **{key: str(text) for key, text in texts.items()}})


def values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the fields that are asked for."""
    return {entry.key: read(entry, texts[entry.key]) for entry in FIELDS if entry.asked(texts)}


def calculate(given: Mapping[str, Any]) -> Answer:
    """Answer for the values of `settings`; `config`, if it is there, a mapping as `json.load` gives it.

    Returns:
        An `Answer`.

    Raises:
        ValueError: what cannot be calculated; the message names the field, or that of `attnlib.cost`.

    Example:
        >>> calculate(settings(weights="fp8", cache="fp8")).verdict
        'It fits: 10.2 GiB free. Most is the cache.'
    """
    model = model_of(given)
    return serve(model, given) if given["mode"] == "serving" else train(model, given)


def model_of(given: Mapping[str, Any]) -> cost.Model:
    """Return the model that is asked about."""
    if given["source"] == "own":
        return own_model(given)
    if given["source"] == "config":
        return cost.read_config(given["config"])
    try:
        return _model.published(given["model"])
    except ValueError as error:
        raise ValueError(f"{_NAME}: model: {str(error).split(': ', 1)[1]}") from None


def own_model(given: Mapping[str, Any]) -> cost.Model:
    """Return a decoder of one's own numbers: RMS norms, no biases, positions in the queries and keys.

    Example:
        >>> cost.model_parameters(own_model(settings(source="own")))  # as Llama 3, 8B
        8030261248
    """
    h, d_k, every = given["h"], given["d_k"], given.get("every", 1)
    full: cost.models.Mixer
    if given["attention"] == "latent":
        full = cost.LatentAttention(h, d_k, given["d_rope"], d_k, rank=given["rank"])
    else:
        full = cost.SelfAttention(h, d_k, h_kv=given["h_kv"])
    less: cost.models.Mixer = full
    if given["pattern"] == "window":
        less = cost.SelfAttention(h, d_k, h_kv=given.get("h_kv"), window=given["window"])
    if given["pattern"] == "state":
        less = cost.StateAttention(h, given["state"], d_v=d_k)
    inner: cost.Dense | cost.Experts
    if given["inner"] == "experts":
        if given["active"] > given["experts"]:
            expected = f"at most the {given['experts']:,} experts"
            raise ValueError(f"{_NAME}: active: expected {expected}, got {given['active']:,}")
        d_ff = given["d_ff"]
        inner = cost.Experts(given["experts"], given["active"], d_ff, shared_d_ff=given["shared"] * d_ff)
    else:
        inner = cost.Dense(given["d_ff"], gated=given["inner"] == "gated")
    kinds = [full if every and (i + 1) % every == 0 else less for i in range(given["layers"])]
    return cost.Model(
        *("own numbers", given["d"], given["vocab"]),
        layers=tuple(cost.Layer(mixer, inner) for mixer in kinds),
        tied=given["tied"],
    )


def serve(model: cost.Model, given: Mapping[str, Any]) -> Answer:
    """Answer for a model that generates, or makes one pass."""
    found, numbers = served(model, given)
    context, batch = found.context, found.batch
    work = [("prefill" if model.causal else "one pass", _flops(numbers["prefill FLOPs"]))]
    kept, fit = [], []
    if model.causal:
        one = cost.model_cache(model, context, cache=given["cache"], page=given["page"])
        work += [("a token of one sequence", _flops(numbers["token FLOPs"])), *_intensity(found)]
        kept = [Table("Cache of one sequence, all devices together", ("", "needed", "in pages"), _cache_rows(one))]
        numbers |= fitting(found)
        fit = [_fits_table(numbers, context, batch)]
    others = cost.alternatives(found)
    tables = (
        _model_table(model),
        Table("Memory of each device", ("", "bytes", "share", ""), tuple(_model.memory_rows(found))),
        *kept,
        Table("Work in matrix products", ("", "in all"), tuple(work)),
        Table("Time at peak rates", ("", "time", "waits for", "most of it"), tuple(_model.time_rows(found))),
        *fit,
        Table(
            "One change",
            ("", "needed", "fits", "a token" if model.causal else "one pass"),
            tuple(_model.changes_rows(found, others)),
        ),
    )
    verdict, *more = _model.verdict(found)
    lines = (*more, *_model.repeated(found), *_model.advice(found, others), *_beyond(model, context))
    bar = (("weights", found.weights), ("cache", found.cache.allocated), ("activations", found.activations))
    title = f"{model.name}, context {context:,}, batch {batch:,}, on {found.devices:,} × {found.device.name}"
    return Answer(title, found.fits, verdict, lines, bar, found.memory, tables, numbers)


def served(model: cost.Model, given: Mapping[str, Any]) -> tuple[cost.Serving, dict[str, Any]]:
    """Return a model that generates, or makes one pass, on its devices, and the numbers of it."""
    device, context, batch = cost.ACCELERATORS[given["device"]], given["context"], given["batch"]
    found = cost.serving(
        model,
        context,
        device,
        batch=batch,
        devices=given["devices"],
        parallel=given["parallel"],
        weights=given["weights"],
        cache=given["cache"],
        dtype=_dtype_of(device),
        page=given["page"],
        usable=given["usable"] / 100,
    )
    prefill = cost.model_forward(model, context, logits=1 if model.causal else None, batch=batch)
    numbers: dict[str, Any] = {
        **_sizes(model),
        "weights": found.weights,
        "cache needed": found.cache.needed,
        "cache allocated": found.cache.allocated,
        "activations": found.activations,
        "needed": found.needed,
        "usable": found.memory,
        "prefill FLOPs": prefill.matmul_flops,
        "prefill seconds": found.prefill.seconds,
    }
    if model.causal and found.decode is not None:
        one = cost.model_cache(model, context, cache=given["cache"], page=given["page"])
        numbers |= {
            "sequence needed": one.needed,
            "sequence allocated": one.allocated,
            "token FLOPs": cost.model_forward(model, 1, past=context - 1).matmul_flops,
            "token seconds": found.decode.seconds,
            "sent": found.sent,
        }
    return found, numbers


def fitting(found: cost.Serving) -> dict[str, int | None]:
    """Return the longest context and the largest batch that fit; None where none is too large."""
    options: dict[str, Any] = {
        "devices": found.devices,
        "parallel": found.parallel,
        "weights": found.formats[0],
        "cache": found.formats[1],
        "dtype": found.dtype,
        "page": found.page,
        "usable": found.usable,
    }
    return {
        "longest context": cost.longest_context(found.model, found.device, batch=found.batch, **options),
        "largest batch": cost.largest_batch(found.model, found.context, found.device, **options),
    }


def train(model: cost.Model, given: Mapping[str, Any]) -> Answer:
    """Answer for a step of training with Adam in mixed precision, and for all of it."""
    n, batch, devices = given["context"], given["batch"], given["devices"]
    name, how, tokens = cost.ACCELERATORS[given["device"]].name, given["recompute"], given["tokens"]
    numbers = trained(model, given)
    needed, room = numbers["needed"], numbers["usable"]
    own = needed - numbers["activations"]
    longest = most_that(lambda t: own + _kept(model, t, batch, devices, how) <= room)
    sequences = most_that(lambda b: own + _kept(model, n, b, 1, how) <= room)
    numbers |= {"longest context": longest, "largest batch": None if sequences is None else sequences * devices}
    bar = tuple((what, numbers[what]) for what in ("weights", "gradients", "optimizer", "activations"))
    memory = [(what, binary(size), f"{100 * size / needed:.0f} %") for what, size in bar]
    memory += [("needed", binary(needed), "100 %"), ("usable", binary(room), "")]
    changes = {
        "none": needed,
        "half the context": own + _kept(model, max(1, n // 2), batch, devices, how),
        "half the batch": own + _kept(model, n, max(1, batch // 2), devices, how),
        "twice the devices": sum(_shares(model, 2 * devices).values()) + _kept(model, n, batch, 2 * devices, how),
        "scores computed twice": own + _kept(model, n, batch, devices, "scores"),
        "layers computed twice": own + _kept(model, n, batch, devices, "layers"),
    }
    rows = [(change, binary(size), "yes" if size <= room else "no") for change, size in changes.items()]
    top = min(changes, key=lambda change: changes[change])
    lines = ["Each device holds its part of weights, gradients and Adam's numbers, and works on its own sequences."]
    if changes[top] < needed:
        lines.append(f"Of these changes one frees most, {binary(needed - changes[top])} on each device: {top}.")
    used = f"at {given['utilisation']} %"
    tables = (
        _model_table(model),
        Table("Memory of each device", ("", "bytes", "share"), tuple(memory)),
        Table(
            f"Work of a step of {batch * n:,} tokens, in matrix products",
            ("", "in all"),
            tuple((part, _flops(numbers[f"{part} FLOPs"])) for part in ("forward", "backward", "recomputation")),
        ),
        Table(
            "Time",
            ("", "time"),
            (
                ("a step at peak rates", duration(numbers["step seconds at peak"])),
                (f"a step {used}", duration(numbers["step seconds"])),
                ("tokens a second", three_digits(numbers["tokens a second"], ",")),
                (f"all {_scaled(tokens)} tokens {used}", duration(numbers["training seconds"])),
            ),
        ),
        Table(
            f"Training on all {_scaled(tokens)} tokens, by convention",
            ("", "in all"),
            tuple((key[9:], _flops(count)) for key, count in numbers.items() if key.startswith("FLOPs by ")),
        ),
        _fits_table(numbers, n, batch),
        Table("One change", ("", "needed", "fits"), tuple(rows)),
    )
    fits = needed <= room
    most = max(bar, key=lambda part: part[1])[0]
    free = f"{binary(room - needed)} free" if fits else f"{binary(needed - room)} too much"
    verdict = f"{'It fits' if fits else 'It does not fit'}: {free}. Most is {most}."
    title = f"Training {model.name}, context {n:,}, batch {batch:,}, on {devices:,} × {name}"
    return Answer(title, fits, verdict, (*lines, *_beyond(model, n)), bar, room, tables, numbers)


def trained(model: cost.Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a step of training, and of all of it.

    Devices share out sequences; weights, gradients and the optimizer's numbers are cut into as many parts.
    """
    n, batch, devices = given["context"], given["batch"], given["devices"]
    device, how = cost.ACCELERATORS[given["device"]], given["recompute"]
    peak, used = devices * best(device.matmul_rate(_NAME, _dtype_of(device))), given["utilisation"] / 100
    state, activations = _shares(model, devices), _kept(model, n, batch, devices, how)
    step = cost.model_training(model, n, batch=batch, recompute=how)
    seconds = (step["forward"].matmul_flops + step["backward"].matmul_flops) / (peak * used)
    conventions = cost.training_conventions(model, n, tokens=given["tokens"])
    return {
        **_sizes(model),
        **state,
        "activations": activations,
        "needed": sum(state.values()) + activations,
        "usable": int(device.memory * (given["usable"] / 100)),
        **{f"{part.name} FLOPs": part.matmul_flops for part in step.steps},
        "step seconds at peak": step.matmul_flops / peak,
        "step seconds": seconds,
        "tokens a second": batch * n / seconds,
        "training seconds": conventions["causal half"] / (peak * used),
        **{f"FLOPs by {name}": count for name, count in conventions.items()},
    }


def _shares(model: cost.Model, devices: int) -> dict[str, int]:
    """Bytes of weights, gradients and the optimizer's numbers on one of several devices."""
    return cost.training_state(model, devices=devices, zero=3)


def _kept(model: cost.Model, n: int, batch: int, devices: int, recompute: str) -> int:
    """Bytes that a device keeps of its sequences for the backward pass."""
    return cost.activation_memory(model, n, batch=int(parts(batch, devices)), recompute=recompute)


def _dtype_of(device: cost.Device) -> str:
    """Return what a device multiplies in."""
    return "bfloat16" if "bfloat16" in device.matmul else "float16"


def _sizes(model: cost.Model) -> dict[str, int]:
    """Return the parameters of a model."""
    return {
        "parameters": cost.model_parameters(model),
        "active parameters": cost.model_parameters(model, active=True),
    }


def _model_table(model: cost.Model) -> Table:
    """Return what a model is."""
    kinds = ", ".join(f"{count} × {mixer.title}" for mixer, count in model.mixers.items())
    rows = [
        ("parameters", f"{cost.model_parameters(model):,}"),
        ("at work for a token", f"{cost.model_parameters(model, active=True):,}"),
        ("attention", kinds),
    ]
    if model.source:
        rows.append(("source", model.source))
    return Table(model.name, ("", ""), tuple(rows))


def _cache_rows(kept: cost.Cache) -> tuple[tuple[str, ...], ...]:
    """Return what a sequence leaves in layers of each kind."""
    rows = [(f"{x.layers} × {x.title}", binary(x.needed), binary(x.allocated)) for x in kept.kinds]
    if len(rows) > 1:
        rows.append(("together", binary(kept.needed), binary(kept.allocated)))
    return tuple(rows)


def _intensity(found: cost.Serving) -> list[tuple[str, str]]:
    """Return how many FLOPs a token does for each byte, and how many the device could do meanwhile."""
    if found.decode is None:
        return []
    slow = max(found.decode.steps, key=lambda step: step.seconds)
    ridge = found.device.ridge(found.dtype)
    return [("FLOPs a byte in its slowest part", f"{slow.intensity:.3g}; from {ridge:.3g} on the cores bind")]


def _fits_table(numbers: Mapping[str, Any], context: int, batch: int) -> Table:
    """Return what fits at most."""

    def most(value: int | None) -> str:
        return "any" if value is None else f"{value:,}"

    return Table(
        "What fits at most",
        ("", ""),
        (
            (f"context, at batch {batch:,}", most(numbers["longest context"])),
            (f"batch, at context {context:,}", most(numbers["largest batch"])),
        ),
    )


def _beyond(model: cost.Model, context: int) -> list[str]:
    """Say that a context is longer than the model's authors give."""
    if model.context is None or context <= model.context:
        return []
    return [f"The context is longer than the {model.context:,} positions that the model's authors give."]


def _flops(count: int | float) -> str:
    """Write FLOPs with three digits and a unit.

    Example:
        >>> _flops(1234), _flops(999.6e9), _flops(3.14e23)
        ('1.23 kFLOP', '1 TFLOP', '314 ZFLOP')
    """
    units = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
    power = sum(count >= 999.5 * 1000 ** (k - 1) for k in range(1, len(units)))
    return f"{count / 1000**power:.3g} {units[power]}FLOP"


def _scaled(count: int) -> str:
    """Write a number of tokens.

    Example:
        >>> _scaled(300 * 10**9), _scaled(15 * 10**12), _scaled(2000)
        ('300 billion', '15 trillion', '2,000')
    """
    for factor, unit in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count:,}"


def duration(value: float | int) -> str:
    """Write a time with three digits, in days and years where it is long.

    Example:
        >>> duration(0.0181), duration(7300), duration(2.5e6), duration(4e9)
        ('18.1 ms', '2.03 h', '28.9 days', '127 years')
    """
    day, year = 86400, 365.25 * 86400
    if value >= year:
        return f"{three_digits(value / year, ',')} years"
    return f"{value / day:.3g} days" if value >= 2 * day else _model.seconds(value)


def said(answer: Answer) -> str:
    """Return the answer in a few words, as HTML."""
    kind = "fits" if answer.fits else "too-much"
    lines = "".join(f"<p>{escape(line)}</p>" for line in answer.lines)
    return (
        f'<p class="calc-title">{escape(answer.title)}</p>'
        f'<p class="calc-verdict {kind}"><b>{escape(answer.verdict)}</b></p>{lines}'
    )


def shown(answer: Answer) -> str:
    """Return the drawing of a device's memory and the tables, as HTML."""
    whole = max(answer.room, sum(size for _, size in answer.bar))
    free = max(0, answer.room - sum(size for _, size in answer.bar))
    parts_ = [(name, size) for name, size in (*answer.bar, ("free", free)) if size]
    names = ", ".join(f"{name} {binary(size)}" for name, size in parts_)
    pieces = "".join(f'<i class="part-{name}" style="width: {100 * size / whole:.4f}%"></i>' for name, size in parts_)
    key = "".join(
        f'<span><i class="part-{name}" aria-hidden="true"></i>{name} {binary(size)}</span>' for name, size in parts_
    )
    label = f"Memory of each device, {binary(answer.room)} usable: {names}"
    return (
        f'<div class="calc-bar" role="img" aria-label="{escape(label)}">{pieces}'
        f'<b style="left: {100 * answer.room / whole:.4f}%"></b></div>'
        f'<p class="calc-key">{key}<span class="calc-room">usable {binary(answer.room)}</span></p>'
        '<div class="calc-tables">' + "".join(map(_table, answer.tables)) + "</div>"
    )


def _table(table: Table) -> str:
    head = ""
    if any(table.head):
        cells = "".join(f'<th scope="col">{escape(name)}</th>' if name else "<td></td>" for name in table.head)
        head = f"<thead><tr>{cells}</tr></thead>"
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in table.rows
    )
    return f"<table><caption>{escape(table.title)}</caption>{head}<tbody>{rows}</tbody></table>"


def _cell(text: str) -> str:
    """A cell; a number stays with its unit."""
    short = ' class="short"' if len(text) <= 12 else ""
    said = escape(text).replace(" %", "&nbsp;%")
    return f"<td{short}>{said}</td>"
