"""What the chapters on whole models print, from the sizes of the models by hand, where one formula says it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attnlib import cost
from attnlib.book import text
from attnlib.book.plot import format_bytes

H100, HBM, A100 = 989.4e12, 3.35e12, 312e12  # FLOP/s in 16 bits, bytes/s
DEVICE = cost.ACCELERATORS["H100"]
USABLE = int(0.9 * 80e9)
FAR = 2**17


class Sizes(NamedTuple):
    """A model with grouped heads and gated feed-forward layers; or what one device has of it."""

    layers: int
    d: int
    h: int
    h_kv: int
    d_k: int
    d_ff: int
    vocab: int
    tied: bool = False

    @property
    def matrices(self) -> dict[str, int]:
        """Parameters of all layers, by part."""
        queries, keys = self.d * self.h * self.d_k, self.d * self.h_kv * self.d_k
        parts = {"in": queries + 2 * keys, "out": queries, "inner": 3 * self.d * self.d_ff}
        return {name: self.layers * x for name, x in parts.items()}

    @property
    def work(self) -> int:
        return sum(self.matrices.values())

    @property
    def head(self) -> int:
        return self.vocab * self.d

    @property
    def norms(self) -> int:
        return (2 * self.layers + 1) * self.d

    @property
    def parameters(self) -> int:
        return self.work + self.norms + (1 if self.tied else 2) * self.head

    def token(self, b: float = 2) -> int:
        """Bytes of cache that a position adds."""
        return int(2 * self.layers * self.h_kv * self.d_k * b)

    def core(self, pairs: float) -> float:
        """FLOPs of so many pairs in every layer."""
        return 4 * self.layers * self.h * self.d_k * pairs

    def flops(self, n: int, past: int = 0, logits: int = 1) -> float:
        return 2 * n * self.work + self.core(n * past + n * (n + 1) / 2) + 2 * logits * self.head

    def moved(
        self, n: int, past: int = 0, batch: int = 1, w: float = 2, k: float = 2, logits: int = 1
    ) -> dict[str, float]:
        """Bytes between memory and cores, activations in 16 bits, by part."""
        tokens, wide, keys = batch * n, self.h * self.d_k, self.h_kv * self.d_k
        own = self.token(k)
        parts = self.matrices
        return {
            "embedding": tokens * self.d * w,
            "in": 2 * self.layers * tokens * (3 * self.d + wide + 2 * keys) + w * parts["in"],
            "attention": 4 * self.layers * tokens * wide + own * (batch * (past + n) + tokens),
            "out": 2 * self.layers * tokens * (wide + self.d) + w * parts["out"],
            "inner": 2 * self.layers * tokens * 3 * (self.d + self.d_ff) + w * parts["inner"],
            "norms": 2 * 2 * tokens * self.d * (4 * self.layers + 1),
            "head": 2 * batch * logits * (self.d + self.vocab) + w * self.head,
        }

    def step(self, t: int, batch: int = 1, w: float = 2, k: float = 2) -> float:
        """Seconds of a token of each sequence, whose every part waits for the memory."""
        return sum(self.moved(1, t - 1, batch, w, k).values()) / HBM

    def prefill(self, n: int, batch: int = 1) -> float:
        """Seconds of prompts, whose products wait for the cores."""
        moved = self.moved(n, batch=batch)
        slow = moved["embedding"] + moved["norms"] + moved["head"]
        return batch * (self.flops(n) - 2 * self.head) / H100 + slow / HBM

    def live(self, tokens: int = 8192) -> int:
        """Bytes of the widest arrays: the stream twice, and both halves of the inner layer."""
        return tokens * (2 * self.d + 2 * self.d_ff) * 2

    def kept(self, n: int, what: str, batch: int = 1) -> int:
        """Bytes that training keeps in 16 bits."""
        tokens = batch * n
        wide, keys = self.h * self.d_k, self.h_kv * self.d_k
        layer = 2 * tokens * (4 * self.d + 2 * wide + 2 * keys + 3 * self.d_ff)
        stream = 2 * tokens * self.d
        outer = 2 * stream + 4 * tokens * self.vocab
        if what == "layers":
            return self.layers * stream + layer + outer
        return self.layers * (layer + (2 * batch * self.h * n * n if what == "nothing" else 0)) + outer

    def trained(self, n: int, what: str = "nothing", half: bool = True) -> float:
        """FLOPs of training on n positions."""
        pairs = n * (n + 1) / 2 if half else n * n
        forward = 2 * n * (self.work + self.head) + self.core(pairs)
        again = {"nothing": 0.0, "scores": self.core(pairs) / 2}
        again["layers"] = again["scores"] + forward - 2 * n * self.head
        return 3 * forward + again[what]


SEVEN = Sizes(32, 4096, 32, 32, 128, 11_008, 32_000)
EIGHT = Sizes(32, 4096, 32, 8, 128, 14_336, 128_256)
SEVENTY = Sizes(80, 8192, 64, 8, 128, 28_672, 128_256)
ONE = Sizes(16, 2048, 32, 8, 64, 8192, 128_256, tied=True)
QUARTER = SEVENTY._replace(h=16, h_kv=2, d_ff=7168, vocab=32_064)  # one of four devices
GPT3 = (96, 12_288, 50_257)
GEMMA = Sizes(62, 5376, 32, 16, 128, 21_504, cost.MODELS["gemma-3-27b"].vocab)
NARROW, WIDE = 128 + 64 + 128, 2 * 512 + 64  # FLOPs of a pair and head of DeepSeek-V3, halved: plain and absorbed
EXPANDED = 2 * 512 * 128 * 256


def stored(model: Sizes, b: float) -> float:
    """Bytes of a device's weights; norms have 16 bits at least, and are on every device."""
    return b * (model.work + 2 * model.head) + 2 * model.norms


