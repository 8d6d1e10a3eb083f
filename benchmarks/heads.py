"""Train small models on one task and keep their heads: `make bench-heads`, or benchmarks/heads.py --help.

The task: a text of n tokens is a circle on which p different tokens follow one another, again and again; at every
position, name the token that comes next. A position knows its own token and the one before it. So one layer of
attention is enough: look for a position whose predecessor is my token, and copy what stands there.

The same model is trained with exact attention, with Linformer and with Nyström attention, from the same random start
and on the same texts. What is kept: queries, keys and values of the exact one's heads on texts with few and many
different tokens, and how often each model is right on new texts.
"""

import io
import json
import math
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from run import ROOT, Parser, versions, write

from attnlib import attention, clock, init_linformer, linformer_attention, nystrom_attention
from attnlib.book import heads as kept
from attnlib.book.train import fit

FILE = ROOT / "attnlib" / "book" / "data" / kept.FILE
N = V = 128  # positions of a text, and tokens that there are
WIDTH, HEADS = 64, 2
PERIODS = (16, 64, 128)  # different tokens in a text
RATE = 5e-3

Params = dict[str, jax.Array]
Attend = Callable[..., jax.Array]


def texts(key: jax.Array, size: int = 16, low: int = PERIODS[0], high: int = PERIODS[-1]) -> jax.Array:
    """Draw texts (size, n) with `low` to `high` different tokens each."""

    def one(key: jax.Array) -> jax.Array:
        order, length = jax.random.split(key)
        period = jax.random.randint(length, (), low, high + 1)
        return jax.random.permutation(order, V)[jnp.arange(N) % period]

    return jax.vmap(one)(jax.random.split(key, size))


def init(key: jax.Array) -> Params:
    """Draw the parameters that all models share."""
    embed, weights, last = jax.random.split(key, 3)
    return {
        "embed": jax.random.normal(embed, (2, V, WIDTH)),
        "weights": jax.random.normal(weights, (4, WIDTH, WIDTH)) / math.sqrt(WIDTH),
        "unembed": jax.random.normal(last, (WIDTH, V)) / math.sqrt(WIDTH),
    }


def normalised(x: jax.Array) -> jax.Array:
    """Divide each row by the root of its mean square."""
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def projected(params: Params, tokens: jax.Array) -> tuple[jax.Array, ...]:
    """Return the input (..., n, width), and queries, keys and values of all heads (..., h, n, width / h)."""
    x = params["embed"][0][tokens] + params["embed"][1][jnp.roll(tokens, 1, axis=-1)]
    y = normalised(x)
    split = ((y @ w).reshape(*x.shape[:-1], HEADS, WIDTH // HEADS) for w in params["weights"][:3])
    return x, *(jnp.moveaxis(z, -2, -3) for z in split)


def predicted(attend: Attend, params: Params, tokens: jax.Array) -> jax.Array:
    """Return a score for each next token, (..., n, V)."""
    x, q, k, v = projected(params, tokens)
    o = jnp.moveaxis(attend(params, q, k, v), -3, -2).reshape(x.shape)
    return normalised(x + o @ params["weights"][3]) @ params["unembed"]


def loss(attend: Attend, params: Params, tokens: jax.Array) -> jax.Array:
    """Mean surprise about the next token, in nats."""
    log_p = jax.nn.log_softmax(predicted(attend, params, tokens))
    right = jnp.take_along_axis(log_p, jnp.roll(tokens, -1, axis=-1)[..., None], axis=-1)
    return -right.mean()


@partial(jax.jit, static_argnums=0)
def share_right(attend: Attend, params: Params, tokens: jax.Array) -> jax.Array:
    """Return how often the best score is that of the next token."""
    return (predicted(attend, params, tokens).argmax(-1) == jnp.roll(tokens, -1, axis=-1)).mean()


def exact(params: Params, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attend exactly."""
    return attention(q, k, v)


def linformer(params: Params, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attend to mixtures that are learned with the rest."""
    return linformer_attention(q, k, v, params["e"], params["f"])


def nystrom(params: Params, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attend through landmarks, with six turns of the iterative pseudo-inverse."""
    return nystrom_attention(q, k, v, landmarks=32, pinv="iterative")


def models(key: jax.Array) -> dict[str, tuple[Attend, Params]]:
    """Return, by name, what each model attends with, and the parameters that the others do not have."""
    found: dict[str, tuple[Attend, Params]] = {"exact": (exact, {})}
    for r in (32, 64):
        found[f"Linformer, r = {r}"] = (linformer, init_linformer(key, N, r, h=HEADS))
    found["Nyström, r = 32"] = (nystrom, {})
    return found


def run(options: Namespace) -> dict[str, Any]:
    """Train every model; return the arrays of the file."""
    start, order, more, held = jax.random.split(jax.random.key(options.seed), 4)
    chosen = {name: model for name, model in models(more).items() if name in options.models}
    new = [texts(jax.random.fold_in(held, p), size=64, low=p, high=p) for p in PERIODS]
    right = np.zeros((len(chosen), len(PERIODS)))
    arrays: dict[str, Any] = {}
    for row, (name, (attend, extra)) in enumerate(chosen.items()):
        params, losses = fit(
            partial(loss, attend),
            init(start) | extra,
            texts,
            steps=options.steps,
            key=order,
            learning_rate=RATE,
        )
        right[row] = [float(share_right(attend, params, t)) for t in new]
        print(f"{name}: loss {losses[-20:].mean():.3f}, right {right[row]}", flush=True)
        if name == "exact":
            tokens = jnp.stack([t[0] for t in new])
            _, q, k, v = projected(params, tokens)
            arrays |= {name: np.asarray(x, np.float16) for name, x in zip("qkv", (q, k, v), strict=True)}
            arrays["tokens"] = np.asarray(tokens, np.int16)
    about: Mapping[str, Any] = {
        "seed": options.seed,
        "steps": options.steps,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": clock.machine(),
        "versions": versions(("jax", "optax", "numpy")),
        "models": list(chosen),
    }
    return arrays | {"periods": np.array(PERIODS), "right": right.astype(np.float32), "about": json.dumps(about)}


def packed(arrays: Mapping[str, Any]) -> bytes:
    """Return the arrays as the bytes of a compressed file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def arguments(argv: list[str] | None) -> Namespace:
    """Read the command line."""
    names = list(models(jax.random.key(0)))
    parser = Parser(prog="benchmarks/heads.py", description="Train small models and keep their heads.")
    parser.add_argument("--quick", action="store_true", help="two steps, written to _build/benchmarks/")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--models", nargs="+", choices=names, default=names, help="the exact one has to be among them"
    )
    parser.add_argument("--out", type=Path, help="result file")
    options = parser.parse_args(argv)
    if options.quick:
        options.steps = 2
    if options.steps < 1:
        parser.error(f"argument --steps: expected a positive integer, got {options.steps}")
    if "exact" not in options.models:
        parser.error("argument --models: expected the exact one among them, whose heads are kept")
    options.out = options.out or (ROOT / "_build" / "benchmarks" / kept.FILE if options.quick else FILE)
    return options


def main(argv: list[str] | None = None) -> None:
    """Train, and write the file."""
    options = arguments(argv)
    write(options.out, packed(run(options)))
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
