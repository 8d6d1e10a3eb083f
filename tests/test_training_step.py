"""A step of training on devices: FLOPs and bytes are those of the parts, stages of ZeRO send what they send."""

from dataclasses import replace

import pytest

from attnlib import cost
from attnlib.cost import ACCELERATORS, LINKS, MODELS

H100, T4 = ACCELERATORS["H100"], ACCELERATORS["T4"]
LLAMA, GPT2, T5, V3 = (MODELS[name] for name in ("llama-3.1-8b", "gpt-2", "t5-base", "deepseek-v3"))
PEAK = H100.matmul["bfloat16"]


def seconds(found, phase):
    return sum(x.seconds for x in found.time.steps if x.name.startswith(f"{phase}, "))


@pytest.mark.parametrize("recompute", ["nothing", "scores", "layers"])
@pytest.mark.parametrize(
    "name", ["gpt-2", "gemma-3-27b", "mixtral-8x7b", "qwen3-next-80b-a3b", "t5-base", "bert-base"]
)
def test_products_are_those_of_model_training(name, recompute):
    model, n, batch = MODELS[name], 512, 6
    found = cost.training(model, n, H100, batch=batch, micro=2, recompute=recompute)
    step = cost.model_training(model, n, batch=batch, recompute=recompute)
    assert sum(x.matmul for x in found.time.steps) * PEAK == pytest.approx(step.matmul_flops)
    assert found.passes == 3
    assert found.sent == 0
    # Were there nothing but products, the utilisation would be what is not computed twice.
    once = step["forward"].matmul_flops + step["backward"].matmul_flops
    assert found.utilisation == pytest.approx(once / PEAK / found.time.seconds)
    assert found.utilisation <= once / step.matmul_flops


def test_memory_is_that_of_its_parts():
    found = cost.training(LLAMA, 4096, H100, batch=32, micro=2, devices=16, parallel="tensor=4,data=4", zero=2)
    share = cost.model_share(LLAMA, 4)
    assert found.state == cost.training_state(share, devices=4, zero=2)
    assert found.activations == cost.activation_memory(share, 4096, batch=2)
    assert found.needed == sum(found.state.values()) + found.activations
    assert (found.passes, found.memory) == (4, int(0.9 * 80e9))
    third = cost.training(LLAMA, 4096, H100, batch=4, devices=4, zero=3)
    layer = (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336) * 2
    assert third.gathered == layer
    assert cost.training(LLAMA, 4096, H100, zero=3).gathered == 0


def test_sixteen_bytes_a_parameter_in_stages():
    """Rajbhandari et al. (2020), figure 1: 7.5 billion on 64 devices: 120, 31.4, 16.6 and 1.9 GB, with any N."""
    numbers = cost.model_parameters(LLAMA)
    held = [
        sum(cost.training(LLAMA, 64, H100, batch=64, devices=64, zero=zero).state.values()) / numbers
        for zero in range(4)
    ]
    assert held == pytest.approx([x / 7.5 for x in (120, 31.4, 16.6, 1.9)], rel=0.02)


def test_what_stages_send_in_several_passes():
    """Stages 0 and 1 sum once; stage 2 after every pass, stage 3 gathers weights for every direction of it."""
    numbers = 2 * cost.model_parameters(GPT2)
    ring = numbers * 7 / 8
    for passes in (1, 4):
        sent = [
            cost.training(GPT2, 64, H100, batch=8 * passes, micro=1, devices=8, zero=zero).sent for zero in range(4)
        ]
        expected = [2 * ring, 2 * ring, (passes + 1) * ring, 3 * passes * ring]
        assert sent == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("zero", [0, 1])
def test_sums_hide_from_half_as_many_tokens_more_than_the_least(zero):
    least = 2 / 3 * 63 / 64 * PEAK / LINKS["InfiniBand NDR"].rate
    for each, hides in ((2, False), (3, True)):  # sequences of 8,192 tokens on a device
        assert (each * 8192 > 1.5 * least) == hides
        assert each * 8192 > least
        found = cost.training(LLAMA, 8192, H100, batch=64 * each, devices=64, zero=zero)
        assert any("hidden" in x.name for x in found.time.steps) != hides


def test_sums_hide_behind_passes():
    """With enough tokens nothing is left over; with few, what one pass backward does not cover."""
    # PCIe: 8 devices, one sequence each.
    many = cost.training(LLAMA, 8192, H100, batch=16 * 8, devices=8, link=LINKS["PCIe 5"])
    assert not any("hidden" in x.name for x in many.time.steps)
    few = cost.training(LLAMA, 1024, H100, batch=8, devices=8, link=LINKS["PCIe 5"])
    (total,) = cost.gradient_exchanges(cost.model_parameters(LLAMA), 8)
    left = total.seconds(LINKS["PCIe 5"]) - seconds(few, "backward")
    assert few.time["gradients, not hidden"].seconds == pytest.approx(left)
    assert few.time["gradients, not hidden"].bound == "link"
    # Several passes: the last one alone can hide a sum that happens once.
    parts = cost.training(LLAMA, 1024, H100, batch=16, micro=1, devices=8, link=LINKS["PCIe 5"])
    assert parts.time["gradients, not hidden"].seconds == pytest.approx(left)
    # ZeRO: the same for the weights, behind the pass forward.
    one = cost.training(LLAMA, 1024, H100, batch=8, devices=8, link=LINKS["PCIe 5"], zero=1)
    weights = cost.all_gather(2 * cost.model_parameters(LLAMA), 8).seconds(LINKS["PCIe 5"])
    assert one.time["weights, not hidden"].seconds == pytest.approx(weights - seconds(one, "forward"))
    third = cost.training(LLAMA, 1024, H100, batch=8, devices=8, link=LINKS["PCIe 5"], zero=3)
    assert third.time["gradients, not hidden"].seconds == pytest.approx(2 * weights - seconds(third, "backward"))


