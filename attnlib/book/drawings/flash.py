"""FlashAttention: tiles of the square, and the running numbers of the queries at hand, block by block."""

from __future__ import annotations

import html
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from attnlib.book.draw import Picture, Real, arrow, box, label, line, picture

_instances = itertools.count(1)
MOST = 3, 4  # queries and keys of a block that has room


@dataclass(frozen=True)
class Block:
    """What one block leaves in the fast memory: its weights, and three numbers for each of its queries.

    `weights` are e^(s − c) with the new c, a row for each query; `shrink` is the factor of the old sums.
    """

    queries: range
    keys: range
    weights: Sequence[Sequence[Real]]
    shrink: Sequence[Real]
    c: Sequence[Real]
    z: Sequence[Real]
    o: Sequence[Real]


@dataclass(frozen=True)
class Steps:
    """The pictures that `steps` returns; a notebook shows one, and two buttons that step through them."""

    pictures: tuple[Picture, ...]
    sentences: tuple[str, ...]
    number: int = field(default_factory=lambda: next(_instances), compare=False)

    def __repr__(self) -> str:
        return f"Steps({len(self.pictures)} blocks)"

    def _repr_html_(self) -> str:
        # Written for a page without the script: the last picture, and what is said of each. The script changes that.
        last = len(self.pictures) - 1
        shown = "".join(
            f'<div class="picture step"{"" if i == last else " hidden"}>{p.svg}</div>\n'
            for i, p in enumerate(self.pictures)
        )
        said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.sentences)
        root = f"flash-steps-{self.number}"
        return f"""<div class="flash-steps" id="{root}" role="group" aria-label="Attention, block by block">
<style>{_static("flash_steps.css")}</style>
{shown}<p class="said" aria-live="polite" hidden></p>
<p class="bar" hidden><button type="button">previous block</button> <button type="button">next block</button></p>
<ol class="all">{said}</ol>
<script>({_static("flash_steps.js")})(document.getElementById({json.dumps(root)}));</script>
</div>"""


def steps(blocks: Sequence[Block]) -> Steps:
    """Draw a square of scores in tiles, one picture for each block, and what the fast memory holds after it.

    Args:
        blocks: in the order of the loop, queries outside; at most 3 queries and 4 keys in one, values of width 1.

    Returns:
        The chapter "FlashAttention" begins with it: buttons and arrow keys step through the blocks. Without a
        script it shows the last one, and the numbers of all.

    Raises:
        ValueError: blocks that do not fill a square in this order, that are too large, or whose numbers are not one
            for each query.

    Example:
        >>> one = Block(range(0, 1), range(0, 2), [[1, 0.5]], [0], [0.0], [1.5], [3.0])
        >>> steps([one])
        Steps(1 blocks)
    """
    _check(blocks)
    rows, columns = blocks[-1].queries.stop, blocks[-1].keys.stop
    unit = 112 / max(rows, columns)  # of a score
    pictures, sentences, moved = [], [], 0
    for number, now in enumerate(blocks, 1):
        first, last = now.keys.start == 0, now.keys.stop == columns
        moved += 2 * len(now.keys) + len(now.queries) * (first + last)
        sentences.append(_sentence(now, first, last))
        bottom = 204 + 40 * max(0, len(now.queries) - 2)
        marks = [
            *_slow(blocks, number, unit, bottom),
            *_fast(now, last, bottom),
            label(2, bottom + 15, f"block {number} of {len(blocks)}", anchor="start", size=12, bold=True),
            label(398, bottom + 15, f"{moved} numbers moved so far", anchor="end", size=12, tone="muted"),
        ]
        at = 62 + unit * (now.queries.start + now.queries.stop) / 2
        marks.append(arrow((128, 49), (201, 49), tone="violet"))
        if first:
            marks.append(arrow((150, at - 6), (201, at - 6), tone="violet"))
        if last:
            marks.append(arrow((201, at + 6), (175, at + 6), tone="teal"))
        described = (
            f"Left, the slow memory with q, k, v, o and the square of {rows} × {columns} scores in tiles, none of "
            f"which is stored; right, the fast memory. Block {number} of {len(blocks)}: {sentences[-1]}"
        )
        title = f"Attention, block {number} of {len(blocks)}"
        pictures.append(picture(bottom + 25, *marks, title=title, description=described))
    return Steps(tuple(pictures), tuple(sentences))


