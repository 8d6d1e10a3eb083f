"""The trainer: what it minimises, that a run can be repeated, and what it shows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attnlib.book import train
from attnlib.book.train import fit

KEY = jax.random.key(0)


def square(params, x):
    return ((params["w"] - x) ** 2).mean()


def around_two(key):
    return 2 + jax.random.normal(key, (64,))


def start():
    return {"w": jnp.zeros(())}


RUN = {"loss": square, "params": start(), "batch": around_two, "steps": 3, "key": KEY, "progress": False}


def bad(argument, value, expected, got):
    """Return a call of fit with one argument replaced, and what its message must say."""
    run = RUN | {argument: value}
    loss, params, batch = run.pop("loss"), run.pop("params"), run.pop("batch")
    return argument, expected, got, fit, (loss, params, batch), run


BAD = [
    bad("loss", None, "a function", "NoneType"),
    bad("loss", lambda p, x: x, "one floating-point number", "64"),
    bad("loss", lambda p, x: jnp.int32(3), "one floating-point number", "int32"),
    bad("params", {}, "arrays to train", "{}"),
    bad("params", {"w": jnp.arange(3)}, "a real floating-point dtype", "int32"),
    bad("batch", 3, "a function", "int"),
    bad("steps", 0, "an integer of at least 1", "0"),
    bad("key", 0, "a key of jax.random.key", "0"),
    bad("learning_rate", -1.0, "a positive number", "-1.0"),
    bad("learning_rate", float("nan"), "a positive number", "nan"),
    bad("optimizer", "adam", "one of optax", "str"),
    bad("progress", 1, "True or False", "1"),
]


def test_a_rate_and_an_optimizer_are_refused_together():
    with pytest.raises(ValueError, match=r"learning_rate: expected None with an optimizer, got 0\.1"):
        fit(**RUN, learning_rate=0.1, optimizer=optax.sgd(0.1))


def test_plain_gradient_descent_step_by_step():
    """Three steps of w ← w − 0.1 · 2 (w − mean x_t), by hand from the same batches."""
    params, losses = fit(**RUN, optimizer=optax.sgd(0.1))
    w, expected = 0.0, []
    for t in range(3):
        x = np.asarray(around_two(jax.random.fold_in(KEY, t)), np.float64)
        expected.append(((w - x) ** 2).mean())
        w -= 0.1 * 2 * (w - x.mean())
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(params["w"], w, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 24, 25, 100])
def test_every_step_is_taken_once(steps):
    """Each step adds the number of the batch it was given: the loss of step t is t (t − 1) / 2."""
    count = optax.GradientTransformation(lambda p: jnp.zeros(()), lambda g, s, p: (g, s + 1))
    params, losses = fit(
        lambda p, x: p.sum() * 1.0,
        jnp.zeros(1),
        lambda key: 0.0,
        steps=steps,
        key=KEY,
        optimizer=count,
        progress=False,
    )
    np.testing.assert_array_equal(losses, np.arange(steps))
    assert float(params[0]) == steps


def test_a_run_can_be_repeated_and_keeps_its_start():
    params = start()
    runs = [fit(**RUN | {"params": params, "steps": 50, "key": jax.random.key(k)}) for k in (1, 1, 2)]
    assert float(params["w"]) == 0.0
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert runs[0][0]["w"] == runs[1][0]["w"]
    assert (runs[0][1] != runs[2][1]).all()


def test_the_default_optimizer_reaches_the_minimum():
    params, losses = fit(**RUN | {"steps": 400}, learning_rate=0.05)
    assert abs(float(params["w"]) - 2) < 0.1
    assert losses[-50:].mean() < 1.3 < losses[:10].mean()


def test_a_loss_that_blows_up_names_the_step():
    with pytest.raises(FloatingPointError, match=r"loss: expected finite numbers, got inf at step \d+$") as error:
        fit(**RUN | {"steps": 200}, optimizer=optax.sgd(1e3))
    step = int(str(error.value).rsplit(" ", 1)[1])
    _, losses = fit(**RUN | {"steps": step}, optimizer=optax.sgd(1e3))  # the steps before it are all finite
    assert np.isfinite(losses).all()
    assert losses[-1] > 1e30


def test_a_last_update_that_blows_up_is_not_returned():
    with pytest.raises(FloatingPointError, match=r"params: expected finite numbers, got others after step 0"):
        fit(
            lambda p, x: jnp.sqrt(p["w"]),
            start(),
            around_two,
            steps=1,
            key=KEY,
            optimizer=optax.sgd(0.1),
            progress=False,
        )


def test_progress_is_one_line_that_ends(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    fit(**RUN | {"steps": 50, "progress": True})
    out = capsys.readouterr().out
    lines = out.split("\r")[1:]
    assert len(lines) == train.BAR
    assert all("of 50 steps" in line and "loss" in line for line in lines)
    assert lines[-1].startswith("█" * train.BAR + " 50 of 50")
    assert out.count("\n") == 1


def test_progress_is_silent_where_nobody_looks(capsys):
    fit(**RUN | {"progress": True})
    assert capsys.readouterr() == ("", "")
