"""Several devices: what a ring sends is what a ring sends, shares add up, and links decide how long it takes."""

from dataclasses import replace

import numpy as np
import pytest
import sympy

from attnlib import cost
from attnlib.cost import ACCELERATORS, LINKS, MODELS, Parallel

H100, T4 = ACCELERATORS["H100"], ACCELERATORS["T4"]
LLAMA, GEMMA, V3, NEXT, BERT = (
    MODELS[name] for name in ("llama-3-8b", "gemma-3-27b", "deepseek-v3", "qwen3-next-80b-a3b", "bert-base")
)


def ring_all_reduce(arrays):
    """The ring itself: D − 1 rounds of sums of parts, D − 1 of finished parts. Returns results and numbers sent."""
    devices = len(arrays)
    held = [np.array_split(x, devices) for x in arrays]
    sent = np.zeros(devices, int)
    for phase in (0, 1):
        for turn in range(devices - 1):
            moved = [(i, (i + phase - turn) % devices) for i in range(devices)]
            for (i, part), x in zip(moved, [held[i][part].copy() for i, part in moved], strict=True):
                to = (i + 1) % devices
                held[to][part] = x if phase else held[to][part] + x
                sent[i] += x.size
    return [np.concatenate(x) for x in held], sent


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
def test_an_all_reduce_is_that_of_a_ring(rng, devices):
    arrays = [rng.integers(0, 9, 24) for _ in range(devices)]
    results, sent = ring_all_reduce(arrays)
    assert all(np.array_equal(x, sum(arrays)) for x in results)
    expected = cost.all_reduce(24, devices)
    assert [*sent] == [expected.sent] * devices
    assert expected.messages == 2 * (devices - 1)
    halves = cost.reduce_scatter(24, devices), cost.all_gather(24, devices)
    assert sum(x.sent for x in halves) == expected.sent


def test_formulas_of_what_is_sent():
    D, S = sympy.symbols("D S", positive=True)
    assert sympy.simplify(cost.all_reduce(S, D).sent - 2 * (D - 1) / D * S) == 0
    assert sympy.simplify(cost.all_gather(S, D).sent - (D - 1) / D * S) == 0
    assert sympy.simplify(cost.ring_pass(S / D, D).sent - (D - 1) / D * S) == 0
    # A part that does not come out even is rounded up.
    assert cost.all_gather(10, 4).sent == 9
    assert cost.all_gather(10, 4).seconds(replace(LINKS["PCIe 3"], rate=3, latency=2)) == 9 / 3 + 3 * 2


def test_what_stages_send():
    """Rajbhandari et al., section 7: stages 1 and 2 as much as an all-reduce, stage 3 half as much again."""
    sent = [sum(x.sent for x in cost.gradient_exchanges(8 * 10**9, 8, zero=stage)) for stage in range(4)]
    assert sent == [sent[0], sent[0], sent[0], 1.5 * sent[0]]
    assert cost.gradient_exchanges(10, 1, zero=3) == ()


def test_what_stages_hold():
    """Rajbhandari et al., section 3.1 and figure 1: 16 bytes a parameter, 4 + 12/D, 2 + 14/D, 16/D."""
    numbers = cost.model_parameters(LLAMA)
    each = [sum(cost.training_state(LLAMA, devices=64, zero=stage).values()) / numbers for stage in range(4)]
    assert each == pytest.approx([16, 4 + 12 / 64, 2 + 14 / 64, 16 / 64])


def test_links():
    assert all(link.source for link in LINKS.values())
    assert H100.joined("f", 8).name == "NVLink 4"
    assert H100.joined("f", 16).name == "InfiniBand NDR"
    assert T4.joined("f", 16).name == "PCIe 3"
    assert LINKS["PCIe 5"].rate == pytest.approx(63e9, rel=1e-3)
    with pytest.raises(KeyError, match="got 'NVLink 9'"):
        LINKS["NVLink 9"]


# --- serving ---


def serve(model, parallel, n=4096, **options):
    return cost.serving(model, n, H100, devices=parallel.devices, parallel=parallel, **options)


def test_sequences_on_several_devices_are_one_device_with_fewer():
    many, one = serve(LLAMA, Parallel(data=4), batch=8), serve(LLAMA, Parallel(), batch=2)
    assert (many.needed, many.sent) == (one.needed, 0)
    assert many.decode.seconds == one.decode.seconds
    # Five sequences on four devices: one has two.
    assert serve(LLAMA, Parallel(data=4), batch=5).cache == serve(LLAMA, Parallel(), batch=2).cache


