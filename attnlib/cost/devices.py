"""What machines can do: peak rates, bandwidth and memory of accelerators, each figure with its source. No JAX.

The figures are the vendors' peaks. No program reaches all of them; `attnlib.measure_device` measures in the same
units what programs do reach on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number


@dataclass(frozen=True)
class Curve:
    """A rate that depends on how much work one call holds, measured at a few sizes.

    Between two sizes the rate follows the straight line in the logarithms; outside, the nearest one holds.

    Attributes:
        sizes: work of one call (FLOPs, exponentials or bytes), ascending.
        rates: work per second at each size.

    Example:
        >>> rate = Curve((1e3, 1e5), (1e9, 4e9))
        >>> [round(rate(size) / 1e9, 3) for size in (10, 1e4, 1e9)]
        [1.0, 2.0, 4.0]
    """

    sizes: tuple[float | int, ...]
    rates: tuple[float | int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.rates) or not self.sizes:
            raise ValueError(
                f"cost.Curve: rates: expected one for each of {len(self.sizes)} sizes, got {len(self.rates)}"
            )
        if not all(x > 0 for x in (*self.sizes, *self.rates)):
            raise ValueError(f"cost.Curve: rates: expected positive sizes and rates, got {self}")
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"cost.Curve: sizes: expected ascending numbers, got {self.sizes}")

    def __call__(self, size: Number) -> Number:
        """Return the rate for calls of that size."""
        x = np.log(np.maximum(np.asarray(size, float), self.sizes[0]))
        rate = np.exp(np.interp(x, np.log(self.sizes), np.log(self.rates)))
        return float(rate) if np.ndim(rate) == 0 else rate

    @property
    def best(self) -> float:
        """The highest rate."""
        return float(max(self.rates))


Rate: TypeAlias = float | int | Curve
"""Work per second: one number, or one for each size of a call."""


@dataclass(frozen=True)
class Link:
    """What joins devices.

    Attributes:
        name: what it is.
        rate: bytes per second that one device sends, while as many come in: half of what is called bidirectional.
        latency: seconds before a message arrives, however short. Vendors publish none, so it is 0 in `LINKS`, and the
            time of short messages a lower bound; `dataclasses.replace` puts in what was measured.
        reach: how many devices it joins at most; None: any number.
        source: where the figures come from.

    Example:
        >>> LINKS["NVLink 4"].rate / LINKS["InfiniBand NDR"].rate
        9.0
    """

    name: str
    rate: float | int
    latency: float | int = 0.0
    reach: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not _check.number(self.rate) or self.rate <= 0:
            raise ValueError(f"cost.Link: rate: expected a number above 0, got {self.rate!r}")
        if not _check.number(self.latency) or self.latency < 0:
            raise ValueError(f"cost.Link: latency: expected a number of at least 0, got {self.latency!r}")
        _check.optional_int("cost.Link", reach=self.reach)


@dataclass(frozen=True)
class Device:
    """The rates and sizes that `roofline` needs of a machine.

    Attributes:
        name: what it is.
        matmul: FLOP/s in matrix products, by dtype of the operands; dense (no structured sparsity).
        bandwidth: bytes per second between memory and the cores; for a curve, by the size of the arrays.
        memory: bytes of memory.
        fast_memory: bytes that one core computes from: see `fast_memory_kind`; None if unknown.
        fast_memory_kind: what is called fast memory here.
        elementwise: FLOP/s outside matrix products, float32; None if nobody publishes it.
        transcendental: exponentials per second, float32; None if nobody publishes it.
        allocation: bytes per second at which a program gets new memory; None if that is free.
        launch: seconds before a program starts and after it ends.
        link: what joins it with others of its kind; None if it stands alone.
        network: what joins it with those that the link does not reach; None: nothing.
        sources: where the figures come from, by field.
    """

    name: str
    matmul: Mapping[str, Rate]
    bandwidth: Rate
    memory: float | int
    fast_memory: float | int | None
    fast_memory_kind: str
    elementwise: Rate | None = None
    transcendental: Rate | None = None
    allocation: Rate | None = None
    launch: float | int = 0.0
    link: Link | None = None
    network: Link | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def ridge(self, dtype: str) -> float:
        """Return FLOPs per byte above which a product of such matrices waits for the cores, not for the memory.

        Example:
            >>> round(A100.ridge("bfloat16")), round(H100.ridge("bfloat16"))
            (153, 295)
        """
        return best(self.matmul_rate("cost.Device.ridge", dtype)) / best(self.bandwidth)

    def matmul_rate(self, function: str, dtype: str) -> Rate:
        """Return the rate of matrix products in `dtype`, or raise for `function`."""
        if dtype not in self.matmul:
            raise ValueError(
                f"{function}: dtype: expected one of {', '.join(self.matmul)} on {self.name}, got {dtype!r}"
            )
        return self.matmul[dtype]

    def joined(self, function: str, devices: int) -> Link:
        """Return what the slowest step of a ring over so many devices goes over, or raise for `function`."""
        for link in (self.link, self.network):
            if link is not None and (link.reach is None or devices <= link.reach):
                return link
        raise ValueError(
            f"{function}: link: expected a Link, for {self.name} has none that joins {devices} devices, got None"
        )


def best(rate: Rate) -> float:
    """Return the rate of the most favourable size."""
    return rate.best if isinstance(rate, Curve) else rate


def at(rate: Rate, size: Number) -> Number:
    """Return the rate for calls of that size."""
    return rate(size) if isinstance(rate, Curve) else rate


def _special_functions(cores: int, clock: float) -> float:
    """Exponentials per second: 16 special-function results per clock and multiprocessor."""
    return 16 * cores * clock


_SFU = (
    "16 results per clock and multiprocessor (CUDA C++ Programming Guide, arithmetic instructions, compute "
    "capability 7.5 to 9.0) × multiprocessors × boost clock"
)
_SHARED = "shared memory of one multiprocessor"
_SHARED_SOURCE = "CUDA C++ Programming Guide, technical specifications per compute capability"
_VMEM = "vector memory (VMEM) of one TensorCore"
_VMEM_SOURCE = "jax.experimental.pallas.tpu, table of chips"

_NODE = 8
"""GPUs of one server, which NVLink joins."""


def _pcie(generation: int, gigatransfers: int) -> Link:
    source = f"PCI-SIG: 16 lanes of {gigatransfers} GT/s, 128 of 130 bits are data; as if one host had all devices"
    return Link(f"PCIe {generation}", 16 * gigatransfers * 1e9 * 128 / 130 / 8, source=source)


class Links(dict[str, Link]):
    """Links by name; a name that is not there is answered with those that are."""

    def __missing__(self, name: str) -> Link:
        """Raise, and list the names."""
        raise KeyError(f"cost.LINKS: expected one of {', '.join(self)}, got {name!r}")


_NVLINK = "datasheet, both ways together; one way is half; 8 in a server of NVIDIA's own (DGX)"
_TORUS = "of all links of a chip together, one way; a ring along one axis of the torus has its share"
LINKS = Links(
    (x.name, x)
    for x in (
        Link("NVLink 3", 300e9, reach=_NODE, source=f"600 GB/s: NVIDIA A100 {_NVLINK}"),
        Link("NVLink 4", 450e9, reach=_NODE, source=f"900 GB/s: NVIDIA H100 {_NVLINK}"),
        _pcie(3, 8),
        _pcie(4, 16),
        _pcie(5, 32),
        Link("InfiniBand HDR", 25e9, source="200 Gb/s a port: NVIDIA DGX A100 datasheet, a port for each GPU"),
        Link("InfiniBand NDR", 50e9, source="400 Gb/s a port: NVIDIA DGX H100 datasheet, a port for each GPU"),
        Link("ICI v5e", 200e9, reach=256, source=f"1600 Gb/s: Google Cloud documentation, TPU v5e; {_TORUS}"),
        Link(
            "ICI v5p", 600e9, reach=8960, source=f"1200 GB/s both ways: Google Cloud documentation, TPU v5p; {_TORUS}"
        ),
        Link("ICI v6e", 400e9, reach=256, source=f"3200 Gb/s: Google Cloud documentation, TPU v6e; {_TORUS}"),
        Link(
            "DCN v5e", 3.125e9, source="two ports of 100 Gb/s for 8 chips: Google Cloud documentation, TPU v6e, table"
        ),
        Link("DCN v5p", 6.25e9, source="50 Gb/s a chip: Google Cloud documentation, TPU v5p"),
        Link(
            "DCN v6e", 12.5e9, source="four ports of 200 Gb/s for 8 chips: Google Cloud documentation, TPU v6e, table"
        ),
    )
)
"""What joins devices, by name, at the vendors' peaks: bytes per second that one device sends."""

