"""What there is: one entry for each attention mechanism and each layer. Data alone; importing it imports no JAX.

An entry names its stem, and the rule of stems finds the rest: the kernel in `attnlib/kernels/<stem>.py` (a layer in
`attnlib/layers/`), its cost model in `attnlib/cost/<stem>.py`, its definition in `attnlib/reference.py`, what is
special about it in `tests/test_<stem>.py`. Whatever speaks of all mechanisms reads this list: the contract suite, the
tests of the cost models, benchmarks, `spread`, `python -m attnlib`, comparison tables, the map and the API page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Mechanism:
    """Attention of one kind: a function of queries, keys and values.

    Attributes:
        name: of the function, of its cost model and of its definition.
        stem: of its files.
        title: what a table calls it.
        exact: whether it computes softmax attention over the pairs that it is asked for.
        causal: whether it honours `causal`.
        bidirectional: whether it can do without.
        mask: what it hides: "pairs", any; "keys", keys from every query; "", it takes no mask.
        time: its work grows with the length as n to this power, d fixed.
        memory: so do its intermediate results.
        chapter: the page that tells of it.
        paper: its source, a key of references.bib.
        options: what its cost depends on, at the sizes of a test.
        typical: the same at sizes of practice.
        inputs: more inputs that the contract gives the kernel and its definition; no cost depends on them. One whose
            shape depends on d_k is a function of it.
        init: name of the function that draws what it learns, init(key, m, **options); then `options` are for it and
            the cost model, and the kernel and its definition take what it draws, after q, k and v.
        blocks: options that may change the cost and never the result, one dict a choice.
        leading: options that are arrays with leading axes, and how many axes follow these.
        package: where its rooms are.
        sums: whether decoding keeps sums, in float32, and not keys and values as they came.
        gives_up: what softmax attention over all pairs has and it does not, in a few words.
    """

    name: str
    stem: str
    title: str
    exact: bool
    causal: bool
    mask: str
    time: float | int
    memory: float | int
    chapter: str
    paper: str
    options: Options = field(default_factory=dict)
    typical: Options = field(default_factory=dict)
    blocks: tuple[Options, ...] = ()
    leading: Mapping[str, int] = field(default_factory=dict)
    package: str = "attnlib"
    bidirectional: bool = True
    inputs: Options = field(default_factory=dict)
    init: str = ""
    sums: bool = False
    gives_up: str = ""

    @property
    def orders(self) -> tuple[bool, ...]:
        """Return the values of `causal` that it takes."""
        return (*((False,) if self.bidirectional else ()), *((True,) if self.causal else ()))

    @property
    def fn(self) -> Callable[..., Any]:
        """Return the kernel: a function of q, k, v and options. Needs JAX."""
        return _find(f"{self.package}.kernels.{self.stem}", self.name)

    @property
    def cost(self) -> Callable[..., Any]:
        """Return its cost model: a function of n, d_k, further sizes and options."""
        return _find(f"{self.package}.cost.{self.stem}", self.name)

    @property
    def state(self) -> Callable[..., Any] | None:
        """Return the function of n, d_k and d_v that says how many numbers decoding keeps for a head of keys.

        None without a causal form: what comes next changes every output before it, so that nothing can be kept.
        """
        return _find(f"{self.package}.cost.{self.stem}", "state") if self.causal else None

    @property
    def definition(self) -> Callable[..., Any]:
        """Return its definition in NumPy, float64, which takes what the kernel takes."""
        return _find(f"{self.package}.reference", self.name)

    @property
    def draw(self) -> Callable[..., Any] | None:
        """Return what draws its parameters from a key and a number of keys, None without any. Needs JAX."""
        if not self.init:
            return None
        return partial(_find(f"{self.package}.kernels.{self.stem}", self.init), **self.options)

    def arguments(self, m: int, d_k: int) -> dict[str, Any]:
        """Return what makes the kernel and its definition functions of q, k and v alone, for m keys of width d_k.

        Its options, or the parameters that they describe, drawn from key 0 outside of whatever program is traced;
        then its inputs.
        """
        inputs = {name: x(d_k) if callable(x) else x for name, x in self.inputs.items()}
        if self.draw is None:
            return {**self.options, **inputs}
        import jax

        with jax.ensure_compile_time_eval():
            return {**self.draw(jax.random.key(0), m), **inputs}


@dataclass(frozen=True)
class Layer:
    """A layer with parameters: a function of them and of positions.

    Attributes:
        name: of the function, of its cost model and of its definition.
        stem: of its files.
        title: what a table calls it.
        init: name of the function that draws its parameters, init(key, d, **options); options that it does not take
            are left out.
        time: exponents of the length n and of the width d in its FLOPs.
        chain: matrix products on its longest chain: this many, or this many for each position.
        per_position: which of the two.
        chapter: the page that tells of it.
        paper: its source, a key of references.bib.
        options: what the cost model and `init` are told.
        package: where its rooms are.
    """

    name: str
    stem: str
    title: str
    init: str
    time: tuple[int, int]
    chain: int
    per_position: bool
    chapter: str
    paper: str
    options: Options = field(default_factory=dict)
    package: str = "attnlib"

    @property
    def fn(self) -> Callable[..., Any]:
        """Return the layer: a function of parameters and positions. Needs JAX."""
        return _find(f"{self.package}.layers.{self.stem}", self.name)

    @property
    def draw(self) -> Callable[..., Any]:
        """Return what draws its parameters from a key and a width. Needs JAX."""
        return partial(_find(f"{self.package}.layers.{self.stem}", self.init), **self.options)

    @property
    def cost(self) -> Callable[..., Any]:
        """Return its cost model: a function of n, d and further sizes."""
        return partial(_find(f"{self.package}.cost.{self.stem}", self.name), **self.options)

    @property
    def definition(self) -> Callable[..., Any]:
        """Return its definition in NumPy, float64."""
        return _find(f"{self.package}.reference", self.name)


def _find(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def _key() -> Any:
    """Return a key of `jax.random`, without which this module does."""
    import jax

    return jax.random.key(0)


_CHUNKS = ({"chunk": 1}, {"chunk": 3}, {"chunk": 4})

MECHANISMS: tuple[Mechanism, ...] = (
    Mechanism(
        name="attention",
        stem="softmax",
        title="attention",
        exact=True,
        causal=True,
        mask="pairs",
        time=2,
        memory=2,
        chapter="derivation",
        paper="vaswani2017",
        gives_up="nothing, and stores all weights",
        leading={"mask": 2},
    ),
    Mechanism(
        name="flash_attention",
        stem="flash",
        title="attention in tiles",
        exact=True,
        causal=True,
        mask="pairs",
        time=2,
        memory=1,
        chapter="flash",
        paper="dao2022",
        gives_up="nothing",
        blocks=({"block_q": 1, "block_k": 1}, {"block_q": 3, "block_k": 4}, {"block_q": 4}, {"block_k": 2}),
        leading={"mask": 2, "lengths": 0, "segments": 1},
    ),
    Mechanism(
        name="window_attention",
        stem="window",
        title="window",
        exact=True,
        causal=True,
        mask="pairs",
        time=1,
        memory=1,
        chapter="sparse",
        paper="beltagy2020",
        gives_up="keys out of the window, for one layer",
        options={"r": 4},
        typical={"r": 512},
        blocks=({"block_q": 3, "block_k": 4}, {"block_k": 2}),
        leading={"mask": 2, "lengths": 0, "segments": 1},
    ),
    Mechanism(
        name="longformer_attention",
        stem="longformer",
        title="window and global",
        exact=True,
        causal=True,
        mask="pairs",
        time=1,
        memory=1,
        chapter="sparse",
        paper="beltagy2020",
        gives_up="keys neither near nor global, for one layer",
        options={"window": 2, "global_tokens": 2},
        typical={"window": 257, "global_tokens": 16},
        blocks=({"block_q": 3, "block_k": 4}, {"block_k": 2}),
        leading={"mask": 2, "global_tokens": 1, "global_q": 2, "global_k": 2, "global_v": 2},
    ),
    Mechanism(
        name="bigbird_attention",
        stem="bigbird",
        title="blocks, random too",
        exact=True,
        causal=True,
        mask="pairs",
        time=1,
        memory=1,
        chapter="sparse",
        paper="zaheer2020",
        gives_up="pairs out of the chosen blocks",
        options={"block": 2, "window_blocks": 3, "global_blocks": 1, "random_blocks": 1},
        typical={"block": 64},
        inputs={"key": lambda _: _key()},
        leading={"mask": 2, "pattern": 2},
    ),
    Mechanism(
        name="topk_attention",
        stem="topk",
        title="selected keys",
        exact=False,
        causal=True,
        mask="pairs",
        time=2,
        memory=1,
        chapter="hashing",
        paper="deepseek2025",
        gives_up="all but the best keys; scores every pair to find them",
        options={"top": 4},
        typical={"top": 256},
        leading={"mask": 2, "index_q": 2, "index_k": 2, "index_weights": 2},
    ),
    Mechanism(
        name="linear_attention",
        stem="linear",
        title="linear, elu + 1",
        exact=False,
        causal=True,
        mask="keys",
        sums=True,
        time=1,
        memory=1,
        chapter="linear",
        paper="katharopoulos2020",
        gives_up="the softmax: weights are products of features",
        blocks=_CHUNKS,
        leading={"mask": 2},
    ),
    Mechanism(
        name="taylor_attention",
        stem="taylor",
        title="Taylor, order 2",
        exact=False,
        causal=True,
        mask="keys",
        sums=True,
        time=1,
        memory=1,
        chapter="taylor",
        paper="dumankeles2023",
        gives_up="the exponential beyond order 2: scores have to be small",
        blocks=_CHUNKS,
        leading={"mask": 2, "centre_rows": 1},
    ),
    Mechanism(
        name="gated_linear_attention",
        stem="gated",
        title="linear, gated",
        exact=False,
        causal=True,
        bidirectional=False,
        mask="keys",
        sums=True,
        time=1,
        memory=1,
        chapter="linear",
        paper="yang2024",
        gives_up="the softmax; the past fades",
        inputs={"decay": -0.5},
        blocks=_CHUNKS,
        leading={"mask": 2, "decay": 2},
    ),
    Mechanism(
        name="performer_attention",
        stem="performer",
        title="random features",
        exact=False,
        causal=True,
        mask="keys",
        sums=True,
        time=1,
        memory=1,
        chapter="random-features",
        paper="choromanski2021",
        gives_up="exactness: an average over random directions",
        typical={"features": 256},
        inputs={"projection": lambda d_k: np.random.default_rng(d_k).normal(size=(d_k, d_k))},
        blocks=_CHUNKS,
        leading={"mask": 2},
    ),
    Mechanism(
        name="linformer_attention",
        stem="linformer",
        title="low rank, learned",
        exact=False,
        causal=False,
        mask="keys",
        time=1,
        memory=1,
        chapter="low-rank",
        paper="wang2020",
        gives_up="causality, and other lengths than those it was trained on",
        init="init_linformer",
        options={"rank": 4},
        typical={"rank": 256},
        leading={"mask": 2, "e": 2, "f": 2},
    ),
    Mechanism(
        name="nystrom_attention",
        stem="nystrom",
        title="low rank, landmarks",
        exact=False,
        causal=False,
        mask="keys",
        time=1,
        memory=1,
        chapter="low-rank",
        paper="xiong2021",
        gives_up="causality, and weights that no few landmarks span",
        options={"landmarks": 4, "pinv": "iterative"},
        typical={"landmarks": 64},
        leading={"mask": 2, "query_mask": 1},
    ),
    Mechanism(
        name="lsh_attention",
        stem="lsh",
        title="hashing",
        exact=False,
        causal=True,
        mask="keys",
        time=1,
        memory=1,
        chapter="hashing",
        paper="kitaev2020",
        gives_up="keys of other buckets",
        options={"buckets": (2, 2), "window": 4},
        typical={"buckets": 256, "window": 64},
        # A draw that leaves no query of the contract without a key; so is that of the centroids.
        inputs={"rotations": lambda d_k: np.random.default_rng(17 + d_k).normal(size=(4, d_k, 2))},
        blocks=_CHUNKS,
        leading={"mask": 2},
    ),
    Mechanism(
        name="routing_attention",
        stem="routing",
        title="routing",
        exact=False,
        causal=True,
        mask="keys",
        time=1,
        memory=1,
        chapter="hashing",
        paper="roy2021",
        gives_up="keys of other clusters",
        options={"clusters": 2, "window": 4},
        typical={"clusters": 128, "window": 128},
        inputs={"centroids": lambda d_k: np.random.default_rng(17 + d_k).normal(size=(2, d_k))},
        leading={"mask": 2, "centroids": 2},
    ),
)
"""Every attention mechanism."""

LAYERS: tuple[Layer, ...] = (
    Layer(
        name="rnn",
        stem="recurrent",
        title="vanilla",
        init="init_rnn",
        time=(1, 2),
        chain=1,
        per_position=True,
        chapter="recurrence",
        paper="elman1990",
    ),
    Layer(
        name="gru",
        stem="recurrent",
        title="GRU",
        init="init_gru",
        time=(1, 2),
        chain=1,
        per_position=True,
        chapter="recurrence",
        paper="cho2014",
    ),
    Layer(
        name="lstm",
        stem="recurrent",
        title="LSTM",
        init="init_lstm",
        time=(1, 2),
        chain=1,
        per_position=True,
        chapter="recurrence",
        paper="hochreiter1997",
    ),
    Layer(
        name="conv",
        stem="convolution",
        title="convolution",
        init="init_conv",
        time=(1, 2),
        chain=1,
        per_position=False,
        chapter="recurrence",
        paper="kalchbrenner2016",
        options={"k": 3},
    ),
    Layer(
        name="conv",
        stem="convolution",
        title="separable",
        init="init_conv",
        time=(1, 2),
        chain=1,
        per_position=False,
        chapter="recurrence",
        paper="chollet2017",
        options={"k": 3, "separable": True},
    ),
    Layer(
        name="s4d",
        stem="s4d",
        title="state space",
        init="init_s4d",
        time=(1, 1),
        chain=1,
        per_position=False,
        chapter="state-space",
        paper="gu2022",
        options={"states": 16},
    ),
    Layer(
        name="mamba",
        stem="mamba",
        title="Mamba",
        init="init_mamba",
        time=(1, 2),
        chain=4,
        per_position=False,
        chapter="state-space",
        paper="gu2023",
        options={"states": 8},
    ),
    Layer(
        name="feed_forward",
        stem="feed_forward",
        title="feed-forward",
        init="init_feed_forward",
        time=(1, 2),
        chain=2,
        per_position=False,
        chapter="derivation",
        paper="vaswani2017",
    ),
    Layer(
        name="multihead_attention",
        stem="multihead",
        title="multi-head attention",
        init="init_multihead_attention",
        time=(2, 2),
        chain=4,
        per_position=False,
        chapter="derivation",
        paper="vaswani2017",
        options={"h": 4},
    ),
    Layer(
        name="latent_attention",
        stem="latent",
        title="latent attention",
        init="init_latent_attention",
        time=(2, 2),
        chain=5,
        per_position=False,
        chapter="generation",
        paper="deepseek2024",
        options={"h": 4},
    ),
)
"""Every layer with parameters."""


def mechanism(name: str) -> Mechanism:
    """Return the entry of that name.

    Args:
        name: of a function in `MECHANISMS`.

    Returns:
        The `Mechanism`.

    Raises:
        ValueError: there is none of that name; the message lists those there are.

    Example:
        >>> mechanism("flash_attention").memory
        1
    """
    for entry in MECHANISMS:
        if entry.name == name:
            return entry
    raise ValueError(
        f"registry.mechanism: name: expected one of {', '.join(entry.name for entry in MECHANISMS)}, got {name!r}"
    )
