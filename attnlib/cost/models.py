"""Whole models: a tuple of layers, each with its own attention and feed-forward layer, and what they hold. No JAX.

d = model width, h = query heads, h_kv = key and value heads, d_k and d_v = width of one head's keys and values,
d_ff = inner width, n = positions, t = positions held in a cache. A count of parameters and one of FLOPs come from the
same list of matrices: a matrix that works on a position takes 2 FLOPs for each of its numbers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from attnlib import _check
from attnlib.cost import mixture
from attnlib.cost._sizes import parts
from attnlib.cost.formats import Format, format_of


@dataclass(frozen=True)
class Matrix:
    """A matrix of parameters, or several of one shape.

    Attributes:
        name: what it makes.
        rows: width of what it is multiplied with.
        columns: width of the product.
        copies: how many there are: one for each expert.
        active: how many of them work on a position; 0 for a table that is looked up.
        where: the step of a pass that it belongs to.
        memory: how many positions it works on, whatever the length; 0: all.
    """

    name: str
    rows: int
    columns: int
    copies: int = 1
    active: int = 1
    where: str = "in"
    memory: int = 0

    @property
    def numbers(self) -> int:
        """Parameters."""
        return self.copies * self.rows * self.columns

    @property
    def working(self) -> int:
        """Parameters that work on a position."""
        return self.active * self.rows * self.columns


@dataclass(frozen=True)
class Indexer:
    """What selects, for each query, the keys it may meet; it meets every pair itself.

    Attributes:
        h: heads of the indexer.
        d_k: width of each.
        top: keys that it leaves to a query.

    Example:
        >>> Indexer(h=64, d_k=128, top=2048).top
        2048
    """

    h: int
    d_k: int
    top: int

    def __post_init__(self) -> None:
        _check.positive_int("cost.Indexer", h=self.h, d_k=self.d_k, top=self.top)

    def _matrices(self, d: int, queries: int) -> tuple[Matrix, ...]:
        return (
            Matrix("index queries", queries, self.h * self.d_k, where="index"),
            Matrix("index keys", d, self.d_k, where="index"),
            Matrix("index weights", d, self.h, where="index"),
        )

    @property
    def _vectors(self) -> int:
        return 2 * self.d_k  # a LayerNorm over the keys


@dataclass(frozen=True)
class SelfAttention:
    """Softmax attention in heads.

    Attributes:
        h: query heads.
        d_k: width of a head's queries and keys, whatever d/h is.
        h_kv: key and value heads, a divisor of h; None: h.
        d_v: width of a head's values; None: d_k.
        window: how many keys a query sees, itself the last; None: all.
        bias: whether queries, keys and values have one.
        bias_out: whether the projection out has one.
        qk_norm: whether each head normalises queries and keys, with one weight for each of d_k numbers.
        gate: whether the output is multiplied by a gate as wide, made from the layer's input.
        sinks: whether each head has a learned score that takes weight and gives no value.
        shared: whether keys and values are those of an earlier layer: no projections, no cache of its own.
        memory: positions of another sequence that are attended to in place of one's own (cross-attention); 0: none.
        index: what selects keys; None: nothing does.

    Example:
        >>> SelfAttention(32, 128, h_kv=8).title, SelfAttention(8, 256, window=1024).title
        ('full', 'window 1,024')
    """

    h: int
    d_k: int
    h_kv: int | None = None
    d_v: int | None = None
    window: int | None = None
    bias: bool = False
    bias_out: bool = False
    qk_norm: bool = False
    gate: bool = False
    sinks: bool = False
    shared: bool = False
    memory: int = 0
    index: Indexer | None = None

    def __post_init__(self) -> None:
        name = "cost.SelfAttention"
        _check.positive_int(name, h=self.h, d_k=self.d_k)
        _check.optional_int(name, h_kv=self.h_kv, d_v=self.d_v, window=self.window)
        _check.divides(name, "h_kv", self.heads, "h", self.h)
        names = ("bias", "bias_out", "qk_norm", "gate", "sinks", "shared")
        _check.flags(name, **{x: getattr(self, x) for x in names})
        _check.at_least(name, 0, memory=self.memory)
        if self.index is not None and not isinstance(self.index, Indexer):
            raise ValueError(f"{name}: index: expected an Indexer or None, got {self.index!r}")
        if self.index is not None and (self.window is not None or self.memory):
            raise ValueError(f"{name}: index: expected None with a window or memory, got {self.index!r}")
        if self.memory and (self.window is not None or self.shared):
            raise ValueError(f"{name}: memory: expected 0 with a window or shared keys, got {self.memory}")

    @property
    def heads(self) -> int:
        """Key and value heads."""
        return self.h if self.h_kv is None else self.h_kv

    @property
    def values(self) -> int:
        """Width of a head's values."""
        return self.d_k if self.d_v is None else self.d_v

    @property
    def title(self) -> str:
        """What a table calls it."""
        if self.memory:
            return f"cross {self.memory:,}"
        if self.index is not None:
            return f"top {self.index.top:,}"
        shared = ", shared" if self.shared else ""
        return ("full" if self.window is None else f"window {self.window:,}") + shared

    def _matrices(self, d: int) -> tuple[Matrix, ...]:
        k, v = self.heads * self.d_k, self.heads * self.values
        own = (
            ()
            if self.shared
            else (
                Matrix("keys", d, k, memory=self.memory),
                Matrix("values", d, v, memory=self.memory),
            )
        )
        gate = (Matrix("gate", d, self.h * self.values),) if self.gate else ()
        index = () if self.index is None else self.index._matrices(d, d)
        out = Matrix("output", self.h * self.values, d, where="out")
        return (Matrix("queries", d, self.h * self.d_k), *own, *gate, *index, out)

    def _vectors(self, d: int) -> int:
        k, v = self.heads * self.d_k, self.heads * self.values
        biases = self.h * self.d_k + (0 if self.shared else k + v) + (self.h * self.values if self.gate else 0)
        return (
            (biases if self.bias else 0)
            + (d if self.bias_out else 0)
            + ((1 if self.shared else 2) * self.d_k if self.qk_norm else 0)
            + (self.h if self.sinks else 0)
            + (0 if self.index is None else self.index._vectors)
        )

    def _cached(self, t: int) -> tuple[tuple[int, int], ...]:
        """How many vectors, and how wide, t positions leave in the cache."""
        if self.shared:
            return ()
        kept = self._kept(t)
        index = () if self.index is None else ((t, self.index.d_k),)
        return ((kept * self.heads, self.d_k), (kept * self.heads, self.values), *index)

    def _kept(self, t: int) -> int:
        if self.memory:
            return self.memory
        return t if self.window is None else min(t, self.window)

    def _share(self, devices: int) -> SelfAttention:
        h_kv, h = _heads(self.heads, self.h, devices)
        return replace(self, h=h, h_kv=h_kv)