A100 = Device(
    name="A100 SXM 80 GB",
    matmul={"bfloat16": 312e12, "float16": 312e12, "tensorfloat32": 156e12, "float32": 19.5e12, "float64": 19.5e12},
    bandwidth=2039e9,
    memory=80e9,
    fast_memory=164 * 2**10,
    fast_memory_kind=_SHARED,
    elementwise=19.5e12,
    transcendental=_special_functions(108, 1.41e9),
    link=LINKS["NVLink 3"],
    network=LINKS["InfiniBand HDR"],
    sources={
        "matmul": "NVIDIA A100 datasheet: tensor cores without sparsity; float32 is outside the tensor cores",
        "bandwidth": "NVIDIA A100 datasheet",
        "memory": "NVIDIA A100 datasheet",
        "fast_memory": _SHARED_SOURCE,
        "elementwise": "NVIDIA A100 datasheet, FP32",
        "transcendental": _SFU,
        "link": LINKS["NVLink 3"].source,
        "network": LINKS["InfiniBand HDR"].source,
    },
)
H100 = Device(
    name="H100 SXM",
    matmul={
        "float8_e4m3fn": 1979e12,
        "bfloat16": 989.4e12,
        "float16": 989.4e12,
        "tensorfloat32": 494.7e12,
        "float32": 67e12,
        "float64": 67e12,
    },
    bandwidth=3.35e12,
    memory=80e9,
    fast_memory=228 * 2**10,
    fast_memory_kind=_SHARED,
    elementwise=67e12,
    transcendental=_special_functions(132, 1.83e9),
    link=LINKS["NVLink 4"],
    network=LINKS["InfiniBand NDR"],
    sources={
        "matmul": "NVIDIA H100 datasheet: half of what it prints with sparsity; float32 is outside the tensor cores",
        "bandwidth": "NVIDIA H100 datasheet",
        "memory": "NVIDIA H100 datasheet",
        "fast_memory": _SHARED_SOURCE,
        "elementwise": "NVIDIA H100 datasheet, FP32",
        "transcendental": _SFU,
        "link": LINKS["NVLink 4"].source,
        "network": LINKS["InfiniBand NDR"].source,
    },
)
L4 = Device(
    name="L4",
    matmul={
        "float8_e4m3fn": 242.5e12,
        "bfloat16": 121e12,
        "float16": 121e12,
        "tensorfloat32": 60e12,
        "float32": 30.3e12,
    },
    bandwidth=300e9,
    memory=24e9,
    fast_memory=100 * 2**10,
    fast_memory_kind=_SHARED,
    elementwise=30.3e12,
    transcendental=_special_functions(58, 2.04e9),
    link=LINKS["PCIe 4"],
    sources={
        "matmul": "NVIDIA L4 datasheet: half of what it prints with sparsity; float32 is outside the tensor cores",
        "bandwidth": "NVIDIA L4 datasheet",
        "memory": "NVIDIA L4 datasheet",
        "fast_memory": _SHARED_SOURCE,
        "elementwise": "NVIDIA L4 datasheet, FP32",
        "transcendental": _SFU,
        "link": LINKS["PCIe 4"].source,
    },
)
T4 = Device(
    name="T4",
    matmul={"float16": 65e12, "float32": 8.1e12},
    bandwidth=320e9,
    memory=16e9,
    fast_memory=64 * 2**10,
    fast_memory_kind=_SHARED,
    elementwise=8.1e12,
    transcendental=_special_functions(40, 1.59e9),
    link=LINKS["PCIe 3"],
    sources={
        "matmul": "NVIDIA T4 datasheet: no bfloat16; float32 is outside the tensor cores",
        "bandwidth": "NVIDIA T4 datasheet",
        "memory": "NVIDIA T4 datasheet",
        "fast_memory": _SHARED_SOURCE,
        "elementwise": "NVIDIA T4 datasheet, single precision",
        "transcendental": _SFU,
        "link": LINKS["PCIe 3"].source,
    },
)


