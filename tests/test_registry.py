"""The registry: everything that an entry names is there, and a new mechanism is one entry that every reader finds."""

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import contract
import pytest

from attnlib import cli, cost, flash_attention, reference, registry
from attnlib.hardness import __main__ as hardness_command
from attnlib.parallel import spread
from attnlib.registry import Mechanism
from tools import names

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = (*registry.MECHANISMS, *registry.LAYERS)

each = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.title)


@each
def test_everything_that_an_entry_names_is_there(entry):
    for function in (entry.fn, names.unwrapped(entry.cost), entry.definition):
        assert inspect.isfunction(function)
        assert function.__name__ == entry.name
    assert re.search(rf"^ +- file: chapters/{entry.chapter}$", (ROOT / "_toc.yml").read_text(), re.MULTILINE)
    assert (ROOT / "chapters" / f"{entry.chapter}.md").is_file()
    assert re.search(rf"^@\w+{{{entry.paper},", (ROOT / "references.bib").read_text(), re.MULTILINE)
    assert (ROOT / "tests" / f"test_{entry.stem}.py").is_file()


@each
def test_an_entry_is_public_under_its_name(entry):
    public = names.public_names()
    assert public[f"attnlib.{entry.name}"] is entry.fn
    assert public[f"attnlib.cost.{entry.name}"] is names.unwrapped(entry.cost)
    assert public[f"attnlib.reference.{entry.name}"] is entry.definition


def test_layers_draw_their_parameters():
    for layer in registry.LAYERS:
        assert names.public_names()[f"attnlib.{layer.init}"] is names.unwrapped(layer.draw)


def test_mechanisms_that_learn_draw_what_their_kernels_take():
    learning = [entry for entry in registry.MECHANISMS if entry.init]
    assert learning
    for entry in learning:
        assert names.public_names()[f"attnlib.{entry.init}"] is names.unwrapped(entry.draw)
        taken, given = list(inspect.signature(entry.fn).parameters), entry.arguments(5, 4)
        assert list(given) == taken[3 : 3 + len(given)]
    for entry in registry.MECHANISMS:
        if not entry.init:
            assert entry.draw is None
            assert entry.arguments(5, 4).keys() == {**entry.options, **entry.inputs}.keys()


def test_what_can_decode_has_a_state_and_what_cannot_has_none():
    for entry in registry.MECHANISMS:
        assert (entry.state is None) == (not entry.causal)
        assert entry.causal == (entry.orders[-1] is True)


def test_no_two_entries_are_the_same():
    assert len({entry.name for entry in registry.MECHANISMS}) == len(registry.MECHANISMS)
    assert len({entry.title for entry in ENTRIES}) == len(ENTRIES)


def test_an_unknown_name_is_refused(refuses):
    refuses("name", "attention, flash_attention", "'mean'", registry.mechanism, "mean")


def test_the_map_leads_to_files():
    for row in (*names.map_rows()[0], *names.map_rows()[1]):
        for file in (row.definition.file, row.kernel.file, row.cost.file, row.test, f"{row.chapter}.md"):
            assert (ROOT / file).is_file(), file


@pytest.fixture
def made_up(monkeypatch):
    """A mechanism of another package: its rooms, and one entry in the registry."""
    rooms = {
        "made_up": "",
        "made_up.kernels": "",
        "made_up.kernels.mean": "def mean(q, k, v, **options):\n    return flash_attention(q, k, v, scale=0.0)",
        "made_up.cost": "",
        "made_up.cost.mean": "def mean(n, d_k, **sizes):\n    return cost.attention(n, d_k, **sizes)",
        "made_up.reference": "def mean(q, k, v, **options):\n    return reference.attention(q, k, v, scale=0.0)",
    }
    for name, text in rooms.items():
        module = ModuleType(name)
        vars(module).update(flash_attention=flash_attention, cost=cost, reference=reference)
        exec(text, vars(module))
        monkeypatch.setitem(sys.modules, name, module)
    entry = Mechanism(
        name="mean",
        stem="mean",
        title="the mean",
        exact=True,
        causal=False,
        mask="",
        time=2,
        memory=1,
        chapter="question",
        paper="vaswani2017",
        leading={"weights": 1},
        package="made_up",
    )
    monkeypatch.setattr(registry, "MECHANISMS", (*registry.MECHANISMS, entry))
    return entry


def test_a_new_entry_arrives_in_the_contract_suite(made_up, rng):
    (mech,) = [mech for mech in contract.mechanisms() if mech.name == "mean"]
    q, k, v = contract.draw(rng, contract.SHAPES[1])
    assert abs(mech.fn(q, k, v) - mech.dense(q, k, v)).max() < 1e-6
    assert [mech.name for mech in contract.mechanisms()[:-1]] == [mech.name for mech in contract.MECHANISMS]


def test_a_new_entry_arrives_in_spread(made_up):
    assert spread._own_axes()["weights"] == 1


def test_a_new_entry_arrives_in_the_commands(made_up, capsys):
    rows = cli.table_rows(64, 16, 2, cost.ACCELERATORS["H100"])
    assert [row["mechanism"] for row in rows] == [entry.name for entry in registry.MECHANISMS]
    assert rows[-1]["state"] is None  # it is not causal, so it cannot decode
    assert hardness_command.kernels() == ["attention", "flash_attention", "mean"]
    with pytest.raises(SystemExit):
        hardness_command.main(["--help"])
    assert "attention,flash_attention,mean" in capsys.readouterr().out


def test_a_new_entry_arrives_in_the_benchmarks(made_up, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = import_module("table")
    assert "the mean" in table.entries()


def test_a_new_entry_arrives_on_the_two_pages(made_up):
    public = names.public_names()
    assert public["made_up.kernels.mean.mean"] is made_up.fn
    assert {"made_up.cost.mean.mean", "made_up.reference.mean"} < set(public)
    row = names.map_rows()[0][-1]
    assert (row.title, row.chapter, row.test) == ("the mean", "chapters/question", "tests/test_mean.py")
    assert row.kernel == names.Place("made_up.kernels.mean.mean", "made_up/kernels/mean.py")
    assert row.cost == names.Place("made_up.cost.mean.mean", "made_up/cost/mean.py")
    assert row.definition == names.Place("made_up.reference.mean", "made_up/reference.py")
