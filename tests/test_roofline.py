"""From operations to seconds: limiting cases by hand, published figures, and a device that was measured."""

import dataclasses
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import attnlib
from attnlib import cost
from attnlib.cost import ACCELERATORS, Curve, Device, Step, roofline
from attnlib.cost.flash import block_pairs

# A FLOP in a product takes 1 s, another FLOP or an exponential 2 s, a byte moved 4 s, a byte of new memory 8 s.
RATES = {"elementwise": 1 / 2, "transcendental": 1 / 2, "allocation": 1 / 8}
SLOW = Device("slow", {"float32": 1}, 1 / 4, 100, None, "none", **RATES)
A = cost.attention(512, 64, h=8)


def test_each_resource_by_hand():
    step = Step("s", matmul_flops=10, other_flops=3, transcendentals=2, bytes_read=1, bytes_written=1, allocated=5)
    time = roofline(step, SLOW).steps[0]
    assert (time.matmul, time.elementwise, time.bandwidth, time.overhead) == (10, 10, 8, 40)
    assert time.seconds == 50  # the longest, then what cannot overlap
    assert time.intensity == 13 / 2
    assert time.bound == "overhead"


@pytest.mark.parametrize(
    ("step", "bound", "seconds"),
    [
        (Step("product", matmul_flops=100, bytes_read=1), "matmul", 100),
        (Step("sum", other_flops=100, bytes_read=1), "elementwise", 200),
        (Step("exp", transcendentals=100, bytes_read=1), "elementwise", 200),
        (Step("copy", bytes_read=50, bytes_written=50), "bandwidth", 400),
        (Step("zeros", bytes_written=50, allocated=50), "overhead", 600),
        (Step("nothing"), "matmul", 0),
    ],
    ids=lambda x: x.name if isinstance(x, Step) else "",
)
def test_what_a_step_waits_for(step, bound, seconds):
    result = roofline(step, SLOW)
    assert (result[step.name].bound, result.seconds) == (bound, seconds)


def test_the_limits_that_name_the_roofline():
    """A large product reaches the peak; adding two vectors reaches the bandwidth and a millionth of the peak."""
    h100, n = ACCELERATORS["H100"], 2**16
    product = Step("product", 2 * n**3, bytes_read=2 * 2 * n * n, bytes_written=2 * n * n)
    assert roofline(product, h100, dtype="bfloat16").seconds == 2 * n**3 / 989.4e12
    add = Step("add", other_flops=n, bytes_read=8 * n, bytes_written=4 * n)
    assert roofline(add, h100).seconds == 12 * n / 3.35e12
    assert roofline(add, h100)["add"].intensity == 1 / 12


def test_a_step_is_on_the_ridge_where_both_take_as_long():
    a100 = ACCELERATORS["A100"]
    step = Step("s", matmul_flops=a100.ridge("bfloat16") * 1000, bytes_read=1000)
    time = roofline(step, a100, dtype="bfloat16")["s"]
    assert math.isclose(time.matmul, time.bandwidth)


def test_total_is_launch_plus_steps():
    device = dataclasses.replace(SLOW, launch=7.0)
    result = roofline(A, device)
    assert [s.name for s in result.steps] == ["scores", "softmax", "values"]
    assert result.seconds == 7 + sum(s.seconds for s in result.steps)
    assert result.seconds - 7 == roofline(A, SLOW).seconds
    with pytest.raises(KeyError, match="no step 'score'; steps: scores, softmax, values"):
        result["score"]
    lines = str(result).splitlines()
    assert lines[0].split() == ["step", "seconds", "waits", "for", "FLOP/byte"]
    assert [line.split()[0] for line in lines[1:]] == ["scores", "softmax", "values", "total"]


def test_the_rate_is_that_of_one_call():
    """Ten small products run at the rate of small ones, and twice as many take twice as long."""
    device = dataclasses.replace(SLOW, matmul={"float32": Curve((10, 1000), (1, 100))})
    one, ten = Step("s", matmul_flops=1000), Step("s", matmul_flops=1000, calls=10)
    assert math.isclose(roofline(one, device).seconds, 10)
    assert math.isclose(roofline(ten, device).seconds, 100)
    assert math.isclose(roofline(2 * ten, device).seconds, 200)


