"""The numbers of *Memory and the cache*."""

from __future__ import annotations

from typing import Any

from tools.assignments.draw import Draw


def given(seed: int) -> dict[str, Any]:
    """Draw them: a model of full and windowed layers, one with latents, a machine, arrays."""
    draw = Draw("cache", seed)
    full = {
        "layers": draw.whole("full layers", 10, 6, 16),
        "h_kv": draw.whole("full h_kv", 16, 4, 20),
        "d_k": draw.whole("full d_k", 128, 64, 192, 8),
        "d_v": draw.whole("full d_v", 112, 56, 184, 16),
    }
    near = {
        "layers": draw.whole("near layers", 52, 24, 60),
        "h_kv": draw.whole("near h_kv", 8, 9, 20),
        "d_k": draw.whole("near d_k", 120, 64, 192, 8),
        "d_v": draw.whole("near d_v", 96, 56, 184, 16),
        "window": draw.whole("window", 1024, 500, 4000),
    }
    t = draw.whole("t", 131_072, 139_264, 524_288, 8192)
    weights = draw.whole("weights", 51, 20, 60)
    # The text fits, and would not if no layer had a window: the story's two voices.
    a_position = [2 * x["layers"] * x["h_kv"] * (x["d_k"] + x["d_v"]) for x in (full, near)]
    needed, without = (a_position[0] * t + a_position[1] * kept for kept in (near["window"], t))
    memory = [weights + free for free in range(needed // 2**30 + 1, without // 2**30)]
    return {
        "machine": {
            "memory_gib": draw.one("memory", 80, memory),
            "weights_gib": weights,
            "t": t,
            "page": draw.one("page", 16, (8, 24, 32, 48, 64)),
            "batch": draw.whole("batch", 6, 2, 12),
        },
        "full": full,
        "near": near,
        "latent": {
            "layers": draw.whole("latent layers", 60, 20, 80),
            "rank": draw.whole("rank", 512, 256, 1024, 16),
            "d_rope": draw.whole("d_rope", 64, 16, 128, 8),
        },
        "quantise": {
            "draw": draw.whole("quantise draw", 1, 2, 10**6),
            "width": draw.whole("width", 136, 100, 300),
            "bits": draw.one("bits", 4, (3, 5, 6, 7)),
            "group": draw.one("group", 32, (16, 24, 40, 48)),
        },
        "paged": {
            "draw": draw.whole("paged draw", 1, 2, 10**6),
            "length": draw.whole("length", 117, 60, 300),
            "d_k": draw.whole("paged d_k", 24, 8, 64),
            "d_v": draw.whole("paged d_v", 20, 8, 64),
            "prefix": draw.whole("prefix", 1000, 300, 3000),
        },
    }
