"""What `make bench` times: problems, and the programs that compute them, ours first.

A suite is a tuple of problems, a problem is a tuple of programs and what they get, and a peer is one entry in it.
benchmarks/run.py measures them.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Call = Callable[[], Any]
Arrays = tuple[np.ndarray, ...]


class Missing(Exception):
    """A program that cannot run here, and why."""


@dataclass(frozen=True)
class Task:
    """What is computed: of which arrays, which pass, with which mask."""

    work: str
    mask: str
    arrays: Arrays  # q, k, v (h, n, d), what else has a gradient, and the gradient that arrives
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of our kernels."""
        window = {"window": 512} if "window" in self.mask else {}
        return {"causal": "causal" in self.mask, **window, **self.extra}


def pair_flops(task: Task) -> float:
    """Of the visible pairs alone; the backward pass is 2.5 times the forward one."""
    *h, n, d = task.arrays[0].shape
    past = np.arange(n)
    window = task.options.get("window", n)
    pairs = np.minimum(past + 1, window).sum()
    if not task.options["causal"]:
        pairs = pairs + np.minimum(past[::-1], window - 1).sum()
    return float(4 * d * np.prod(h) * pairs) * (1 if task.work == "forward" else 3.5)


def model_flops(name: str, **sizes: Any) -> Callable[[Task], float]:
    """Of a mechanism without pairs, as its cost model has them for no mask: not what chunks add to be causal."""

    def flops(task: Task) -> float:
        from attnlib import cost

        h, n, d = task.arrays[0].shape
        counted = getattr(cost, name)(n, d, h=h, backward=task.work != "forward", **sizes)
        return float(counted.matmul_flops)

    return flops