def _check(blocks: Sequence[Block]) -> None:
    if not blocks:
        raise ValueError("steps: blocks: expected at least one, got none")
    rows, columns, at = blocks[-1].queries.stop, blocks[-1].keys.stop, (0, 0)
    for now in blocks:
        if (now.queries.start, now.keys.start) != at:
            raise ValueError(
                f"steps: blocks: expected one that begins at query {at[0]} and key {at[1]}, got one at "
                f"{now.queries.start} and {now.keys.start}"
            )
        size = len(now.queries), len(now.keys)
        if not (1 <= size[0] <= MOST[0] and 1 <= size[1] <= MOST[1]):
            raise ValueError(f"steps: blocks: expected 1 to {MOST[0]} queries and 1 to {MOST[1]} keys, got {size}")
        lengths = [len(part) for part in (now.weights, now.shrink, now.c, now.z, now.o)]
        if {*lengths} != {size[0]} or {len(row) for row in now.weights} != {size[1]}:
            raise ValueError(f"steps: blocks: expected weights of shape {size} and {size[0]} of each number")
        done = now.keys.stop == columns
        at = (now.queries.stop, 0) if done else (now.queries.start, now.keys.stop)
    if at != (rows, 0):
        raise ValueError(f"steps: blocks: expected them to end with a whole row, got {at[1]} of {columns} keys")


def _slow(blocks: Sequence[Block], number: int, unit: Real, bottom: Real) -> list[str]:
    """The slow memory: inputs, the square, and the rows of the output that are done."""
    left, top = 12, 62
    now, side = blocks[number - 1], blocks[-1]
    wide, tall = unit * side.keys.stop, unit * side.queries.stop
    marks = [
        label(2, 11, "slow memory", anchor="start", bold=True),
        box(2, 22, 178, bottom - 22, tone="muted", filled=False),
        label(left + wide / 2, 33, "*k*, *v*", size=12),
        box(left, 42, wide, 14, tone="violet", filled=False),
        box(left + unit * now.keys.start, 42, unit * len(now.keys), 14, tone="violet"),
    ]
    for name, at_x, tone in (("*q*", 132, "violet"), ("*o*", 157, "teal")):
        marks.append(box(at_x, top, 14, tall, tone=tone, filled=False))
        marks.append(label(at_x + 7, bottom - 14, name, size=12))
    rows, at = unit * len(now.queries), top + unit * now.queries.start
    marks.append(box(132, at, 14, rows, tone="violet"))
    through = now.queries.stop if now.keys.stop == side.keys.stop else now.queries.start
    if through:
        marks.append(box(157, top, 14, unit * through, tone="teal"))
    for i, block in enumerate(blocks, 1):
        x, y = left + unit * block.keys.start, top + unit * block.queries.start
        width, height = unit * len(block.keys), unit * len(block.queries)
        tone = "ochre" if i == number else "muted"
        marks.append(box(x, y, width, height, tone=tone, filled=i <= number, dashed=i != number))
        if i == number:
            cuts = [[(x, y + unit * k), (x + width, y + unit * k)] for k in range(1, len(block.queries))]
            cuts += [[(x + unit * k, y), (x + unit * k, y + height)] for k in range(1, len(block.keys))]
            marks += [line(cut, tone="ochre", width=0.6) for cut in cuts]
    marks.append(label(left + wide / 2, bottom - 14, "scores: never stored", size=11, tone="muted"))
    return marks