@dataclass(frozen=True)
class LatentAttention:
    """Attention whose keys and values are products of one short vector, the latent, which alone is cached (MLA).

    Attributes:
        h: heads.
        d_nope: width of the part of a head's queries and keys that comes from the latent.
        d_rope: width of the part that carries the position, one key for all heads.
        d_v: width of a head's values.
        rank: width of the latent.
        q_rank: width of the vector that queries are products of; None: they are made from the layer's input.
        index: what selects keys; None: nothing does.

    Example:
        >>> LatentAttention(128, 128, 64, 128, rank=512, q_rank=1536).title
        'latent 512'
    """

    h: int
    d_nope: int
    d_rope: int
    d_v: int
    rank: int
    q_rank: int | None = None
    index: Indexer | None = None

    def __post_init__(self) -> None:
        name = "cost.LatentAttention"
        _check.positive_int(name, h=self.h, d_nope=self.d_nope, d_rope=self.d_rope, d_v=self.d_v, rank=self.rank)
        _check.optional_int(name, q_rank=self.q_rank)
        if self.index is not None and not isinstance(self.index, Indexer):
            raise ValueError(f"{name}: index: expected an Indexer or None, got {self.index!r}")

    @property
    def title(self) -> str:
        """What a table calls it."""
        return f"latent {self.rank}" + ("" if self.index is None else f", top {self.index.top:,}")

    def _matrices(self, d: int) -> tuple[Matrix, ...]:
        q = self.h * (self.d_nope + self.d_rope)
        queries: tuple[Matrix, ...] = (Matrix("queries", d, q),)
        if self.q_rank is not None:
            queries = (Matrix("query latent", d, self.q_rank), Matrix("queries", self.q_rank, q))
        return (
            *queries,
            Matrix("latent", d, self.rank + self.d_rope),
            # Keys and values from the latent; absorbed, their two halves work on the query and on the output.
            Matrix("keys and values", self.rank, self.h * (self.d_nope + self.d_v), where="expand"),
            *(() if self.index is None else self.index._matrices(d, self.q_rank or d)),
            Matrix("output", self.h * self.d_v, d, where="out"),
        )

    def _vectors(self, d: int) -> int:
        return self.rank + (self.q_rank or 0) + (0 if self.index is None else self.index._vectors)

    def _cached(self, t: int) -> tuple[tuple[int, int], ...]:
        index = () if self.index is None else ((t, self.index.d_k),)
        return ((t, self.rank), (t, self.d_rope), *index)

    def _share(self, devices: int) -> LatentAttention:
        return replace(self, h=parts(self.h, devices))  # the latent belongs to all heads: every device has it