def _tpu(
    name: str, page: str, bfloat16: float, int8: float | None, bandwidth: float, memory: float, vmem: int
) -> Device:
    source = f"Google Cloud documentation, {page}: per chip"
    link, network = LINKS[f"ICI {page[4:]}"], LINKS[f"DCN {page[4:]}"]
    return Device(
        name=name,
        matmul={"bfloat16": bfloat16} | ({} if int8 is None else {"int8": int8}),
        bandwidth=bandwidth,
        memory=memory,
        fast_memory=vmem,
        fast_memory_kind=_VMEM,
        link=link,
        network=network,
        sources={
            **dict.fromkeys(("matmul", "bandwidth", "memory"), source),
            "fast_memory": _VMEM_SOURCE,
            "link": link.source,
            "network": network.source,
        },
    )


TPU_V5E = _tpu("TPU v5e", "TPU v5e", 197e12, 393e12, 819e9, 16e9, 128 * 2**20)
TPU_V5P = _tpu("TPU v5p", "TPU v5p", 459e12, None, 2765e9, 95e9, 64 * 2**20)
TPU_V6E = _tpu("TPU v6e", "TPU v6e", 918e12, 1836e12, 1638e9, 32e9, 128 * 2**20)


class Accelerators(dict[str, Device]):
    """Accelerators by short name; a name that is not there is answered with those that are."""

    def __missing__(self, name: str) -> Device:
        """Raise, and list the names."""
        raise KeyError(f"cost.ACCELERATORS: expected one of {', '.join(self)}, got {name!r}")


ACCELERATORS = Accelerators(
    {
        "A100": A100,
        "H100": H100,
        "L4": L4,
        "T4": T4,
        "TPU v5e": TPU_V5E,
        "TPU v5p": TPU_V5P,
        "TPU v6e": TPU_V6E,
    }
)
"""Accelerators by short name, one chip each."""
