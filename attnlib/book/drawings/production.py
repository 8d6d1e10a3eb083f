"""Production: stacks of layers with their caches to scale, and the memory that a step of training holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from attnlib import cost
from attnlib.book.draw import WIDTH, Picture, box, label, line, picture
from attnlib.book.plot import format_bytes

ROW = 4
"""Units from one layer to the next."""
KINDS = {"full": "ochre", "window": "teal", "latent": "violet", "state": "right"}
"""Tones of what lets positions meet, by the first word of its title."""
LEAST = 0.8  # what is smaller could not be seen


def kind(layer: cost.Layer) -> str:
    """Return what a layer's mixer is called in the drawing.

    Raises:
        ValueError: a mixer that the drawing has no tone for.
    """
    name = layer.mixer.title.split(",")[0].split()[0]
    if name not in KINDS:
        raise ValueError(f"stacks: models: expected layers of {', '.join(KINDS)}, got {layer.mixer.title!r}")
    return name


def stacks(models: Mapping[str, cost.Model], t: int) -> Picture:
    """Draw models as stacks of layers, each layer as long as the cache of one sequence in it, all on one scale.

    Args:
        models: up to four, by the name that is written above them.
        t: positions that the cache holds, in 16 bits.

    Returns:
        The chapter "Whole models in production" begins with it.

    Raises:
        ValueError: none or more than four models, one that keeps no cache, a mixer without a tone, t below 1.

    Example:
        >>> stacks({"Llama 3 8B": cost.MODELS["llama-3-8b"]}, 8192)
        Picture('Stacks of layers with their caches')
    """
    if not 1 <= len(models) <= 4:
        raise ValueError(f"stacks: models: expected one to four, got {len(models)}")
    kept = {
        name: [cost.model_cache(replace(model, layers=(layer,)), t).needed for layer in model.layers]
        for name, model in models.items()
    }
    longest = max(size for sizes in kept.values() for size in sizes)
    column, top = WIDTH / len(models), 44
    ground = top + ROW * max(map(len, kept.values()))
    marks, said = [], []
    for i, (name, sizes) in enumerate(kept.items()):
        left, model = 4 + i * column, models[name]
        names = [kind(layer) for layer in model.layers]
        marks += [
            label(left, 11, name, anchor="start", size=12, bold=True),
            label(left, 27, f"{len(sizes)} layers", anchor="start", size=11, tone="muted"),
            line([(left, ground + 2), (left + column - 10, ground + 2)], tone="rule"),
            label(left, ground + 15, format_bytes(sum(sizes)), anchor="start", bold=True),
        ]
        for j, (what, size) in enumerate(zip(names, sizes, strict=True)):
            y = ground - ROW * (j + 0.5)
            wide = max(LEAST, (column - 14) * size / longest)
            marks.append(line([(left, y), (left + wide, y)], tone=KINDS[what], width=ROW - 1))
        layers = " and ".join(
            f"{names.count(what)} {what} layers of {format_bytes(sizes[names.index(what)])} each"
            for what in KINDS
            if what in names
        )
        said.append(f"{name}: {layers}, together {format_bytes(sum(sizes))}.")
    used = [what for what in KINDS if any(what == kind(layer) for m in models.values() for layer in m.layers)]
    for i, what in enumerate(used):
        x = 4 + i * WIDTH / 4
        marks.append(line([(x, ground + 40), (x + 16, ground + 40)], tone=KINDS[what], width=6))
        marks.append(label(x + 22, ground + 40, what, anchor="start", size=12))
    return picture(
        ground + 52,
        *marks,
        title="Stacks of layers with their caches",
        description=f"What {t:,} positions of one sequence leave in each layer, as a bar, on one scale. "
        + " ".join(said),
    )


def memory(parts: Mapping[str, Mapping[str, int]]) -> Picture:
    """Draw bars of bytes, each made of parts, on one scale.

    Args:
        parts: by the name of a bar, its parts by name and their bytes; the same names in each.

    Returns:
        The chapter "Training a model" begins with it.

    Raises:
        ValueError: no bars, parts of other names, a size below 0.

    Example:
        >>> memory({"plain": {"weights": 2, "gradients": 2}})
        Picture('What a step of training holds')
    """
    names = list(next(iter(parts.values()), {}))
    if not names or len(names) > 4:
        raise ValueError(f"memory: parts: expected bars of one to four parts, got {parts!r}")
    for bar, sizes in parts.items():
        if list(sizes) != names or min(sizes.values()) < 0:
            raise ValueError(f"memory: parts: expected sizes of {', '.join(names)} from 0, got {bar!r}: {sizes!r}")
    longest = max(sum(sizes.values()) for sizes in parts.values())
    tones = dict(zip(names, ("muted", "violet", "ochre", "teal"), strict=False))
    marks, said = [], []
    for i, (bar, sizes) in enumerate(parts.items()):
        y, x = 8 + 54 * i, 4.0
        marks.append(label(4, y + 6, bar, anchor="start", size=12, bold=True))
        marks.append(label(WIDTH - 4, y + 6, format_bytes(sum(sizes.values())), anchor="end", size=12, bold=True))
        for name, size in sizes.items():
            wide = (WIDTH - 8) * size / longest
            marks.append(box(x, y + 18, wide, 20, tone=tones[name]) if size else "")
            x += wide
        said.append(f"{bar}: " + ", ".join(f"{name} {format_bytes(size)}" for name, size in sizes.items()) + ".")
    bottom = 8 + 54 * len(parts)
    for i, name in enumerate(names):
        x = 4 + i * WIDTH / 4
        marks.append(box(x, bottom + 2, 14, 12, tone=tones[name]))
        marks.append(label(x + 20, bottom + 8, name, anchor="start", size=12))
    return picture(
        bottom + 22,
        *marks,
        title="What a step of training holds",
        description="Bars of bytes on one scale. " + " ".join(said),
    )
