"""Self-attention and its alternatives in JAX, each with a cost model that agrees with what the compiler counts."""

from attnlib import clock, cost, count, decoding, graph, hardness, taylor
from attnlib.attention import (
    attention,
    attention_weights,
    init_multihead_attention,
    multihead_attention,
)
from attnlib.calibrate import measure_device
from attnlib.convolution import conv, conv_stack, init_conv
from attnlib.feedforward import feed_forward, init_feed_forward
from attnlib.flash import flash_attention
from attnlib.linear import linear_attention, linear_attention_state, linear_attention_step
from attnlib.local import window_attention
from attnlib.mesh import spread
from attnlib.recurrent import gru, init_gru, init_lstm, init_rnn, lstm, rnn
from attnlib.taylor import taylor_attention, taylor_attention_state, taylor_attention_step

__all__ = [
    "attention",
    "attention_weights",
    "clock",
    "conv",
    "conv_stack",
    "cost",
    "count",
    "decoding",
    "feed_forward",
    "flash_attention",
    "graph",
    "gru",
    "hardness",
    "init_conv",
    "init_feed_forward",
    "init_gru",
    "init_lstm",
    "init_multihead_attention",
    "init_rnn",
    "linear_attention",
    "linear_attention_state",
    "linear_attention_step",
    "lstm",
    "measure_device",
    "multihead_attention",
    "rnn",
    "spread",
    "taylor",
    "taylor_attention",
    "taylor_attention_state",
    "taylor_attention_step",
    "window_attention",
]
