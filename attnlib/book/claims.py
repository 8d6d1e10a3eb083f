r"""Claims about the cost of attention that are printed again and again: what holds, and the number that decides.

The chapter "Claims, checked" is made from `CLAIMS`. A claim and its statement are MyST Markdown; `{name}` in a
statement stands for a number that `Claim.numbers` computes with the library. No JAX is needed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from attnlib import cost
from attnlib.book.output import text
from attnlib.cost import ACCELERATORS
from attnlib.kernels._taylor_error import minimal_order, negative_below


@dataclass(frozen=True)
class Verdict:
    """What can be said of a claim.

    Attributes:
        mark: a sign that goes with the words, so that colour alone says nothing.
        tone: one of `attnlib.book.draw.TONES`.
        meaning: when it is given.
    """

    mark: str
    tone: str
    meaning: str


VERDICTS: Mapping[str, Verdict] = {
    "right": Verdict("✓", "right", "It holds as it is printed."),
    "right with conditions": Verdict("(✓)", "teal", "It holds where a condition does that is not printed with it."),
    "imprecise": Verdict("~", "ochre", "Something of it is right, and what is left out changes the answer."),
    "wrong": Verdict("✗", "wrong", "It does not hold, or nobody has proved it."),
    "not checkable": Verdict("?", "muted", "What would decide it is not public."),
}
"""The verdicts, from the best to the worst, then that there is none."""

GROUPS: Mapping[str, str] = {
    "growth": "What grows how",
    "memory": "Memory",
    "lower-bound": "The lower bound",
    "variants": "Variants",
    "generation": "Generation and serving",
    "recurrence": "Recurrence and convolution",
    "training": "Scores and gradients",
}
"""Names of the groups of claims, in the order of the chapter."""

PLACEHOLDER = re.compile(r"(?<![\w\\^}])\{([a-z_]+)\}(?!`)")
"""A number's place in a statement: letters in braces that belong neither to a formula nor to a role."""


