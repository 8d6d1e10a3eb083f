"""The clock, with the time taken out: a fake timer says what it would have measured."""

import math
import os
import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnlib import clock


class FakeTime:
    """Stands still, except that a function made by `takes` lets it pass, and writes its name in the log."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def takes(self, name, *seconds):
        """Return a function whose i-th call takes seconds[i] (the last one from then on)."""
        left = list(seconds)

        def fn(*args):
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return fn


@pytest.fixture
def fake():
    return FakeTime()


def test_time_returns_every_repeat_and_not_the_warm_up(fake):
    fn = fake.takes("f", 100.0, 50.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    t = clock.time(fn, repeats=5, warmup=2, timer=fake)
    assert t.seconds == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert (t.low, t.median, t.high, t.spread) == (2.0, 3.0, 4.0, 2.0)
    assert len(fake.log) == 7


@pytest.mark.parametrize(
    ("seconds", "budget", "repeats"),
    [
        (0.01, 0.5, 50),
        (10.0, 0.5, clock.FEWEST),
        (1e-9, 0.5, clock.MOST),
        (0.0, 0.5, clock.MOST),
        (0.01, 1.0, 100),
    ],
)
def test_time_fits_its_repeats_into_the_budget(fake, seconds, budget, repeats):
    t = clock.time(fake.takes("f", seconds), budget=budget, timer=fake)
    assert len(t.seconds) == repeats
    assert len(fake.log) == repeats + 2  # one call to warm up, one to learn how long it takes


def test_time_waits_for_every_leaf_of_the_result(fake):
    class Pending:
        """A result that is not there yet: asking for it takes a second."""

        def block_until_ready(self):
            fake.now += 1.0
            return self

    leaves = []

    def fn():
        leaves.append({"a": Pending(), "b": [Pending(), (Pending(), 3, "text")]})
        return leaves[-1]

    t = clock.time(fn, repeats=2, warmup=1, timer=fake)
    assert len(leaves) == 3
    assert t.seconds == (3.0, 3.0)


def test_time_waits_for_the_arguments_before_the_clock_starts(fake):
    class Argument:
        def block_until_ready(self):
            fake.log.append("argument")
            return self

    clock.time(fake.takes("f", 1.0), Argument(), repeats=1, timer=fake)
    assert fake.log == ["argument", "f", "f"]


@pytest.mark.parametrize(
    ("fn", "x"),
    [
        (np.sin, np.ones(3)),
        (jax.jit(jnp.sin), jnp.ones(3)),
        (jax.jit(lambda x: {"y": (x, 2 * x)}), jnp.ones(3)),
    ],
)
def test_time_takes_numpy_and_jax(fn, x):
    assert len(clock.time(fn, x, repeats=3).seconds) == 3


def test_compare_interleaves_and_warms_up_first(fake):
    functions = {name: fake.takes(name, 9.0, 1.0) for name in "abc"}
    clock.compare(functions, rounds=3, timer=fake)
    assert "".join(fake.log) == "abc" + "abc" + "bca" + "cab"


def test_compare_takes_ratios_within_a_round(fake):
    # The machine is ten times slower in the second round: medians jump, ratios do not.
    a, b = fake.takes("a", 0.0, 1.0, 10.0, 1.0), fake.takes("b", 0.0, 2.0, 20.0, 2.0)
    c = clock.compare({"a": a, "b": b}, rounds=3, timer=fake)
    assert c.baseline == "a"
    assert c.timings["a"].seconds == (1.0, 10.0, 1.0)
    assert c.timings["b"].seconds == (2.0, 20.0, 2.0)
    assert c.ratios["b"].values == (2.0, 2.0, 2.0)
    assert c.ratios["a"].values == (1.0, 1.0, 1.0)
    assert str(c).splitlines()[1] == "b  2.00 s (2.00–11.0)  2.00× (2.00–2.00)"


def test_compare_takes_another_baseline(fake):
    c = clock.compare({"a": fake.takes("a", 1.0), "b": fake.takes("b", 4.0)}, baseline="b", rounds=2, timer=fake)
    assert c.ratios["a"].median == 0.25


@pytest.mark.parametrize(
    ("factor", "repeats", "given"),
    [
        ("0.1", 6, {1: 1, 2: 2, 3: 3, 7: 3, 50: 5}),
        (".001", clock.HURRIED, {2: 2, 7: 3, 50: 3}),
        ("0.5", 32, {5: 3, 8: 4}),
        ("1", 64, {1: 1, 7: 7}),
        ("2", 128, {1: 1, 7: 7}),
    ],
)
def test_the_environment_scales_budgets_and_shortens_what_is_given(fake, monkeypatch, factor, repeats, given):
    monkeypatch.setenv("ATTNLIB_CLOCK", factor)
    fn = fake.takes("f", 1 / 64)
    assert len(clock.time(fn, budget=1.0, timer=fake).seconds) == repeats
    assert len(clock.compare({"a": fn}, budget=1.0, timer=fake).timings["a"].seconds) == repeats
    for asked, left in given.items():
        assert len(clock.time(fn, repeats=asked, timer=fake).seconds) == left
        assert len(clock.compare({"a": fn}, rounds=asked, timer=fake).timings["a"].seconds) == left


@pytest.mark.parametrize("factor", ["", "0", "0.0", "-1", "nan", "inf", "1e3", "fast", "0.1\n"])
def test_the_environment_is_refused_before_anything_runs(fake, monkeypatch, factor):
    monkeypatch.setenv("ATTNLIB_CLOCK", factor)
    for name, call in {"time": clock.time, "compare": lambda fn, **kw: clock.compare({"a": fn}, **kw)}.items():
        with pytest.raises(ValueError, match=rf"clock\.{name}: ATTNLIB_CLOCK: expected a positive number .*got '"):
            call(fake.takes("f", 1.0), timer=fake)
    assert fake.log == []


def test_compare_passes_the_arguments_and_fits_its_rounds_into_the_budget(fake):
    seen = set()

    def slow(*args):
        seen.add(args)
        fake.now += 0.05

    c = clock.compare({"a": slow, "b": slow}, 1, 2, budget=1.0, timer=fake)
    assert seen == {(1, 2)}
    assert len(c.timings["a"].seconds) == len(c.ratios["b"].values) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0, 2.0, 2.37])
def test_exponent_of_an_exact_power_law(power):
    n = np.array([64, 128, 512, 4096])
    fit = clock.exponent(n, 3e-6 * n**power)
    assert fit.exponent == pytest.approx(power, abs=1e-12)
    assert fit.constant == pytest.approx(3e-6)
    assert fit.standard_error == pytest.approx(0, abs=1e-12)
    assert fit.predict(1000) == pytest.approx(3e-6 * 1000**power)


def test_exponent_agrees_with_numpy_on_noise():
    rng = np.random.default_rng(0)
    n = np.geomspace(64, 4096, 9)
    t = 2e-9 * n**2 * np.exp(rng.normal(0, 0.1, n.size))
    fit = clock.exponent(n, t)
    (slope, intercept), cov = np.polyfit(np.log(n), np.log(t), 1, cov=True)
    assert fit.exponent == pytest.approx(slope)
    assert fit.constant == pytest.approx(math.exp(intercept))
    assert fit.standard_error == pytest.approx(math.sqrt(cov[0, 0]))
    assert fit.interval[1] - fit.exponent == pytest.approx(2.365 * fit.standard_error, rel=1e-3)


def test_interval_holds_the_true_exponent_19_times_in_20():
    rng = np.random.default_rng(1)
    n = np.geomspace(64, 2048, 5)
    fits = [clock.exponent(n, n**1.5 * np.exp(rng.normal(0, 0.2, n.size))) for _ in range(1000)]
    held = sum(fit.interval[0] <= 1.5 <= fit.interval[1] for fit in fits)
    assert 925 <= held <= 972  # 950 ± 3.6 standard deviations


@pytest.mark.parametrize(
    ("degrees", "t"), [(1, 12.7062), (2, 4.30265), (3, 3.18245), (10, 2.22814), (30, 2.04227), (120, 1.97993)]
)
def test_student_t_agrees_with_the_printed_table(degrees, t):
    assert clock.student_t(degrees) == pytest.approx(t, rel=1e-5)
    assert clock.student_t(degrees, 0.5) < clock.student_t(degrees, 0.99)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((2.0,), "2.00 s (2.00–2.00)"),
        ((0.00118, 0.00123, 0.00131), "1.23 ms (1.20–1.27)"),
        ((45e-6,), "45.0 µs (45.0–45.0)"),
        ((1.5e-7,), "150 ns (150–150)"),
        ((1234.0,), "1234 s (1234–1234)"),
        ((0.0,), "0 ns (0–0)"),
    ],
)
def test_timing_prints_one_unit(seconds, text):
    assert str(clock.Timing(seconds)) == f"{clock.Timing(seconds)}" == text


def test_fit_prints_its_interval():
    assert str(clock.Fit(1.984, 0.03, 1.0, (1.91, 2.058))) == "1.98 (95 %: 1.91 to 2.06)"


def test_machine_is_one_line_without_names_or_paths():
    line = clock.machine()
    assert "\n" not in line
    assert platform.node() not in line.split()
    assert os.path.expanduser("~") not in line
    assert os.getcwd() not in line
    for part in (jax.__version__, platform.python_version(), jax.devices()[0].platform):
        assert part in line


def nothing():
    pass


FAULTS = """
import resource
import jax
jax.config.update("jax_cpu_enable_async_dispatch", False)
import jax.numpy as jnp
from attnlib import clock

