"""The public names: importable, documented to the convention, and none without a test of its bad input."""

import importlib
import inspect
import re

import pytest
import test_attention
import test_convolution
import test_cost
import test_count
import test_decoding
import test_feedforward
import test_flash
import test_graph
import test_hardness_cnf
import test_hardness_gadget
import test_hardness_paper
import test_hardness_vectors
import test_io
import test_linear
import test_local
import test_mesh
import test_recurrent
import test_roofline
import test_taylor
import test_train

import attnlib
from attnlib import cost, count, decoding, graph, hardness, taylor, train

FUNCTIONS = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module, names in (
        (attnlib, attnlib.__all__),
        (cost, cost.__all__),
        (graph, graph.__all__),
        (hardness, hardness.__all__),
        (taylor, taylor.__all__),
        *(
            (module, [n for n, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__])
            for module in (count, decoding, train)
        ),
    )
    for name in names
    if not name.startswith("_") and inspect.isfunction(getattr(module, name))
}
TABLES = (
    test_attention,
    test_convolution,
    test_cost,
    test_count,
    test_decoding,
    test_feedforward,
    test_flash,
    test_graph,
    test_hardness_cnf,
    test_hardness_gadget,
    test_hardness_paper,
    test_hardness_vectors,
    test_io,
    test_linear,
    test_local,
    test_mesh,
    test_recurrent,
    test_roofline,
    test_taylor,
    test_train,
)
REFUSED = {bad[3] for module in TABLES for bad in module.BAD}

each = pytest.mark.parametrize("name", FUNCTIONS)


def test_public_names_are_importable():
    for module in (attnlib, cost, graph, hardness):
        assert list(module.__all__) == sorted(set(module.__all__))
        for name in module.__all__:
            assert getattr(module, name) is getattr(importlib.import_module(module.__name__), name)
    assert len(FUNCTIONS) >= 18


def test_what_is_public_is_listed():
    """A function that attnlib/__init__.py imports and forgets to list would not be checked here."""
    for module in (attnlib, cost, hardness):
        imported = {n for n, x in vars(module).items() if inspect.isfunction(x) or inspect.isclass(x)}
        assert {n for n in imported if not n.startswith("_")} <= set(module.__all__)


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
    assert FUNCTIONS[name] in REFUSED or not inspect.signature(FUNCTIONS[name]).parameters


@each
def test_every_argument_that_can_be_wrong_is_tested(name):
    """Randomness aside: each parameter of a function stands in its table of bad input."""
    fn = FUNCTIONS[name]
    refused = {bad[0] for module in TABLES for bad in module.BAD if bad[3] is fn}
    parameters = {
        n for n, p in inspect.signature(fn).parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    assert parameters <= refused
