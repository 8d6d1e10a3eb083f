"""A model on several devices: what each holds, what they send one another, and how long that takes. No JAX.

D = devices in a ring, S = bytes of an array. Three ways to share a model: heads and inner widths (tensor), positions
(sequence), sequences (data). A device sends and gets at the same time, at the rate of a `Link`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import BYTES, Number, itemsize, parts, size
from attnlib.cost.algebra import Cost
from attnlib.cost.devices import Device, Link
from attnlib.cost.formats import Format
from attnlib.cost.models import (
    LatentAttention,
    Mixer,
    Model,
    SelfAttention,
    StateAttention,
    StateSpace,
    model_share,
)
from attnlib.cost.passes import model_forward, zero_stage
from attnlib.cost.roofline import Roofline, StepTime

WAYS = ("tensor", "sequence", "data")
"""How devices share a model: those that send most, which should be near one another, first."""


@dataclass(frozen=True)
class Parallel:
    """How devices share a model: a grid of tensor · sequence · data devices.

    Attributes:
        tensor: devices that share heads, inner widths and the vocabulary.
        sequence: devices that share the positions of a sequence; each has all weights of its share.
        data: devices that share the sequences of a batch; each has all weights of its share.

    Example:
        >>> Parallel(tensor=8, data=4).devices, str(Parallel(tensor=8, data=4))
        (32, 'tensor=8,data=4')
    """

    tensor: int = 1
    sequence: int = 1
    data: int = 1

    def __post_init__(self) -> None:
        _check.positive_int("cost.Parallel", tensor=self.tensor, sequence=self.sequence, data=self.data)

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.tensor * self.sequence * self.data

    def __str__(self) -> str:
        return ",".join(f"{way}={getattr(self, way)}" for way in WAYS if getattr(self, way) > 1) or "one device"


def parallel_of(function: str, devices: int, value: Any) -> Parallel:
    """Return how so many devices share a model, given by itself or as a way for all of them, or raise.

    Example:
        >>> parallel_of("f", 8, "data"), parallel_of("f", 8, "tensor=4,data=2")
        (Parallel(tensor=1, sequence=1, data=8), Parallel(tensor=4, sequence=1, data=2))
    """
    expected = (
        f"{function}: parallel: expected one of {', '.join(WAYS)}, counts such as tensor=4,data=2, or a Parallel"
    )
    if isinstance(value, str):
        ways = dict(part.partition("=")[::2] for part in value.split(",")) if "=" in value else {value: str(devices)}
        if set(ways) - set(WAYS) or not all(count.isascii() and count.isdecimal() for count in ways.values()):
            raise ValueError(f"{expected}, got {value!r}")
        with _check.named(function, "cost.Parallel"):
            value = Parallel(**{way: int(count) for way, count in ways.items()})
    if not isinstance(value, Parallel):
        raise ValueError(f"{expected}, got {value!r}")
    if value.devices != devices:
        raise ValueError(
            f"{function}: parallel: expected as many as devices = {devices}, got {value.devices} in {value}"
        )
    return value


@dataclass(frozen=True)
class Exchange:
    """What devices send one another at one point of a computation.

    Attributes:
        name: what is done with it.
        sent: bytes that each device sends.
        messages: in how many messages, one after another.

    Example:
        >>> all_reduce(8e6, 4) * 3
        Exchange(name='all-reduce', sent=36000000, messages=18)
    """

    name: str
    sent: Number
    messages: Number = 1

    def __mul__(self, times: Number) -> Exchange:
        """Return so many of them in a row."""
        return replace(self, sent=times * self.sent, messages=times * self.messages)

    def seconds(self, link: Link) -> Number:
        """Return how long it takes over a link.

        Example:
            >>> from attnlib.cost import LINKS
            >>> round(1e3 * all_reduce(2 * 8_030_261_248, 8).seconds(LINKS["NVLink 4"]), 1)  # ms: gradients of 8B
            62.5
        """
        return self.sent / link.rate + self.messages * link.latency


def all_reduce(total: Number, devices: Number) -> Exchange:
    """Return what a ring sends so that each of D devices has the sum of all their arrays.

    2(D − 1)/D · S bytes in 2(D − 1) messages: the sums in parts, then the parts to all

    No way sends less: each device has to give away its array and to get the sum, but for its own part of both.

    Args:
        total: bytes S of the array that each device has.
        devices: how many, D.

    Returns:
        An `Exchange`.

    Raises:
        ValueError: a size or a number of devices below 1 or not whole.

    Source: Patarasuk and Yuan (2009).

    Example:
        >>> import sympy
        >>> D, S = sympy.symbols("D S", positive=True)
        >>> sympy.factor(all_reduce(S, D).sent)
        2*S*(D - 1)/D
    """
    with _check.named("cost.all_reduce", "cost.reduce_scatter"):
        return replace(reduce_scatter(total, devices) * 2, name="all-reduce")


def reduce_scatter(total: Number, devices: Number) -> Exchange:
    """Return what a ring sends so that each of D devices has its part of the sum of all their arrays.

    (D − 1)/D · S bytes in D − 1 messages

    Args:
        total: bytes S of the array that each device has.
        devices: how many, D.

    Returns:
        An `Exchange`.

    Raises:
        ValueError: as `all_reduce`.

    Source: Patarasuk and Yuan (2009).

    Example:
        >>> reduce_scatter(1000, 4)
        Exchange(name='reduce-scatter', sent=750, messages=3)
    """
    total, devices = _array("cost.reduce_scatter", total), size("cost.reduce_scatter", "devices", devices)
    return Exchange("reduce-scatter", (devices - 1) * parts(total, devices), devices - 1)


def all_gather(total: Number, devices: Number) -> Exchange:
    """Return what a ring sends so that each of D devices has all of an array of which it has a part.

    (D − 1)/D · S bytes in D − 1 messages

    Args:
        total: bytes S of the whole array.
        devices: how many, D.

    Returns:
        An `Exchange`.

    Raises:
        ValueError: as `all_reduce`.

    Source: Patarasuk and Yuan (2009).

    Example:
        >>> all_gather(1000, 4)
        Exchange(name='all-gather', sent=750, messages=3)
    """
    total, devices = _array("cost.all_gather", total), size("cost.all_gather", "devices", devices)
    return Exchange("all-gather", (devices - 1) * parts(total, devices), devices - 1)


def _array(function: str, total: Any) -> Number:
    """Return a number of bytes, whole numbers that a float holds among them."""
    if isinstance(total, float) and total.is_integer():
        total = int(total)
    return size(function, "total", total)


def ring_pass(block: Number, devices: Number) -> Exchange:
    """Return what a ring sends so that a block of each of D devices comes past all others: ring attention.

    (D − 1) · block bytes in D − 1 messages

    Args:
        block: bytes of the keys and values of one device's positions.
        devices: how many, D.

    Returns:
        An `Exchange`.

    Raises:
        ValueError: as `all_reduce`.

    Source: Liu, Zaharia and Abbeel (2023).

    Example:
        >>> ring_pass(1000, 4)
        Exchange(name='ring', sent=3000, messages=3)
    """
    block, devices = size("cost.ring_pass", "block", block), size("cost.ring_pass", "devices", devices)
    return Exchange("ring", (devices - 1) * block, devices - 1)


def gradient_exchanges(
    parameters: Number, devices: Number, *, zero: int = 0, dtype: Any = "bfloat16"
) -> tuple[Exchange, ...]:
    """Return what data parallelism sends in one step of training, for P bytes of parameters.

    Stage 0: an all-reduce of gradients, 2P(D − 1)/D. Stages 1 and 2: gradients are summed in parts and weights
    gathered, as much. Stage 3: weights are gathered for both passes, 3P(D − 1)/D.

    Args:
        parameters: numbers of one device.
        devices: how many share the batch, D.
        zero: the stage of ZeRO: 0 to 3.
        dtype: of weights and gradients.

    Returns:
        Exchanges, none with one device.

    Raises:
        ValueError: sizes below 1 or not whole, another stage, an unknown dtype.

    Source: Rajbhandari et al. (2020), sections 5 and 7.

    Example:
        >>> [sum(t.sent for t in gradient_exchanges(10**9, 4, zero=stage)) / 1e9 for stage in range(4)]
        [3.0, 3.0, 3.0, 4.5]
    """
    name = "cost.gradient_exchanges"
    parameters, devices = size(name, "parameters", parameters), size(name, "devices", devices)
    zero_stage(name, zero)
    total = parameters * itemsize(name, dtype)
    if devices == 1:
        return ()
    if zero == 0:
        return (replace(all_reduce(total, devices), name="all-reduce, gradients"),)
    gathered = all_gather(total, devices) * (2 if zero == 3 else 1)
    return (
        replace(reduce_scatter(total, devices), name="reduce-scatter, gradients"),
        replace(gathered, name="all-gather, weights"),
    )


def tensor_exchanges(model: Model, tokens: int, scored: int, devices: int, b: int) -> tuple[Exchange, ...]:
    """Return what a forward pass sends where devices share heads and widths: each layer's halves are sums over them.

    Example:
        >>> from attnlib.cost import MODELS
        >>> [(t.name, t.messages) for t in tensor_exchanges(MODELS["llama-3-8b"], 1, 1, 4, 2)]
        [('all-reduce, layers', 384), ('all-reduce, embedding', 6), ('all-gather, scores', 3)]
    """
    if devices == 1:
        return ()
    stream = tokens * model.d * b
    found = [
        replace(all_reduce(stream, devices) * model.halves, name="all-reduce, layers"),
        # Each device has rows of the table for its part of the words, and zeros for others.
        replace(all_reduce(stream, devices), name="all-reduce, embedding"),
    ]
    if model.head:
        found.append(replace(all_gather(scored * model.vocab * b, devices), name="all-gather, scores"))
    return tuple(found)


def ring_exchange(mixer: Mixer, n: int, batch: int, kept: Format, devices: int) -> Exchange:
    """Return what one layer sends where devices share n positions: keys and values, as they are cached.

    A window needs those of its reach alone, a state is handed on once.

    Example:
        >>> from attnlib.cost import FORMATS, SelfAttention
        >>> near, far = (SelfAttention(32, 128, h_kv=8, window=w) for w in (1024, None))
        >>> [ring_exchange(x, 32768, 1, FORMATS["bfloat16"], 8).sent / 2**20 for x in (near, far)]
        [3.99609375, 112.0]
    """
    if isinstance(mixer, StateAttention | StateSpace):
        state, tail = mixer._state()
        return Exchange("ring", batch * (BYTES["float32"] * state + 2 * tail))
    own = int(parts(n, devices))
    window = mixer.window if isinstance(mixer, SelfAttention) else None
    reach = (devices - 1) * own if window is None else min(window - 1, (devices - 1) * own)
    sent = batch * sum(count * kept.vector(width) for count, width in replace_window(mixer)._cached(reach))
    return Exchange("ring", sent, int(parts(reach, own)))


def replace_window(mixer: SelfAttention | LatentAttention) -> SelfAttention | LatentAttention:
    """Return the same without a window: of so many positions it keeps all."""
    return replace(mixer, window=None) if isinstance(mixer, SelfAttention) else mixer


def meeting(mixer: Mixer) -> str:
    """Return the step of a pass in which positions meet."""
    return "state" if isinstance(mixer, StateAttention | StateSpace) else "attention"


def merge_exchange(mixer: Mixer, batch: int, devices: int) -> Exchange:
    """Return what one layer sends for a token where devices share the cache's positions: sums to be merged.

    Each head's maximum, sum and weighted values in float32; an indexer's best scores and their places, too.
    """
    if isinstance(mixer, StateAttention | StateSpace):
        return Exchange("merge", 0, 0)
    wide = mixer.rank if isinstance(mixer, LatentAttention) else mixer.values
    merged = replace(all_reduce(batch * mixer.h * (wide + 2) * BYTES["float32"], devices), name="merge")
    if mixer.index is None:
        return merged
    best = all_gather(batch * devices * mixer.index.top * 2 * BYTES["float32"], devices)
    return Exchange("merge", merged.sent + best.sent, merged.messages + best.messages)


def serial(time: Roofline, exchanges: tuple[Exchange, ...], link: Link | None) -> Roofline:
    """Add exchanges that nothing overlaps, each a step of its own."""
    steps = () if link is None else tuple(_waiting(x.name, x.seconds(link)) for x in exchanges if x.sent)
    return replace(time, steps=(*time.steps, *steps))


def _waiting(name: str, seconds: float) -> StepTime:
    return StepTime(name, 0.0, 0.0, 0.0, 0.0, 0.0, link=seconds)


def overlapped(time: Roofline, exchanges: dict[str, Exchange], link: Link | None) -> Roofline:
    """Let steps of these names take at least as long as their exchanges, which go on at the same time."""
    if link is None:
        return time
    steps = tuple(
        replace(step, link=exchanges[step.name].seconds(link)) if step.name in exchanges else step
        for step in time.steps
    )
    return replace(time, steps=steps)


def links(function: str, device: Device, parallel: Parallel, link: Any) -> dict[str, Link | None]:
    """Return what each way's ring goes over: those of tensor lie nearest, those of data furthest; or raise."""
    if link is not None and not isinstance(link, Link):
        raise ValueError(f"{function}: link: expected a Link or None, got {link!r}")
    if link is not None and link.reach is not None and parallel.devices > link.reach:
        raise ValueError(
            f"{function}: link: expected one that joins {parallel.devices} devices, got {link.name}, "
            f"which joins {link.reach}"
        )
    found: dict[str, Link | None] = {}
    spanned = 1
    for way in WAYS:
        count = getattr(parallel, way)
        spanned *= count
        found[way] = None if count == 1 else link or device.joined(function, spanned)
    return found


def refuse_sequence(function: str, model: Model, parallel: Parallel) -> None:
    """Raise where positions of a model cannot be shared here."""
    if parallel.sequence > 1 and not model.causal:
        raise ValueError(
            f"{function}: parallel: expected sequence=1 for {model.name}, which is not causal, got {parallel}"
        )
    if parallel.sequence > 1 and any(layer.cross is not None for layer in model.layers):
        raise ValueError(
            f"{function}: parallel: expected sequence=1 for {model.name}, which has cross-attention, got {parallel}"
        )


def shared_forward(model: Model, n: int, parallel: Parallel, batch: int, **options: Any) -> Cost:
    """Cost of a forward pass over n positions of a batch, on one device: the one that has most.

    Where positions are shared, early and late ones are mixed so that all devices meet as many pairs (striped or
    zigzag): as many as n/D queries after (n − n/D)/2 positions. Of a window that is a little more than there are.
    """
    own = int(parts(n, parallel.sequence))
    logits = options.pop("logits", None)
    return model_forward(
        model_share(model, parallel.tensor),
        own,
        past=(n - own) // 2,
        batch=int(parts(batch, parallel.data)),
        logits=logits if logits is None else min(logits, own),
        **options,
    )
