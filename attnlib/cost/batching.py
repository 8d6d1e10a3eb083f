"""What batches of sequences of many lengths cost: padding, packing, accumulation, prefills in chunks. No JAX.

A cost here is counted for a whole model: tokens take 2 FLOPs a working parameter each, pairs what attention takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import parts
from attnlib.cost.formats import format_of
from attnlib.cost.models import Mixer, Model, SelfAttention, model_cache, model_of, model_parameters
from attnlib.cost.passes import activation_memory, model_forward, model_training


@dataclass(frozen=True)
class Batches:
    """Sequences laid out in batches.

    Attributes:
        shapes: rows and width of each batch.
        tokens: that are in the sequences.
        places: that are computed, padding included.
        pairs: that attention computes: the whole square of each row, or of each sequence where rows are packed.
        met: pairs that are needed: the square of each sequence.

    Example:
        >>> round(padded((5, 3, 8), 2).waste, 3)
        0.111
    """

    shapes: tuple[tuple[int, int], ...]
    tokens: int
    places: int
    pairs: int
    met: int

    @property
    def waste(self) -> float:
        """Share of the places that is padding."""
        return 1 - self.tokens / self.places

    @property
    def waste_of_pairs(self) -> float:
        """Share of the pairs that meet padding, or another sequence."""
        return 1 - self.met / self.pairs


def padded(lengths: Sequence[int], batch: int, *, multiple: int = 1, by_length: bool = False) -> Batches:
    """Lay out sequences in batches, each as wide as its longest: padding, or buckets by length.

    Args:
        lengths: of the sequences, in the order in which they come.
        batch: sequences in a batch; the last may have fewer.
        multiple: widths are multiples of it.
        by_length: whether sequences are sorted by length first, so that those in a batch are alike.

    Returns:
        The `Batches`. Where `batch` divides their number, sorting never computes more places; for one batch of all it
        changes nothing.

    Raises:
        ValueError: no lengths, one that is no integer of at least 1, a batch or multiple below 1, by_length
            that is no bool.

    Example:
        >>> lengths = (100, 900, 120, 1000)
        >>> round(padded(lengths, 2).waste, 3), round(padded(lengths, 2, by_length=True).waste, 3)
        (0.442, 0.054)
    """
    name = "cost.padded"
    lengths = _lengths(name, lengths)
    _check.positive_int(name, batch=batch, multiple=multiple)
    _check.flags(name, by_length=by_length)
    order = sorted(lengths) if by_length else list(lengths)
    groups = [order[i : i + batch] for i in range(0, len(order), batch)]
    shapes = tuple((len(group), int(parts(max(group), multiple)) * multiple) for group in groups)
    return Batches(
        shapes,
        sum(lengths),
        sum(rows * width for rows, width in shapes),
        sum(rows * width**2 for rows, width in shapes),
        sum(x * x for x in lengths),
    )


def packed(lengths: Sequence[int], width: int, *, segments: bool = True) -> Batches:
    """Lay out sequences one after another in rows of one width: each in the first row that has room, longest first.

    Args:
        lengths: of the sequences.
        width: of a row, at least the longest.
        segments: whether attention knows where one sequence ends (`segments` of `attnlib.flash_attention`). Without,
            it computes all pairs of a row, and sequences see each other.

    Returns:
        The `Batches`: one, of as many rows as it takes, at most 11/9 of the fewest and one more.

    Raises:
        ValueError: no lengths, one that is no integer of at least 1, a width below the longest, segments that is no
            bool.

    Source: Johnson (1973), first fit decreasing; Krell et al. (2021).

    Example:
        >>> found = packed((100, 900, 120, 1000), 1024)
        >>> found.shapes, round(found.waste, 3), found.waste_of_pairs
        (((3, 1024),), 0.31, 0.0)
        >>> round(packed((100, 900, 120, 1000), 1024, segments=False).waste_of_pairs, 3)
        0.417
    """
    name = "cost.packed"
    lengths = _lengths(name, lengths)
    _check.positive_int(name, width=width)
    _check.flags(name, segments=segments)
    if width < max(lengths):
        raise ValueError(f"{name}: width: expected at least the longest, {max(lengths)}, got {width}")
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        for i, room in enumerate(rooms):
            if room >= length:
                rooms[i] -= length
                break
        else:
            rooms.append(width - length)
    met = sum(x * x for x in lengths)
    places = len(rooms) * width
    return Batches(((len(rooms), width),), sum(lengths), places, met if segments else places * width, met)


def _lengths(name: str, lengths: Any) -> list[int]:
    """Return the lengths, checked."""
    if not isinstance(lengths, Sequence) or isinstance(lengths, str) or not lengths:
        raise ValueError(f"{name}: lengths: expected integers of at least 1, got {lengths!r}")
    for length in lengths:
        if not _check.whole(length):
            raise ValueError(f"{name}: lengths: expected integers of at least 1, got {length!r}")
    return list(lengths)


@dataclass(frozen=True)
class Accumulation:
    """A batch that is trained in parts, whose gradients are added.

    Attributes:
        steps: parts one after another.
        batch: sequences that they have in all.
        flops: in matrix products, of all parts: as many as of the batch at once.
        added: additions of gradients besides.
        activations: bytes that one part keeps for its backward pass.
        gradients: bytes of the sums, in float32.
    """

    steps: int
    batch: int
    flops: int
    added: int
    activations: int
    gradients: int


def gradient_accumulation(
    model: Model, n: int, batch: int, micro: int, *, recompute: str = "scores", dtype: Any = "bfloat16"
) -> Accumulation:
    """Say what it takes to train a batch in parts of `micro` sequences: memory of one part, FLOPs of all.

    Args:
        model: which.
        n: positions of a sequence.
        batch: sequences of the whole.
        micro: sequences of a part, a divisor of batch.
        recompute: what is computed again on the way back, as `model_training`.
        dtype: of activations.

    Returns:
        An `Accumulation`.

    Raises:
        ValueError: a model that is none, an integer below 1, a part that does not divide the batch, an unknown
            `recompute` or dtype.

    Example:
        >>> from attnlib.cost import MODELS
        >>> at_once, parts = (gradient_accumulation(MODELS["gpt-2"], 1024, 64, micro) for micro in (64, 4))
        >>> at_once.flops == parts.flops, parts.steps, round(at_once.activations / parts.activations)
        (True, 16, 16)
    """
    name = "cost.gradient_accumulation"
    model = model_of(name, model)
    _check.positive_int(name, batch=batch, micro=micro)
    steps = _check.divides(name, "micro", micro, "batch", batch)
    with _check.named(name, "cost.model_training", "cost.activation_memory"):
        one = model_training(model, n, batch=micro, recompute=recompute)
        kept = activation_memory(model, n, batch=micro, recompute=recompute, dtype=dtype)
    numbers = model_parameters(model)
    return Accumulation(steps, batch, steps * one.matmul_flops, (steps - 1) * numbers, kept, 4 * numbers)


@dataclass(frozen=True)
class ChunkedPrefill:
    """A prefill in chunks.

    Attributes:
        chunks: how many.
        flops: of all of them, in matrix products.
        bytes: that all of them move: weights and cache once for each chunk.
        live: bytes of the largest arrays between two steps.
        longest: FLOPs of the chunk that takes most, for which other sequences wait.
    """

    chunks: int
    flops: int
    bytes: int
    live: int
    longest: int


def chunked_prefill(
    model: Model,
    n: int,
    chunk: int,
    *,
    past: int = 0,
    weights: Any = "bfloat16",
    cache: Any = "bfloat16",
    dtype: Any = "bfloat16",
) -> ChunkedPrefill:
    """Say what a prefill in chunks takes: the FLOPs of one in a piece, more bytes, smaller arrays.

    Args:
        model: which, one that is causal.
        n: positions.
        chunk: positions that are computed at a time.
        past: positions that the cache has already: a prefix that is shared.
        weights: format of the parameters.
        cache: format of keys, values and latents.
        dtype: of activations.

    Returns:
        A `ChunkedPrefill`.

    Raises:
        ValueError: a model that is none, or not causal; an integer below 1, below 0 for past; an unknown format or
            dtype.

    Source: Agrawal et al. (2023).

    Example:
        >>> from attnlib.cost import MODELS
        >>> whole, parts = (chunked_prefill(MODELS["llama-3-8b"], 8192, chunk) for chunk in (8192, 512))
        >>> whole.flops == parts.flops, parts.chunks, round(parts.bytes / whole.bytes, 1), whole.live // parts.live
        (True, 16, 3.7, 16)
    """
    name = "cost.chunked_prefill"
    model = model_of(name, model)
    _check.positive_int(name, n=n, chunk=chunk)
    _check.at_least(name, 0, past=past)
    if not model.causal:
        raise ValueError(f"{name}: model: expected one that is causal, got {model.name}")
    starts = range(0, n, chunk)
    with _check.named(name, "cost.model_forward"):
        passes = [
            model_forward(
                model,
                min(chunk, n - start),
                past=past + start,
                logits=1,
                weights=weights,
                cache=cache,
                dtype=dtype,
            )
            for start in starts
        ]
    # Scores over the vocabulary are needed once, after the last position.
    extra = passes[0]["head"] if model.head else None
    scored = (0, 0) if extra is None else (extra.matmul_flops, extra.bytes_read + extra.bytes_written)
    more = len(passes) - 1
    return ChunkedPrefill(
        len(passes),
        sum(x.matmul_flops for x in passes) - more * scored[0],
        sum(x.bytes_read + x.bytes_written for x in passes) - more * scored[1],
        max(x.live for x in passes),
        max(x.matmul_flops for x in passes),
    )


@dataclass(frozen=True)
class Speculation:
    """Decoding in which a small model proposes tokens and the large one checks them at once.

    Attributes:
        tokens: expected tokens of one round, the one that the large model adds included.
        flops: of a round, in matrix products.
        bytes: that a round moves.
        plain_flops: of as many tokens one by one.
        plain_bytes: that as many tokens one by one move.
    """

    tokens: float
    flops: int
    bytes: int
    plain_flops: float
    plain_bytes: float

    @property
    def speed(self) -> float:
        """How many times fewer bytes a token takes: the gain where memory is what decoding waits for."""
        return self.plain_bytes / self.bytes


def speculative_decoding(
    model: Model,
    draft: Model,
    t: int,
    proposed: int,
    accepted: float | int,
    *,
    batch: int = 1,
    weights: Any = "bfloat16",
    cache: Any = "bfloat16",
) -> Speculation:
    """Say what a round of speculative decoding takes, and what it yields.

    tokens = (1 − α^(k + 1))/(1 − α) for k proposed tokens, each accepted with probability α

    Args:
        model: the large model, which checks k + 1 positions at once.
        draft: the small model, which makes k tokens one by one.
        t: positions before the round.
        proposed: k, tokens that the small model proposes.
        accepted: α, the probability that one is accepted, the same for each and independent of the others.
        batch: sequences.
        weights: format of the parameters of both.
        cache: format of both caches.

    Returns:
        A `Speculation`, with what as many tokens take one by one.

    Raises:
        ValueError: a model that is none, or not causal, an integer below 1, a probability below 0 or above 1, an
            unknown format.

    Source: Leviathan, Kalman and Matias (2023), section 3.1.

    Example:
        >>> from attnlib.cost import MODELS
        >>> found = speculative_decoding(MODELS["llama-3.1-70b"], MODELS["llama-3.2-1b"], 2048, 4, 0.8)
        >>> round(found.tokens, 2), round(found.speed, 2), round(found.flops / found.plain_flops, 2)
        (3.36, 3.13, 1.51)
    """
    name = "cost.speculative_decoding"
    model = model_of(name, model)
    if not isinstance(draft, Model):
        raise ValueError(f"{name}: draft: expected a Model, got {type(draft).__name__}")
    _check.positive_int(name, t=t, proposed=proposed, batch=batch)
    if not _check.number(accepted) or not 0 <= accepted <= 1:
        raise ValueError(f"{name}: accepted: expected a number from 0 to 1, got {accepted!r}")
    for argument, one in (("model", model), ("draft", draft)):
        if not one.causal:
            raise ValueError(f"{name}: {argument}: expected one that is causal, got {one.name}")
    options: dict[str, Any] = {"batch": batch, "weights": weights, "cache": cache}
    with _check.named(name, "cost.model_forward"):
        check = model_forward(model, proposed + 1, past=t, **options)
        small = [model_forward(draft, 1, past=t + i, **options) for i in range(proposed)]
        plain = model_forward(model, 1, past=t, **options)
    tokens = float(sum(accepted**i for i in range(proposed + 1)))

    def moved(x: Any) -> int:
        return int(x.bytes_read + x.bytes_written)

    return Speculation(
        tokens,
        check.matmul_flops + sum(x.matmul_flops for x in small),
        moved(check) + sum(moved(x) for x in small),
        tokens * plain.matmul_flops,
        tokens * moved(plain),
    )


@dataclass(frozen=True)
class SharedPrefix:
    """Sequences that begin alike, and whose beginning is computed and kept once.

    Attributes:
        flops: of the prefill of all, in matrix products.
        cache: bytes that are kept.
        separate_flops: of the prefill where each computes its own.
        separate_cache: bytes where each keeps its own.
    """

    flops: int
    cache: int
    separate_flops: int
    separate_cache: int


def shared_prefix(
    model: Model, prefix: int, own: int, batch: int, *, cache: Any = "bfloat16", page: int = 16
) -> SharedPrefix:
    """Say what sequences take that share their first positions, and what they take without sharing.

    Args:
        model: which, one that is causal.
        prefix: positions that all have.
        own: positions after it, of each.
        batch: sequences.
        cache: format of keys, values and latents.
        page: positions that are allocated together; whole pages are shared, the rest of a prefix is computed anew.

    Returns:
        A `SharedPrefix`. Windows and states are kept for each sequence, as they end in its own positions.

    Raises:
        ValueError: a model that is none, or not causal, an integer below 1, an unknown format.

    Source: Kwon et al. (2023), section 4.4.

    Example:
        >>> from attnlib.cost import MODELS
        >>> found = shared_prefix(MODELS["llama-3-8b"], 4096, 256, 32)
        >>> round(found.separate_flops / found.flops, 1), round(found.separate_cache / found.cache, 1)
        (10.8, 11.3)
    """
    name = "cost.shared_prefix"
    model = model_of(name, model)
    _check.positive_int(name, prefix=prefix, own=own, batch=batch, page=page)
    kept = format_of(name, "cache", cache)
    if not model.causal:
        raise ValueError(f"{name}: model: expected one that is causal, got {model.name}")
    shared = prefix // page * page
    rest = prefix - shared + own
    options: dict[str, Any] = {"cache": kept, "page": page}
    once = model_forward(model, shared, logits=1).matmul_flops if shared else 0
    head = model_forward(model, 1)["head"].matmul_flops if model.head and shared else 0
    each = model_forward(model, rest, past=shared, logits=1, batch=batch).matmul_flops
    whole = model_forward(model, prefix + own, logits=1, batch=batch).matmul_flops
    all_kept = model_cache(model, prefix + own, batch=batch, **options)
    one = {kind.title: kind for kind in model_cache(model, shared, **options).kinds} if shared else {}
    grows = {mixer.title for mixer in model.mixers if not _ends(mixer)}
    saved = sum(
        (batch - 1) * (one[kind.title].allocated - one[kind.title].state)
        for kind in all_kept.kinds
        if kind.title in grows and kind.title in one
    )
    return SharedPrefix(once - head + each, all_kept.allocated - saved, whole, all_kept.allocated)


def _ends(mixer: Mixer) -> bool:
    """Whether a layer keeps no position of long ago, or another sequence's."""
    return isinstance(mixer, SelfAttention) and (mixer.window is not None or mixer.memory > 0)