def _fast(now: Block, last: bool, bottom: Real) -> list[str]:
    """The fast memory: one block of weights, and the running numbers of its queries."""
    names = [f"*q*{_below(i + 1)}" for i in now.queries]
    cell, left, top = 162 / max(3, len(now.keys)), 231, 48.0
    marks = [
        label(202, 11, "fast memory", anchor="start", bold=True),
        box(202, 22, 196, bottom - 22, tone="muted", filled=False),
    ]
    for k, j in enumerate(now.keys):
        marks.append(label(left + cell * (k + 0.5), 36, f"*k*{_below(j + 1)}", size=11, tone="violet"))
    for r, (name, row) in enumerate(zip(names, now.weights, strict=True)):
        y = top + 20 * r
        marks.append(label(207, y + 10, name, anchor="start", size=11, tone="violet"))
        for k, weight in enumerate(row):
            marks.append(box(left + cell * k, y, cell, 20, tone="ochre"))
            marks.append(label(left + cell * (k + 0.5), y + 10, _written(weight), size=11))
    top += 20 * len(names)
    marks.append(label(left + cell * len(now.keys) / 2, top + 10, "exp(*s* − *c*)", size=11, tone="ochre"))
    top += 26
    marks.append(box(205, top, 190, 18 * len(names) + 22, tone="teal"))
    places = 243, 285, 326, 371
    for x, name in zip(places, ("old sums", "*c*", "*z*", "*o*"), strict=True):
        marks.append(label(x, top + 11, name, size=11))
    for r, (name, *numbers) in enumerate(zip(names, now.shrink, now.c, now.z, now.o, strict=True)):
        shrink, c, z, o = numbers
        y = top + 29 + 18 * r
        marks.append(label(207, y, name, anchor="start", size=11, tone="violet"))
        for x, text in zip(places, (f"× {_written(shrink)}", _power(c), _written(z), _written(o)), strict=True):
            marks.append(label(x, y, text, size=11))
    if last:
        marks.append(label(300, bottom - 14, f"*o* / *z* = {_quotients(now)}", size=12, tone="teal", bold=True))
    return marks


def _sentence(now: Block, first: bool, last: bool) -> str:
    each = []
    for i, shrink, c, z, o in zip(now.queries, now.shrink, now.c, now.z, now.o, strict=True):
        old = "" if first else f"old sums × {_written(shrink)}, "
        each.append(f"q{i + 1}: {old}c = {_power(c)}, z = {_written(z)}, o = {_written(o)}")
    many = len(now.queries) > 1
    who = f"Queries {now.queries.start + 1}–{now.queries.stop}" if many else f"Query {now.queries.start + 1}"
    done = f" The row is done, and o / z goes to the slow memory: {_quotients(now)}." if last else ""
    said = f"{who} and keys {now.keys.start + 1}–{now.keys.stop}. {'; '.join(each)}.{done}"
    return said.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def _quotients(now: Block) -> str:
    return " and ".join(_written(o / z) for z, o in zip(now.z, now.o, strict=True))


def _written(x: Real) -> str:
    """Five digits; a small part of one as it is: 1/64."""
    if 0 < x < 0.2 and abs(1 / x - round(1 / x)) < 1e-9 and round(1 / x) < 1000:
        return f"1/{round(1 / x)}"
    return f"{float(x):.5g}".replace("-", "−")


def _power(c: Real) -> str:
    """A reference as a multiple of ln 2 where it is one."""
    times = c / math.log(2)
    if abs(times - round(times)) > 1e-9:
        return _written(c)
    return {0: "0", 1: "ln 2", -1: "−ln 2"}.get(round(times), f"{round(times)} ln 2".replace("-", "−"))


def _below(number: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(number))


def _static(name: str) -> str:
    return (files("attnlib.book") / "static" / name).read_text(encoding="utf-8")