@dataclass(frozen=True)
class StateAttention:
    """Linear attention with the delta rule and gates: a state of d_k · d_v numbers a head in place of a cache.

    Attributes:
        h: value heads, each with a state.
        d_k: width of a head's queries and keys.
        h_k: heads of queries and keys, a divisor of h; None: h.
        d_v: width of a head's values; None: d_k.
        k: taps of the convolution over positions before queries, keys and values; 0: none.
        delta: whether a key first takes back what the state answers to it.
        gate: whether the output is multiplied by a gate as wide.

    Example:
        >>> StateAttention(32, 128, h_k=16, k=4).title
        'state 128×128'
    """

    h: int
    d_k: int
    h_k: int | None = None
    d_v: int | None = None
    k: int = 4
    delta: bool = True
    gate: bool = True

    def __post_init__(self) -> None:
        name = "cost.StateAttention"
        _check.positive_int(name, h=self.h, d_k=self.d_k)
        _check.optional_int(name, h_k=self.h_k, d_v=self.d_v)
        _check.divides(name, "h_k", self.keys, "h", self.h)
        _check.at_least(name, 0, k=self.k)
        _check.flags(name, delta=self.delta, gate=self.gate)

    @property
    def keys(self) -> int:
        """Heads of queries and keys."""
        return self.h if self.h_k is None else self.h_k

    @property
    def values(self) -> int:
        """Width of a head's values."""
        return self.d_k if self.d_v is None else self.d_v

    @property
    def channels(self) -> int:
        """Numbers that the convolution works on."""
        return 2 * self.keys * self.d_k + self.h * self.values

    @property
    def title(self) -> str:
        """What a table calls it."""
        return f"state {self.d_k}×{self.values}"

    def _matrices(self, d: int) -> tuple[Matrix, ...]:
        v = self.h * self.values
        return (
            Matrix("queries, keys, values", d, self.channels),
            *((Matrix("gate", d, v),) if self.gate else ()),
            Matrix("decays and rates", d, (2 if self.delta else 1) * self.h),
            Matrix("output", v, d, where="out"),
        )

    def _vectors(self, d: int) -> int:
        return self.k * self.channels + 2 * self.h + self.values  # taps; a decay and its bias a head; a norm

    def _state(self) -> tuple[int, int]:
        """Numbers of the state in float32, and of the convolution's last positions."""
        return self.h * self.d_k * self.values, max(0, self.k - 1) * self.channels

    def _share(self, devices: int) -> StateAttention:
        h_k, h = _heads(self.keys, self.h, devices)
        return replace(self, h=h, h_k=h_k)