@dataclass(frozen=True)
class Claim:
    """A claim, the verdict, and what holds.

    Attributes:
        key: a short name of its own.
        claim: as it is printed, shortened.
        verdict: one of `VERDICTS`.
        statement: what holds, with `{name}` for each number.
        numbers: computes the numbers of the statement; strings are written as they are, the rest by `book.text`.
        see: the label of the section that shows it.
        group: one of `GROUPS`.

    Raises:
        ValueError: a verdict or a group that there is not.
    """

    key: str
    claim: str
    verdict: str
    statement: str
    numbers: Callable[[], Mapping[str, object]]
    see: str
    group: str

    def __post_init__(self) -> None:
        for name, known in (("verdict", VERDICTS), ("group", GROUPS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"claims.Claim: {name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}"
                )

    def said(self) -> str:
        """Return the statement with its numbers.

        Raises:
            ValueError: a number without a place, or a place without a number.
        """
        numbers = self.numbers()
        places = set(PLACEHOLDER.findall(self.statement))
        if places != set(numbers):
            raise ValueError(f"claims.Claim: {self.key}: expected numbers {sorted(places)}, got {sorted(numbers)}")
        return PLACEHOLDER.sub(lambda place: text(numbers[place[1]]), self.statement)


def select(group: str) -> tuple[Claim, ...]:
    """Return the claims of a group, in the order of the chapter.

    Args:
        group: one of `GROUPS`.

    Returns:
        The claims.

    Raises:
        ValueError: a group that there is not.

    Example:
        >>> [claim.key for claim in select("training")]
        ['bounded-logits', 'focus', 'vanishing']
    """
    if group not in GROUPS:
        raise ValueError(f"claims.select: group: expected one of {', '.join(GROUPS)}, got {group!r}")
    return tuple(claim for claim in CLAIMS if claim.group == group)


def tally(group: str | None = None) -> dict[str, int]:
    """Count the claims of each verdict.

    Args:
        group: one of `GROUPS`; all claims by default.

    Returns:
        `{verdict: number}`, for every verdict.

    Raises:
        ValueError: a group that there is not.

    Example:
        >>> tally("training")["imprecise"]
        2
    """
    claims = CLAIMS if group is None else select(group)
    return {verdict: sum(claim.verdict == verdict for claim in claims) for verdict in VERDICTS}


# What grows how ------------------------------------------------------------------------------------------------

_SMALL, _LARGE = (512, 768, 12), (8192, 1024, 16)  # positions, width, heads: an example that is often printed


def _core(n: int, d: int, h: int) -> int:
    return int(cost.attention(n, d // h, h=h).matmul_flops)


def _layer(n: int, d: int, h: int) -> int:
    return int(cost.multihead_attention(n, d, h).matmul_flops)


def _whole(n: int, d: int, h: int) -> int:
    return int(cost.transformer_layer(n, d, h).matmul_flops)


def _example(sizes: tuple[int, int, int]) -> dict[str, object]:
    """One product of the core in multiply-adds; the core, the projections and the layer in FLOPs."""
    n, d, h = sizes
    core, layer = _core(n, d, h), _layer(n, d, h)
    return {
        "macs": cost.attention(n, d // h, h=h)["scores"].matmul_flops // 2,
        "core": core / 1e9,
        "projections": (layer - core) / 1e9,
        "layer": layer / 1e9,
    }


def _small_example() -> dict[str, object]:
    return {name: x for name, x in _example(_SMALL).items() if name != "projections"}


def _exponential() -> dict[str, object]:
    once = _core(1000, 512, 8)
    double, tenfold = (_core(factor * 1000, 512, 8) // once for factor in (2, 10))
    return {"double": double, "tenfold": tenfold, "digits": len(str(2**1000))}


def _doubling() -> dict[str, object]:
    short, long = (_whole(2 * n, 4096, 32) / _whole(n, 4096, 32) for n in (2048, 32768))
    return {"short": f"{short:.2f}", "long": f"{long:.2f}"}


def _ratios() -> dict[str, object]:
    core, layer, whole = (part(*_LARGE) / part(*_SMALL) for part in (_core, _layer, _whole))
    return {"core": f"{core:.1f}", "layer": f"{layer:.1f}", "whole": f"{whole:.1f}"}


def _dominates() -> dict[str, object]:
    d, h = 12288, 96
    rest = _whole(2048, d, h) - _core(2048, d, h)  # nd²; the core, n²d, is as large at n times their ratio
    return {
        "share": f"{_core(2048, d, h) / _whole(2048, d, h):.1%}",
        "equal": 2048 * rest // _core(2048, d, h),
    }


def _softmax() -> dict[str, object]:
    narrow, wide = (cost.attention(4096, d_k) for d_k in (32, 128))
    share = [c["softmax"].flops / c.matmul_flops for c in (narrow, wide)]
    return {"narrow": f"{share[0]:.1%}", "wide": f"{share[1]:.1%}"}


# Memory --------------------------------------------------------------------------------------------------------


def _bytes(size: float | int) -> str:
    """Write bytes in binary units, with four digits."""
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024 or unit == "GiB":
            break
    return f"{text(size)}\N{NO-BREAK SPACE}{unit}"


def _bytes_per_flop() -> dict[str, object]:
    core = cost.attention(4096, 64, h=8)
    return {"ratio": str(core["scores"].bytes_written / core.matmul_flops)}


def _tiles(n: int, h: int) -> tuple[str, str]:
    """The scores of h heads in float32, written once, and what tiles keep besides inputs and outputs."""
    written = cost.attention(n, 64, h=h)["scores"].bytes_written
    return _bytes(written), _bytes(cost.flash_attention(n, 64, h=h).live)


def _square() -> dict[str, object]:
    written, tiles = _tiles(65_536, 1)
    return {"written": written, "tiles": tiles}


def _stored() -> dict[str, object]:
    written, tiles = _tiles(100_000, 8)
    return {"written": written, "tiles": tiles}


def _again() -> dict[str, object]:
    written, tiles = (f(4096, 64, backward=True) for f in (cost.attention, cost.flash_attention))
    doubled = cost.flash_attention(8192, 64, backward=True)
    return {
        "four": round(doubled.matmul_flops / tiles.matmul_flops),
        "more": f"{tiles.matmul_flops / written.matmul_flops - 1:.0%}",
    }


def _traffic() -> dict[str, object]:
    memory = 164 * 1024 // 4

    def fewer(d: int) -> float:
        tiles = cost.flash_attention_io(16_384, d, memory).total
        return float(cost.attention_io(16_384, d, memory).total / tiles)

    return {"memory": memory, "fewer": f"{fewer(64):.1f}", "wide": f"{1 / fewer(256):.1f}"}


def _parameters() -> dict[str, object]:
    short, long = (cost.multihead_attention(n, 512, 8).parameters for n in (512, 8192))
    return {"short": short, "long": long}


# The lower bound -----------------------------------------------------------------------------------------------


def _mixes_all() -> dict[str, object]:
    all_pairs, state = (f(65_536, 64).matmul_flops for f in (cost.attention, cost.linear_attention))
    return {"fewer": f"{all_pairs / state:,.0f}"}


# Variants ------------------------------------------------------------------------------------------------------


def _linear() -> dict[str, object]:
    narrow, wide = (cost.linear_attention(4096, d).matmul_flops / 4096 for d in (64, 128))
    return {"position": int(narrow), "wider": f"{wide / narrow:.1f}"}


def _bigbird() -> dict[str, object]:
    def saved(n: int) -> float:
        return float(4 * n**2 * 64 / cost.bigbird_attention(n, 64).matmul_flops)

    return {"short": f"{saved(2048):.1f}", "long": f"{saved(8192):.0f}"}


def _reformer() -> dict[str, object]:
    one, two = (cost.lsh_attention(65_536, 64, b, 64, shared=True) for b in (1024, (32, 32)))
    return {
        "ratio": one["hashing"].matmul_flops // two["hashing"].matmul_flops,
        "share": f"{one['hashing'].matmul_flops / one.matmul_flops:.0%}",
    }


def _linformer() -> dict[str, object]:
    full, mixed = cost.attention(65_536, 64), cost.linformer_attention(65_536, 64, 256)
    return {"fewer": f"{full.matmul_flops / mixed.matmul_flops:.0f}"}


def _experts() -> dict[str, object]:
    dense, mixture = cost.feed_forward(4096, 4096), cost.mixture_of_experts(4096, 4096, 64, 2)
    return {
        "attention": _layer(4096, 4096, 32) / 1e12,
        "experts": f"{mixture.matmul_flops / dense.matmul_flops:.2f}",
    }


def _kernel() -> dict[str, object]:
    order = minimal_order(6, 0.01)
    return {"order": order, "features": float(cost.taylor_features(64, order))}


# Generation and serving ----------------------------------------------------------------------------------------


def _cache() -> dict[str, object]:
    without, cached = (cost.generation(1000, 512, 8, cached=c).matmul_flops for c in (False, True))
    return {"saving": without // cached}


def _cached_step() -> dict[str, object]:
    step = cost.decode_step(100_000, 4096, 32)
    core = step["scores"].matmul_flops + step["values"].matmul_flops
    return {"share": f"{core / step.matmul_flops:.0%}"}


def _twice() -> dict[str, object]:
    short, long = (cost.generation(n, 4096, 32).matmul_flops for n in (100_000, 200_000))
    return {"twice": f"{long / short:.2f}"}


def _kv(positions: int, heads: int, layers: int, batch: int = 1) -> str:
    return _bytes(cost.kv_cache(positions, 128, h_kv=heads, layers=layers, batch=batch))


def _latent() -> dict[str, object]:
    numbers, expanded = 512 + 64, 128 * (192 + 128)
    return {"numbers": numbers, "bytes": 2 * numbers, "fewer": f"{expanded / numbers:.0f}"}


def _reuse() -> dict[str, object]:
    def intensity(batch: int, name: str) -> str:
        step = cost.decode_step(8192, 4096, 32, batch=batch, dtype="bfloat16")[name]
        return f"{step.matmul_flops / (step.bytes_read + step.bytes_written):.0f}"

    return {"one": intensity(1, "projections"), "many": intensity(32, "projections"), "core": intensity(32, "scores")}


def _bandwidth() -> dict[str, object]:
    step = cost.attention(65_536, 64)["scores"]
    return {
        "ampere": round(ACCELERATORS["A100"].ridge("bfloat16")),
        "hopper": round(ACCELERATORS["H100"].ridge("bfloat16")),
        "written": f"{step.matmul_flops / (step.bytes_read + step.bytes_written):.0f}",
    }


def _undisclosed() -> dict[str, object]:
    written, tiles = _tiles(100_000, 1)
    return {"written": written, "tiles": tiles}


# Recurrence and convolution ------------------------------------------------------------------------------------


def _cheaper() -> dict[str, object]:
    def last(layer: Callable[..., cost.Cost]) -> int:
        """The last length at which self-attention of width 512 takes fewer FLOPs; 0 without one."""
        fewer = [n for n in range(1, 2048) if _layer(n, 512, 8) < layer(n, 512).matmul_flops]
        return max(fewer, default=0)

    return {"gru": last(cost.gru), "lstm": last(cost.lstm)}


def _layers() -> dict[str, object]:
    return {
        "dilated": cost.conv_path(1000, 3, causal=True, dilated=True),
        "causal": cost.conv_path(1000, 3, causal=True),
        "centred": cost.conv_path(1000, 3),
    }


# Scores and gradients ------------------------------------------------------------------------------------------


def _largest_scores() -> dict[str, object]:
    """The draws of the chapter "Self-attention from nothing"."""
    rng = np.random.default_rng(1)
    peaks = []
    for n in (128, 1024, 4096):
        q, k = rng.normal(size=(2, n, 64)).astype(np.float32)
        peaks.append(f"{np.abs(q @ k.T / 8).max():.1f}")
    return {"small": peaks[0], "large": peaks[-1]}


def _saturated() -> dict[str, object]:
    """The norm of diag(w) − wwᵀ for two keys, 2w(1 − w), at gaps of 10 and of 0."""
    weights = [1 / (1 + math.exp(-gap)) for gap in (10, 0)]
    return dict(zip(("decided", "even"), (2 * w * (1 - w) for w in weights), strict=True))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "exponential",
        "Longer documents need exponentially more computation.",
        "wrong",
        r"Quadratically, and that in the core alone: twice the length takes **{double}** times its FLOPs, ten times "
        r"the length {tenfold} times. If it were $2^n$, going from 1,000 to 2,000 positions would multiply it by a "
        r"number of {digits} digits.",
        _exponential,
        "sec-not-exponential",
        "growth",
    ),
    Claim(
        "doubling",
        "Doubling the context quadruples the cost.",
        "imprecise",
        r"The core quadruples; projections and feed-forward layer double. At $d = 4096$ a Transformer layer grows "
        r"by **{short}** from 2,048 to 4,096 positions and by {long} from 32,768 to 65,536. Four is the limit for "
        r"$n \gg 6d$.",
        _doubling,
        "sec-doubling",
        "growth",
    ),
    Claim(
        "projections",
        "Self-attention costs $n^2d$.",
        "imprecise",
        r"That forgets the projections: it is $8nd^2 + 4n^2d$ FLOPs in matrix products. At $n = 512$ and $d = 768$ "
        r"they are **{share}** of it, and up to $n = 2d$ at least half.",
        lambda: {"share": f"{1 - _core(*_SMALL) / _layer(*_SMALL):.0%}"},
        "sec-sixty-seconds",
        "growth",
    ),
    Claim(
        "256-times",
        "From 512 positions of width 768 to 8,192 of width 1,024 the cost grows 256 times.",
        "wrong",
        r"256 is the ratio of $n^2$ and of nothing that is computed. The core grows {core} times, an attention "
        r"layer with its projections **{layer}** times, a Transformer layer {whole} times.",
        _ratios,
        "sec-derivation-examples",
        "growth",
    ),
    Claim(
        "200-million",
        r"$512^2 \cdot 768$, about 200 million operations.",
        "right with conditions",
        r"As multiply-adds of one product, $QK^\top$: **{macs}**. The core has two products, and a multiply-add is "
        r"two FLOPs: {core} billion. The layer takes {layer} billion.",
        _small_example,
        "sec-derivation-examples",
        "growth",
    ),
    Claim(
        "69-billion",
        r"$8192^2 \cdot 1024$, about 69 billion operations.",
        "right with conditions",
        r"As multiply-adds of one product: **{macs}**. The core takes {core} billion FLOPs, the layer {layer} "
        r"billion. (That its projections take {projections} billion FLOPs is a coincidence: $8nd^2 = n^2d$ at $n = "
        r"8d$.)",
        lambda: _example(_LARGE),
        "sec-derivation-examples",
        "growth",
    ),
    Claim(
        "dominates",
        "Attention dominates the cost of a Transformer.",
        "right with conditions",
        r"Its core does for $n \gg 6d$. At GPT-3's width and length, 12,288 and 2,048 {cite:p}`brown2020`, the core "
        r"of full attention is **{share}** of a layer's FLOPs in matrix products. Half of them it is at $n = 6d$, "
        r"{equal} positions.",
        _dominates,
        "sec-core-overtakes",
        "growth",
    ),
    Claim(
        "three-steps",
        r"$2 \cdot 3 \cdot L n^2 d$ FLOPs in $L$ layers: for $QK^\top$, the softmax and the average.",
        "wrong",
        r"The core of a layer is two products, $4n^2d$, and a softmax of $5hn^2$ FLOPs, which has no factor $d$. "
        r"For heads of width 32 it adds **{narrow}** to the products, for those of width 128 {wide}, and not a "
        r"half.",
        _softmax,
        "sec-derivation-steps",
        "growth",
    ),
    Claim(
        "memory-faster",
        "Memory grows even faster than computation.",
        "wrong",
        r"Scores that are written down are $hn^2$ numbers, beside $4n^2d$ FLOPs: in float32 $h/d$ bytes for each "
        r"FLOP of the core, **{ratio}** at $h = 8$ and $d = 512$, at every length. In tiles, memory is linear in "
        r"$n$.",
        _bytes_per_flop,
        "sec-memory-stored",
        "memory",
    ),
    Claim(
        "quadratic-memory",
        "Self-attention needs $O(n^2)$ memory.",
        "wrong",
        r"{cite:t}`rabe2021` need $O(1)$ numbers for a query and $O(\log n)$ for all of them, besides input and "
        r"output; the time stays $\Theta(n^2d)$. At 65,536 positions one head's scores take {written} in float32; "
        r"what our tiles keep instead takes **{tiles}**.",
        _square,
        "sec-memory-square",
        "memory",
    ),
    Claim(
        "must-be-stored",
        r"The $n \times n$ matrix must be stored.",
        "wrong",
        r"It need not be: a softmax can be computed from parts. For 8 heads at 100,000 positions the matrices would "
        r"take **{written}** in float32; the same function in tiles takes {tiles} of intermediate results.",
        _stored,
        "sec-memory-stored",
        "memory",
    ),
    Claim(
        "flash-linear",
        "FlashAttention makes attention linear.",
        "wrong",
        r"It makes the *memory* linear. Twice the length takes {four} times the FLOPs, as before, and with "
        r"gradients there are **{more}** more of them in the core's products, since scores are computed twice. "
        r"({cite:t}`dao2022` report 13 % more FLOPs in all.)",
        _again,
        "sec-flash-not",
        "memory",
    ),
    Claim(
        "flash-traffic",
        "FlashAttention reduces the memory traffic from $O(n^2)$ to $O(n)$.",
        "wrong",
        r"To $\Theta(n^2d^2/M)$, for a fast memory of $M$ numbers; no exact algorithm with standard products does "
        r"better by more than a constant if $M \ge d^2$ {cite:p}`saha2024`. With $M$ = {memory} and $n = 16384$ the "
        r"tiles move **{fewer}** times fewer numbers than written scores at $d = 64$, and {wide} times *more* at $d "
        r"= 256$, where $M < d^2$.",
        _traffic,
        "sec-flash-traffic",
        "memory",
    ),
    Claim(
        "parameters",
        "The number of parameters grows with $n^2$.",
        "wrong",
        r"Weights do not depend on the length: $4d^2$ in an attention layer, at $d = 512$ **{short}** for 512 "
        r"positions and {long} for 8,192. Learned vectors for positions, $nd$ numbers, are the exception, and are "
        r"linear.",
        _parameters,
        "sec-memory-parameters",
        "memory",
    ),
    Claim(
        "every-algorithm",
        r"Every algorithm for exact self-attention takes $\Omega(n^2)$ time.",
        "wrong",
        r"Proved without a premise is $\Omega(nd)$: at 65,536 positions that is **{gap}** times less than $n^2d$. "
        r"$n^{2-o(1)}$ follows from the orthogonal vectors conjecture, in the worst case, at width $c\log n$; for "
        r"*approximate* attention only if logits may be large, too. (Older statements say “unless SETH fails”; SETH "
        r"was announced to be false in October 2026.)",
        lambda: {"gap": _core(65_536, 64, 1) // (4 * 65_536 * 64)},
        "sec-from-below",
        "lower-bound",
    ),
    Claim(
        "interact",
        "It takes $n^2$ because every position must interact with every other.",
        "wrong",
        r"That does not follow: a bound on time is none on interactions. In linear attention every output depends "
        r"on every input, through a state of $d \times d$ numbers, and at $n = 65536$ and $d = 64$ with **{fewer}** "
        r"times fewer FLOPs. Softmax attention of constant width takes $n^{2-1/d}$, logarithms aside "
        r"{cite:p}`gupta2025`.",
        _mixes_all,
        "sec-open-width",
        "lower-bound",
    ),
    Claim(
        "proved",
        "It is proved that attention cannot be sub-quadratic.",
        "wrong",
        r"Proved is an implication: if the orthogonal vectors conjecture holds, no algorithm takes time "
        r"$O(n^{2-\varepsilon})$ on all inputs of every width $c\log n$. At widths that are powers of $\log n$ a "
        r"conjecture about formulas with clauses of any width is enough, since one call of attention on **{tokens}** "
        r"positions decides a formula of 40 variables. Neither is proved, and SETH, the premise of older "
        r"statements, was announced to be false in October 2026.",
        lambda: {"tokens": 2 ** (40 // 2) + 1},
        "sec-status",
        "lower-bound",
    ),
    Claim(
        "seth",
        r"SETH: $k$-SAT takes $2^{(1-\varepsilon)kN}$ steps, SAT takes $2^N$.",
        "wrong",
        r"SETH, announced to be false in October 2026, says: for every $\varepsilon > 0$ there is *some* $k$ such "
        r"that $k$-SAT has no algorithm in time $O(2^{(1-\varepsilon)N})$. There is no factor $k$, and every single "
        r"$k$ is easier than $2^N$: 3-SAT takes a random walk about $(4/3)^N$ tries {cite:p}`schoening1999`, at $N "
        r"= 100$ **{fewer}** times fewer.",
        lambda: {"fewer": (2 / (4 / 3)) ** 100},
        "sec-seth",
        "lower-bound",
    ),
    Claim(
        "p-np",
        "A sub-quadratic attention would prove P = NP.",
        "wrong",
        r"One in time $O(n^{2-\varepsilon})$ at every width $c\log n$ would refute the orthogonal vectors "
        r"conjecture. P and NP could still differ: time $n^{1.9}$, even at widths that are powers of $\log n$, "
        r"would decide formulas of $N$ variables in about $2^{cN}$ steps with $c$ = **{exponent}**, which is "
        r"exponential.",
        lambda: {"exponent": 1.9 / 2},
        "sec-faster-attention",
        "lower-bound",
    ),
    Claim(
        "breakthrough",
        "An algorithm in $n^{1.9}$ would be a breakthrough in practice.",
        "wrong",
        r"In theory it would be one. In practice it saves, if constants are equal, a factor of {thousand} at $n = "
        r"10^3$, **{million}** at $10^6$ and {billion} at $10^9$.",
        lambda: {name: f"{10 ** (0.1 * e):.1f}" for name, e in (("thousand", 3), ("million", 6), ("billion", 9))},
        "sec-faster-attention",
        "lower-bound",
    ),
    Claim(
        "linear-width",
        "Linear attention takes $O(nd)$ operations; it is sublinear.",
        "wrong",
        r"It is linear in the length and *quadratic* in the width, since its state has $d \times d$ numbers. A "
        r"position takes **{position}** FLOPs in the products of a head of width 64, and {wider} times as many at "
        r"twice the width.",
        _linear,
        "sec-linear-brackets",
        "variants",
    ),
    Claim(
        "bigbird",
        "BigBird is $O(n)$.",
        "right with conditions",
        r"In pairs, with a constant. With blocks of 64, three of a window, two global and three random, a query "
        r"sees 512 keys. That saves nothing at 512 positions, a factor of {short} at 2,048 and of **{long}** at "
        r"8,192. And it is another function: what one full layer does can take $n^{1-o(1)}$ sparse ones, if the "
        r"orthogonal vectors conjecture holds {cite:p}`zaheer2020`.",
        _bigbird,
        "sec-sparse-bigbird",
        "variants",
    ),
    Claim(
        "reformer",
        r"Reformer is $O(n \log n)$.",
        "right with conditions",
        r"In sorting and pairs, for chunks and rounds of fixed size. Hashing into $n/c$ buckets by one rotation is "
        r"quadratic: with 1,024 buckets at 65,536 positions it takes {share} of the FLOPs in products, and "
        r"**{ratio}** times those of two rotations into 32. It is approximate, and if the orthogonal vectors "
        r"conjecture holds, no sub-quadratic program finds the heavy keys of all inputs "
        r"({prf:ref}`prop-heavy-hard`).",
        _reformer,
        "sec-hashing",
        "variants",
    ),
    Claim(
        "approximations",
        "Linformer and Performer compute attention in $O(n)$.",
        "imprecise",
        r"They compute something else in $O(n)$: attention to $r$ mixtures of the keys, an estimate from $D$ random "
        r"directions. At 65,536 positions and $r = 256$ Linformer takes **{fewer}** times fewer FLOPs in products. "
        r"With large logits no such program is accurate on all inputs, if the orthogonal vectors conjecture holds "
        r"({prf:ref}`cor-attention`).",
        _linformer,
        "sec-low-rank-hard",
        "variants",
    ),
    Claim(
        "experts",
        "A mixture of experts makes attention cheaper.",
        "wrong",
        r"It replaces the feed-forward layer, $16nd^2$ for each active expert of the usual width. The $8nd^2 + "
        r"4n^2d$ of attention stay: **{attention}** TFLOP at $n = d = 4096$, with and without. Two active experts "
        r"of 64 take {experts} times the FLOPs of the layer they replace.",
        _experts,
        "sec-mixture",
        "variants",
    ),
    Claim(
        "softmax-made-fast",
        "Linear attention is softmax attention made fast.",
        "wrong",
        r"It has another kernel. A Taylor polynomial within one percent of the exponential for all scores in $[-6, "
        r"6]$ has order **{order}**, and {features} features at width 64. And no mechanism with a state of fewer "
        r"than $n$ bits answers as softmax attention does, if logits are unbounded and the width is $\log_2 n$ or "
        r"more ({prf:ref}`thm-state`).",
        _kernel,
        "sec-taylor-order",
        "variants",
    ),
    Claim(
        "constant-cost",
        "Softmax attention to arbitrary precision, at a constant cost per token.",
        "right with conditions",
        r"Constant for a fixed width $d$ and order $p$: about $4Dd_v$ FLOPs with $D = \binom{d+p}{p}$ features. "
        r"That is $D$ = **{small}** for $d = 8$ and $p = 7$, and {large} for $d = 64$ and $p = 4$. The order has to "
        r"grow with the range of the scores, and to be exact for every context the state has to grow with it "
        r"({prf:ref}`thm-state`).",
        lambda: {"small": cost.taylor_features(8, 7), "large": cost.taylor_features(64, 4)},
        "sec-taylor-cost",
        "variants",
    ),
    Claim(
        "odd-orders",
        "Odd orders of the Taylor polynomial, 1 or 3, are fine.",
        "wrong",
        r"Odd polynomials are negative for low scores: below −{one} for order 1, **−{three}** for order 3, −{five} "
        r"for order 5. Weights turn negative, and a denominator can vanish. Even orders are positive everywhere.",
        lambda: {name: negative_below(p) for name, p in (("one", 1), ("three", 3), ("five", 5))},
        "sec-taylor-odd",
        "variants",
    ),
    Claim(
        "window",
        "A sliding window gives unlimited context.",
        "wrong",
        r"$L$ layers of causal windows of $w$ keys reach back over $L(w - 1)$ positions: with 32 layers of "
        r"4,096 keys an output knows of **{field}**, its own included, and if heads attend evenly it gets nearly "
        r"all from the middle of them. Windowed attention has a bound of its own, too: not much less than $nw$, "
        r"if the orthogonal vectors conjecture holds.",
        lambda: {"field": 32 * (4096 - 1) + 1},
        "sec-sparse-use",
        "variants",
    ),
    Claim(
        "cubic-decoder",
        "A decoder does $O(n^3d)$ work for $n$ tokens.",
        "right with conditions",
        r"If it keeps no cache: $\frac43n^3d + 4n^2d^2$. With one it does $2n^2d + 8nd^2$, and training is a single "
        r"masked pass. At $n = 1000$ and $d = 512$ the cache saves a factor of **{saving}**.",
        _cache,
        "sec-cache-or-none",
        "generation",
    ),
    Claim(
        "cache-linear",
        "The KV cache makes generation linear.",
        "imprecise",
        r"The *step*: $\Theta(td)$ for attention to $t$ positions, in place of $\Theta(t^2d)$. All $n$ tokens "
        r"together take $2n^2d + 8nd^2$. At $t = 100{,}000$ and $d = 4096$ attention is **{share}** of a layer's "
        r"cached step.",
        _cached_step,
        "sec-generation-linear",
        "generation",
    ),
    Claim(
        "generation-linear",
        "Generation is $O(n)$ with a cache.",
        "wrong",
        r"A token takes time linear in what is before it, so that $n$ tokens take quadratic time. At $d = 4096$ it "
        r"looks linear while $n \ll 4d$; 200,000 tokens take **{twice}** times the FLOPs of 100,000.",
        _twice,
        "sec-generation-linear",
        "generation",
    ),
    Claim(
        "cache-of-a-batch",
        "LLaMA-7B, 4K context, batch 32: the cache takes about 2 GB.",
        "wrong",
        r"{one} is one sequence: 32 layers, keys and values of 32 heads of width 128, 4,096 positions, two bytes a "
        r"number. A batch of 32 takes **{batch}**.",
        lambda: {"one": _kv(4096, 32, 32), "batch": _kv(4096, 32, 32, 32)},
        "sec-real-caches",
        "generation",
    ),
    Claim(
        "latent",
        "Multi-head latent attention keeps 512 + 64 = 572 numbers for a token.",
        "wrong",
        r"The sum is **{numbers}**. They are kept once for all heads, keys and values together: {bytes} bytes in a "
        r"layer, in 16 bits. Keys of width 192 and values of width 128 for each of 128 heads would be {fewer} times "
        r"as many numbers.",
        _latent,
        "sec-production-latent",
        "generation",
    ),
    Claim(
        "reuse",
        "Decoding does 1 to 2 FLOPs per byte: with its weights, and in attention just as well.",
        "imprecise",
        r"For one sequence both are about {one} in 16 bits, and not for the same reason. The weights serve all "
        r"sequences: a batch of 32 brings them to **{many}** FLOPs per byte. A cache serves its own sequence, "
        r"unless texts begin alike: attention stays at about {core} at any batch, times the query heads that share "
        r"a key.",
        _reuse,
        "sec-seconds-decode",
        "generation",
    ),
    Claim(
        "bandwidth",
        "Attention is limited by memory bandwidth.",
        "right with conditions",
        r"Decoding is, with about one FLOP per byte where an A100 needs {ampere} and an H100 **{hopper}** in 16 "
        r"bits to be busy. A product that writes or reads scores is, with about {written} at $d_k = 64$. In tiles "
        r"of large enough blocks attention is not, nor are projections.",
        _bandwidth,
        "sec-seconds-where",
        "generation",
    ),
    Claim(
        "gpt-3",
        "GPT-3 reads 4,096 tokens.",
        "wrong",
        r"It reads 2,048 {cite:p}`brown2020`. In 16 bits a model of its shape keeps **{context}** for so many, and "
        r"would keep {double} for 4,096.",
        lambda: {"context": _kv(2048, 96, 96), "double": _kv(4096, 96, 96)},
        "sec-real-caches",
        "generation",
    ),
    Claim(
        "undisclosed",
        "The model's window of 100K tokens is achieved by advanced attention optimisations.",
        "not checkable",
        r"Of a model whose architecture is not published the right sentence is: the method is undisclosed. The "
        r"length proves none. Exact attention in tiles keeps **{tiles}** of intermediate results for a head at "
        r"100,000 positions, where scores in float32 take {written}.",
        _undisclosed,
        "sec-memory-square",
        "generation",
    ),
    Claim(
        "sequential",
        "Self-attention has $O(1)$ sequential operations.",
        "right with conditions",
        r"If a product of matrices is one operation, or a gate may have any number of inputs {cite:p}`merrill2023`. "
        r"With operations on two numbers a sum over 4,096 keys waits **{levels}** times, and attention takes "
        r"$\Theta(\log n + \log d)$. A recurrent layer takes $\Theta(n \log d)$.",
        lambda: {"levels": math.ceil(math.log2(4096))},
        "sec-recurrence-depth",
        "recurrence",
    ),
    Claim(
        "convolutions",
        r"Convolutions connect all positions in $\log_k n$ layers.",
        "right with conditions",
        r"Causal ones with dilations $1, k, k^2, \dots$ do. Contiguous ones need $\lceil (n-1)/(k-1) \rceil$ "
        r"layers, and twice as many if they are centred. For $n = 1000$ and $k = 3$ that is **{dilated}** dilated "
        r"layers, {causal} contiguous causal ones and {centred} centred ones.",
        _layers,
        "sec-recurrence-paths",
        "recurrence",
    ),
    Claim(
        "width-forgotten",
        "An RNN takes $nd$ operations, attention $n^2$.",
        "imprecise",
        r"The ratio $n/d$ is right; both numbers lack a factor $d$. At $n = d = 512$ a product of the core and one "
        r"of the recurrent layer take **{both}** multiply-adds each, and not {printed}.",
        lambda: {
            "both": cost.attention(512, 64, h=8)["scores"].matmul_flops // 2,
            "printed": 512 * 512,
        },
        "sec-recurrence-work",
        "recurrence",
    ),
    Claim(
        "cheaper-than-rnn",
        "Attention is cheaper than an RNN when $n < d$.",
        "right with conditions",
        r"The core alone, against a vanilla recurrent layer. With its projections attention never takes fewer FLOPs "
        r"than that, fewer than a GRU for $n < d$ and than an LSTM for $n < 2d$: at $d = 512$ up to **{gru}** and "
        r"{lstm} positions.",
        _cheaper,
        "sec-recurrence-work",
        "recurrence",
    ),
    Claim(
        "bounded-logits",
        r"Dividing by $\sqrt{d_k}$ keeps the logits bounded.",
        "imprecise",
        r"It keeps the *variance* of one score at one, if entries are independent and of unit variance. The largest "
        r"of $n^2$ scores grows about as $\sqrt{4\ln n}$: at $d_k = 64$ from {small} for 128 random positions to "
        r"**{large}** for 4,096. In a trained model scores can be far larger.",
        _largest_scores,
        "sec-scale",
        "training",
    ),
    Claim(
        "focus",
        "Softmax attention can always focus on one token.",
        "right with conditions",
        r"If scores may be as large as that takes. A weight of one half on one key of $n$, with all scores in $[-b, "
        r"b]$, needs $b \ge \frac12\ln(n - 1)$: {thousand} for a thousand keys and **{million}** for a million.",
        lambda: {
            "thousand": f"{0.5 * math.log(10**3 - 1):.1f}",
            "million": f"{0.5 * math.log(10**6 - 1):.1f}",
        },
        "sec-scale",
        "training",
    ),
    Claim(
        "vanishing",
        "Attention has no vanishing gradients.",
        "imprecise",
        r"None that must decay exponentially with the distance. But attention that is even gives each position "
        r"$1/n$ of the gradient, and one that has decided passes almost none to its scores: with two keys and a gap "
        r"of 10 the derivative of the softmax has norm **{decided}**, where an even one has {even}.",
        _saturated,
        "sec-attention-dilutes",
        "training",
    ),
)
"""The claims: all that the chapter shows, in its order."""
