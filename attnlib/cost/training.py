"""A step of training on devices: what each holds, how long it takes, and what share of the peak that is. No JAX.

Devices share a model as `Parallel` says, and the state of training as a stage of ZeRO says. Times are those of the
roofline, at the vendors' peaks: a program takes longer, and its utilisation is lower.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import BYTES, dtype_name, itemsize, parts
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.devices import Device, Link
from attnlib.cost.formats import FORMATS
from attnlib.cost.models import Model, model_of, model_parameters, model_share
from attnlib.cost.parallel import (
    Exchange,
    Parallel,
    all_reduce,
    gradient_exchanges,
    links,
    meeting,
    overlapped,
    parallel_of,
    refuse_sequence,
    ring_exchange,
    serial,
    shared_forward,
    tensor_exchanges,
)
from attnlib.cost.passes import RECOMPUTED, activation_memory, score_products, training_state
from attnlib.cost.roofline import Roofline, roofline
from attnlib.cost.serving import flops_utilisation

PHASES = ("forward", "backward", "again")
"""What the names of a pass's steps begin with; "again": computed a second time."""
OUTER = ("embedding", "pooler", "head", "encoder, embedding", "encoder, pooler", "encoder, head")


@dataclass(frozen=True)
class Training:
    """One step of training on devices. All bytes are those of one device.

    Attributes:
        model: which.
        n: positions of a sequence.
        batch: sequences of the step, on all devices together.
        micro: sequences that a device computes at a time; their gradients are added up.
        device: what it runs on.
        devices: how many.
        parallel: how they share the model.
        link: what joins them, where one was given; None: what each device has.
        zero: the stage of ZeRO in which they share the state of training.
        recompute: what is computed again on the way back.
        dtype: of weights, gradients, activations and of what is multiplied.
        usable: share of the memory that may be used.
        state: bytes of "weights", "gradients" and "optimizer".
        gathered: bytes of the weights of the largest layer, where each device has but a part of them: stage 3.
        activations: bytes that a forward pass keeps for the backward pass.
        time: seconds of the step: "forward, …", "backward, …" and "again, …", the update, sums over heads
            and widths, and what passes do not hide of gradients and weights that are sent.
        sent: bytes that a device sends.
    """

    model: Model
    n: int
    batch: int
    micro: int
    device: Device
    devices: int
    parallel: Parallel
    link: Link | None
    zero: int
    recompute: str
    dtype: str
    usable: float
    state: dict[str, int]
    gathered: int
    activations: int
    time: Roofline
    sent: int

    @property
    def passes(self) -> int:
        """Forward and backward passes, one after another."""
        return self.batch // (self.parallel.data * self.micro)

    @property
    def memory(self) -> int:
        """Bytes that may be used."""
        return int(self.device.memory * self.usable)

    @property
    def needed(self) -> int:
        """Bytes that are used."""
        return sum(self.state.values()) + self.gathered + self.activations

    @property
    def fits(self) -> bool:
        """Whether that is no more."""
        return self.needed <= self.memory

    @property
    def tokens_per_second(self) -> float:
        """Of all devices together."""
        return float(self.batch * self.n / self.time.seconds)

    @property
    def utilisation(self) -> float:
        """Share of the peak that is used for what the model needs (MFU), at the rates and overlaps assumed here."""
        rate = self.tokens_per_second
        return flops_utilisation(self.model, self.n, rate, self.device, devices=self.devices, dtype=self.dtype)