@dataclass(frozen=True)
class StateSpace:
    """A selective state space (Mamba): `states` numbers for each of `inner` channels in place of a cache.

    Attributes:
        inner: channels.
        states: of a channel.
        rank: width of the vector that steps Δ are products of.
        k: taps of the convolution.

    Example:
        >>> StateSpace(1536, 16, rank=48).title
        'state 1536×16'
    """

    inner: int
    states: int
    rank: int
    k: int = 4

    def __post_init__(self) -> None:
        _check.positive_int("cost.StateSpace", inner=self.inner, states=self.states, rank=self.rank, k=self.k)

    @property
    def title(self) -> str:
        """What a table calls it."""
        return f"state {self.inner}×{self.states}"

    def _matrices(self, d: int) -> tuple[Matrix, ...]:
        return (
            Matrix("in", d, 2 * self.inner),
            Matrix("selection", self.inner, self.rank + 2 * self.states),
            Matrix("steps", self.rank, self.inner),
            Matrix("output", self.inner, d, where="out"),
        )

    def _vectors(self, d: int) -> int:
        # Taps and bias of the convolution, bias of the steps, A, and the skip.
        return self.inner * (self.k + 1) + self.inner + self.inner * self.states + self.inner

    def _state(self) -> tuple[int, int]:
        return self.inner * self.states, (self.k - 1) * self.inner

    def _share(self, devices: int) -> StateSpace:
        return replace(self, inner=parts(self.inner, devices))


Mixer: TypeAlias = SelfAttention | LatentAttention | StateAttention | StateSpace
"""What lets positions meet."""


@dataclass(frozen=True)
class Dense:
    """A feed-forward layer that works on every position.

    Attributes:
        d_ff: inner width.
        gated: whether a second matrix up makes a gate for the inner layer.
        bias: whether the matrices have one.

    Example:
        >>> Dense(14336, gated=True).d_ff
        14336
    """

    d_ff: int
    gated: bool = False
    bias: bool = False

    def __post_init__(self) -> None:
        _check.positive_int("cost.Dense", d_ff=self.d_ff)
        _check.flags("cost.Dense", gated=self.gated, bias=self.bias)

    @property
    def title(self) -> str:
        """What a table calls it."""
        return "feed-forward"

    def _matrices(self, d: int) -> tuple[Matrix, ...]:
        up = ("up", "gate") if self.gated else ("up",)
        return (*(Matrix(x, d, self.d_ff, where="inner") for x in up), Matrix("down", self.d_ff, d, where="inner"))

    def _vectors(self, d: int) -> tuple[int, int]:
        own = (2 if self.gated else 1) * self.d_ff + d if self.bias else 0
        return own, own

    def _share(self, devices: int) -> Dense:
        return replace(self, d_ff=parts(self.d_ff, devices))


@dataclass(frozen=True)
class Experts:
    """Many feed-forward layers, of which a router sends a position to a few, and shared ones that all pass through.

    Attributes:
        experts: routed feed-forward layers there are.
        active: how many of them a position is sent to.
        d_ff: inner width of one.
        shared_d_ff: inner width of all shared ones together; 0: none.
        gated: whether a second matrix up makes a gate for the inner layer.
        bias: whether the experts' matrices have one.
        bias_router: whether the router has one.
        shared_gate: whether the shared ones are multiplied by a gate of one number a position.

    Example:
        >>> Experts(8, 2, 14336, gated=True).active
        2
    """

    experts: int
    active: int
    d_ff: int
    shared_d_ff: int = 0
    gated: bool = True
    bias: bool = False
    bias_router: bool = False
    shared_gate: bool = False

    def __post_init__(self) -> None:
        name = "cost.Experts"
        _check.positive_int(name, experts=self.experts, active=self.active, d_ff=self.d_ff)
        _check.at_least(name, 0, shared_d_ff=self.shared_d_ff)
        names = ("gated", "bias", "bias_router", "shared_gate")
        _check.flags(name, **{x: getattr(self, x) for x in names})
        if self.active > self.experts:
            raise ValueError(f"{name}: active: expected at most experts = {self.experts}, got {self.active}")
        if self.shared_gate and not self.shared_d_ff:
            raise ValueError(f"{name}: shared_gate: expected False without shared_d_ff, got True")

    @property
    def title(self) -> str:
        """What a table calls it."""
        return "experts"

    def _matrices(self, d: int) -> tuple[Matrix, ...]:
        sizes = (d, self.experts, self.active, self.d_ff, self.gated, self.shared_d_ff, self.shared_gate)
        return tuple(Matrix(*part, where="inner") for part in mixture.matrices(mixture.Sizes(*sizes)))

    def _vectors(self, d: int) -> tuple[int, int]:
        one = (2 if self.gated else 1) * self.d_ff + d if self.bias else 0
        router = self.experts if self.bias_router else 0
        return self.experts * one + router, self.active * one + router

    def _share(self, devices: int) -> Experts:
        shared = parts(self.shared_d_ff, devices) if self.shared_d_ff else 0
        return replace(self, d_ff=parts(self.d_ff, devices), shared_d_ff=shared)


