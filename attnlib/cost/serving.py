"""A model on devices: what its memory holds, how long a prefill and a token take, and the largest that fits. No JAX.

Devices share a model as `Parallel` says. Times are those of the roofline, at the vendors' peaks, of links as well: a
program takes longer. Sums over devices wait for their parts; keys and values that go round a ring do so meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import dtype_name, itemsize, parts
from attnlib.cost.algebra import Cost
from attnlib.cost.devices import Device, Link, best
from attnlib.cost.formats import Format, format_of
from attnlib.cost.models import (
    Cache,
    Mixer,
    Model,
    model_cache,
    model_of,
    model_share,
    model_weights,
    vectors,
)
from attnlib.cost.parallel import (
    WAYS,
    Exchange,
    Parallel,
    links,
    meeting,
    merge_exchange,
    overlapped,
    parallel_of,
    refuse_sequence,
    ring_exchange,
    serial,
    shared_forward,
    tensor_exchanges,
)
from attnlib.cost.passes import model_forward, training_conventions
from attnlib.cost.roofline import Roofline, roofline

CHUNK = 8192
"""Tokens that a prefill computes at a time, by default."""
MOST = 2**34
"""The longest context and the largest batch that are tried."""


@dataclass(frozen=True)
class Serving:
    """A model that generates on devices. All bytes are those of one device.

    Attributes:
        model: which.
        context: positions that each sequence has.
        batch: sequences.
        device: what it runs on.
        devices: how many.
        parallel: how they share the model.
        link: what joins them, where one was given; None: what each device has.
        formats: how weights and the cache are stored.
        dtype: of activations and of what is multiplied.
        page: positions of the cache that are allocated together.
        chunk: tokens that a prefill computes at a time.
        usable: share of the memory that may be used.
        weights: bytes of parameters.
        cache: what generation keeps.
        activations: bytes of the largest arrays between two steps.
        prefill: seconds for all positions of all sequences, step by step; the cache is empty before.
        decode: seconds for one further token of each sequence; None where the model is not causal.
        sent: bytes that a device sends for one token of each sequence; in a model that is not causal, for the pass.
    """

    model: Model
    context: int
    batch: int
    device: Device
    devices: int
    parallel: Parallel
    link: Link | None
    formats: tuple[Format, Format]
    dtype: str
    page: int
    chunk: int
    usable: float
    weights: int
    cache: Cache
    activations: int
    prefill: Roofline
    decode: Roofline | None
    sent: int

    @property
    def memory(self) -> int:
        """Bytes that may be used."""
        return int(self.device.memory * self.usable)

    @property
    def needed(self) -> int:
        """Bytes that are used."""
        return self.weights + self.cache.allocated + self.activations

    @property
    def fits(self) -> bool:
        """Whether that is no more."""
        return self.needed <= self.memory


def serving(
    model: Model,
    context: int,
    device: Device,
    *,
    batch: int = 1,
    devices: int = 1,
    parallel: str | Parallel = "tensor",
    link: Link | None = None,
    weights: Any = "bfloat16",
    cache: Any = "bfloat16",
    dtype: Any = "bfloat16",
    page: int = 16,
    chunk: int = CHUNK,
    usable: float | int = 0.9,
) -> Serving:
    """Say what a model takes that generates on devices: memory, seconds for a prefill and for a token.

    Args:
        model: which.
        context: positions that each sequence has when memory is fullest.
        device: of what kind; from `cost.ACCELERATORS`, or `attnlib.measure_device()`.
        batch: sequences.
        devices: how many share the model.
        parallel: how: "tensor", by heads, inner widths and vocabulary, "sequence", by positions, "data", by
            sequences, or several, as "tensor=4,data=2" or a `Parallel`.
        link: what joins them; None: the device's own, or its network for rings of more devices than that joins.
        weights: format of the parameters.
        cache: format of keys, values and latents.
        dtype: of activations and of what is multiplied, one that the device has. Quantised weights and keys are made
            into it on the way from memory.
        page: positions of the cache that are allocated together.
        chunk: tokens that a prefill computes at a time, which decides how large activations are.
        usable: share of the memory that may be used: the rest is the runtime's.

    Returns:
        A `Serving`.

    Raises:
        ValueError: a model or device that is none, an integer below 1, an unknown format, a dtype that the device has
            not, a share that is not above 0 and at most 1; a way to share the model that there is not, of another
            number of devices, or over positions where the model is not causal or has cross-attention; several devices
            that nothing joins.

    Source: Shoeybi et al. (2019), section 3; Liu, Zaharia and Abbeel (2023); Pope et al. (2023); Williams, Waterman
    and Patterson (2009).

    Example:
        >>> from attnlib.cost import ACCELERATORS, MODELS
        >>> llama, h100 = MODELS["llama-3-70b"], ACCELERATORS["H100"]
        >>> found = serving(llama, 65536, h100, batch=16, devices=4)
        >>> found.fits, round(found.weights / 1e9, 1), round(found.cache.allocated / 1e9, 1)
        (False, 35.3, 85.9)
        >>> serving(llama, 65536, h100, batch=16, devices=4, weights="fp8", cache="fp8").fits
        True
    """
    name = "cost.serving"
    model = model_of(name, model)
    _check.positive_int(name, context=context, batch=batch, devices=devices, page=page, chunk=chunk)
    if not isinstance(device, Device):
        raise ValueError(f"{name}: device: expected a Device, got {type(device).__name__}")
    stored, kept = format_of(name, "weights", weights), format_of(name, "cache", cache)
    b, dtype = itemsize(name, dtype), dtype_name(dtype)
    device.matmul_rate(name, dtype)
    if not _check.number(usable) or not 0 < usable <= 1:
        raise ValueError(f"{name}: usable: expected a number above 0 and at most 1, got {usable!r}")
    parallel = parallel_of(name, devices, parallel)
    refuse_sequence(name, model, parallel)
    over = links(name, device, parallel, link)
    one, own, held = model_share(model, parallel.tensor), int(parts(batch, parallel.data)), _held(context, parallel)
    formats: dict[str, Any] = {"dtype": dtype, "weights": stored, "cache": kept}
    rows = min(chunk, held) if model.causal else held  # an encoder is not cut
    part = model_forward(one, rows, logits=1 if model.causal else None, **formats)

    def timed(
        cost: Cost, tokens: int, scored: int, of_layer: Callable[[Mixer], Exchange], source: int = 0
    ) -> tuple[Roofline, int]:
        """Return the time with what is sent, and the bytes of that."""
        sums = tensor_exchanges(model, tokens, scored, parallel.tensor, b)
        if model.encoder is not None and source:
            made = tensor_exchanges(model.encoder, source, 0, parallel.tensor, b)
            sums = (*(replace(x, name=f"encoder, {x.name}") for x in made), *sums)
        ring = {}
        if parallel.sequence > 1:
            kinds = one.kinds
            ring = {meeting(mixer) + kinds[mixer]: of_layer(mixer) * count for mixer, count in one.mixers.items()}
        time = overlapped(roofline(cost, device, dtype=dtype), ring, over["sequence"])
        return serial(time, sums, over["tensor"]), sum(int(x.sent) for x in (*sums, *ring.values()))

    logits = 1 if model.causal else None
    first = shared_forward(model, context, parallel, batch, logits=logits, **formats)
    prefill, sent = timed(
        first,
        own * held,
        own * (logits or held),
        lambda mixer: ring_exchange(mixer, context, own, kept, parallel.sequence),
        source=own * model.memory,
    )
    step, decode = None, None
    if model.causal:
        step = model_forward(one, 1, past=held - 1, batch=own, **formats)
        decode, sent = timed(step, own, own, lambda mixer: merge_exchange(mixer, own, parallel.sequence))
    return Serving(
        model,
        context,
        batch,
        device,
        devices,
        parallel,
        link,
        (stored, kept),
        dtype,
        page,
        chunk,
        float(usable),
        weight_bytes(one, stored),
        model_cache(one, held, batch=own, cache=kept, page=page) if model.causal else Cache(()),
        max(part.live, 0 if step is None else step.live),
        prefill,
        decode,
        sent,
    )


def _held(context: int, parallel: Parallel) -> int:
    """Positions of a sequence that one device has."""
    return int(parts(context, parallel.sequence))


def weight_bytes(model: Model, stored: Format) -> int:
    """Return the bytes of a model's parameters: matrices in a format, norms and biases in 16 bits at least.

    Example:
        >>> from attnlib.cost import FORMATS, MODELS
        >>> weight_bytes(MODELS["gpt-2"], FORMATS["bfloat16"]) == 2 * 124439808
        True
    """
    matrices = sum(count * x.copies * x.rows * stored.vector(x.columns) for x, count in model_weights(model))
    return matrices + vectors(model)[0] * max(2, stored.bits // 8)


def alternatives(found: Serving) -> dict[str, Serving]:
    """Change one thing at a time: formats of weights and cache, half the context or batch, twice the devices.

    Args:
        found: what is changed.

    Returns:
        By name what it becomes. Formats that are no smaller, and halves of 1, are left out.

    Raises:
        ValueError: what is no `Serving`.

    Example:
        >>> from attnlib.cost import ACCELERATORS, MODELS
        >>> found = serving(MODELS["llama-3-70b"], 65536, ACCELERATORS["H100"], batch=16, devices=4)
        >>> [name for name, other in alternatives(found).items() if other.fits]
        ['both in fp8', 'cache in int4', 'both in int4', 'twice the devices']
    """
    if not isinstance(found, Serving):
        raise ValueError(f"cost.alternatives: found: expected a Serving, got {type(found).__name__}")
    stored, kept = found.formats
    changes: dict[str, dict[str, Any]] = {}
    for smaller in ("fp8", "int4"):
        less = {
            "weights": format_of("", "", smaller).bits_each < stored.bits_each,
            "cache": bool(found.cache.kinds) and format_of("", "", smaller).bits_each < kept.bits_each,
        }
        changes |= {f"{what} in {smaller}": {what: smaller} for what in less if less[what]}
        if all(less.values()):
            changes[f"both in {smaller}"] = dict.fromkeys(less, smaller)
    if found.context > 1:
        changes["half the context"] = {"context": found.context // 2}
    if found.batch > 1:
        changes["half the batch"] = {"batch": found.batch // 2}
    way = max(WAYS, key=lambda way: getattr(found.parallel, way))  # of equals the first, "tensor"
    more = replace(found.parallel, **{way: 2 * getattr(found.parallel, way)})
    changes["twice the devices"] = {"devices": 2 * found.devices, "parallel": more}
    return {name: changed(found, **change) for name, change in changes.items()}


def changed(found: Serving, **change: Any) -> Serving:
    """Return the same with other settings."""
    settings: dict[str, Any] = {
        "context": found.context,
        "device": found.device,
        "batch": found.batch,
        "devices": found.devices,
        "parallel": found.parallel,
        "link": found.link,
        "weights": found.formats[0],
        "cache": found.formats[1],
        "dtype": found.dtype,
        "page": found.page,
        "chunk": found.chunk,
        "usable": found.usable,
    }
    return serving(found.model, **(settings | change))


def longest_context(
    model: Model,
    device: Device,
    *,
    batch: int = 1,
    devices: int = 1,
    parallel: str | Parallel = "tensor",
    link: Link | None = None,
    weights: Any = "bfloat16",
    cache: Any = "bfloat16",
    dtype: Any = "bfloat16",
    page: int = 16,
    chunk: int = CHUNK,
    usable: float | int = 0.9,
) -> int | None:
    """Return the longest context that fits, whatever the model was trained for.

    Args:
        model: which, one that is causal.
        device: as `serving`, and so are the others.
        batch: sequences.
        devices: how many share the model.
        parallel: how, as in `serving`.
        link: what joins them, as in `serving`.
        weights: format of the parameters.
        cache: format of keys, values and latents.
        dtype: of activations.
        page: positions of the cache that are allocated together.
        chunk: tokens that a prefill computes at a time.
        usable: share of the memory that may be used.

    Returns:
        Positions of each sequence; 0 where the model does not fit, None where no context is too long, as with states
        and windows alone.

    Raises:
        ValueError: as `serving`; a model that is not causal.

    Example:
        >>> from attnlib.cost import ACCELERATORS, MODELS
        >>> longest_context(MODELS["llama-3-8b"], ACCELERATORS["H100"], batch=8)
        52768
    """
    name = "cost.longest_context"
    model = model_of(name, model)
    if not model.causal:
        raise ValueError(f"{name}: model: expected one that is causal, got {model.name}")
    shared = {"devices": devices, "parallel": parallel, "link": link}
    options = {"batch": batch, **shared, "weights": weights, "cache": cache, "dtype": dtype, "page": page}
    with _check.named(name, "cost.serving"):
        first = serving(model, 1, device, **options, chunk=chunk, usable=usable)
    return most_that(lambda t: _fits(first, t, batch))


def largest_batch(
    model: Model,
    context: int,
    device: Device,
    *,
    devices: int = 1,
    parallel: str | Parallel = "tensor",
    link: Link | None = None,
    weights: Any = "bfloat16",
    cache: Any = "bfloat16",
    dtype: Any = "bfloat16",
    page: int = 16,
    chunk: int = CHUNK,
    usable: float | int = 0.9,
) -> int:
    """Return how many sequences fit.

    Args:
        model: which, one that is causal.
        context: positions that each sequence has.
        device: as `serving`, and so are the others.
        devices: how many share the model.
        parallel: how, as in `serving`.
        link: what joins them, as in `serving`.
        weights: format of the parameters.
        cache: format of keys, values and latents.
        dtype: of activations.
        page: positions of the cache that are allocated together.
        chunk: tokens that a prefill computes at a time.
        usable: share of the memory that may be used.

    Returns:
        Sequences; 0 where not one fits.

    Raises:
        ValueError: as `serving`; a model that is not causal.

    Example:
        >>> from attnlib.cost import ACCELERATORS, MODELS
        >>> llama, h100 = MODELS["llama-3-70b"], ACCELERATORS["H100"]
        >>> [largest_batch(llama, 65536, h100, devices=4, cache=x) for x in ("bfloat16", "fp8", "int4")]
        [6, 13, 21]
    """
    name = "cost.largest_batch"
    model = model_of(name, model)
    if not model.causal:
        raise ValueError(f"{name}: model: expected one that is causal, got {model.name}")
    shared = {"devices": devices, "parallel": parallel, "link": link}
    options = {**shared, "weights": weights, "cache": cache, "dtype": dtype, "page": page}
    with _check.named(name, "cost.serving"):
        first = serving(model, context, device, **options, chunk=chunk, usable=usable)
    return most_that(lambda batch: _fits(first, context, batch)) or 0


def _fits(first: Serving, t: int, batch: int) -> bool:
    """Whether t positions of so many sequences fit; without the times."""
    one, held = model_share(first.model, first.parallel.tensor), _held(t, first.parallel)
    own = int(parts(batch, first.parallel.data))
    kept = model_cache(one, held, batch=own, cache=first.formats[1], page=first.page).allocated
    part = model_forward(one, min(first.chunk, held), logits=1, dtype=first.dtype).live
    step = model_forward(one, 1, batch=own, dtype=first.dtype).live
    return bool(first.weights + kept + max(part, step) <= first.memory)


def most_that(fits: Callable[[int], bool]) -> int | None:
    """Return the largest number that fits, 0 where not even 1 does, None where none is too large.

    It is doubled until it does not fit, then halved between.

    Example:
        >>> most_that(lambda x: x * x <= 2000)
        44
    """
    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def flops_utilisation(
    model: Model,
    n: int,
    tokens_per_second: float | int,
    device: Device,
    *,
    devices: int = 1,
    dtype: Any = "bfloat16",
    convention: str = "causal half",
) -> float:
    """Return the share of a device's peak that training uses for what the model needs (MFU).

    MFU = FLOPs of training a token · tokens per second / (devices · peak)

    Args:
        model: which.
        n: positions of a sequence.
        tokens_per_second: of all devices together.
        device: of what kind.
        devices: how many.
        dtype: of what is multiplied, one that the device has.
        convention: which FLOPs count, as `training_conventions` names them. What a program computes twice never does.

    Returns:
        The share: 1 is the peak.

    Raises:
        ValueError: a model or device that is none, an integer below 1, a rate that is not above 0, a dtype that the
            device has not, an unknown convention.

    Source: Chowdhery et al. (2022), appendix B.

    Example:
        >>> from attnlib.cost import ACCELERATORS, MODELS
        >>> llama, a100 = MODELS["llama-2-7b"], ACCELERATORS["A100"]
        >>> for convention in ("6ND", "PaLM", "causal half"):
        ...     print(f"{flops_utilisation(llama, 4096, 3000, a100, convention=convention):.3f}", convention)
        0.389 6ND
        0.451 PaLM
        0.412 causal half
    """
    name = "cost.flops_utilisation"
    if not isinstance(device, Device):
        raise ValueError(f"{name}: device: expected a Device, got {type(device).__name__}")
    if not _check.number(tokens_per_second) or tokens_per_second <= 0:
        raise ValueError(f"{name}: tokens_per_second: expected a number above 0, got {tokens_per_second!r}")
    _check.positive_int(name, devices=devices)
    peak = best(device.matmul_rate(name, dtype_name(dtype)))
    with _check.named(name, "cost.training_conventions"):
        counts = training_conventions(model, n, tokens=n)
    if convention not in counts:
        raise ValueError(f"{name}: convention: expected one of {', '.join(counts)}, got {convention!r}")
    return counts[convention] / n * tokens_per_second / (devices * peak)