def windowed(n: int, w: int) -> float:
    return n * w - w * (w - 1) / 2


def gemma(n: int) -> tuple[float, float]:
    """FLOPs of the core, and of all, of a prefill of Gemma 3 27B."""
    core = GEMMA.core(10 / 62 * n * (n + 1) / 2 + 52 / 62 * windowed(n, min(n, 1024)))
    return core, core + 2 * n * GEMMA.work + 2 * GEMMA.head


def gpt3(n: int) -> tuple[float, float]:
    layers, d, vocab = GPT3
    core = 2 * layers * d * n * (n + 1)
    return core, core + 24 * layers * d**2 * n + 2 * vocab * d


def half(shares: Callable[[int], tuple[float, float]], above: int) -> str:
    """The first length above another at which the core is half of all."""
    n = above
    while 2 * shares(n)[0] < shares(n)[1]:
        n += 1
    return f"{n:,}"


def share(parts: tuple[float, float], digits: int = 0) -> str:
    return f"{parts[0] / parts[1]:.{digits}%}"


def production() -> dict[str, str]:
    c = SEVENTY.token()
    cached = 16 * 65_536 * c // 4
    needed = stored(QUARTER, 2) + cached + QUARTER.live()
    rest = USABLE - stored(QUARTER, 1) - QUARTER.live()
    fast = QUARTER.step(65_536, 16) / QUARTER.step(65_536, 16, 1, 1)
    room = USABLE - stored(EIGHT, 2) - EIGHT.live()
    most = int(room // (8192 * EIGHT.token()))
    crowd = USABLE - stored(EIGHT, 2) - EIGHT.live(6608)  # fewer positions than a chunk of the prefill
    parts = [EIGHT.moved(1, t - 1) for t in (8192, FAR)]
    inner = 2 * 8192 * EIGHT.matrices["inner"] / EIGHT.flops(8192)
    whole = sum(EIGHT.moved(2**15).values())
    pieces = [EIGHT.moved(2048, 2048 * i) for i in range(16)]
    chunks = sum(sum(x.values()) for x in pieces) - 15 * pieces[0]["head"]
    alone = 32 * EIGHT.flops(4352)
    together = EIGHT.flops(4096, logits=0) + 32 * EIGHT.flops(256, 4096)
    tokens = sum(0.8**i for i in range(5))
    small = [(ONE.flops(1, 2048 + i), sum(ONE.moved(1, 2048 + i).values())) for i in range(4)]
    check = SEVENTY.flops(5, 2048, logits=5), sum(SEVENTY.moved(5, 2048, logits=5).values())
    plain = SEVENTY.flops(1, 2048), sum(SEVENTY.moved(1, 2048).values())
    guess = [(check[i] + sum(x[i] for x in small)) / (tokens * plain[i]) for i in (0, 1)]
    state = 36 * (4 * 32 * 128 * 128 + 2 * 3 * (2 * 16 + 32) * 128)
    every = 2 * 128 * NARROW * 61 * (FAR + 1) / 2
    looked = 2 * 64 * 128 * 61 * (FAR + 1) / 2
    chosen = 2 * 128 * NARROW * 61 * windowed(FAR, 2048) / FAR
    old = 2 * 95 * 8 * 128 * 16
    own = EIGHT.flops(FAR) - EIGHT.core(28 / 32 * (FAR * (FAR + 1) / 2 - windowed(FAR, 1024)))
    oss, options = cost.MODELS["gpt-oss-20b"], {"weights": "mxfp4", "cache": "fp8"}
    held = cost.serving(oss, FAR, DEVICE, **options)
    one = 12 * 2 * 8 * 64 * (FAR + 128)
    users = int((held.memory - held.weights - held.activations) // one)
    steps = [cost.model_forward(oss, 1, past=FAR - 1, batch=x, **options) for x in (users, users // 2)]
    times = [cost.roofline(x, DEVICE, dtype="bfloat16").seconds for x in steps]
    rates = [users / times[0], users // 2 / times[1]]
    eighth = SEVENTY._replace(h=8, h_kv=1, d_ff=3584, vocab=16_032)  # one of eight devices
    sums, scores = (2 * 160 + 2) * 7 / 8 * 2 * 8192, 7 / 8 * 2 * 128_256  # layers and embedding; a token's scores
    links = [
        eighth.prefill(8192, 16) + (16 * 8192 * sums + 16 * scores) / rate
        for rate in (450e9, 16 * 32e9 * 128 / 130 / 8)
    ]
    return {
        "production-case-needed": format_bytes(needed),
        "production-case-usable": format_bytes(USABLE),
        "production-case-share": f"{cached / needed:.0%}",
        "production-case-cache": format_bytes(cached // 2),
        "production-case-weights": format_bytes(stored(QUARTER, 1) - 2 * QUARTER.norms),
        "production-case-both": format_bytes(stored(QUARTER, 1) + cached // 2 + QUARTER.live()),
        "production-case-gain": f"{fast:.1f}",
        "production-case-context": text(int(rest // (16 * 16 * c // 8)) * 16),
        "production-case-batch": text(int(rest // (65_536 * c // 8))),
        "production-case-even": f"{2 * SEVENTY.parameters / c:,.0f}",
        "production-models": text(len(cost.MODELS)),
        "production-confirmed": text(len(cost.published.COUNTS)),
        "production-even-low": f"{2 * SEVEN.parameters / SEVEN.token():,.0f}",
        "production-even-high": f"{2 * 671_026_419_200 / (61 * 2 * 576) / 1e6:.0f}",
        "production-mixtral-share": f"{12_748_853_248 / 46_702_792_704:.0%}",
        "production-part-inner": f"{inner:.0%}",
        "production-part-cache": f"{parts[0]['attention'] / sum(parts[0].values()):.0%}",
        "production-part-cache-far": f"{parts[1]['attention'] / sum(parts[1].values()):.0%}",
        "production-core-short": share(gpt3(2048), 1),
        "production-core-llama": share((EIGHT.core(FAR * (FAR + 1) / 2), EIGHT.flops(FAR))),
        "production-core-gemma": share(gemma(FAR)),
        "production-half-llama": half(lambda n: (EIGHT.core(n * (n + 1) / 2), EIGHT.flops(n)), 53_000),
        "production-half-gemma": half(gemma, 614_000),
        "production-ridge": f"{H100 / HBM:.0f}",
        "production-decode-ratio": f"{EIGHT.step(8192) / (EIGHT.prefill(8192) / 8192):,.0f}",
        "production-ceiling": f"{HBM / (8192 * EIGHT.token()):,.0f}",
        "production-batch-most": text(most),
        "production-batch-rate": f"{most / EIGHT.step(8192, most):,.0f}",
        "production-prefill-near": f"{EIGHT.prefill(FAR):.1f}",
        "production-prefill-far": f"{EIGHT.prefill(8 * FAR) / 60:.1f}",
        "production-prefill-ratio": f"{EIGHT.prefill(8 * FAR) / EIGHT.prefill(FAR):.0f}",
        "production-limit-8b": text(int(room // (16 * EIGHT.token())) * 16),
        "production-limit-batch": text(int(crowd // (64 * 16 * EIGHT.token())) * 16),
        "production-gemma-full": format_bytes(FAR * GEMMA.token()),
        "production-gemma-kept": format_bytes((10 * FAR + 52 * 1024) * GEMMA.token() // 62),
        "production-gemma-fixed": format_bytes(52 * 1024 * GEMMA.token() // 62),
        "production-qwen-state": format_bytes(state),
        "production-qwen-pays": f"{state / (36 * 2 * 2 * 256 * 2):,.0f}",
        "production-sinks": text(36 * 64),
        "production-latent-over": f"{2 * 128 * 128 / 576:.0f}",
        "production-absorb-turn": text(512 * 256 // (1024 - 256)),
        "production-absorb-step": f"{8192 * (256 * NARROW + EXPANDED) / (8192 * 256 * WIDE + EXPANDED):.0f}",
        "production-absorb-pair": f"{WIDE / NARROW:.1f}",
        "production-absorb-byte": f"{2 * 128 * WIDE / (2 * 576):.0f}",
        "production-latent-gqa": f"{576 / 256:.2f}",
        "production-latent-device": format_bytes(FAR * 61 * 2 * 576),
        "production-gqa-device": format_bytes(FAR * c // 8),
        "production-index": f"{looked / 1e9:.1f}",
        "production-selected": f"{chosen / 1e9:.1f}",
        "production-all-pairs": f"{every / 1e9:.0f}",
        "production-index-gain": f"{every / (looked + chosen):.1f}",
        "production-index-most": f"{128 * NARROW / (64 * 128):.0f}",
        "production-index-grown": f"{(FAR + 1) / (2**15 + 1):.1f}",
        "production-index-cache": f"{128 / 576:.0%}",
        "production-bits": f"{4 + (16 + 16) / 32:g}",
        "production-quant-short": f"{EIGHT.step(2048) / EIGHT.step(2048, w=1):.2f}",
        "production-quant-long": f"{EIGHT.step(2**15, 16) / EIGHT.step(2**15, 16, k=1):.2f}",
        "production-quant-long-weights": f"{EIGHT.step(2**15, 16) / EIGHT.step(2**15, 16, w=1):.2f}",
        "production-devices-slower": f"{links[1] / links[0]:.1f}",
        "production-devices-sent": format_bytes(16 * (sums + scores)),
        "production-devices-latent": format_bytes(16 * FAR * 61 * 2 * 576),
        "production-devices-split": format_bytes(8 * FAR * 61 * 2 * 576),
        "production-chunks": "16",
        "production-chunk-bytes": f"{chunks / whole:.2f}",
        "production-chunk-waits": f"{EIGHT.flops(2048, 2**15 - 2048) / EIGHT.flops(2**15):.1%}",
        "production-prefix-flops": f"{alone / together:.1f}",
        "production-guess-bytes": f"{1 / guess[1]:.1f}",
        "production-guess-flops": f"{guess[0]:.2f}",
        "production-claim-same": f"{1 - 60 * 576 * 16 / old:.1%}",
        "production-claim-six": f"{1 - 60 * 576 * 6 / old:.1%}",
        "production-claim-one": f"{1 / EIGHT.step(1024):,.0f}",
        "production-claim-layers": f"{95 / 60:.2f}",
        "production-claim-heads": f"{2048 / 576:.2f}",
        "production-claim-bits": f"{16 / 6:.2f}",
        "production-hand-token": format_bytes(2 * 40 * 8 * 128 * 2),
        "production-hand-even": f"{26e9 / (2 * 40 * 8 * 128 * 2):,.0f}",
        "production-hand-floor": "13",
        "production-own-cache": f"{(4 * FAR + 28 * 1024) / (32 * FAR):.1%}",
        "production-own-flops": f"{own / EIGHT.flops(FAR):.1%}",
        "production-users": text(users),
        "production-users-rate": f"{rates[0]:,.0f}",
        "production-users-fall": f"{rates[0] / rates[1]:.2f}",
        "production-rank-limit": f"{2 / 256:.4f}",
    }


def lengths() -> list[int]:
    """The texts of the chapter on training, drawn anew."""
    drawn = np.exp(np.random.default_rng(0).normal(5.5, 1.0, 1024))
    return [min(4096, max(1, round(float(x)))) for x in drawn]


def training() -> dict[str, str]:
    texts = lengths()
    total, met = sum(texts), sum(x * x for x in texts)
    order = sorted(texts)

    def places(found: list[int], power: int = 1) -> int:
        return sum(32 * max(found[i : i + 32]) ** power for i in range(0, 1024, 32))

    def work(places: int, pairs: int) -> float:
        return 2 * (EIGHT.work + EIGHT.head + EIGHT.norms) * places + 4 * 32 * 4096 * pairs

    rows = {w: math.ceil(total / w) for w in (4096, 16_384)}
    layers, d, vocab = GPT3
    gpt = 174_604_259_328
    gpt_half = 3 * (2048 * (24 * layers * d**2 + 2 * vocab * d) + 2 * layers * d * 2048 * 2049) / 2048
    six, seven = 6 * SEVEN.parameters, SEVEN.trained(4096) / 4096
    seconds = 184_320 * 3600
    palm = 6 * 671_026_419_200 + 12 * 61 * 128 * 192 * 4096
    # Norms, biases and taps are at work, too; tables are not.
    active = 6 * cost.model_parameters(cost.MODELS["deepseek-v3"], active=True)
    gemma_palm = 6 * cost.model_parameters(cost.MODELS["gemma-3-27b"]) + 12 * 62 * 4096 * 2**15
    gemma_met = 12 * 4096 * (52 * 1024 + 10 * 2**15)
    near, long = ({x: EIGHT.trained(n, x) for x in ("nothing", "scores", "layers")} for n in (8192, FAR))
    hours = 15e12 / (0.4 * H100) / 3600 / 1e3
    eight_palm = 6 * EIGHT.parameters + 12 * 32 * 4096 * 8192
    fits = {
        x.name: 16 * cost.model_parameters(x) + cost.activation_memory(x, 1024, recompute="layers")
        for name, x in cost.MODELS.items()
        if name.startswith(("gpt-2", "llama"))
    }
    fits = {name: size for name, size in fits.items() if size < 80e9}
    largest = max(fits, key=lambda name: fits[name])

    # A step of 64 devices with a sequence each: half of the sum of gradients hides behind the passes backward, the
    # gathering of new weights behind the next pass forward.
    moved = EIGHT.moved(8192, logits=8192)
    forward = (EIGHT.trained(8192) / 3) / H100 + (moved["embedding"] + moved["norms"]) / HBM
    sent = 63 / 64 * 2 * EIGHT.parameters / 50e9
    waits = (sent - forward) + (sent - 2 * forward)
    again = EIGHT.core(8192 * 8193 / 2) / 2 / H100
    update = (2 * 12 + 2 + 2) * EIGHT.parameters / 64 / HBM
    step = 3 * forward + again + update + waits

    def needed(gradients: float) -> str:
        return format_bytes((2 + gradients + 12 / 64) * EIGHT.parameters + EIGHT.kept(8192, "scores"))

    return {
        "training-step-first": needed(2),
        "training-step-second": needed(2 / 64),
        "training-step-usable": format_bytes(USABLE),
        "training-step-waits": f"{waits / step:.0%}",
        "training-step-most": f"{EIGHT.trained(8192) / H100 / step:.0%}",
        "training-state": format_bytes(16 * SEVEN.parameters),
        **{f"training-kept-{x}": format_bytes(SEVEN.kept(4096, x, batch=8)) for x in ("nothing", "scores", "layers")},
        "training-spread": f"{palm / active:.0f}",
        "training-gpt3-over": f"{gpt_half / (6 * gpt) - 1:.1%}",
        "training-llama-palm": f"{12 * 32 * 4096 * 4096 / six:.0%}",
        "training-llama-half": f"{seven / six - 1:.0%}",
        "training-gpt3": f"{6 * gpt * 3e11 / 1e23:.2f}",
        "training-405b": f"{6 * 405_853_388_800 * 15.6e12 / 1e25:.1f}",
        "training-gemma-windows": f"{1 - (gemma_palm - 12 * 62 * 4096 * 2**15 + gemma_met) / gemma_palm:.0%}",
        "training-far-half": f"{EIGHT.trained(FAR) / FAR / (6 * EIGHT.parameters):.1f}",
        "training-far-every": f"{EIGHT.trained(FAR, half=False) / FAR / (6 * EIGHT.parameters):.1f}",
        "training-mfu-low": f"{six * 3000 / A100:.0%}",
        "training-mfu-high": f"{SEVEN.trained(4096, 'layers') / 4096 * 3000 / A100:.0%}",
        "training-hours-plain": f"{six * 2e12 / (seconds * A100):.0%}",
        "training-hours": f"{seven * 2e12 / (seconds * A100):.0%}",
        "training-hours-rate": f"{2e12 / seconds:,.0f}",
        "training-hours-sparse": f"{six * 2e12 / (seconds * 2 * A100):.0%}",
        "training-again-scores": f"{near['scores'] / near['nothing'] - 1:.0%}",
        "training-again-long": f"{long['scores'] / long['nothing'] - 1:.0%}",
        "training-again-layers": f"{near['layers'] / near['nothing']:.2f}",
        "training-kept-factor": f"{EIGHT.kept(8192, 'nothing') / EIGHT.kept(8192, 'layers'):.0f}",
        "training-data-near": f"{2 / 3 * 7 / 8 * H100 / 450e9:,.0f}",
        "training-data-far": f"{2 / 3 * 63 / 64 * H100 / 50e9:,.0f}",
        "training-data-zero": "1.5",
        "training-trap-heavy": f"{1010 / 20:.1f}",
        "training-trap-light": f"{1010 / 2000:.3f}",
        "training-texts-median": f"{np.median(texts):.0f}",
        "training-pad-places": f"{1 - total / places(texts):.0%}",
        "training-sort-places": f"{1 - total / places(order):.0%}",
        "training-pack-places": f"{1 - total / (rows[4096] * 4096):.1%}",
        "training-pack-pairs": f"{1 - met / (rows[4096] * 4096**2):.0%}",
        "training-pad-flops": f"{work(places(texts), places(texts, 2)) / work(total, met):.1f}",
        "training-pack-flops": f"{work(rows[4096] * 4096, met) / work(total, met):.2f}",
        "training-hand-six": "60",
        "training-hand-palm": "84",
        "training-hand-half": "72",
        "training-own-hours": f"{EIGHT.trained(8192) / 8192 * hours:,.0f}",
        "training-own-palm": f"{eight_palm * hours:,.0f}",
        "training-fits": text(len(fits)),
        "training-fits-largest": largest,
        "training-fits-bytes": format_bytes(fits[largest]),
        "training-row-pairs": f"{rows[16_384] * 16_384**2 / (rows[4096] * 4096**2):.1f}",
        "training-row-narrow": f"{1 - met / (rows[4096] * 4096**2):.1%}",
        "training-row-wide": f"{1 - met / (rows[16_384] * 16_384**2):.1%}",
    }