@dataclass(frozen=True)
class Layer:
    """One layer: what lets positions meet, then a feed-forward layer.

    Attributes:
        mixer: attention, or a state in its place.
        feed_forward: `Dense` or `Experts`; None: none.
        norms: normalisations of width d.
        cross: attention to another sequence, between the two; None: none.

    Example:
        >>> Layer(SelfAttention(12, 64, bias=True), Dense(3072, bias=True)).norms
        2
    """

    mixer: Mixer
    feed_forward: Dense | Experts | None = None
    norms: int = 2
    cross: SelfAttention | None = None

    def __post_init__(self) -> None:
        name = "cost.Layer"
        if not isinstance(self.mixer, SelfAttention | LatentAttention | StateAttention | StateSpace):
            raise ValueError(f"{name}: mixer: expected attention or a state, got {self.mixer!r}")
        if self.feed_forward is not None and not isinstance(self.feed_forward, Dense | Experts):
            raise ValueError(f"{name}: feed_forward: expected Dense, Experts or None, got {self.feed_forward!r}")
        _check.at_least(name, 0, norms=self.norms)
        if self.cross is not None and not (isinstance(self.cross, SelfAttention) and self.cross.memory):
            raise ValueError(f"{name}: cross: expected SelfAttention with memory, got {self.cross!r}")

    @property
    def mixers(self) -> tuple[Mixer, ...]:
        """What lets positions meet, with the cross-attention."""
        return (self.mixer,) if self.cross is None else (self.mixer, self.cross)


@dataclass(frozen=True)
class Model:
    """A model: an embedding, layers, a head.

    Attributes:
        name: what it is.
        d: model width.
        vocab: rows of the embedding.
        layers: in order.
        tied: whether the head is the embedding.
        head: whether there is one: scores for every word of the vocabulary.
        positions: learned positions, rows of a table; 0: none.
        types: rows of a table of segments; 0: none.
        norm: "rms", d numbers each, or "layer", d numbers and a bias each.
        norm_first: whether the embedding is normalised.
        norm_last: whether the last layer's output is.
        pooler: whether one dense layer with bias works on the first position (BERT).
        causal: whether a position sees no later one.
        relative: rows of a table of relative positions, a number for each head, that all layers add to scores (T5).
        encoder: what makes the memory of cross-attention of a source, with the same table of words; None: nothing.
        context: the longest context that its authors give; None: none given.
        source: where the figures come from.

    Example:
        >>> layer = Layer(SelfAttention(12, 64, bias=True, bias_out=True), Dense(3072, bias=True))
        >>> gpt = Model("GPT-2", 768, 50257, 12 * (layer,), positions=1024, norm="layer")
        >>> model_parameters(gpt)
        124439808
    """

    name: str
    d: int
    vocab: int
    layers: tuple[Layer, ...]
    tied: bool = True
    head: bool = True
    positions: int = 0
    types: int = 0
    norm: str = "rms"
    norm_first: bool = False
    norm_last: bool = True
    pooler: bool = False
    causal: bool = True
    relative: int = 0
    encoder: Model | None = None
    context: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        name = "cost.Model"
        _check.positive_int(name, d=self.d, vocab=self.vocab)
        if (
            not isinstance(self.layers, tuple)
            or not self.layers
            or not all(isinstance(x, Layer) for x in self.layers)
        ):
            raise ValueError(f"{name}: layers: expected a tuple of Layer, got {self.layers!r}"[:300])
        flags = ("tied", "head", "norm_first", "norm_last", "pooler", "causal")
        _check.flags(name, **{x: getattr(self, x) for x in flags})
        _check.at_least(name, 0, positions=self.positions, types=self.types, relative=self.relative)
        memories = {layer.cross.memory for layer in self.layers if layer.cross is not None}
        if self.encoder is not None and (not isinstance(self.encoder, Model) or self.encoder.causal):
            raise ValueError(
                f"{name}: encoder: expected a Model that is not causal, or None, got {self.encoder!r}"[:200]
            )
        if self.encoder is not None and len(memories) != 1:
            raise ValueError(f"{name}: encoder: expected cross-attention to one memory, got {sorted(memories)}")
        if self.relative and not isinstance(self.layers[0].mixer, SelfAttention):
            raise ValueError(f"{name}: relative: expected 0 without softmax attention in heads, got {self.relative}")
        _check.optional_int(name, context=self.context)
        if self.norm not in ("rms", "layer"):
            raise ValueError(f"{name}: norm: expected 'rms' or 'layer', got {self.norm!r}")

    @cached_property
    def mixers(self) -> dict[Mixer, int]:
        """What lets positions meet, and in how many layers."""
        return dict(Counter(mixer for layer in self.layers for mixer in layer.mixers))

    @property
    def memory(self) -> int:
        """Positions of the source, 0 without cross-attention."""
        return max((layer.cross.memory for layer in self.layers if layer.cross is not None), default=0)

    @property
    def kinds(self) -> dict[Mixer, str]:
        """What steps add to their names for each of `mixers`: nothing where there is one."""
        mixers = list(self.mixers)
        titles = [mixer.title for mixer in mixers]
        return {
            mixer: ""
            if len(mixers) == 1
            else f", {mixer.title}" + (f" ({i + 1})" if titles.count(mixer.title) > 1 else "")
            for i, mixer in enumerate(mixers)
        }

    @property
    def halves(self) -> int:
        """Sums along the residual stream: of attention, of cross-attention and of the feed-forward layer."""
        return sum(len(layer.mixers) + (layer.feed_forward is not None) for layer in self.layers)

    @cached_property
    def feed_forwards(self) -> dict[Dense | Experts, int]:
        """Feed-forward layers, and in how many layers each."""
        return dict(Counter(x.feed_forward for x in self.layers if x.feed_forward is not None))