def training(
    model: Model,
    n: int,
    device: Device,
    *,
    batch: int = 1,
    micro: int | None = None,
    devices: int = 1,
    parallel: str | Parallel = "data",
    link: Link | None = None,
    zero: int = 0,
    recompute: str = "scores",
    dtype: Any = "bfloat16",
    usable: float | int = 0.9,
) -> Training:
    """Say what a step of training takes on devices: memory, seconds, what is sent, the share of the peak.

    step = passes · (forward + backward + again) + update + sums that nothing hides,   backward = 2 · forward

    A product's two gradients take its FLOPs and its bytes each. Adam keeps twelve bytes a parameter; its update reads
    and writes them. Where devices share heads and widths, layers wait for their sums, in both directions. Where they
    share sequences or positions, gradients are summed and, with ZeRO, weights gathered while passes compute; what
    takes longer than these is a step of its own. Gradients hide behind passes backward, weights behind the next pass
    forward, in stage 3 behind all passes. In stage 2 gradients are summed after every pass, as none is held
    whole, in stage 3 weights are gathered for every pass. The loss is computed from parts of the vocabulary.

    Args:
        model: which.
        n: positions of a sequence; an encoder reads a source as long as `with_memory` says.
        device: of what kind; from `cost.ACCELERATORS`, or `attnlib.measure_device()`.
        batch: sequences of a step on all devices, a multiple of those that share sequences.
        micro: sequences that a device computes at a time, a divisor of its own; all of them by default.
        devices: how many.
        parallel: how they share the model, as in `serving`: "data", by sequences, is the default here.
        link: what joins them, as in `serving`.
        zero: the stage of ZeRO, 0 to 3, over the devices that share sequences or positions.
        recompute: as in `model_training`: "nothing", "scores", as FlashAttention does, or "layers".
        dtype: of weights, gradients and activations, one that the device has; sums over devices are in it, too.
        usable: share of the memory that may be used: the rest is the runtime's.

    Returns:
        A `Training`.

    Raises:
        ValueError: a model or device that is none, an integer below 1, a batch that devices cannot share evenly, a
            part that does not divide it, another stage, an unknown `recompute`, a dtype that the device has not, a
            share that is not above 0 and at most 1; as `serving` of ways to share and links; positions that are
            shared and scores that are kept.

    Source: Rajbhandari et al. (2020), sections 5 and 7; Shoeybi et al. (2019), section 3; Korthikanti et al. (2022);
    utilisation: Chowdhery et al. (2022), appendix B.

    Example:
        >>> from attnlib.cost import ACCELERATORS, MODELS
        >>> llama, h100 = MODELS["llama-3.1-8b"], ACCELERATORS["H100"]
        >>> found = {z: training(llama, 8192, h100, batch=64, micro=1, devices=64, zero=z) for z in (0, 1, 2)}
        >>> [(z, x.fits, round(x.needed / 1e9), round(x.utilisation, 2)) for z, x in found.items()]
        [(0, False, 169, 0.5), (1, False, 74, 0.66), (2, True, 59, 0.66)]
    """
    name = "cost.training"
    model = model_of(name, model)
    _check.positive_int(name, n=n, batch=batch, devices=devices)
    _check.optional_int(name, micro=micro)
    if not isinstance(device, Device):
        raise ValueError(f"{name}: device: expected a Device, got {type(device).__name__}")
    b, dtype = itemsize(name, dtype), dtype_name(dtype)
    device.matmul_rate(name, dtype)
    if not _check.number(usable) or not 0 < usable <= 1:
        raise ValueError(f"{name}: usable: expected a number above 0 and at most 1, got {usable!r}")
    if recompute not in RECOMPUTED:
        raise ValueError(f"{name}: recompute: expected one of {', '.join(RECOMPUTED)}, got {recompute!r}")
    parallel = parallel_of(name, devices, parallel)
    refuse_sequence(name, model, parallel)
    if parallel.sequence > 1 and recompute == "nothing":
        raise ValueError(f"{name}: recompute: expected scores or layers with {parallel}, got 'nothing'")
    if batch % parallel.data:
        raise ValueError(f"{name}: batch: expected a multiple of data = {parallel.data}, got {batch}")
    own = batch // parallel.data
    micro = own if micro is None else micro
    passes = _check.divides(name, "micro", micro, "batch / data", own)
    over = links(name, device, parallel, link)
    one, held, group = (
        model_share(model, parallel.tensor),
        int(parts(n, parallel.sequence)),
        devices // parallel.tensor,
    )
    with _check.named(name, "cost.training_state"):
        state = training_state(one, dtype=dtype, devices=group, zero=zero)

    forward = shared_forward(model, n, parallel, parallel.data * micro, dtype=dtype)
    again = _again(one, forward, held, (n - held) // 2, micro, recompute)
    phases = {"forward": forward.steps, "backward": tuple(2 * x for x in forward.steps), "again": again}
    steps = [replace(x * passes, name=f"{p}, {x.name}") for p in PHASES for x in phases[p]]
    numbers = model_parameters(one)
    part = int(parts(numbers, group)) if zero else numbers
    kept = state["optimizer"] + part * b
    steps.append(Step("update", bytes_read=kept, bytes_written=kept))
    time = roofline(Cost(tuple(steps)), device, dtype=dtype)

    ring: dict[str, Exchange] = {}
    if parallel.sequence > 1:
        # Keys and values go round once more on the way back, with their gradients.
        turns = {"forward": 1, "backward": 2} | ({"again": 1} if recompute == "layers" else {})
        for mixer, count in one.mixers.items():
            whole = ring_exchange(mixer, n, micro, FORMATS[dtype], parallel.sequence) * (count * passes)
            ring |= {f"{p}, {meeting(mixer)}{one.kinds[mixer]}": whole * times for p, times in turns.items()}
    time = overlapped(time, ring, over["sequence"])
    sums = _tensor_sums(model, micro * held, micro, parallel.tensor, b, recompute)
    sums = tuple(x * passes for x in sums)
    time = serial(time, sums, over["tensor"])
    exchanges = _shared_state(numbers, group, zero, dtype, passes)
    far = over["data"] or over["sequence"]
    time = serial(time, () if far is None else _exposed(exchanges, time, far, passes), far)
    return Training(
        *(model, n, batch, micro, device, devices, parallel, link, zero, recompute, dtype, float(usable)),
        state=state,
        gathered=_largest_layer(one) * b if zero == 3 and group > 1 else 0,
        activations=activation_memory(one, held, batch=micro, recompute=recompute, dtype=dtype),
        time=time,
        sent=sum(int(x.sent) for x in (*sums, *ring.values(), *(x for _, _, x in exchanges))),
    )


def _again(one: Model, forward: Cost, held: int, past: int, micro: int, recompute: str) -> tuple[Step, ...]:
    """Return what a pass computes a second time: scores inside attention's way back, or all of the layers."""
    if recompute == "nothing":
        return ()
    layers = tuple(x for x in forward.steps if x.name not in OUTER) if recompute == "layers" else ()
    both = [(one, held, past)] + ([] if one.encoder is None else [(one.encoder, one.memory, 0)])
    products = sum(
        count * micro * score_products(mixer, length, part.causal, True, before)
        for part, length, before in both
        for mixer, count in part.mixers.items()
    )
    return (*layers, Step("scores", 2 * products))


def _tensor_sums(model: Model, tokens: int, micro: int, devices: int, b: int, recompute: str) -> tuple[Exchange, ...]:
    """Return what a pass sends where devices share heads and widths: forward, as much backward, and the loss."""
    if devices == 1:
        return ()
    times = 3 if recompute == "layers" else 2
    bare = replace(model, head=False)
    made = () if model.encoder is None else tensor_exchanges(model.encoder, micro * model.memory, 0, devices, b)
    sums = [replace(x, name=f"encoder, {x.name}") for x in made] + [*tensor_exchanges(bare, tokens, 0, devices, b)]
    sums = [x * (2 if "embedding" in x.name else times) for x in sums]
    if model.head:
        # A position's largest score, the sum of exponentials, the score of the next word, in float32.
        sums.append(replace(all_reduce(tokens * 3 * BYTES["float32"], devices), name="all-reduce, loss"))
    return tuple(sums)


def _shared_state(
    numbers: int, group: int, zero: int, dtype: str, passes: int
) -> tuple[tuple[str, int, Exchange], ...]:
    """Return what is sent for gradients and weights: while which phase, in how many passes, and how much in all."""
    found = []
    for exchange in gradient_exchanges(numbers, group, zero=zero, dtype=dtype):
        if "gradients" in exchange.name:
            times = passes if zero >= 2 else 1
            found.append(("backward", times, exchange * times))
        elif zero == 3:  # half of it for each direction
            half = replace(exchange, sent=exchange.sent // 2, messages=exchange.messages // 2)
            found += [(phase, passes, half * passes) for phase in ("forward", "backward")]
        else:
            found.append(("forward", 1, exchange))
    return tuple(found)


def _exposed(
    exchanges: tuple[tuple[str, int, Exchange], ...], time: Roofline, link: Link, passes: int
) -> tuple[Exchange, ...]:
    """Return what is left of exchanges when the phase that goes on meanwhile is over, as bytes of that link."""
    left = []
    for phase in ("forward", "backward"):
        given = [(times, x) for p, times, x in exchanges if p == phase]
        computing = sum(x.seconds for x in time.steps if x.name.startswith(f"{phase}, ")) / passes
        # The sums that happen once have one pass to hide behind; what happens in each has all of them.
        waits = sum(x.seconds(link) for _, x in given) - computing * max((times for times, _ in given), default=0)
        if waits > 0:
            what = "gradients" if phase == "backward" else "weights"
            left.append(Exchange(f"{what}, not hidden", waits * link.rate, 0))
    return tuple(left)


def _largest_layer(model: Model) -> int:
    """Numbers of the matrices of the largest layer."""
    return max(
        sum(
            int(x.numbers)
            for kind in (*layer.mixers, *(() if layer.feed_forward is None else (layer.feed_forward,)))
            for x in kind._matrices(model.d)
        )
        for layer in model.layers
    )


def training_alternatives(found: Training) -> dict[str, Training]:
    """Change one thing at a time: smaller parts of the batch, layers again, the next stages of ZeRO, more devices.

    Args:
        found: what is changed.

    Returns:
        By name what it becomes. What is so already, or cannot be, is left out.

    Raises:
        ValueError: what is no `Training`.

    Example:
        >>> from attnlib.cost import ACCELERATORS, MODELS
        >>> found = training(MODELS["llama-3.1-8b"], 8192, ACCELERATORS["H100"], batch=32, devices=8)
        >>> [name for name, other in training_alternatives(found).items() if other.fits]
        ['all of these']
    """
    if not isinstance(found, Training):
        raise ValueError(f"cost.training_alternatives: found: expected a Training, got {type(found).__name__}")
    changes: dict[str, dict[str, Any]] = {}
    if found.micro > 1:
        changes["one sequence at a time"] = {"micro": 1}
    if found.recompute != "layers":
        changes["layers again"] = {"recompute": "layers"}
    if found.devices > found.parallel.tensor:
        changes |= {f"ZeRO stage {z}": {"zero": z} for z in range(found.zero + 1, 4)}
    small: dict[str, Any] = {"micro": 1, "recompute": "layers"}
    if found.micro > 1 and found.recompute != "layers":
        changes["one at a time, layers again"] = small
    if found.devices > found.parallel.tensor and found.zero < 3 and len(changes) > 1:
        changes["all of these"] = small | {"zero": 3}
    more = replace(found.parallel, data=2 * found.parallel.data)
    twice = {"devices": 2 * found.devices, "parallel": more, "batch": 2 * found.batch}
    changes["twice the devices and batch"] = twice
    return {name: changed(found, **change) for name, change in changes.items()}


def changed(found: Training, **change: Any) -> Training:
    """Return the same with other settings."""
    fields = ("device", "batch", "micro", "devices", "parallel", "link", "zero", "recompute", "dtype", "usable")
    settings: dict[str, Any] = {x: getattr(found, x) for x in fields} | change
    return training(found.model, found.n, settings.pop("device"), **settings)
