"""Passes through a whole model: forward, prefill, decoding, training, and what each keeps. No JAX.

n = positions that are computed, past = positions before them that a cache holds. Matrix products take 2 FLOPs a
multiply-add. Softmax is fused with its two products, as every serving program does: scores are never written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import BYTES, dtype_name, itemsize, parts
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.formats import Format, format_of
from attnlib.cost.mixture import mixture_of_experts
from attnlib.cost.models import (
    Dense,
    Experts,
    LatentAttention,
    Matrix,
    Mixer,
    Model,
    SelfAttention,
    StateAttention,
    StateSpace,
    encoder_weights,
    model_of,
    model_parameters,
    model_weights,
    outer_matrices,
    vectors,
)
from attnlib.cost.softmax import visible_pairs
from attnlib.cost.window import window_pairs

RECOMPUTED = ("nothing", "scores", "layers")


def model_forward(
    model: Model,
    n: int,
    *,
    past: int = 0,
    logits: int | None = None,
    batch: int = 1,
    causal_half: bool = True,
    dtype: Any = "bfloat16",
    weights: Any = "bfloat16",
    cache: Any = "bfloat16",
) -> Cost:
    """Cost of n positions of a model after `past` others: a forward pass, a prefill, a chunk of one, or one token.

    2 FLOPs a working parameter and position; for each pair that meets, 2h(d_k + d_v) more.

    Args:
        model: which.
        n: positions of each sequence that are computed; 1 is a step of decoding.
        past: positions before them, whose keys and values the cache has.
        logits: positions of each sequence that get scores over the vocabulary; n by default, 1 in a prefill.
        batch: sequences.
        causal_half: count the pairs that a query sees. False counts a window, or all keys, for every query, as
            programs that compute what they mask, and most published formulas.
        dtype: of activations, which are read and written between the steps.
        weights: format of the parameters in memory.
        cache: format of keys, values and latents in memory.

    Returns:
        A `Cost`: "embedding", then for each kind of attention "projections", "index" if it has one, "attention" or
        "state", and "output", for each kind of feed-forward layer its own, "norms", and "head". An encoder's steps
        come first, "encoder, projections" and so on, where past = 0: later its output is in the cache. A step's
        `calls` are the products it consists of. Experts' weights are read for as many experts as the positions can
        reach, min(experts, batch · n · active).
        Keys and values are read once for all queries of a sequence. A latent is expanded to keys and values, or
        absorbed into queries and outputs, whichever takes fewer FLOPs.
        `parameters` are all there are; `live` the largest of the arrays between two steps.

    Raises:
        ValueError: a model that is none; an integer below 1, or 0 for past; `past` for a model that is not causal;
            more logits than positions; an unknown dtype or format.

    Source: Kaplan et al. (2020), section 2.1; Pope et al. (2023), section 2.

    Example:
        >>> from attnlib.cost import MODELS
        >>> step = model_forward(MODELS["llama-3-8b"], 1, past=8191)
        >>> round(step.matmul_flops / 1e9, 2), round(step.bytes_read / 1e9, 2)  # 15 GFLOP, 15 GB of weights
        (19.3, 16.09)
        >>> step["attention"].matmul_flops == 32 * 4 * 32 * 128 * 8192
        True
    """
    name = "cost.model_forward"
    model = model_of(name, model)
    _check.positive_int(name, n=n, batch=batch)
    _check.at_least(name, 0, past=past)
    _check.optional_int(name, logits=logits)
    _check.flags(name, causal_half=causal_half)
    if logits is not None and logits > n:
        raise ValueError(f"{name}: logits: expected at most n = {n}, got {logits}")
    if past and not model.causal:
        raise ValueError(f"{name}: past: expected 0 for {model.name}, which is not causal, got {past}")
    b = itemsize(name, dtype)
    stored, kept = format_of(name, "weights", weights), format_of(name, "cache", cache)
    tokens = batch * n

    steps, live = [], 0
    if model.encoder is not None and not past:
        options = {"batch": batch, "causal_half": causal_half, "dtype": dtype, "weights": weights, "cache": cache}
        source = model_forward(model.encoder, model.memory, **options)
        steps, live = [replace(step, name=f"encoder, {step.name}") for step in source.steps], source.live
    steps.append(Step("embedding", 0, tokens * model.d * _tables(model), bytes_read=tokens * stored.vector(model.d)))
    inner, kinds = model.feed_forwards, model.kinds
    for mixer, count in model.mixers.items():
        kind = kinds[mixer]
        attend, expansions = _core(mixer, n, past, batch, model.causal, causal_half, b, kept)
        put: dict[str, list[Step]] = {"in": [], "out": []}
        for x in mixer._matrices(model.d):
            many = expansions if x.where == "expand" else tokens
            if x.memory:
                many = 0 if past else batch * x.memory
            if many:
                put["out" if x.where == "out" else "in"].append(_product(x, many, b, stored))
        steps += [
            _together(f"projections{kind}", put["in"]) * count,
            *(_together(f"{x.name}{kind}", [x]) * count for x in attend),
            _together(f"output{kind}", put["out"]) * count,
        ]
    for layer, count in inner.items():
        kind = layer.title
        if [x.title for x in inner].count(layer.title) > 1:
            kind += f" ({[*inner].index(layer) + 1})"
        steps.append(_together(kind, _feed_forward(layer, model.d, tokens, b, stored, dtype)) * count)
    steps.append(_norms(model, tokens, b))
    for x in outer_matrices(model):
        if x.where == "pooler":
            steps.append(_product(x, batch, b, stored))
        if x.where == "head":
            steps.append(_product(x, batch * (n if logits is None else logits), b, stored))
    return Cost(
        tuple(steps),
        parameters=model_parameters(model),
        live=max(live, _live(model, tokens, batch * (n if logits is None else logits), b)),
        path=1,
    )


def _tables(model: Model) -> int:
    """Additions: of a row for the position and one for the segment."""
    return (model.positions > 0) + (model.types > 0)


def _product(x: Matrix, tokens: int, b: int, stored: Format) -> Step:
    sent = tokens * x.active
    reached = min(max(x.copies, 1), sent)
    return Step(
        x.name,
        2 * sent * x.rows * x.columns,
        bytes_read=sent * x.rows * b + reached * x.rows * stored.vector(x.columns),
        bytes_written=sent * x.columns * b,
    )


def _together(name: str, steps: list[Step]) -> Step:
    """One step of several that follow one another, or run as one program."""

    def total(count: str) -> Any:
        return sum(getattr(step, count) for step in steps)

    return Step(
        name,
        total("matmul_flops"),
        total("other_flops"),
        total("transcendentals"),
        bytes_read=total("bytes_read"),
        bytes_written=total("bytes_written"),
        sequential=max(1, len(steps)),
        calls=max(1, len(steps)),
    )


def met_pairs(n: int, past: int, most: int | None, causal: bool, half: bool) -> int:
    """Count the pairs of n queries after `past` positions, each of which meets its last `most` keys; None: all.

    Example:
        >>> met_pairs(3, 2, None, True, True), met_pairs(3, 2, 4, True, True), met_pairs(3, 2, 4, True, False)
        (12, 11, 12)
    """
    m = past + n
    if not half:
        return n * (m if most is None else min(m, most))
    if most is None:
        return int(visible_pairs(n, m, causal=causal))
    if not causal:
        return int(window_pairs(n, min(2 * n, most), causal=False))

    def before(t: int) -> int:
        return int(window_pairs(t, min(t, most), causal=True)) if t else 0

    return before(m) - before(past)


def _core(
    mixer: Mixer,
    n: int,
    past: int,
    batch: int,
    causal: bool,
    half: bool,
    b: int,
    kept: Format,
) -> tuple[list[Step], int]:
    """Return the steps in which positions meet, and on how many positions a latent is expanded."""
    if isinstance(mixer, StateAttention | StateSpace):
        return [_recurrence(mixer, batch * n, batch, b)], 0
    m = past + n
    cross = isinstance(mixer, SelfAttention) and mixer.memory > 0
    index = mixer.index
    steps = []
    every = met_pairs(n, past, None, causal, half)
    if index is not None:
        # Each head: a product, ReLU; then weigh and add (cost.topk_attention).
        steps.append(
            Step(
                "index",
                2 * batch * every * index.h * index.d_k,
                (2 * index.h - 1) * batch * every,
                bytes_read=batch * (n * index.h * index.d_k * b + m * kept.vector(index.d_k)),
                bytes_written=batch * n * min(m, index.top) * 4,
            )
        )
    if isinstance(mixer, LatentAttention):
        top = None if index is None else index.top
        pairs = batch * met_pairs(n, past, top, causal, half)
        seen = m if top is None or n > 1 else min(m, top)
        # Absorbed: queries of width rank meet latents. Plain: latents become keys and values first.
        expand = mixer.rank * mixer.h * (mixer.d_nope + mixer.d_v)
        absorbed = pairs * mixer.h * (2 * mixer.rank + mixer.d_rope) + batch * n * expand
        plain = pairs * mixer.h * (mixer.d_nope + mixer.d_rope + mixer.d_v) + batch * m * expand
        width = mixer.rank if absorbed <= plain else mixer.d_nope
        wide = mixer.rank if absorbed <= plain else mixer.d_v
        expansions = batch * (n if absorbed <= plain else m)
        read = batch * seen * (kept.vector(mixer.rank) + kept.vector(mixer.d_rope)) * (absorbed <= plain or past > 0)
        if absorbed > plain:
            read += batch * m * mixer.h * (mixer.d_nope + mixer.d_v) * b
        written = batch * n * (kept.vector(mixer.rank) + kept.vector(mixer.d_rope)) if causal else 0
        steps.append(_softmax(pairs, mixer.h, width + mixer.d_rope, wide, batch * n, b, read=read, written=written))
        return steps, expansions
    heads = mixer.heads
    most = mixer.window if index is None else index.top
    pairs = batch * (n * mixer.memory if cross else met_pairs(n, past, most, causal, half))
    seen = mixer.memory if cross else m
    if mixer.window is not None:
        seen = min(m, n - 1 + mixer.window)
    elif index is not None and n == 1:
        seen = min(m, index.top)
    own = heads * (kept.vector(mixer.d_k) + kept.vector(mixer.values))
    put = 0 if mixer.shared or not causal else n
    if cross:
        put = 0 if past else mixer.memory
    steps.append(
        _softmax(
            pairs,
            mixer.h,
            mixer.d_k,
            mixer.values,
            batch * n,
            b,
            read=batch * seen * own,
            written=batch * put * own,
            sinks=mixer.sinks,
            gate=mixer.gate,
            norm=(mixer.h + heads) * mixer.d_k if mixer.qk_norm else 0,
        )
    )
    return steps, 0


def _softmax(
    pairs: int,
    h: int,
    d_k: int,
    d_v: int,
    queries: int,
    b: int,
    *,
    read: int,
    written: int,
    sinks: bool = False,
    gate: bool = False,
    norm: int = 0,
) -> Step:
    """Scores, softmax and values in one: scale, compare, subtract, add and divide for a pair (cost.attention).

    T5 adds a number of its table where others multiply by the scale.
    """
    weighed = h * (pairs + (queries if sinks else 0))
    gates = queries * h * d_v if gate else 0
    return Step(
        "attention",
        2 * pairs * h * (d_k + d_v),
        5 * weighed + gates + 4 * queries * norm,
        weighed + gates,
        bytes_read=queries * h * d_k * b + read,
        bytes_written=queries * h * d_v * b + written,
    )


def _recurrence(mixer: StateAttention | StateSpace, tokens: int, batch: int, b: int) -> Step:
    state, tail = mixer._state()
    kept = batch * (4 * state + 2 * tail)
    if isinstance(mixer, StateAttention):
        # A key's answer, the outer product that corrects it, the query's answer; the state decays first.
        products = (6 if mixer.delta else 4) * state
        channels, out = mixer.channels, mixer.h * mixer.values
        gates = 2 * mixer.h * mixer.values if mixer.gate else 0
        other = state + (2 * mixer.k + 1) * channels + gates + mixer.h * mixer.values * (2 if mixer.delta else 0)
        return Step(
            "state",
            tokens * products,
            tokens * other,
            tokens * (channels + gates // 2 + 2 * mixer.h),
            bytes_read=tokens * channels * b + kept,
            bytes_written=tokens * out * b + kept,
        )
    e = mixer.inner
    # cost.selective_scan: 6N + 3 a channel; the convolution, Δ's softplus, the gate: cost.mamba.
    other = e * (6 * mixer.states + 3) + (2 * mixer.k + 1) * e + 7 * e + 2 * e
    return Step(
        "state",
        0,
        tokens * other,
        tokens * e * (mixer.states + 4),
        bytes_read=tokens * (3 * e + 2 * mixer.states) * b + kept,
        bytes_written=tokens * e * b + kept,
    )


def _feed_forward(layer: Dense | Experts, d: int, tokens: int, b: int, stored: Format, dtype: Any) -> list[Step]:
    if isinstance(layer, Experts):
        found = mixture_of_experts(
            *(tokens, d, layer.experts, layer.active),
            d_ff=layer.d_ff,
            gated=layer.gated,
            shared_d_ff=layer.shared_d_ff,
            shared_gate=layer.shared_gate,
            dtype=dtype,
            weights=stored,
        )
        # What is no product runs with the products before or after it, and moves nothing of its own.
        return [x if x.matmul_flops else replace(x, bytes_read=0, bytes_written=0) for x in found.steps]
    steps = [_product(x, tokens, b, stored) for x in layer._matrices(d)]
    exps = layer.d_ff if layer.gated else 0  # a sigmoid; ReLU is a comparison, as in cost.feed_forward
    steps.append(Step("activation", 0, tokens * layer.d_ff * (3 if layer.gated else 1), tokens * exps))
    return steps


def _norms(model: Model, tokens: int, b: int) -> Step:
    """Sums along the residual stream, and norms: RMS squares, adds, multiplies twice; a mean takes 3 more."""
    count = sum(layer.norms for layer in model.layers) + model.norm_first + model.norm_last
    sums = model.halves
    each = 4 if model.norm == "rms" else 7
    moved = tokens * model.d * b
    return Step(
        "norms",
        0,
        tokens * model.d * (each * count + sums),
        tokens * count,
        bytes_read=moved * (count + sums),
        bytes_written=moved * (count + sums),
        calls=max(1, count),
        sequential=max(1, count),
    )


def _live(model: Model, tokens: int, scored: int, b: int) -> int:
    """The residual stream, and the widest of what a step reads and writes; scores over words are float32."""
    widths = [2 * model.d]
    for mixer in model.mixers:
        widths.append(model.d + sum(x.columns for x in mixer._matrices(model.d) if x.where in ("in", "index")))
        if isinstance(mixer, LatentAttention):
            widths.append(model.d + mixer.h * (mixer.d_nope + mixer.d_rope + 2 * mixer.rank))
    for layer in model.feed_forwards:
        inner = sum(x.active * x.columns for x in layer._matrices(model.d) if x.columns != model.d)
        widths.append(2 * model.d + inner)
    words = 4 * scored * model.vocab if model.head else 0
    return max(tokens * max(widths) * b, tokens * model.d * b + words)


def model_training(
    model: Model, n: int, *, batch: int = 1, causal_half: bool = True, recompute: str = "nothing"
) -> Cost:
    """Cost of one step of training in matrix products: forward, backward, and what is computed twice.

    backward = 2 · forward: a product for each factor's gradient

    Args:
        model: which.
        n: positions of a sequence.
        batch: sequences.
        causal_half: as `model_forward`.
        recompute: what is computed again on the way back: "nothing", "scores", as FlashAttention does, or "layers",
            all of them, scores twice.

    Returns:
        A `Cost` with the steps "forward", "backward" and "recomputation", of FLOPs in matrix products alone. The
        first two are what counts in a model's FLOPs utilisation, whatever a program computes besides.

    Raises:
        ValueError: a model that is none, an integer below 1, an unknown `recompute`.

    Source: Chowdhery et al. (2022), appendix B; Korthikanti et al. (2022).

    Example:
        >>> from attnlib.cost import MODELS
        >>> step = model_training(MODELS["llama-2-7b"], 4096, recompute="scores")
        >>> round(step["backward"].matmul_flops / step["forward"].matmul_flops), f"{step.matmul_flops / 4096:.3g}"
        (2, '4.34e+10')
    """
    name = "cost.model_training"
    model = model_of(name, model)
    if recompute not in RECOMPUTED:
        raise ValueError(f"{name}: recompute: expected one of {', '.join(RECOMPUTED)}, got {recompute!r}")
    with _check.named(name, "cost.model_forward"):
        forward = model_forward(model, n, batch=batch, causal_half=causal_half)
    both = [(model, n)] if model.encoder is None else [(model, n), (model.encoder, model.memory)]
    scores = sum(
        count * 2 * batch * score_products(mixer, length, part.causal, causal_half)
        for part, length in both
        for mixer, count in part.mixers.items()
    )
    outer = sum(step.matmul_flops for step in forward.steps if step.name in ("head", "pooler"))
    again = {
        "nothing": 0,
        "scores": scores,
        "layers": scores + forward.matmul_flops - outer,
    }[recompute]
    return Cost(
        (
            Step("forward", forward.matmul_flops),
            Step("backward", 2 * forward.matmul_flops),
            Step("recomputation", again),
        ),
        parameters=forward.parameters,
    )


def score_products(mixer: Mixer, n: int, causal: bool, half: bool, past: int = 0) -> int:
    """Count the multiply-adds of a sequence's scores, of n queries after `past` positions.

    Example:
        >>> score_products(SelfAttention(2, 8), 3, True, True)  # six pairs
        96
    """
    if isinstance(mixer, StateAttention | StateSpace):
        return 0
    most = None if mixer.index is None else mixer.index.top
    if isinstance(mixer, LatentAttention):
        return met_pairs(n, past, most, causal, half) * mixer.h * (mixer.d_nope + mixer.d_rope)
    most = mixer.window if most is None else most
    pairs = n * mixer.memory if mixer.memory else met_pairs(n, past, most, causal, half)
    return pairs * mixer.h * mixer.d_k


def training_conventions(model: Model, n: int, *, tokens: int = 1) -> dict[str, int]:
    """Return the FLOPs of training by each convention in use, side by side.

    Args:
        model: which.
        n: positions of a sequence.
        tokens: that it is trained on in all; a multiple of n gives whole sequences.

    Returns:
        By name: "6ND", with all parameters; "6ND, no tables", without the embedding; "6ND, active", without experts
        that a token is not sent to and tables that are looked up; "PaLM", 6N + 12LHQT a token; "every pair" and
        "causal half", `model_training` of this library. All are three times a forward pass; none counts what is
        computed twice.

    Raises:
        ValueError: a model that is none, an integer below 1.

    Source: Kaplan et al. (2020), section 2.1; Brown et al. (2020), appendix D; Chowdhery et al. (2022), appendix B.

    Example:
        >>> from attnlib.cost import MODELS
        >>> counts = training_conventions(MODELS["gpt-3"], 2048, tokens=300 * 10**9)
        >>> f"{counts['6ND']:.3g}", f"{counts['causal half']:.3g}"  # the paper: 3.14e23
        ('3.14e+23', '3.19e+23')
    """
    name = "cost.training_conventions"
    model = model_of(name, model)
    _check.positive_int(name, n=n, tokens=tokens)
    whole = model_parameters(model)
    tables = sum(c * x.numbers for x, c in model_weights(model) if x.where == "table")
    return {
        "6ND": 6 * whole * tokens,
        "6ND, no tables": 6 * (whole - tables) * tokens,
        "6ND, active": 6 * model_parameters(model, active=True) * tokens,
        "PaLM": (6 * whole + _palm(model, n)) * tokens,
        "every pair": _trained(model, n, False) * tokens // n,
        "causal half": _trained(model, n, True) * tokens // n,
    }


def _palm(model: Model, n: int) -> int:
    """12LHQT: layers, heads, head width and length; of the first softmax attention, as the formula knows one kind."""
    for mixer in model.mixers:
        if isinstance(mixer, SelfAttention):
            return 12 * len(model.layers) * mixer.h * mixer.d_k * n
        if isinstance(mixer, LatentAttention):
            return 12 * len(model.layers) * mixer.h * (mixer.d_nope + mixer.d_rope) * n
    return 0


def _trained(model: Model, n: int, half: bool) -> int:
    return int(model_training(model, n, causal_half=half).matmul_flops)


def training_differences(model: Model, n: int, *, tokens: int = 1, start: str = "6ND") -> dict[str, int]:
    """Say what leads from a published formula to the FLOPs that this library counts, difference by difference.

    Args:
        model: which.
        n: positions of a sequence.
        tokens: that it is trained on in all; a multiple of n gives whole sequences.
        start: the formula, "6ND" or "PaLM", as `training_conventions` has them.

    Returns:
        FLOPs by name, of which the first is the formula's, each other is added or taken away, and all together are
        the "causal half" of `training_conventions`. What is 0 is left out.

    Raises:
        ValueError: a model that is none, an integer below 1, another start.

    Source: as `training_conventions`.

    Example:
        >>> from attnlib.cost import MODELS
        >>> for name, flops in training_differences(MODELS["mixtral-8x7b"], 4096).items():
        ...     print(f"{flops / 1e9:+8.2f} GFLOP a token  {name}")
         +280.22 GFLOP a token  6ND
           -0.79 GFLOP a token  embeddings, which are looked up
         -202.94 GFLOP a token  experts that a token is not sent to
           -0.00 GFLOP a token  norms, biases and taps
           +6.44 GFLOP a token  scores and values, every pair
           -3.22 GFLOP a token  pairs that the mask hides
    """
    name = "cost.training_differences"
    model = model_of(name, model)
    _check.positive_int(name, n=n, tokens=tokens)
    if start not in ("6ND", "PaLM"):
        raise ValueError(f"{name}: start: expected 6ND or PaLM, got {start!r}")
    counts = training_conventions(model, n, tokens=tokens)
    weights, (own, _) = model_weights(model), vectors(model)
    tied = sum(c * x.working for x, c in weights if x.where == "head" and x.copies == 0)
    tables = sum(c * x.numbers for x, c in weights if x.where == "table")
    unused = sum(c * (x.numbers - x.working) for x, c in weights if x.copies > 1)
    # Products that take other positions than the sequence has: a pooler, a memory, an encoder.
    every, half = counts["every pair"], counts["causal half"]
    steady = 6 * sum(c * x.working for x, c in weights) * tokens
    sources = encoder_weights(model) + tuple((x, c) for x, c in weights if x.memory)
    other = 6 * sum(c * x.working for x, c in sources) * (tokens * model.memory // n - tokens)
    met = every - steady - other
    palm = counts["PaLM"] - counts["6ND"]
    found = {
        start: counts[start],
        "embeddings, which are looked up": 6 * (tied - tables) * tokens,
        "experts that a token is not sent to": -6 * unused * tokens,
        "norms, biases and taps": -6 * own * tokens,
        "a source that is shorter or longer": other,
        "scores and values, every pair": met if start == "6ND" else 0,
        "windows, states and other head widths": met - palm if start == "PaLM" else 0,
        "pairs that the mask hides": half - every,
    }
    return {key: value for key, value in found.items() if value or key == start}


def activation_memory(
    model: Model,
    n: int,
    *,
    batch: int = 1,
    recompute: str = "scores",
    dropout: bool = False,
    dtype: Any = "bfloat16",
) -> int:
    """Count the bytes that a forward pass of training keeps for the backward pass.

    With scores kept and dropout, and all widths d: n·d·(34 + 5nh/d) bytes a layer in 16 bits, without the scores 34.

    Args:
        model: which.
        n: positions of a sequence.
        batch: sequences.
        recompute: what is computed again on the way back and not kept: "nothing", "scores" or "layers", of which the
            inputs are kept, and all of one layer while it is at work.
        dropout: keep a byte for each number that dropout may set to 0: after attention, after the feed-forward layer
            and, with scores, on their softmax.
        dtype: of activations; the head's scores over the vocabulary are float32.

    Returns:
        Bytes; of an encoder as well, over the positions of its source.

    Raises:
        ValueError: a model that is none, an integer below 1, an unknown `recompute` or dtype.

    Source: Korthikanti et al. (2022), section 4.

    Example:
        >>> from attnlib.cost import MODELS
        >>> kept = {x: activation_memory(MODELS["gpt-3"], 2048, recompute=x) / 2**30 for x in ("nothing", "layers")}
        >>> {name: round(size, 1) for name, size in kept.items()}
        {'nothing': 144.5, 'layers': 5.7}
    """
    name = "cost.activation_memory"
    model = model_of(name, model)
    _check.positive_int(name, n=n, batch=batch)
    _check.flags(name, dropout=dropout)
    if recompute not in RECOMPUTED:
        raise ValueError(f"{name}: recompute: expected one of {', '.join(RECOMPUTED)}, got {recompute!r}")
    b = itemsize(name, dtype)
    tokens = batch * n
    scores = recompute == "nothing"
    mixers = {x: _kept_mixer(x, model, n, batch, b, scores, dropout) for x in model.mixers}
    inner = {x: _kept_feed_forward(x, model.d, tokens, b, dropout) for x in model.feed_forwards}
    stream = tokens * model.d * b
    layers = [
        sum(mixers[x] for x in layer.mixers)
        + (0 if layer.feed_forward is None else inner[layer.feed_forward])
        + layer.norms * stream
        for layer in model.layers
    ]
    outer = stream * (model.norm_first + model.norm_last) + (stream + 4 * tokens * model.vocab if model.head else 0)
    if model.encoder is not None:
        options: dict[str, Any] = {"batch": batch, "recompute": recompute, "dropout": dropout, "dtype": dtype}
        outer += activation_memory(model.encoder, model.memory, **options)
    if recompute == "layers":
        return len(layers) * stream + max(layers) + outer
    return sum(layers) + outer


def _kept_mixer(mixer: Mixer, model: Model, n: int, batch: int, b: int, scores: bool, dropout: bool) -> int:
    """The input of the products in, what they make, and the input of the product out."""
    tokens, d = batch * n, model.d
    made = sum(x.columns * (batch * x.memory if x.memory else tokens) for x in mixer._matrices(d) if x.where != "out")
    into = sum(x.rows for x in mixer._matrices(d) if x.where == "out")
    kept = (tokens * (d + into) + made) * b + (tokens * d if dropout else 0)
    if scores and isinstance(mixer, SelfAttention | LatentAttention):
        most = mixer.window if isinstance(mixer, SelfAttention) else None
        keys = mixer.memory if isinstance(mixer, SelfAttention) and mixer.memory else None
        pairs = batch * mixer.h * (n * keys if keys else met_pairs(n, 0, most, model.causal, False))
        kept += pairs * (2 * b + 1 if dropout else b)
    return kept


def _kept_feed_forward(layer: Dense | Experts, d: int, tokens: int, b: int, dropout: bool) -> int:
    """The input, each product up, and the input of the product down."""
    width = layer.d_ff if isinstance(layer, Dense) else layer.active * layer.d_ff + layer.shared_d_ff
    kept = tokens * (d + (3 if layer.gated else 2) * width) * b + (tokens * d if dropout else 0)
    if isinstance(layer, Experts):
        kept += tokens * (4 * layer.experts + layer.active * d * b)  # scores; rows that are mixed
    return kept


def training_state(
    model: Model,
    *,
    dtype: Any = "bfloat16",
    moments: int = 2,
    master: bool = True,
    devices: int = 1,
    zero: int = 0,
) -> dict[str, int]:
    """Count the bytes that training keeps for parameters on one device: 16 each with Adam in mixed precision.

    Devices that share a batch each hold all of it. ZeRO gives each its part: in stage 1 of the optimizer's state, in
    stage 2 of gradients, too, in stage 3 of weights, too; `gradient_exchanges` says what that sends.

    Args:
        model: which.
        dtype: of weights and gradients.
        moments: averages in float32 that the optimizer keeps: Adam 2, momentum 1, plain descent 0.
        master: whether it keeps the weights in float32, too.
        devices: how many share the batch.
        zero: the stage of ZeRO: 0 to 3.

    Returns:
        Bytes of "weights", "gradients" and "optimizer". With tensor parallelism, those of `model_share`.

    Raises:
        ValueError: a model that is none, an unknown dtype, moments below 0, `master` that is no bool, devices
            below 1, another stage.

    Source: Rajbhandari et al. (2020), section 3.1.

    Example:
        >>> from attnlib.cost import MODELS
        >>> state = training_state(MODELS["llama-2-7b"])
        >>> {name: round(size / 1e9, 1) for name, size in state.items()}
        {'weights': 13.5, 'gradients': 13.5, 'optimizer': 80.9}
    """
    name = "cost.training_state"
    model = model_of(name, model)
    _check.at_least(name, 0, moments=moments)
    _check.flags(name, master=master)
    b, numbers = itemsize(name, dtype), model_parameters(model)
    wide = BYTES["float32"]
    own = wide if master and dtype_name(dtype) != "float32" else 0
    _check.positive_int(name, devices=devices)
    zero_stage(name, zero)
    part = int(parts(numbers, devices))
    held = {what: part if zero >= stage else numbers for what, stage in ZERO.items()}
    each = {"weights": b, "gradients": b, "optimizer": moments * wide + own}
    return {what: each[what] * held[what] for what in each}


ZERO = {"optimizer": 1, "gradients": 2, "weights": 3}
"""The first stage of ZeRO in which each is in parts."""


def zero_stage(function: str, zero: Any) -> None:
    """Raise unless `zero` is a stage of ZeRO."""
    if isinstance(zero, bool) or zero not in range(4):
        raise ValueError(f"{function}: zero: expected a stage from 0 to 3, got {zero!r}")