fill = jax.jit(lambda c: jnp.full(2**24, c))  # 64 MiB: more than the C library ever keeps by itself

def faults(calls):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        jax.block_until_ready(fill(1.0))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

new = faults(20)
kept = clock.keep_memory()
print(kept, new, faults(20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a switch of glibc")
def test_keep_memory_ends_page_faults():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, new, old = done.stdout.split()
    assert kept == "True"
    assert int(new) >= 20 * 2**26 // 2**21  # with pages of 2 MiB, the largest; small ones are 512 times as many
    # One array may be freed a moment after the next is made, so a few places are taken before none is new.
    assert int(old) < int(new) / 4


def test_keep_memory_says_when_it_can_not(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())  # a C library that is not glibc
    assert clock.keep_memory() is False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clock.Timing(()), "values: expected at least one"),
        (lambda: clock.time(nothing, repeats=0), "repeats: expected an integer of at least 1, got 0"),
        (lambda: clock.time(nothing, warmup=0), "warmup: expected an integer of at least 1, got 0"),
        (lambda: clock.time(nothing, repeats=True), "repeats: expected an integer of at least 1, got True"),
        (lambda: clock.time(nothing, budget=0.0), "budget: expected a positive number of seconds, got 0"),
        (lambda: clock.time(nothing, budget=math.inf), "budget: .*got inf"),
        (lambda: clock.compare({}), "functions: expected at least one, got none"),
        (lambda: clock.compare({"a": nothing}, baseline="b"), "baseline: expected one of .'a'., got 'b'"),
        (
            lambda: clock.compare({"a": nothing}, rounds=-1),
            "rounds: expected an integer of at least 1, got -1",
        ),
        (lambda: clock.compare({"a": nothing}, rounds=1, timer=lambda: 0.0), "baseline: .*got 0 s for 'a'"),
        (lambda: clock.exponent([1, 2], [1.0, 2.0]), "sizes: expected at least 3 points .*got 2"),
        (
            lambda: clock.exponent([1, 2, 3], [1.0, 2.0]),
            "seconds: expected one for each of the 3 sizes, got 2",
        ),
        (
            lambda: clock.exponent([0, 1, 2], [1.0, 2.0, 3.0]),
            "sizes: expected positive finite numbers, got 0",
        ),
        (lambda: clock.exponent([1, 2, 3], [1.0, -2.0, 3.0]), "seconds: .*got -2"),
        (lambda: clock.exponent([1, 2, 3], [1.0, math.nan, 3.0]), "seconds: .*got nan"),
        (lambda: clock.exponent([1, 2, math.inf], [1.0, 2.0, 3.0]), "sizes: .*got inf"),
        (lambda: clock.exponent([7, 7, 7], [1.0, 2.0, 3.0]), "sizes: expected different sizes, got 7 only"),
        (lambda: clock.exponent(np.ones((3, 1)), np.ones(3)), r"sizes: .*array of shape \(3, 1\)"),
        (lambda: clock.student_t(0), "degrees: expected an integer of at least 1, got 0"),
        (lambda: clock.student_t(3, 1.0), "confidence: .*got 1.0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