def model_of(function: str, model: Any) -> Model:
    """Return the model, or raise for `function`."""
    if not isinstance(model, Model):
        raise ValueError(f"{function}: model: expected a Model, got {type(model).__name__}")
    return model


def outer_matrices(model: Model) -> tuple[Matrix, ...]:
    """Return the matrices outside of the layers: tables, pooler and head."""
    h = _heads_of(model)
    tables = (
        Matrix("words", model.vocab, model.d, active=0, where="table"),
        *((Matrix("positions", model.positions, model.d, active=0, where="table"),) if model.positions else ()),
        *((Matrix("types", model.types, model.d, active=0, where="table"),) if model.types else ()),
        *((Matrix("relative positions", model.relative, h, active=0, where="table"),) if model.relative else ()),
    )
    pooler = (Matrix("pooler", model.d, model.d, where="pooler"),) if model.pooler else ()
    # A tied head is the table, at work: it has no numbers of its own.
    copies = 0 if model.tied else 1
    head = (Matrix("head", model.d, model.vocab, copies=copies, where="head"),) if model.head else ()
    return (*tables, *pooler, *head)


def _heads_of(model: Model) -> int:
    """Query heads of the first layer."""
    mixer = model.layers[0].mixer
    return mixer.h if isinstance(mixer, SelfAttention) else 0


def encoder_weights(model: Model) -> tuple[tuple[Matrix, int], ...]:
    """List the matrices of an encoder but for its table of words, which is the decoder's."""
    if model.encoder is None:
        return ()
    return tuple((x, count) for x, count in model_weights(model.encoder) if x.name != "words")


def model_weights(model: Model) -> tuple[tuple[Matrix, int], ...]:
    """List the matrices of a model, and how many layers have each.

    Args:
        model: of which.

    Returns:
        Pairs of a `Matrix` and a number of layers; those outside of the layers first, then attention, then
        feed-forward layers, then those of an encoder. A tied head has 0 copies and works all the same.

    Raises:
        ValueError: a model that is none.

    Example:
        >>> from attnlib.cost import MODELS
        >>> for matrix, layers in model_weights(MODELS["llama-3-8b"])[:4]:
        ...     print(matrix.name, matrix.rows, matrix.columns, layers)
        words 128256 4096 1
        head 4096 128256 1
        queries 4096 4096 32
        keys 4096 1024 32
    """
    model = model_of("cost.model_weights", model)
    kinds = (*model.mixers.items(), *model.feed_forwards.items())
    inner = ((matrix, count) for kind, count in kinds for matrix in kind._matrices(model.d))
    return (*((matrix, 1) for matrix in outer_matrices(model)), *inner, *encoder_weights(model))


