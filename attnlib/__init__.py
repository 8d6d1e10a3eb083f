"""Self-attention and its alternatives in JAX, each with a cost model that agrees with what the compiler counts."""

from attnlib import clock, cost, count, hardness
from attnlib.attention import (
    attention,
    attention_weights,
    init_multihead_attention,
    multihead_attention,
)
from attnlib.calibrate import measure_device
from attnlib.feedforward import feed_forward, init_feed_forward
from attnlib.flash import flash_attention
from attnlib.mesh import spread

__all__ = [
    "attention",
    "attention_weights",
    "clock",
    "cost",
    "count",
    "feed_forward",
    "flash_attention",
    "hardness",
    "init_feed_forward",
    "init_multihead_attention",
    "measure_device",
    "multihead_attention",
    "spread",
]
