"""Cost models: plain arithmetic in integers, NumPy arrays or SymPy symbols. No JAX.

Conventions: a multiply-add is 2 FLOPs; an exp is one transcendental, not a FLOP; softmax work is its own step; a
reduction of m numbers is m FLOPs.
"""

from attnlib.cost.algebra import BYTES, Cost, Number, Step
from attnlib.cost.convolution import conv, conv_path
from attnlib.cost.decoding import decode_step, generation
from attnlib.cost.devices import ACCELERATORS, Curve, Device
from attnlib.cost.flash import flash_attention
from attnlib.cost.io import Traffic, Transfer, attention_io, flash_attention_io
from attnlib.cost.layers import (
    attention,
    feed_forward,
    kv_cache,
    multihead_attention,
    transformer_layer,
    visible_pairs,
)
from attnlib.cost.linear import linear_attention, linear_attention_step
from attnlib.cost.local import window_attention, window_pairs
from attnlib.cost.recurrent import gru, lstm, rnn
from attnlib.cost.roofline import Roofline, StepTime, roofline
from attnlib.cost.taylor import (
    softmax_operations,
    taylor_attention,
    taylor_attention_step,
    taylor_features,
    taylor_operations,
    taylor_state,
)

__all__ = [
    "ACCELERATORS",
    "BYTES",
    "Cost",
    "Curve",
    "Device",
    "Number",
    "Roofline",
    "Step",
    "StepTime",
    "Traffic",
    "Transfer",
    "attention",
    "attention_io",
    "conv",
    "conv_path",
    "decode_step",
    "feed_forward",
    "flash_attention",
    "flash_attention_io",
    "generation",
    "gru",
    "kv_cache",
    "linear_attention",
    "linear_attention_step",
    "lstm",
    "multihead_attention",
    "rnn",
    "roofline",
    "softmax_operations",
    "taylor_attention",
    "taylor_attention_step",
    "taylor_features",
    "taylor_operations",
    "taylor_state",
    "transformer_layer",
    "visible_pairs",
    "window_attention",
    "window_pairs",
]