def test_arrays_are_integers_one_by_one():
    lengths = [256, 1000, 4096]
    for device in (SLOW, dataclasses.replace(SLOW, matmul={"float32": Curve((10**6, 10**9), (1, 9))})):
        for model in (cost.attention, cost.flash_attention):
            many = roofline(model(np.array(lengths), 64, h=2), device)
            for i, n in enumerate(lengths):
                single = roofline(model(n, 64, h=2), device)
                np.testing.assert_allclose(many.seconds[i], single.seconds, rtol=1e-12)
                assert [s.bound[i] for s in many.steps] == [s.bound for s in single.steps]
                assert math.isclose(many["scores"].intensity[i], single["scores"].intensity)
    assert "bandwidth" in str(roofline(cost.attention(np.array([8, 9]), 2), ACCELERATORS["A100"]))


def test_intensities_of_attention():
    """Scores written in float32: d_k/2 FLOP/byte at best. A query against a cache: 1, or as many as share it."""
    n, d = 2**20, 128
    device = ACCELERATORS["A100"]
    naive = Step("scores", 2 * n * n * d, bytes_read=2 * 2 * n * d, bytes_written=2 * 2 * n * n)
    assert math.isclose(roofline(naive, device)["scores"].intensity, d / 2, rel_tol=1e-3)
    for h, h_kv in ((32, 32), (32, 8)):
        decode = cost.attention(1, d, m=n, h=h, h_kv=h_kv, dtype="bfloat16")
        moved = cost.kv_cache(n, d, h_kv=h_kv)
        assert math.isclose(decode.matmul_flops / moved, h / h_kv)
        # A program that materialises its float32 scores moves a little more.
        cores = sum(s.matmul_flops for s in decode.steps) / sum(s.bytes_read + s.bytes_written for s in decode.steps)
        assert 0.8 * h / h_kv < cores <= h / h_kv


# --- what the cost models say of calls and new memory ---


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 300])
def test_flash_calls_are_visited_blocks(causal, window):
    n, m, blocks = 1000, 1500, (128, 256)
    model = cost.flash_attention(
        n, 64, m=m, h=3, causal=causal, window=window, block_q=128, block_k=256, backward=True
    )
    visited = 3 * sum(map(len, block_pairs(n, m, *blocks, causal, window)))
    calls = {step.name: step.calls for step in model.steps}
    assert calls["scores"] == calls["softmax"] == calls["values"] == calls["scores, again"] == visited
    assert calls["scores, backward"] == calls["values, backward"] == 2 * visited
    for step in model.steps:
        assert step.matmul_flops in (0, step.calls * 2 * 128 * 256 * 64)
    n = sympy.symbols("n", positive=True)
    assert cost.flash_attention(n, 64)["scores"].calls.subs(n, 1024) == cost.flash_attention(1024, 64)["scores"].calls


def test_new_memory_is_what_the_results_take():
    assert A["scores"].allocated == 4 * 8 * 512**2
    assert A["values"].allocated == A["values"].bytes_written
    layer = cost.transformer_layer(512, 512, 8)
    assert sum(s.allocated for s in layer.steps) == A["scores"].allocated + 4 * 512 * 512 * (4 + 1 + 4 + 1)
    assert all(s.allocated <= s.bytes_written for s in layer.steps)
    assert layer["projections"].calls == 3


# --- devices ---


def test_published_figures():
    """Ridge points as the literature quotes them, and figures a second table of the same vendor has."""
    ridges = {name: round(device.ridge(next(iter(device.matmul)))) for name, device in ACCELERATORS.items()}
    assert ridges == {"A100": 153, "H100": 591, "L4": 808, "T4": 203, "TPU v5e": 241, "TPU v5p": 166, "TPU v6e": 560}
    assert round(ACCELERATORS["H100"].ridge("bfloat16")) == 295
    assert round(ACCELERATORS["H100"].transcendental / 1e12, 1) == 3.9  # FlashAttention-3, section 3.2
    for device in ACCELERATORS.values():
        given = {f.name for f in dataclasses.fields(device) if getattr(device, f.name)}
        assert given - {"name", "fast_memory_kind", "sources"} == set(device.sources)
        assert all(device.sources.values())
        assert 10**6 > device.memory / device.fast_memory > 100


def test_tpu_figures_agree_with_jax():
    """JAX keeps a table of its own, rounded otherwise; its v5p is slower than the documentation's by a tenth."""
    places = ("jax._src.tpu_info", "jax._src.pallas.mosaic.tpu_info")  # the newest, and before it
    info = next((importlib.import_module(place) for place in places if importlib.util.find_spec(place)), None)
    if info is None:
        assert jax.__version_info__ < (0, 8)
        pytest.skip("a JAX from before the table")
    for name, device in ACCELERATORS.items():
        if not name.startswith("TPU"):
            continue
        chip = info.ChipVersion(name.split()[1])
        cores = chip.num_physical_tensor_cores_per_chip
        table = info._get_tpu_info_impl(chip, 1)
        assert device.matmul["bfloat16"] == pytest.approx(cores * table.bf16_ops_per_second, rel=0.01)
        assert device.bandwidth == pytest.approx(cores * table.mem_bw_bytes_per_second, rel=0.13)
        assert device.fast_memory == table.vmem_capacity_bytes