def packed_flops(task: Task) -> float:
    """Of the pairs within texts: as many texts of their length."""
    texts = int(task.extra["segments"].max()) + 1
    short = tuple(x[:, : x.shape[1] // texts] for x in task.arrays)
    return texts * pair_flops(replace(task, arrays=short))


def hash_flops(task: Task) -> float:
    """Of hashing and of the pairs that rounds cover."""
    return model_flops(
        "lsh_attention", rounds=4, buckets=task.extra["buckets"], window=task.extra["window"], causal=True
    )(task)


def scan_flops(task: Task) -> float:
    """Of our scan, which has no matrix product."""
    from attnlib import cost

    n, d = task.arrays[0].shape
    return float(cost.selective_scan(n, d, backward=task.work != "forward").flops)


@dataclass(frozen=True)
class Program:
    """A peer: `make(task)` returns a call, and what makes arrays as ours are of its result."""

    name: str
    make: Callable[[Task], tuple[Call, Callable[[Any], Iterable[Any]]]]
    masks: tuple[str, ...] = ("full", "causal")
    longest: tuple[int, int] = (16384, 16384)
    reason: str = ""  # why no longer lengths
    only: str = ""  # why no other masks
    same: bool = True  # False: it computes something else, shown for its time


def jax_program(fn: Callable[..., Any], axes: tuple[int, ...] = (0, 1, 2)) -> Any:
    """Wrap fn(q, k, v, …, **options), whose arrays are those of the task, or with axes reordered and a batch axis."""

    def make(task: Task) -> tuple[Call, Callable[[Any], Iterable[Any]]]:
        from attnlib import count

        def forward(*args: Any) -> Any:
            return fn(*args, **task.options)

        ours = axes == (0, 1, 2)
        *inputs, do = task.arrays if ours else (lay(x, axes) for x in task.arrays)
        args = tuple(inputs if task.work == "forward" else (do, *inputs))
        fun = forward if task.work == "forward" else count.with_backward(forward)
        program = jax.jit(fun).lower(*args).compile()
        there = jax.device_put(args, program.input_shardings[0])  # to where it reads them, once
        return lambda: jax.block_until_ready(program(*there)), lambda out: [
            np.asarray(x) if ours else unlay(np.asarray(x), axes) for x in jax.tree.leaves(out)
        ]

    return make


def lay(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Reorder the axes of (h, n, d) and put a batch axis first; leave a matrix alone."""
    return np.ascontiguousarray(x.transpose(axes))[None] if x.ndim == 3 else x


def unlay(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Undo `lay`."""
    return x[0].transpose(np.argsort(axes)) if x.ndim == 4 else x


def spread_jax_nn(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
    """jax.nn's attention on (h, n, d), to be spread over heads."""
    q, k, v = (x.swapaxes(-3, -2) for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, is_causal=causal).swapaxes(-3, -2)


def torch_program(fn: Callable[..., Any], axes: tuple[int, ...] = (0, 1, 2)) -> Any:
    """Wrap fn(torch, task), which returns a function of tensors (1, h, n, d), or with axes reordered; all cores."""

    def make(task: Task) -> Any:
        torch = need("torch")
        torch.set_num_threads(CORES)
        attend = fn(torch, task)
        *inputs, do = (torch.tensor(lay(x, axes)) for x in task.arrays)

        def forward() -> Any:
            with torch.no_grad():
                return (attend(*inputs),)

        def both() -> Any:
            args = [x.detach().requires_grad_() for x in inputs]
            out = attend(*args)
            out.backward(do)
            return out.detach(), *(x.grad for x in args)

        return (forward if task.work == "forward" else both), lambda out: [unlay(x.numpy(), axes) for x in out]

    return make


def torch_sdpa(torch: Any, task: Task) -> Any:
    """torch.nn.functional.scaled_dot_product_attention."""
    sdpa = torch.nn.functional.scaled_dot_product_attention
    return lambda q, k, v: sdpa(q, k, v, is_causal=task.options["causal"])


def fla_naive(name: str) -> Any:
    """A reference of flash-linear-attention, in plain torch: causal, order 2."""
    return lambda torch, task: getattr(need("fla.ops.based.naive"), name)


def taylor_layer(torch: Any, task: Task) -> Any:
    """The layer of taylor-series-linear-attention without its projections: it is handed q, k and v."""
    package = need("taylor_series_linear_attention")
    h, _, d = task.arrays[0].shape
    layer = package.TaylorSeriesLinearAttn(h * d, dim_head=d, heads=h, combine_heads=False)
    layer.to_q = layer.to_kv = layer.merge_heads = torch.nn.Identity()
    return lambda q, k, v: layer(q, context=(k, v))


def fla_linear(torch: Any, task: Task) -> Any:
    """Chunks of flash-linear-attention, in plain torch: causal; the feature map is ours to apply."""
    chunks, elu = need("fla.ops.linear_attn.naive").naive_chunk_linear_attn, torch.nn.functional.elu
    return lambda q, k, v: chunks(elu(q) + 1, elu(k) + 1, v, normalize=True)


def fla_gated(module: str, name: str) -> Any:
    """A reference of flash-linear-attention for gates, in plain torch; it scales queries by 1/√d."""

    def make(torch: Any, task: Task) -> Any:
        fn = getattr(need(module), name)
        return lambda q, k, v, g: fn(q, k, v, g if g.shape[-1] > 1 else g[..., 0])[0]

    return make


def performer_linear(torch: Any, task: Task) -> Any:
    """The linear attention of performer-pytorch without a mask, given features."""
    linear, elu = need("performer_pytorch.performer_pytorch").linear_attention, torch.nn.functional.elu
    return lambda q, k, v: linear(elu(q) + 1, elu(k) + 1, v)


def performer_layer(torch: Any, task: Task) -> Any:
    """The attention of performer-pytorch with our directions. It adds 1e-4 to each feature, ours nothing."""
    directions = torch.tensor(task.options["projection"])
    layer = need("performer_pytorch").FastAttention(directions.shape[1], len(directions))
    layer.projection_matrix = directions
    return layer


def linformer_layer(torch: Any, task: Task) -> Any:
    """The layer of linformer with our e and f and no other projections: what heads are merged into is handed out."""
    (h, n, d), rank = task.arrays[0].shape, len(task.arrays[3])
    layer = need("linformer").LinformerSelfAttention(h * d, n, k=rank, heads=h)

    def attend(q: Any, k: Any, v: Any, e: Any, f: Any) -> Any:
        q, k, v = (x.flatten(2) for x in (q, k, v))
        given = {"to_q": lambda _: q, "to_k": lambda _: k, "to_v": lambda _: v, "to_out": lambda o: o}
        vars(layer).update(**given, proj_k=e.T, proj_v=f.T)
        return layer(q).unflatten(2, (h, d))

    return attend


def nystrom_layer(torch: Any, task: Task) -> Any:
    """The layer of nystrom-attention without its projections and its convolution; six turns, as ours."""
    (h, _, d), landmarks = task.arrays[0].shape, task.options["landmarks"]
    package = need("nystrom_attention")
    layer = package.NystromAttention(h * d, dim_head=d, heads=h, num_landmarks=landmarks, residual=False)

    def attend(*qkv: Any) -> Any:
        three = SimpleNamespace(chunk=lambda *_, **__: [x.flatten(2) for x in qkv])
        vars(layer).update(to_qkv=lambda _: three, to_out=lambda o: o)
        return layer(qkv[0].flatten(2)).unflatten(2, (h, d))

    return attend


def mambapy_scan(torch: Any, task: Task) -> Any:
    """The parallel scan of mambapy's block."""
    scan = need("mambapy.mamba").MambaBlock.selective_scan
    return lambda u, delta, a, b, c, skip: scan(None, u[None], delta[None], a, b[None], c[None], skip)[0]


def local_layer(torch: Any, task: Task) -> Any:
    """local-attention, a window of 512 keys before each position and its own."""
    options = {"window_size": 512, "causal": True, "exact_windowsize": True, "use_rotary_pos_emb": False}
    return need("local_attention").LocalAttention(**options)


def longformer_layer(torch: Any, task: Task) -> Any:
    """The attention of transformers' Longformer without projections: 256 keys to each side, 16 global tokens."""
    (h, n, d), package = task.arrays[0].shape, need("transformers.models.longformer.modeling_longformer")
    config = package.LongformerConfig(
        hidden_size=h * d, num_attention_heads=h, attention_window=[512], num_hidden_layers=1
    )
    layer = package.LongformerSelfAttention(config, 0).eval()
    is_global = torch.arange(n)[None] < 16
    masks = {
        "attention_mask": 10000.0 * is_global,
        "is_index_masked": torch.zeros(1, n, dtype=torch.bool),
        "is_index_global_attn": is_global,
        "is_global_attn": True,
    }

    def attend(*qkv: Any) -> Any:
        # The layer has positions first, and divides queries in place.
        q, k, v = (x.transpose(1, 2).flatten(2) for x in qkv)
        given = {
            name: lambda _, x=x: x.transpose(0, 1).clone() for name, x in (("query", q), ("key", k), ("value", v))
        }
        own = {"query_global": lambda x: x, "key_global": given["key"], "value_global": given["value"]}
        vars(layer).update(**given, **own)
        return layer(q, **masks)[0].unflatten(2, (h, d)).transpose(1, 2)

    return attend


def bigbird_layer(torch: Any, task: Task) -> Any:
    """The attention of transformers' BigBird without projections: it draws its blocks anew in every call."""
    (h, n, d), package = task.arrays[0].shape, need("transformers.models.big_bird.modeling_big_bird")
    config = package.BigBirdConfig(hidden_size=h * d, num_attention_heads=h, block_size=64, num_random_blocks=3)
    layer = package.BigBirdBlockSparseAttention(config).train()  # evaluated, all its random blocks are the first
    masks = package.BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(1, n), 64)
    named = dict(zip(("blocked_encoder_mask", "band_mask", "from_mask", "to_mask"), masks, strict=True))
    named = {"band_mask": named["band_mask"], "from_mask": named["from_mask"], "to_mask": named["to_mask"]} | {
        "from_blocked_mask": named["blocked_encoder_mask"],
        "to_blocked_mask": named["blocked_encoder_mask"],
    }

    def attend(*qkv: Any) -> Any:
        q, k, v = (x.transpose(1, 2).flatten(2) for x in qkv)
        vars(layer).update(query=lambda _: q, key=lambda _: k, value=lambda _: v)
        return layer(q, **named)[0].unflatten(2, (h, d)).transpose(1, 2)

    return attend


def reformer_layer(torch: Any, task: Task) -> Any:
    """reformer-pytorch, four rounds of buckets of 64: queries are the keys."""
    layer = need("reformer_pytorch").LSHAttention(bucket_size=64, n_hashes=4, causal=task.options["causal"])
    return lambda q, k, v: layer(q[0], v[0])[0][None]


def routing_layer(torch: Any, task: Task) -> Any:
    """routing-transformer with our centroids: 128 clusters that take 128 queries and 128 keys each."""
    (h, _, d), centroids = task.arrays[0].shape, torch.tensor(task.options["centroids"])
    layer = need("routing_transformer.routing_transformer").KmeansAttention(len(centroids), 128, h, d)
    layer.eval().kmeans.means.copy_(centroids / centroids.norm(dim=1, keepdim=True))
    layer.kmeans.initted.fill_(True)
    return lambda q, k, v: layer(q, k, v)[0]


def tokamax_chunked(task: Task) -> Any:
    """tokamax.dot_product_attention with its chunked XLA implementation."""
    tokamax = need("tokamax")
    return jax_program(
        lambda q, k, v, causal: tokamax.dot_product_attention(
            q, k, v, implementation="xla_chunked", is_causal=causal
        ),
        (1, 0, 2),
    )(task)


def ours(name: str, one: bool = False) -> Any:
    """A kernel of attnlib, spread over the cores or on one device."""

    def make(task: Task) -> Any:
        import attnlib

        fn = getattr(attnlib, name)
        return jax_program(fn if one else attnlib.spread(fn))(task)

    return make


def ours_by_channels(name: str) -> Any:
    """A scan of attnlib: it has no heads, so every core gets a share of the channels."""

    def make(task: Task) -> Any:
        import attnlib

        mesh = jax.make_mesh((jax.device_count(),), ("x",), axis_types=(AxisType.Auto,))
        x, each, shared = P(None, "x"), P("x"), P()
        specs = {"in_specs": (x, x, each, shared, shared, each), "out_specs": x}
        fn = jax.shard_map(getattr(attnlib, name), mesh=mesh, **specs, check_vma=False)
        return jax_program(lambda *arrays, causal: fn(*arrays))(task)

    return make


def softmax(task: Task) -> Any:
    """Our softmax attention on the q, k and v of another mechanism, or on 8 heads made of the channels of a scan."""
    arrays = (*task.arrays[:3], task.arrays[-1])
    if task.arrays[0].ndim == 2:
        arrays = (task.arrays[0].reshape(len(task.arrays[0]), 8, -1).swapaxes(0, 1),) * 4
    return ours("flash_attention")(replace(task, arrays=arrays, extra={}))


def spread_peer(fn: Callable[..., Any]) -> Any:
    """A peer on (h, n, d) that gets the same help as ours: its heads spread over the cores."""

    def make(task: Task) -> Any:
        import attnlib

        return jax_program(attnlib.spread(fn))(task)

    return make


def need(module: str) -> Any:
    """Import a peer or say that it is not there."""
    try:
        return importlib.import_module(module)
    except Exception as error:  # an installed peer that fails at import is as missing as one that is not installed
        raise Missing(f"{module} cannot be imported: {type(error).__name__}") from None


N_BY_N = "it keeps n × n scores"
EXACT = (
    Program("flash_attention", ours("flash_attention")),
    Program("torch SDPA", torch_program(torch_sdpa)),
    Program("tokamax xla_chunked", tokamax_chunked, longest=(16384, 8192), reason="a round would take minutes"),
    Program(
        "jax.nn",
        jax_program(lambda q, k, v, causal: jax.nn.dot_product_attention(q, k, v, is_causal=causal), (1, 0, 2)),
        longest=(8192, 4096),
        reason=N_BY_N,
    ),
    Program("jax.nn, spread", spread_peer(spread_jax_nn), longest=(4096, 4096), reason=N_BY_N),
    Program("attention as written", ours("attention", one=True), longest=(8192, 4096), reason=N_BY_N),
    Program("flash_attention on one device", ours("flash_attention", one=True), longest=(4096, 4096), reason="slow"),
)
LINEAR = (
    Program("taylor_attention", ours("taylor_attention")),
    Program(
        "fla naive chunks",
        torch_program(fla_naive("naive_chunk_based")),
        ("causal",),
        only="it is causal",
    ),
    Program(
        "fla naive",
        torch_program(fla_naive("naive_parallel_based")),
        ("causal",),
        (4096, 4096),
        "it keeps n × n weights",
        only="it is causal",
    ),
    Program(
        "taylor-series-linear-attention",
        torch_program(taylor_layer),
        ("full",),
        only="its causal form needs a package that compiles C++",
    ),
    Program("taylor_attention on one device", ours("taylor_attention", one=True)),
)


# --- what they get: arrays with a gradient, and further options of our kernel ---------------------------------------


def normal(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """Queries, keys and values."""
    return tuple(rng.normal(size=(h, n, d)) for _ in range(3)), {}


def with_directions(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """Queries and keys so short that the 1e-4 that performer-pytorch adds to features is little; 256 directions."""
    (q, k, v), _ = normal(rng, h, n, d)
    return (q / 4, k / 4, v), {"projection": rng.normal(size=(256, d)).astype(np.float32)}


def with_projections(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """Projections along the length, to rank 256, the same for all heads."""
    qkv, _ = normal(rng, h, n, d)
    return (*qkv, *(rng.normal(size=(256, n)) / np.sqrt(n) for _ in range(2))), {}


def in_segments(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """Queries and keys that are alike within each of 64 segments: six turns find the inverse, wherever they begin."""
    (q, k, v), _ = normal(rng, h, n, d)
    middle = rng.normal(size=(h, 64, d))[:, np.arange(n) * 64 // n]
    return (middle + q / 4, middle + k / 4, v), {"landmarks": 64, "pinv": "iterative"}


def with_decay(channels: bool) -> Any:
    """Log-decays between −0.1 and 0: one for each key, or one for each of its channels."""

    def draw(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
        qkv, _ = normal(rng, h, n, d)
        return (*qkv, -0.1 * rng.random((h, n, d if channels else 1))), {"scale": d**-0.5}

    return draw


def to_scan(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """As many channels as heads have numbers, and 16 states: inputs, steps, rates, writing, reading, skips."""
    u, delta = rng.normal(size=(n, h * d)), rng.uniform(0.001, 0.1, (n, h * d))
    rates = np.broadcast_to(-np.arange(1.0, 17.0), (h * d, 16))
    return (u, delta, rates, rng.normal(size=(n, 16)), rng.normal(size=(n, 16)), rng.normal(size=h * d)), {}


def beside(**extra: Any) -> Any:
    """Queries, keys and values, and these options of our kernel."""

    def draw(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
        return normal(rng, h, n, d)[0], extra

    return draw


def packed(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """Sixteen texts of one length in a row."""
    return normal(rng, h, n, d)[0], {"segments": np.arange(n, dtype=np.int32) * 16 // n}


def in_blocks(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """Blocks of 64: two that all see, three in a row, three at random, from one pattern."""
    pattern = importlib.import_module("attnlib").bigbird_pattern(jax.random.key(0), n)
    return normal(rng, h, n, d)[0], {"pattern": np.asarray(pattern)}


def with_rotations(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """Four rounds of n/64 buckets."""
    rotations = rng.normal(size=(4, d, n // 128)).astype(np.float32)
    return normal(rng, h, n, d)[0], {"rotations": rotations, "buckets": n // 64, "window": 128}


def with_centroids(rng: np.random.Generator, h: int, n: int, d: int) -> tuple[Arrays, dict[str, Any]]:
    """128 clusters of 128 rows."""
    return normal(rng, h, n, d)[0], {"centroids": rng.normal(size=(128, d)).astype(np.float32), "window": 128}


@dataclass(frozen=True)
class Problem:
    """Programs that compute the same, ours first, and what they get."""

    programs: tuple[Program, ...]
    name: str = ""  # what tells it from the others of its suite
    d: int = 64
    h: int = 8
    masks: tuple[str, ...] = ("full", "causal")
    own: tuple[str, ...] = ()  # further masks, for ours alone at the longest length
    draw: Callable[..., tuple[Arrays, dict[str, Any]]] = normal
    flops: Callable[[Task], float] = pair_flops
    close: float = 0.0  # how far results may differ, over the largest number in them; 0: number by number


@dataclass(frozen=True)
class Suite:
    """Problems that are measured together."""

    problems: tuple[Problem, ...]
    lengths: tuple[int, ...]
    peers: tuple[str, ...]  # packages whose versions matter
    detail: str = ""

    @property
    def about(self) -> str:
        """One line for captions."""
        first = self.problems[0]
        return f"{self.detail}h = {first.h} heads, d = {first.d}, float32, {CORES} cores"


SOFTMAX = Program("flash_attention", softmax, same=False)
N_D = (1, 0, 2)  # positions, then heads
VARIANTS = (
    Problem(
        (
            Program("linear_attention", ours("linear_attention")),
            Program("fla naive chunks", torch_program(fla_linear, N_D), ("causal",), only="it is causal"),
            Program(
                "performer-pytorch linear_attention",
                torch_program(performer_linear),
                ("full",),
                only="its causal form needs a package that compiles C++",
            ),
            SOFTMAX,
        ),
        "linear_attention, elu + 1",
        flops=model_flops("linear_attention"),
        close=1e-3,
    ),
    Problem(
        (
            Program("performer_attention", ours("performer_attention")),
            Program("performer-pytorch", torch_program(performer_layer)),
            SOFTMAX,
        ),
        "performer_attention, 256 features",
        masks=("full",),
        draw=with_directions,
        flops=model_flops("performer_attention", features=256),
        close=0.02,
    ),
    Problem(
        (
            Program("linformer_attention", ours("linformer_attention")),
            Program("linformer", torch_program(linformer_layer, N_D)),
            SOFTMAX,
        ),
        "linformer_attention, rank 256",
        masks=("full",),
        draw=with_projections,
        flops=model_flops("linformer_attention", rank=256),
        close=1e-3,
    ),
    Problem(
        (
            Program("nystrom_attention", ours("nystrom_attention")),
            Program("nystrom-attention", torch_program(nystrom_layer, N_D)),
            SOFTMAX,
        ),
        "nystrom_attention, 64 landmarks",
        masks=("full",),
        draw=in_segments,
        flops=model_flops("nystrom_attention", landmarks=64, pinv="iterative"),
        close=1e-3,
    ),
    Problem(
        (
            Program("gated_linear_attention", ours("gated_linear_attention")),
            Program(
                "fla naive chunks",
                torch_program(fla_gated("fla.ops.simple_gla.naive", "naive_chunk_simple_gla"), N_D),
            ),
            Program(
                "fla naive, token by token",
                torch_program(fla_gated("fla.ops.simple_gla.naive", "naive_recurrent_simple_gla"), N_D),
                longest=(16384, 4096),
                reason="its backward pass copies all outputs for each token",
            ),
            SOFTMAX,
        ),
        "gated_linear_attention, a decay for each key",
        masks=("causal",),
        draw=with_decay(channels=False),
        flops=model_flops("gated_linear_attention"),
        close=1e-3,
    ),
    Problem(
        (
            Program("gated_linear_attention", ours("gated_linear_attention")),
            Program(
                "fla naive, token by token",
                torch_program(fla_gated("fla.ops.gla.naive", "naive_recurrent_gla"), N_D),
                longest=(16384, 4096),
                reason="its backward pass copies all outputs for each token",
            ),
            SOFTMAX,
        ),
        "gated_linear_attention, a decay for each channel",
        masks=("causal",),
        draw=with_decay(channels=True),
        flops=model_flops("gated_linear_attention"),
        close=1e-3,
    ),
    Problem(
        (
            Program("selective_scan", ours_by_channels("selective_scan")),
            Program("mambapy", torch_program(mambapy_scan)),
            SOFTMAX,
        ),
        "selective_scan, 512 channels, 16 states",
        masks=("causal",),
        draw=to_scan,
        flops=scan_flops,
        close=1e-3,
    ),
)

SPARSE = (
    Problem(
        (
            Program("window_attention", ours("window_attention")),
            Program("local-attention", torch_program(local_layer)),
            SOFTMAX,
        ),
        "window_attention, 512 keys back",
        masks=("causal",),
        draw=beside(left=512, right=0),
        flops=model_flops("window_attention", left=512, right=0, causal=True),
    ),
    Problem(
        (Program("flash_attention", ours("flash_attention")), replace(SOFTMAX, name="flash_attention of one text")),
        "flash_attention, 16 texts packed",
        draw=packed,
        flops=packed_flops,
    ),
    Problem(
        (
            Program("longformer_attention", ours("longformer_attention")),
            Program("transformers", torch_program(longformer_layer)),
            SOFTMAX,
        ),
        "longformer_attention, 256 keys to each side, 16 global tokens",
        masks=("full",),
        draw=beside(window=257, global_tokens=16),
        flops=model_flops("longformer_attention", window=257, global_tokens=16),
        close=1e-3,
    ),
    Problem(
        (
            Program("bigbird_attention", ours("bigbird_attention")),
            Program("transformers", torch_program(bigbird_layer), same=False),
            SOFTMAX,
        ),
        "bigbird_attention, blocks of 64",
        masks=("full",),
        draw=in_blocks,
        flops=model_flops("bigbird_attention"),
    ),
    Problem(
        (
            Program("lsh_attention", ours("lsh_attention")),
            Program("reformer-pytorch", torch_program(reformer_layer), same=False),
            SOFTMAX,
        ),
        "lsh_attention, 4 rounds, buckets of 64",
        masks=("causal",),
        draw=with_rotations,
        flops=hash_flops,
    ),
    Problem(
        (
            Program("routing_attention", ours("routing_attention")),
            Program("routing-transformer", torch_program(routing_layer), same=False),
            SOFTMAX,
        ),
        "routing_attention, 128 clusters of 128",
        masks=("full",),
        draw=with_centroids,
        flops=model_flops("routing_attention", clusters=128, window=128),
    ),
    Problem(
        (Program("topk_attention", ours("topk_attention")), SOFTMAX),
        "topk_attention, 256 of the true scores",
        masks=("causal",),
        draw=beside(top=256),
        flops=model_flops("topk_attention", top=256),
    ),
)

SUITES = {
    "exact": Suite(
        (Problem(EXACT, own=("window 512", "causal window 512")),), (4096, 8192, 16384), ("torch", "tokamax")
    ),
    "linear": Suite(
        (Problem(LINEAR, d=16, flops=model_flops("taylor_attention", order=2)),),
        (4096, 16384),
        ("torch", "fla-core", "taylor-series-linear-attention"),
        "order 2, ",
    ),
    "sparse": Suite(
        SPARSE,
        (16384,),
        ("torch", "local-attention", "transformers", "reformer-pytorch", "routing-transformer"),
    ),
    "variants": Suite(
        VARIANTS,
        (16384,),
        ("torch", "fla-core", "performer-pytorch", "linformer", "nystrom-attention", "mambapy"),
    ),
}
