"""The exponential of numbers at most 0, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnlib import cost, count, flash_attention
from attnlib.kernels._exponential import exp_nonpositive, exp_polynomial

pytestmark = pytest.mark.optimised
STEP = 2.0**-23  # between 1 and the next float32


def test_error_is_as_stated():
    x = np.concatenate([np.linspace(-88, 0, 2_000_001), -np.geomspace(1e-30, 1, 100_001)]).astype(np.float32)
    exact, ours = np.exp(x.astype(float)), np.asarray(exp_polynomial(x), float)
    normal = exact >= 2.0**-126
    assert (abs(ours / exact - 1)[normal] <= STEP * (1 + abs(x[normal]))).all()
    assert (abs(ours - exact) <= STEP).all()
    # Around 2⁻¹²⁶ either the number or 0; from there on 0.
    assert (ours[x < -87.7] == 0).all()
    assert (ours[x > -87.3] > 0).all()


def test_ends_of_the_range():
    x = jnp.array([0.0, -0.0, -1e-45, -1e4, -1e30, np.finfo(np.float32).min, -jnp.inf])
    np.testing.assert_array_equal(exp_polynomial(x), [1, 1, 1, 0, 0, 0, 0])
    assert np.isnan(exp_polynomial(jnp.array(jnp.nan)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_stays(dtype):
    x = -jnp.linspace(0, 10, 101).astype(dtype)
    assert exp_nonpositive(x).dtype == dtype
    np.testing.assert_allclose(exp_nonpositive(x).astype(float), jnp.exp(x).astype(float), rtol=2e-6)


def test_its_derivative_is_itself():
    x = -jnp.linspace(0, 90, 1001)
    for fn in (jax.vmap(jax.grad(exp_nonpositive)), jax.vmap(jax.grad(jax.grad(exp_nonpositive)))):
        np.testing.assert_array_equal(fn(x), exp_nonpositive(x))
    assert jax.grad(exp_nonpositive)(jnp.array(-jnp.inf)) == 0


def test_it_counts_as_one_exponential():
    x = jax.ShapeDtypeStruct((7, 5), jnp.float32)
    assert count.operations(exp_nonpositive, x) == count.operations(jnp.exp, x) == count.Operations(0, 0, 35)


def test_it_counts_in_layers_that_are_computed_again():
    """There JAX drops results that nobody needs, and keeps the calls that made them: they count nothing."""
    x = jax.ShapeDtypeStruct((8, 4), jnp.float32)
    flash = jax.checkpoint(lambda x: flash_attention(x, x, x))
    again = jax.grad(lambda x: jax.lax.scan(lambda x, _: (flash(x), None), x, None, length=3)[0].sum())
    model = cost.flash_attention(8, 4, backward=True)
    assert count.operations(again, x).matmul_flops == 3 * (model.matmul_flops + 2 * 8 * 8 * 8)