def vectors(model: Model) -> tuple[int, int]:
    """Return how many parameters are no matrices, and how many of these work on a position: norms, biases, taps."""
    norms = sum(layer.norms for layer in model.layers) + model.norm_first + model.norm_last
    own = norms * model.d * (1 if model.norm == "rms" else 2) + (model.d if model.pooler else 0)
    own += sum(count * mixer._vectors(model.d) for mixer, count in model.mixers.items())
    inner = [(count, x._vectors(model.d)) for x, count in model.feed_forwards.items()]
    if model.encoder is not None:
        inner.append((1, vectors(model.encoder)))
    return own + sum(c * a for c, (a, _) in inner), own + sum(c * b for c, (_, b) in inner)


def model_parameters(model: Model, *, active: bool = False) -> int:
    """Count the parameters of a model, or those that work on a position.

    Args:
        model: of which.
        active: leave out experts that a position is not sent to, and tables that are looked up: a lookup is no work.
            A tied table works as the head. An encoder works on positions of the source, the rest on the others.

    Returns:
        Numbers.

    Raises:
        ValueError: a model that is none, `active` that is no bool.

    Example:
        >>> from attnlib.cost import MODELS
        >>> model_parameters(MODELS["llama-3-8b"]), model_parameters(MODELS["mixtral-8x7b"], active=True)
        (8030261248, 12748853248)
    """
    name = "cost.model_parameters"
    model = model_of(name, model)
    _check.flags(name, active=active)
    weights = model_weights(model)
    if active:
        return sum(c * x.working for x, c in weights) + vectors(model)[1]
    return sum(c * x.numbers for x, c in weights) + vectors(model)[0]


def model_share(model: Model, devices: int) -> Model:
    """Return what one of several devices has of a model: its heads, its part of every inner width and vocabulary.

    Tensor parallelism: whole heads to a device, so that fewer key and value heads than devices are repeated, and a
    latent, which belongs to all heads, is on every device. So are norms, and indexers, whose heads make one score.
    Shares that do not come out even are those of the device that has most.

    Args:
        model: the whole.
        devices: how many.

    Returns:
        A `Model`, whose parameters, cache and passes are those of one device.

    Raises:
        ValueError: a model that is none, devices that are no integer of at least 1.

    Source: Shoeybi et al. (2019); Pope et al. (2023).

    Example:
        >>> from attnlib.cost import MODELS
        >>> share = model_share(MODELS["llama-3-8b"], 16).layers[0].mixer
        >>> share.h, share.heads  # 32 and 8 heads on 16 devices
        (2, 1)
    """
    name = "cost.model_share"
    model = model_of(name, model)
    _check.positive_int(name, devices=devices)
    if devices == 1:
        return model

    def part(layer: Layer) -> Layer:
        return replace(
            layer,
            mixer=layer.mixer._share(devices),
            feed_forward=None if layer.feed_forward is None else layer.feed_forward._share(devices),
            cross=None if layer.cross is None else layer.cross._share(devices),
        )

    shares = {layer: part(layer) for layer in set(model.layers)}
    encoder = None if model.encoder is None else model_share(model.encoder, devices)
    layers = tuple(shares[x] for x in model.layers)
    return replace(model, vocab=parts(model.vocab, devices), layers=layers, encoder=encoder)


def with_memory(model: Model, m: int) -> Model:
    """Return the same model with a source of another length: positions that its cross-attention meets.

    Args:
        model: one with cross-attention.
        m: positions of the source.

    Returns:
        A `Model`.

    Raises:
        ValueError: a model that is none or has no cross-attention, m that is no integer of at least 1.

    Source: Vaswani et al. (2017), section 3.2.3.

    Example:
        >>> from attnlib.cost import MODELS
        >>> short, long = (with_memory(MODELS["t5-base"], m) for m in (128, 1024))
        >>> [model_cache(model, 1).needed // 2**20 for model in (short, long)]  # keys and values of the source
        [4, 36]
    """
    name = "cost.with_memory"
    model = model_of(name, model)
    _check.positive_int(name, m=m)
    if not model.memory:
        raise ValueError(f"{name}: model: expected one with cross-attention, got {model.name}")
    made = {x.cross: None if x.cross is None else replace(x.cross, memory=m) for x in model.layers}
    return replace(model, layers=tuple(replace(x, cross=made[x.cross]) for x in model.layers))