def test_heads_on_several_devices():
    found, one = serve(LLAMA, Parallel(tensor=8)), serve(LLAMA, Parallel())
    assert found.cache.needed == one.cache.needed // 8
    assert found.weights == pytest.approx(one.weights / 8, rel=1e-3)
    halves = cost.all_reduce(2 * LLAMA.d, 8) * 64
    assert found.decode["all-reduce, layers"].seconds == halves.seconds(LINKS["NVLink 4"])
    assert found.decode["all-reduce, layers"].bound == "link"
    assert sum(x.seconds for x in found.decode.steps if x.link) < found.decode.seconds < one.decode.seconds
    # A prefill of n positions sends n times as much, but for the scores, of which there is one.
    rows = 4096 * halves.sent / LINKS["NVLink 4"].rate
    assert found.prefill["all-reduce, layers"].seconds == pytest.approx(rows)
    # Sixteen devices are two servers: the ring goes as its slowest step.
    slow = serve(LLAMA, Parallel(tensor=16)).decode["all-reduce, layers"].seconds
    assert slow == (cost.all_reduce(2 * LLAMA.d, 16) * 64).seconds(LINKS["InfiniBand NDR"])
    # Latency counts for each message.
    late = serve(LLAMA, Parallel(tensor=8), link=replace(LINKS["NVLink 4"], latency=1e-6))
    extra = late.decode["all-reduce, layers"].seconds - halves.seconds(LINKS["NVLink 4"])
    assert extra == pytest.approx(64 * 14 * 1e-6)


