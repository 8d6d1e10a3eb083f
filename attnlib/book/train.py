"""The small trainer of the book's experiments: seeded, compiled once, the loss of every step kept."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from attnlib import _arrays, _check

BAR = 24
"""Characters of the progress bar, which is also how often the loss is looked at."""


def fit(
    loss: Callable[[Any, Any], Array],
    params: Any,
    batch: Callable[[Array], Any],
    *,
    steps: int,
    key: Array,
    learning_rate: float | None = None,
    optimizer: optax.GradientTransformation | None = None,
    progress: bool = True,
) -> tuple[Any, np.ndarray]:
    """Minimise the mean of `loss(params, batch(key))` over fresh batches, by stochastic gradient descent.

    params ← params + update(∇ loss(params, batch(key_t))),   key_t = fold_in(key, t),   t = 0, …, steps − 1

    Data are drawn inside the compiled loop, so a run is a function of its arguments: the same key gives the same
    parameters on the same machine, however the progress is reported.

    Args:
        loss: function of (params, batch) that returns one floating-point number.
        params: pytree of floating-point arrays, the start.
        batch: function of a key of `jax.random` that returns a batch, any pytree of arrays.
        steps: how many.
        key: from `jax.random.key`.
        learning_rate: of the default optimizer; 3·10⁻³ by default. It rises for a twentieth of the steps, then
            falls as a cosine to a tenth.
        optimizer: any of optax; by default AdamW with gradients clipped at norm 1.
        progress: show a line that is rewritten while the training runs: in a notebook or a terminal, nowhere else.

    Returns:
        The parameters after the last step, and the loss before each step, a NumPy array (steps,), float32.

    Raises:
        ValueError: steps that are not a positive integer, a key that is none, a rate that is not positive, a rate
            together with an optimizer, a loss that does not return one number.
        FloatingPointError: the loss is no longer finite; the message names the step.

    Cost: steps × (loss, its gradient, one update); one compilation.

    Source: Loshchilov and Hutter (2019) for AdamW; Pascanu, Mikolov and Bengio (2013) for clipping.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> loss = lambda w, x: ((w - x) ** 2).mean()  # the mean of x is best: 2
        >>> w, losses = fit(loss, jnp.zeros(()), lambda key: 2 + jax.random.normal(key, (64,)), steps=200,
        ...                 key=jax.random.key(0), learning_rate=0.1, progress=False)
        >>> print(f"{w:.1f}", losses.shape)
        2.0 (200,)
    """
    name = "train.fit"
    _check.positive_int(name, steps=steps)
    _arrays.prng_key(name, key)
    _check.flags(name, progress=progress)
    for argument, function in {"loss": loss, "batch": batch}.items():
        if not callable(function):
            raise ValueError(f"{name}: {argument}: expected a function, got {type(function).__name__}")
    if learning_rate is not None and optimizer is not None:
        raise ValueError(f"{name}: learning_rate: expected None with an optimizer, got {learning_rate!r}")
    if optimizer is None:
        optimizer = _adam(name, 3e-3 if learning_rate is None else learning_rate, steps)
    elif not isinstance(optimizer, optax.GradientTransformation):
        raise ValueError(f"{name}: optimizer: expected one of optax, got {type(optimizer).__name__}")
    leaves = {f"params{jax.tree_util.keystr(path)}": x for path, x in jax.tree_util.tree_leaves_with_path(params)}
    if not leaves:
        raise ValueError(f"{name}: params: expected arrays to train, got {params!r}")
    _arrays.floating(name, **leaves)
    value = jax.eval_shape(lambda params, key: loss(params, batch(key)), params, key)
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"{name}: loss: expected a function that returns one floating-point number, got {value}")

    # Its own copy: a step overwrites what it is given.
    params = jax.tree.map(jnp.array, params)
    state = (params, optimizer.init(params), jnp.zeros(steps, jnp.float32))
    show, began, first = _display() if progress else None, time.perf_counter(), 0
    for last in sorted({math.ceil(steps * part / BAR) for part in range(1, BAR + 1)}):
        state = _run(loss, batch, optimizer, state, key, jnp.int32(first), jnp.int32(last))
        losses = np.asarray(state[2])
        bad = np.flatnonzero(~np.isfinite(losses[first:last]))
        if len(bad):
            raise FloatingPointError(
                f"{name}: loss: expected finite numbers, got {losses[first + bad[0]]} at step {first + bad[0]}"
            )
        first = last
        if show:
            done = BAR * last // steps
            show(
                f"{'█' * done}{'░' * (BAR - done)} {last} of {steps} steps, {time.perf_counter() - began:.1f} s, "
                f"loss {losses[last - 1]:.3g}" + ("\n" if last == steps else "")
            )
    if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(state[0])):
        raise FloatingPointError(f"{name}: params: expected finite numbers, got others after step {steps - 1}")
    return state[0], losses


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _run(loss: Any, batch: Any, optimizer: Any, state: Any, key: Array, first: Array, last: Array) -> Any:
    """Take the steps from `first` to before `last`; both are traced, so that one program serves every part."""

    def step(t: Array, state: Any) -> Any:
        params, memory, losses = state
        value, gradient = jax.value_and_grad(loss)(params, batch(jax.random.fold_in(key, t)))
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes, whatever the caller has set
            update, memory = optimizer.update(gradient, memory, params)
            params = optax.apply_updates(params, update)
        return params, memory, losses.at[t].set(value.astype(losses.dtype))

    return jax.lax.fori_loop(first, last, step, state)


def _adam(name: str, rate: float, steps: int) -> optax.GradientTransformation:
    if not (_check.number(rate) and rate > 0):
        raise ValueError(f"{name}: learning_rate: expected a positive number, got {rate!r}")
    warm = max(1, steps // 20)
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, warm, max(steps, warm + 1), rate / 10)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=0.01))


def _display() -> Callable[[str], None] | None:
    """Return what rewrites one line: a notebook's output, a terminal's last line, or nothing anywhere else."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is not None:
        from IPython.display import display

        handle = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        return lambda line: handle.update({"text/plain": line.strip()}, raw=True)
    if sys.stdout.isatty():
        return lambda line: print(f"\r{line}\033[K", end="", flush=True)
    return None
