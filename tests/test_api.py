"""The public names: importable, documented to the convention, and none without a test of its bad input."""

import importlib
import inspect
import re
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import pytest

import attnlib
from attnlib import cost, count, decoding, feature_maps, graph, hardness, taylor
from attnlib.book import train
from attnlib.kernels._exponential import exp_float32
from tools import names

HERE = Path(__file__).parent
TABLES = [
    module
    for path in sorted(HERE.glob("test_*.py"))
    if path.stem != Path(__file__).stem
    and isinstance(getattr(module := importlib.import_module(path.stem), "BAD", None), list)
]


def public(module):
    """The functions that a module shows, as the API page finds them."""
    return {n: getattr(module, n) for n in names.shown(module) if inspect.isfunction(getattr(module, n))}


FUNCTIONS = {
    f"{module.__name__}.{name}": fn
    for module in (attnlib, cost, hardness, graph, feature_maps, taylor, count, decoding, train)
    for name, fn in public(module).items()
}
BAD = {}
for module in TABLES:
    for bad in module.BAD:
        BAD.setdefault(bad[3], []).append(bad)
# Their errors name the function that does the work.
NAME_ANOTHER = {"decide", "flops", "matmul_flops", "paper_decide", "paper_outputs"}

each = pytest.mark.parametrize("name", FUNCTIONS)


# What could be imported before the modules moved into rooms.
BEFORE = {
    "attnlib": """
        attention attention_weights clock conv conv_stack cost count decoding feed_forward
        flash_attention graph gru hardness init_conv init_feed_forward init_gru init_lstm
        init_multihead_attention init_rnn linear_attention linear_attention_state linear_attention_step
        lstm measure_device multihead_attention rnn spread taylor taylor_attention
        taylor_attention_state taylor_attention_step window_attention""",
    "attnlib.cost": """
        ACCELERATORS BYTES Cost Curve Device Number Roofline Step StepTime Traffic Transfer attention
        attention_io conv conv_path decode_step feed_forward flash_attention flash_attention_io
        generation gru kv_cache linear_attention linear_attention_step lstm multihead_attention rnn
        roofline softmax_operations taylor_attention taylor_attention_step taylor_features
        taylor_operations taylor_state transformer_layer visible_pairs window_attention window_pairs""",
    "attnlib.hardness": """
        CNF Decision Gadget Temperature attend bhfp_to_bhcp brute_force causal_gadget closest_pair
        decide dummy_gadget every_assignment falsified find_witness furthest_pair join_halves
        l2_attention l2_gadget memory_needed orthogonal_pair ov_to_bhfp ov_to_tvpp paper_bits
        paper_decide paper_gadget paper_outputs parity pigeonhole planted_ksat product_pair project
        random_ksat read_dimacs rounding_slack row_outputs split_and_list temperature tied_gadget
        window_coverage window_gadget worst_case write_dimacs""",
}


@pytest.mark.parametrize("module", BEFORE)
def test_names_of_before_stay(module):
    for name in BEFORE[module].split():
        assert getattr(importlib.import_module(module), name) is not None
    assert len(FUNCTIONS) >= 18


def test_public_names_are_found_where_the_stub_says():
    assert set(attnlib.__all__) <= set(dir(attnlib))
    for name in attnlib.__all__:
        assert getattr(attnlib, name) is getattr(importlib.import_module("attnlib"), name)
    with pytest.raises(AttributeError, match="'attnlib' has no attribute 'atention'"):
        attnlib.atention  # noqa: B018


@each
def test_docstring(name):
    doc, parameters = inspect.getdoc(FUNCTIONS[name]), inspect.signature(FUNCTIONS[name]).parameters
    first = doc.split("\n\n")[0]
    assert "\n" not in first
    assert first.endswith((".", "`."))
    sections = re.findall(r"^(Args|Returns|Raises|Source|Cost|Example):", doc, re.MULTILINE)
    # What takes nothing can be given nothing wrong.
    wanted = ["Args", "Returns", "Raises", "Example"] if parameters else ["Returns", "Example"]
    assert [s for s in sections if s not in ("Source", "Cost")] == wanted
    assert ">>> " in doc.split("Example:")[1]
    if not parameters:
        return
    described = re.findall(r"^    \*{0,2}(\w+):", doc.split("Args:")[1].split("Returns:")[0], re.MULTILINE)
    assert described == list(parameters)
    assert "ValueError: " in doc.split("Raises:")[1]


@each
def test_every_parameter_and_result_has_a_type(name):
    signature = inspect.signature(FUNCTIONS[name])
    for parameter in signature.parameters.values():
        assert parameter.annotation is not parameter.empty, parameter
    assert signature.return_annotation is not signature.empty


@each
def test_bad_input_is_tested(name):
    assert FUNCTIONS[name] in BAD or not inspect.signature(FUNCTIONS[name]).parameters


@each
def test_every_argument_that_can_be_wrong_is_tested(name):
    """Randomness aside: each parameter of a function stands in its table of bad input."""
    fn = FUNCTIONS[name]
    refused = {bad[0] for bad in BAD.get(fn, ())}
    parameters = {
        n for n, p in inspect.signature(fn).parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    assert parameters <= refused


@pytest.mark.parametrize("fn", BAD, ids=lambda fn: f"{fn.__module__}.{fn.__name__}")
def test_bad_input(refuses, fn):
    for argument, expected, got, _, args, kwargs in BAD[fn]:
        refuses(argument, expected, got, fn, *args, **kwargs)
        if fn.__name__ not in NAME_ANOTHER:
            with pytest.raises(ValueError, match=rf"^(\w+\.)*{fn.__name__}: "):
                fn(*args, **kwargs)


def test_shapes_are_checked_in_every_module_that_states_them(request):
    """`--jaxtyping-packages` names them; what it names raises where a shape or a dtype is another."""
    root = HERE.parent
    named = request.config.getoption("jaxtyping_packages").split(",")[:-1]
    for path in (root / "attnlib").rglob("*.py"):
        if "from jaxtyping import" in path.read_text("utf8"):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            assert any(f"{module}.".startswith(f"{package}.") for package in named), module
    with pytest.raises(jaxtyping.TypeCheckError):
        exp_float32(jnp.arange(3))