def test_sums_over_heads_are_waited_for():
    """Shoeybi et al., section 3: two all-reduces a layer forward, two backward."""
    n, batch = 4096, 4
    found = cost.training(LLAMA, n, H100, batch=batch, devices=8, parallel="tensor")
    assert found.sent - 14 * 3 * 4 * batch * n // 8 == (4 * 32 + 2) * 14 * batch * n * 4096 * 2 // 8
    again = cost.training(LLAMA, n, H100, batch=batch, devices=8, parallel="tensor", recompute="layers")
    assert again.sent - found.sent == 2 * 32 * 14 * batch * n * 4096 * 2 // 8
    assert found.time["all-reduce, layers"].bound == "link"
    source = cost.training(T5, 512, H100, devices=4, parallel="tensor")
    assert "encoder, all-reduce, layers" in [x.name for x in source.time.steps]


def test_positions_are_shared():
    """Each device has its positions, all weights, and their gradients are summed as over sequences."""
    one, four = (
        cost.training(LLAMA, 32_768, H100, devices=d, parallel="sequence", recompute="layers") for d in (1, 4)
    )
    assert four.activations < one.activations / 3.9
    assert four.state == one.state
    products = [sum(x.matmul for x in found.time.steps) for found in (one, four)]
    assert products[0] / products[1] == pytest.approx(4, rel=1e-3)
    ring = 32 * 3 * 32_768 // 4 * 2 * 8 * 128 * 2
    (total,) = cost.gradient_exchanges(cost.model_parameters(LLAMA), 4)
    assert four.sent == total.sent + 4 * ring
    assert four.time["backward, attention"].link == 2 * four.time["forward, attention"].link > 0


def test_the_update_reads_and_writes_what_adam_keeps():
    found = cost.training(GPT2, 64, H100)
    numbers = cost.model_parameters(GPT2)
    # Twelve bytes, and a gradient that is read or a weight that is written.
    assert found.time["update"].bandwidth == pytest.approx(2 * 14 * numbers / H100.bandwidth)
    part = cost.training(GPT2, 64, H100, batch=8, devices=8, zero=1)
    assert part.time["update"].bandwidth == pytest.approx(found.time["update"].bandwidth / 8, rel=1e-6)


def test_alternatives_change_one_thing():
    found = cost.training(LLAMA, 8192, H100, batch=32, devices=8)
    others = cost.training_alternatives(found)
    assert [*others] == [
        "one sequence at a time",
        "layers again",
        "ZeRO stage 1",
        "ZeRO stage 2",
        "ZeRO stage 3",
        "one at a time, layers again",
        "all of these",
        "twice the devices and batch",
    ]
    assert others["one sequence at a time"] == cost.training(LLAMA, 8192, H100, batch=32, devices=8, micro=1)
    assert all(others[f"ZeRO stage {z}"].zero == z for z in (1, 2, 3))
    assert min(x.needed for x in others.values()) == others["all of these"].needed
    alone = cost.training(GPT2, 64, H100, recompute="layers")
    assert [*cost.training_alternatives(alone)] == ["twice the devices and batch"]


def bad(argument, expected, got, *args, **kwargs):
    return (argument, expected, got, cost.training, args or (LLAMA, 5, H100), kwargs)


WHOLE = "an integer of at least 1"
BAD = [
    bad("model", "a Model", "int", 3, 5, H100),
    bad("n", WHOLE, "0", LLAMA, 0, H100),
    bad("device", "a Device", "str", LLAMA, 5, "H100"),
    bad("batch", WHOLE, "0", batch=0),
    bad("batch", "a multiple of data = 4", "6", batch=6, devices=4),
    bad("micro", WHOLE, "0", micro=0),
    bad("micro", "a divisor of batch / data = 4", "3", batch=8, devices=2, micro=3),
    bad("devices", WHOLE, "0", devices=0),
    bad("parallel", "one of tensor, sequence, data", "'rows'", parallel="rows"),
    bad(
        "parallel",
        "sequence=1 for BERT-base",
        "sequence=2",
        MODELS["bert-base"],
        5,
        H100,
        devices=2,
        parallel="sequence",
    ),
    bad("link", "a Link or None", "'NVLink'", link="NVLink"),
    bad("zero", "a stage from 0 to 3", "4", zero=4),
    bad("recompute", "one of nothing, scores, layers", "'all'", recompute="all"),
    bad(
        "recompute",
        "scores or layers with sequence=2",
        "'nothing'",
        devices=2,
        parallel="sequence",
        recompute="nothing",
    ),
    bad("dtype", "one of", "int5", dtype="int5"),
    bad("dtype", "one of float16, float32 on T4", "bfloat16", LLAMA, 5, T4),
    bad("usable", "above 0 and at most 1", "0", usable=0),
    ("found", "a Training", "int", cost.training_alternatives, (3,), {}),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[0]}-{bad[2]}"[:60])
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


def test_a_device_that_nothing_joins():
    with pytest.raises(ValueError, match=r"cost\.training: link: expected a Link"):
        cost.training(LLAMA, 5, replace(H100, link=None, network=None), batch=2, devices=2)