def test_positions_on_several_devices():
    n = 65_536
    found, one = serve(LLAMA, Parallel(sequence=8), n), serve(LLAMA, Parallel(), n)
    assert found.weights == one.weights
    assert found.cache.needed == one.cache.needed // 8
    # All devices meet as many pairs: an eighth.
    whole = cost.model_forward(LLAMA, n, logits=1)["attention"].matmul_flops
    own = cost.model_forward(LLAMA, n // 8, past=(n - n // 8) // 2, logits=1)["attention"].matmul_flops
    assert own == whole // 8
    assert found.prefill["attention"].matmul == pytest.approx(one.prefill["attention"].matmul / 8)
    # Each device's keys and values come past all others while these compute.
    block = cost.kv_cache(n // 8, 128, h_kv=8, layers=32)
    assert found.prefill["attention"].link == pytest.approx(cost.ring_pass(block, 8).sent / 450e9)
    slow = serve(LLAMA, Parallel(sequence=8), n, link=LINKS["PCIe 3"]).prefill["attention"]
    assert slow.seconds == slow.link > slow.matmul
    # A token: each head's sums are merged.
    assert found.sent == cost.all_reduce(32 * (128 + 2) * 4, 8).sent * 32


@pytest.mark.parametrize("model", [GEMMA, V3, NEXT, MODELS["deepseek-v3.2"]], ids=lambda x: x.name)
def test_rings_of_other_layers(model):
    """A window sends its reach, a latent itself, a state goes round once."""
    n = 32_768
    found = serve(model, Parallel(sequence=4), n)
    own = n // 4
    sent = {
        "Gemma 3 27B, text": (52 * 1023 + 10 * 3 * own) * 2 * 16 * 128 * 2,
        "DeepSeek-V3": 61 * 3 * own * (512 + 64) * 2,
        "DeepSeek-V3.2": 61 * 3 * own * (512 + 64 + 128) * 2,
        "Qwen3-Next 80B-A3B": 12 * 3 * own * 2 * 2 * 256 * 2 + 36 * (4 * 32 * 128**2 + 2 * 3 * 8192),
    }[model.name]
    assert sum(x.link for x in found.prefill.steps) == pytest.approx(sent / 450e9)


def test_an_encoder_on_several_devices():
    model = cost.with_memory(MODELS["t5-base"], 200)
    found = serve(model, Parallel(tensor=4), 100)
    sums = cost.all_reduce(200 * 2 * 768, 4)
    assert found.prefill["encoder, all-reduce, layers"].seconds == (sums * 24).seconds(LINKS["NVLink 4"])
    assert found.sent == (cost.all_reduce(2 * 768, 4) * 37).sent + cost.all_gather(2 * model.vocab, 4).sent


def test_grids():
    found = serve(LLAMA, Parallel(tensor=4, data=4), batch=8)
    assert found.needed == serve(LLAMA, Parallel(tensor=4), batch=2).needed
    # Heads are shared within a server, whatever lies beyond.
    assert found.decode.seconds == serve(LLAMA, Parallel(tensor=4), batch=2).decode.seconds
    by_name = cost.serving(LLAMA, 4096, H100, batch=8, devices=16, parallel="data=4,tensor=4")
    assert by_name == found
    more = cost.alternatives(found)["twice the devices"]
    assert (more.devices, more.parallel) == (32, Parallel(tensor=8, data=4))
    assert more.needed < found.needed
    longest = cost.longest_context(LLAMA, H100, devices=16, parallel=Parallel(tensor=4, sequence=4))
    assert longest == pytest.approx(4 * cost.longest_context(LLAMA, H100, devices=4), rel=0.01)
    most = cost.largest_batch(LLAMA, 8192, H100, devices=8, parallel="data")
    assert most == 8 * cost.largest_batch(LLAMA, 8192, H100)


WHOLE = "a whole number of at least 1"


def bad(argument, expected, got, fn, *args, **kwargs):
    return (argument, expected, got, fn, args, kwargs)


ALONE = replace(H100, name="box", link=None, network=None)
SHARED = [
    (cost.serving, (LLAMA, 64, H100)),
    (cost.longest_context, (LLAMA, H100)),
    (cost.largest_batch, (LLAMA, 64, H100)),
]
BAD = [
    *(
        bad(a, WHOLE, "0", fn, **{first: 8, "devices": 2} | {a: 0})
        for fn, first in (
            (cost.all_reduce, "total"),
            (cost.reduce_scatter, "total"),
            (cost.all_gather, "total"),
            (cost.ring_pass, "block"),
            (cost.gradient_exchanges, "parameters"),
        )
        for a in (first, "devices")
    ),
    bad("total", WHOLE, "1.5", cost.all_reduce, 1.5, 2),
    bad("zero", "a stage from 0 to 3", "4", cost.gradient_exchanges, 8, 2, zero=4),
    bad("zero", "a stage from 0 to 3", "4", cost.training_state, LLAMA, zero=4),
    bad("devices", "an integer of at least 1", "0", cost.training_state, LLAMA, devices=0),
    bad("dtype", "one of float64", "int5", cost.gradient_exchanges, 8, 2, dtype="int5"),
    *(
        row
        for fn, args in SHARED
        for row in (
            bad("parallel", "one of tensor, sequence, data", "'rows'", fn, *args, devices=2, parallel="rows"),
            bad("parallel", "one of tensor", "'tensor=x'", fn, *args, devices=2, parallel="tensor=x"),
            bad("parallel", "one of tensor", "3", fn, *args, devices=2, parallel=3),
            bad("parallel", "as many as devices = 2", "4 in data=4", fn, *args, devices=2, parallel=Parallel(data=4)),
            bad("link", "a Link or None", "'NVLink 4'", fn, *args, devices=2, link="NVLink 4"),
            bad(
                "link", "one that joins 16 devices", "NVLink 4, which", fn, *args, devices=16, link=LINKS["NVLink 4"]
            ),
        )
    ),
    bad("link", "a Link, for box has none that joins 2", "None", cost.serving, LLAMA, 64, ALONE, devices=2),
    bad(
        *("parallel", "sequence=1 for BERT-base", "sequence=2"),
        *(cost.serving, BERT, 64, H100),
        devices=2,
        parallel="sequence",
    ),
    bad(
        *("parallel", "sequence=1 for T5 base, which has cross-attention", "sequence=2"),
        *(cost.serving, MODELS["t5-base"], 64, H100),
        devices=2,
        parallel="sequence",
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__name__}-{bad[0]}-{bad[2]}"[:60])
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Parallel(tensor=0), "tensor: expected an integer of at least 1, got 0"),
        (lambda: cost.Link("x", 0), "rate: expected a number above 0, got 0"),
        (lambda: cost.Link("x", 1, latency=-1), "latency: expected a number of at least 0, got -1"),
        (lambda: cost.Link("x", 1, reach=0), "reach: expected an integer of at least 1, got 0"),
    ],
)
def test_bad_classes(untyped, made, said):
    with pytest.raises(ValueError, match="expected") as error:
        made()
    assert said in str(error.value)
