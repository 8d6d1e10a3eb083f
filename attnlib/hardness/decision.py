"""Satisfiability by one call of self-attention: formula → vectors → gadget → output → verdict and witness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from attnlib import _arrays, _check
from attnlib.hardness.call import Attention, attend
from attnlib.hardness.cnf import CNF, _formula, falsified
from attnlib.hardness.gadget import (
    Gadget,
    causal_gadget,
    dummy_gadget,
    l2_gadget,
    tied_gadget,
    window_gadget,
)
from attnlib.hardness.temperature import Temperature, rounding_slack, temperature
from attnlib.hardness.vectors import A, B, Vectors, join_halves, split_and_list
from attnlib.kernels.softmax import attention as softmax_attention

VARIANTS = ("dummy", "causal", "tied", "window", "l2")


@dataclass(frozen=True, eq=False)
class Decision:
    """What one call of attention says about a formula.

    Attributes:
        satisfiable: whether some output exceeds the threshold. The attention's word: right whenever its error is
            as small as promised.
        assignment: bool (variables,), checked to satisfy the formula; None if the verdict is no, or if the row with
            the largest output has no witness, which happens only when the attention errs by more than promised.
        outputs: float64 (n,), the output of each vector of the first half of the variables, filled up to n.
        temperature: c, τ and θ, as the gadget uses them.
        tokens: length of the sequence.
        d_k: width of queries and keys.

    Example:
        >>> decide(CNF(2, ((1, 2), (-1,)))).assignment.tolist()
        [False, True]
    """

    satisfiable: bool
    assignment: Bool[np.ndarray, "v"] | None
    outputs: Float[np.ndarray, "n"]
    temperature: Temperature
    tokens: int
    d_k: int


def decide(
    cnf: CNF,
    *,
    attention: Attention = softmax_attention,
    dtype: Any = jnp.float32,
    variant: str = "dummy",
    additive: float = 0.0,
    multiplicative: float = 0.0,
    slack: float | None = None,
    shift: float = 0.0,
    group: int | None = None,
) -> Decision:
    """Decide by one call of self-attention whether a formula can be satisfied, and by which assignment.

    An assignment of half the variables becomes a token. These are 2^⌈variables/2⌉ tokens, so an attention that is
    quadratic in the tokens takes about 2^variables steps.

    Args:
        cnf: the formula, at most 48 variables.
        attention: any function with the signature of `attnlib.attention`; see `attend`.
        dtype: floating dtype of q, k and v.
        variant: "dummy", "causal", "tied", "window" or "l2": which of the gadgets.
        additive: the additive error promised of the attention, below ½; rounding is allowed for besides.
        multiplicative: the multiplicative error promised, below 1.
        slack: room for rounding in the logits; by default what `rounding_slack` asks for, 1 at least.
        shift: added to every logit; for variants "dummy", "causal" and "window".
        group: vectors in a block of the variant "window"; by default the power of 2 next above √n.

    Returns:
        A `Decision`.

    Raises:
        ValueError: cnf is not a `CNF` or too large; an unknown variant; an argument that the variant does not have;
            an error, slack or dtype that `temperature` or `rounding_slack` refuses.

    Cost: with n = 2^⌈variables/2⌉ and m clauses about 2n²m FLOPs for the attention, O(n · literals) for the rest;
        `memory_needed` says how many bytes.

    Source: split and list: Williams (2005); attention for a pair problem: Duman Keles, Wijewardena and Hegde (2023);
        the gadget: theorem A of the chapter "The lower bound".

    Example:
        >>> from attnlib.kernels.flash import flash_attention
        >>> from attnlib.hardness import pigeonhole
        >>> decide(pigeonhole(2), attention=flash_attention, dtype="bfloat16").satisfiable
        False
    """
    name = "decide"
    _formula(name, cnf)
    if variant not in VARIANTS:
        raise ValueError(f"{name}: variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    _arrays.scalar(name, "shift", shift)
    if shift and variant in ("tied", "l2"):
        raise ValueError(f"{name}: shift: expected 0 for variant {variant!r}, got {shift}")
    if group is not None and variant != "window":
        raise ValueError(f"{name}: group: expected None for variant {variant!r}, got {group}")
    _check.optional_int(name, group=group)
    a, b = split_and_list(cnf)
    n = len(b)
    group = group or 1 << math.ceil(math.log2(n) / 2)
    keys = 2 * group if variant == "window" else n
    enough = rounding_slack(keys, dtype, additive=additive, multiplicative=multiplicative)
    slack = max(1.0, enough) if slack is None else slack
    t = temperature(keys, additive=additive, multiplicative=multiplicative, slack=slack)
    gadget = _build(variant, a, b, t, shift, group)
    outputs = row_outputs(gadget, attend(gadget, attention, dtype))
    satisfiable = bool((outputs > t.theta).any())
    found = find_witness(cnf, a, b, outputs) if satisfiable else None
    return Decision(satisfiable, found, outputs, gadget.temperature, gadget.x.shape[-2], gadget.w_q.shape[-1])


def row_outputs(gadget: Gadget, y: Float[np.ndarray, "*b tokens"]) -> Float[np.ndarray, "*b n"]:
    """Return one output for each vector of a: the largest, where several tokens carry it.

    Args:
        gadget: what was run.
        y: what `attend` returned.

    Returns:
        float64 (..., n). NaN only where every token of a vector gave NaN.

    Raises:
        ValueError: not a `Gadget`; y is not an array with one number for each token.

    Cost: O(tokens).

    Example:
        >>> from attnlib.hardness import temperature
        >>> g = dummy_gadget(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8), temperature(2))
        >>> row_outputs(g, np.array([0.5, 0.75, 0.25])).tolist()
        [0.75, 0.25]
    """
    if not isinstance(gadget, Gadget):
        raise ValueError(f"row_outputs: gadget: expected a Gadget, got {type(gadget).__name__}")
    if not isinstance(y, np.ndarray) or y.shape[-1:] != gadget.row.shape:
        got = y.shape if isinstance(y, np.ndarray) else type(y).__name__
        raise ValueError(f"row_outputs: y: expected a NumPy array (..., {len(gadget.row)}), got {got}")
    outputs = np.full((gadget.row.max() + 1, *y.shape[:-1]), np.nan)
    decides = gadget.row >= 0
    np.fmax.at(outputs, gadget.row[decides], np.moveaxis(y, -1, 0)[decides])
    return np.moveaxis(outputs, 0, -1)


def find_witness(cnf: CNF, a: A, b: B, outputs: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "v"] | None:
    """Read an assignment off the outputs: the row with the largest one, and the vector nearest to orthogonal to it.

    Args:
        cnf: the formula.
        a: first list of `split_and_list(cnf)`.
        b: second list.
        outputs: one for each vector of a, and for those it was filled up with, as `row_outputs` returns them.

    Returns:
        Bool (variables,), checked to satisfy the formula, or None if it does not.

    Raises:
        ValueError: cnf is not a `CNF`; lists or outputs that do not belong to it.

    Cost: O(nm).

    Example:
        >>> f = CNF(2, ((1, 2), (-1,)))
        >>> find_witness(f, *split_and_list(f), np.array([0.7, 0.2])).tolist()
        [False, True]
    """
    _formula("find_witness", cnf)
    h = cnf.variables // 2
    for argument, x, rows in (("a", a, 1 << h), ("b", b, 1 << cnf.variables - h)):
        if not isinstance(x, np.ndarray) or x.shape != (rows, len(cnf.clauses)):
            got = x.shape if isinstance(x, np.ndarray) else type(x).__name__
            raise ValueError(f"find_witness: {argument}: expected {(rows, len(cnf.clauses))}, got {got}")
    if not isinstance(outputs, np.ndarray) or outputs.ndim != 1 or len(outputs) < len(a):
        got = outputs.shape if isinstance(outputs, np.ndarray) else type(outputs).__name__
        raise ValueError(f"find_witness: outputs: expected a NumPy array of {len(a)} numbers or more, got {got}")
    if np.isnan(outputs).all():
        return None
    i = int(np.nanargmax(outputs))
    # A row that was filled in says yes only if b has the vector 0: then every assignment of the first half does.
    i = i if i < len(a) else 0
    j = int((a[i] & b).sum(axis=1, dtype=np.int64).argmin())
    found = join_halves(cnf.variables, i, j)
    return found if falsified(cnf, found) == 0 else None


def memory_needed(variables: int, clauses: int, *, attention: str = "flash_attention", dtype: Any = "float32") -> int:
    """Say how many bytes `decide` will need for a formula of that size, without building anything.

    The vectors and tokens are bytes, n·(4m + 2) of them; queries, keys and their copies in float32 are n(m + 1)
    numbers each; `attention` holds two arrays of n² numbers besides, `flash_attention` a list of n²/512² blocks.

    Args:
        variables: of the formula; any number, so that one can say what is out of reach.
        clauses: of the formula.
        attention: "attention" or "flash_attention".
        dtype: floating dtype of q, k and v.

    Returns:
        Bytes, an upper estimate; Python and JAX themselves come on top.

    Raises:
        ValueError: sizes that are no integers of at least 0, another attention, a dtype that is not floating.

    Cost: none.

    Example:
        >>> memory_needed(26, 111) < 2**30 < memory_needed(40, 170)
        True
    """
    name = "memory_needed"
    _check.at_least(name, 0, variables=variables, clauses=clauses)
    if attention not in ("attention", "flash_attention"):
        raise ValueError(f"{name}: attention: expected 'attention' or 'flash_attention', got {attention!r}")
    _arrays.floating_dtype(name, dtype)
    narrow = int(jnp.dtype(dtype).itemsize)
    wide = max(4, narrow)
    n, m = 1 << (variables + 1) // 2, max(1, clauses)
    tokens = n + 1
    # a, b and x, with x once more on the device and once in the dtype; b & a[i] when the witness is read off.
    ours = n * 2 * m + 2 * tokens * (2 * m + 2) + tokens * (2 * m + 2) * narrow + n * m
    weights = 2 * (2 * m + 2) * (m + 1) * (8 + narrow)
    rows = 2 * tokens * (m + 2) * (narrow + wide)
    pairs = 2 * wide * tokens**2 if attention == "attention" else 8 * (tokens // 512 + 1) ** 2
    return ours + weights + rows + pairs


def _build(variant: str, a: Vectors, b: Vectors, t: Temperature, shift: float, group: int) -> Gadget:
    if variant == "dummy":
        return dummy_gadget(a, b, t, shift=shift)
    if variant == "causal":
        return causal_gadget(a, b, t, shift=shift)
    if variant == "window":
        return window_gadget(a, b, t, group=group, shift=shift)
    return tied_gadget(a, b, t) if variant == "tied" else l2_gadget(a, b, t)