def _heads(h_kv: int, h: int, devices: int) -> tuple[int, int]:
    """Return how many groups, and heads in them, the device has that has most."""
    if h_kv >= devices:
        own = int(parts(h_kv, devices))
        return own, own * (h // h_kv)
    return 1, int(parts(h // h_kv, devices // h_kv))


@dataclass(frozen=True)
class LayerCache:
    """What generation keeps in the layers of one kind.

    Attributes:
        title: the kind.
        layers: how many there are.
        needed: bytes that hold what is kept, for all of these layers and sequences.
        allocated: bytes of the pages that hold it.
        state: bytes among them that no length changes.
    """

    title: str
    layers: int
    needed: int
    allocated: int
    state: int


@dataclass(frozen=True)
class Cache:
    """What generation keeps.

    Attributes:
        kinds: one entry for each kind of layer that keeps anything.
    """

    kinds: tuple[LayerCache, ...]

    @property
    def needed(self) -> int:
        """Bytes that hold what is kept."""
        return sum(kind.needed for kind in self.kinds)

    @property
    def allocated(self) -> int:
        """Bytes of the pages that hold it."""
        return sum(kind.allocated for kind in self.kinds)


def model_cache(
    model: Model, t: int, *, batch: int = 1, cache: Any = "bfloat16", page: int = 1, devices: int = 1
) -> Cache:
    """Return the bytes that generation keeps after t positions, by kind of layer, on one device.

    Full attention: t · h_kv · (d_k + d_v) numbers a layer; a window: min(t, window) in place of t; a latent:
    t · (rank + d_rope), once and not twice; an indexer: its keys, too; a state: its numbers in float32, whatever t.

    Args:
        model: of which.
        t: positions that a sequence has.
        batch: sequences.
        cache: format of keys, values and latents: a `Format`, its name, or a dtype. States stay in float32, and the
            last positions of a convolution in bfloat16.
        page: positions that are allocated together.
        devices: as `model_share`: fewer key and value heads than devices are repeated.

    Returns:
        A `Cache` of one device.

    Raises:
        ValueError: a model that is none, or not causal; an integer below 1, an unknown format.

    Source: Shazeer (2019), section 2.4; DeepSeek-AI (2024), section 2.1.

    Example:
        >>> from attnlib.cost import MODELS
        >>> model_cache(MODELS["llama-3-8b"], 131072).needed / 2**30
        16.0
        >>> kinds = model_cache(MODELS["gemma-3-27b"], 131072).kinds
        >>> [(x.title, x.layers, round(x.needed / 2**30, 2)) for x in kinds]
        [('window 1,024', 52, 0.41), ('full', 10, 10.0)]
    """
    name = "cost.model_cache"
    model = model_of(name, model)
    _check.positive_int(name, t=t, batch=batch, page=page, devices=devices)
    kept = format_of(name, "cache", cache)
    if not model.causal:
        raise ValueError(f"{name}: model: expected one that is causal, got {model.name}, which keeps nothing")
    kinds = (
        _layer_cache(mixer, count * batch, count, t, kept, page)
        for mixer, count in model_share(model, devices).mixers.items()
    )
    return Cache(tuple(kind for kind in kinds if kind.needed))


def _layer_cache(mixer: Mixer, times: int, layers: int, t: int, kept: Format, page: int) -> LayerCache:
    if isinstance(mixer, StateAttention | StateSpace):
        state, tail = mixer._state()
        size = times * (4 * state + 2 * tail)
        return LayerCache(mixer.title, layers, size, size, size)
    needed = times * sum(count * kept.vector(width) for count, width in mixer._cached(t))
    pages = int(parts(t, page)) * page
    paged = mixer._cached(pages)
    if isinstance(mixer, SelfAttention) and mixer.window is not None and not mixer.shared:
        held = int(parts(min(t, mixer.window), page)) * page
        paged = ((held * mixer.heads, mixer.d_k), (held * mixer.heads, mixer.values))
    allocated = times * sum(count * kept.vector(width) for count, width in paged)
    fixed = needed if isinstance(mixer, SelfAttention) and mixer.memory else 0
    return LayerCache(mixer.title, layers, needed, allocated, fixed)
