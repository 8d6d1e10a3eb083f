"""Cost models: plain arithmetic in integers, NumPy arrays or SymPy symbols. No JAX.

Conventions: a multiply-add is 2 FLOPs; an exp is one transcendental, not a FLOP; softmax work is its own step; a
reduction of m numbers is m FLOPs; a Fourier transform of L real numbers is 5/2 L log₂ L.
"""

from attnlib.cost._sizes import BYTES as BYTES
from attnlib.cost._sizes import Number as Number
from attnlib.cost.algebra import Cost as Cost
from attnlib.cost.algebra import Step as Step
from attnlib.cost.bigbird import bigbird_attention as bigbird_attention
from attnlib.cost.convolution import conv as conv
from attnlib.cost.convolution import conv_path as conv_path
from attnlib.cost.decoding import decode_step as decode_step
from attnlib.cost.decoding import generation as generation
from attnlib.cost.decoding import kv_cache as kv_cache
from attnlib.cost.devices import ACCELERATORS as ACCELERATORS
from attnlib.cost.devices import Curve as Curve
from attnlib.cost.devices import Device as Device
from attnlib.cost.feed_forward import feed_forward as feed_forward
from attnlib.cost.flash import BLOCKS as BLOCKS
from attnlib.cost.flash import cover as cover
from attnlib.cost.flash import flash_attention as flash_attention
from attnlib.cost.gated import gated_linear_attention as gated_linear_attention
from attnlib.cost.gated import gated_linear_attention_step as gated_linear_attention_step
from attnlib.cost.latent import latent_attention as latent_attention
from attnlib.cost.latent import latent_cache as latent_cache
from attnlib.cost.latent import latent_step as latent_step
from attnlib.cost.linear import linear_attention as linear_attention
from attnlib.cost.linear import linear_attention_step as linear_attention_step
from attnlib.cost.linformer import linformer_attention as linformer_attention
from attnlib.cost.longformer import longformer_attention as longformer_attention
from attnlib.cost.lsh import lsh_attention as lsh_attention
from attnlib.cost.mamba import mamba as mamba
from attnlib.cost.mamba import mamba_step as mamba_step
from attnlib.cost.mixture import active_parameters as active_parameters
from attnlib.cost.mixture import mixture_of_experts as mixture_of_experts
from attnlib.cost.multihead import multihead_attention as multihead_attention
from attnlib.cost.nystrom import nystrom_attention as nystrom_attention
from attnlib.cost.performer import performer_attention as performer_attention
from attnlib.cost.performer import performer_attention_step as performer_attention_step
from attnlib.cost.recurrent import gru as gru
from attnlib.cost.recurrent import lstm as lstm
from attnlib.cost.recurrent import rnn as rnn
from attnlib.cost.roofline import Roofline as Roofline
from attnlib.cost.roofline import StepTime as StepTime
from attnlib.cost.roofline import roofline as roofline
from attnlib.cost.routing import routing_attention as routing_attention
from attnlib.cost.s4d import s4d as s4d
from attnlib.cost.s4d import s4d_step as s4d_step
from attnlib.cost.selective_scan import selective_scan as selective_scan
from attnlib.cost.selective_scan import selective_scan_step as selective_scan_step
from attnlib.cost.softmax import attention as attention
from attnlib.cost.softmax import visible_pairs as visible_pairs
from attnlib.cost.taylor import softmax_operations as softmax_operations
from attnlib.cost.taylor import taylor_attention as taylor_attention
from attnlib.cost.taylor import taylor_attention_step as taylor_attention_step
from attnlib.cost.taylor import taylor_features as taylor_features
from attnlib.cost.taylor import taylor_operations as taylor_operations
from attnlib.cost.taylor import taylor_state as taylor_state
from attnlib.cost.topk import topk_attention as topk_attention
from attnlib.cost.traffic import Traffic as Traffic
from attnlib.cost.traffic import Transfer as Transfer
from attnlib.cost.traffic import attention_io as attention_io
from attnlib.cost.traffic import flash_attention_io as flash_attention_io
from attnlib.cost.transformer import transformer_layer as transformer_layer
from attnlib.cost.window import window_attention as window_attention
from attnlib.cost.window import window_pairs as window_pairs