def test_curve():
    curve = Curve((10, 1000), (1, 100))
    np.testing.assert_allclose(curve(np.array([0, 1, 10, 100, 1000, 10**6])), [1, 1, 1, 10, 100, 100], rtol=1e-12)
    assert (curve.best, type(curve(5))) == (100, float)
    for sizes, rates, said in (
        ((1, 2), (1,), "expected one for each of 2 sizes, got 1"),
        ((), (), "expected one for each of 0 sizes"),
        ((2, 1), (1, 1), "expected ascending"),
        ((1, 1), (1, 1), "expected ascending"),
        ((1, 2), (1, 0), "expected positive"),
        ((1, 2), (1, math.nan), "expected positive"),
    ):
        with pytest.raises(ValueError, match=said):
            Curve(sizes, rates)


def test_no_jax():
    """The models are for those who have no JAX: loaded on their own they import none."""
    package = Path(cost.__file__).parent
    code = (
        "import importlib.util as u, sys, types; a = types.ModuleType('attnlib'); a.__path__ = [sys.argv[1]]; "
        "sys.modules['attnlib'] = a; import attnlib.cost as c; "
        "print(c.roofline(c.attention(4, 2), c.ACCELERATORS['T4']).seconds > 0, 'jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(package.parent)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]


# --- a device that was measured ---


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "together"])
def device(request):
    return attnlib.measure_device(budget=0.001, together=request.param)


def test_a_measured_device(device):
    """Every rate is one that a computer of this century has, and larger products are not slower than tiny ones."""
    assert list(device.matmul) == ["float32"]
    curves = (
        (device.matmul["float32"], 1e8, 1e15),
        (device.elementwise, 1e6, 1e13),
        (device.transcendental, 1e6, 1e13),
        (device.bandwidth, 1e7, 1e14),
        (device.allocation, 1e7, 1e14),
    )
    for curve, low, high in curves:
        assert len(curve.sizes) >= 4
        assert all(low < rate < high for rate in curve.rates), curve
    assert 0 <= device.launch < 1
    assert device.memory > 2**30
    assert set(device.sources) >= {"matmul", "bandwidth", "launch"}


def test_a_measured_device_predicts(device):
    for model in (cost.attention(1024, 64, h=4), cost.flash_attention(1024, 64, h=4), cost.feed_forward(512, 512)):
        assert 1e-6 < roofline(model, device).seconds < 60
    with pytest.raises(ValueError, match="dtype: expected one of float32 on"):
        roofline(cost.attention(8, 8), device, dtype="bfloat16")


BAD = [
    ("cost", "a Cost or a Step", "int", roofline, (3, SLOW), {}),
    ("cost", "numbers", "symbols in step 'up'", roofline, (cost.feed_forward(sympy.Symbol("n"), 4), SLOW), {}),
    ("device", "a Device", "str", roofline, (A, "H100"), {}),
    ("dtype", "one of float32 on slow", "bfloat16", roofline, (A, SLOW), {"dtype": "bfloat16"}),
    ("dtype", "one of float32 on slow", "float16", roofline, (A, SLOW), {"dtype": jnp.float16}),
    ("dtype", "floating-point dtype", "int32", attnlib.measure_device, (), {"dtype": jnp.int32}),
    ("budget", "a positive number", "0", attnlib.measure_device, (), {"budget": 0}),
    ("budget", "a finite real number", "nan", attnlib.measure_device, (), {"budget": math.nan}),
    ("budget", "a positive number", "None", attnlib.measure_device, (), {"budget": None}),
    ("together", "True or False", "2", attnlib.measure_device, (), {"together": 2}),
]


def test_a_ridge_is_of_a_dtype_that_the_device_has():
    with pytest.raises(ValueError, match="expected one of float32 on slow"):
        SLOW.ridge("float64")


def test_dtypes_by_name_or_object():
    assert roofline(A, SLOW, dtype=np.float32).seconds == roofline(A, SLOW, dtype="float32").seconds


def test_an_unknown_accelerator_is_answered_with_the_known_ones():
    with pytest.raises(KeyError, match=r"expected one of A100, H100, .*TPU v6e, got 'B200'"):
        ACCELERATORS["B200"]
    assert "B200" not in ACCELERATORS
