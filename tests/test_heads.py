"""The heads that came with the library, and the program that makes them, at sizes that take no time."""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from attnlib import reference
from attnlib.book import heads

ROOT = Path(__file__).parent.parent
PATH = ROOT / "attnlib" / "book" / "data" / heads.FILE


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))  # it imports run.py
    spec = importlib.util.spec_from_file_location("heads_program", ROOT / "benchmarks" / "heads.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_what_is_kept():
    kept = heads.load()
    texts, h, n, _ = kept.q.shape
    assert (texts, h, n) == (3, 2, 128)
    assert kept.q.shape == kept.k.shape == kept.v.shape
    assert kept.q.dtype == np.float64
    assert kept.right.shape == (len(kept.models), texts)
    assert kept.models[0] == "exact"
    assert "seed 0" in kept.origin
    assert PATH.stat().st_size < 300_000


def test_a_text_has_as_many_different_rows_as_tokens():
    """So the weights of every head have at most that rank; those of the lookup have it."""
    kept = heads.load()
    for t, p in enumerate(kept.periods):
        assert len(np.unique(kept.tokens[t])) == p
        for h in range(kept.q.shape[1]):
            assert len(np.unique(kept.q[t, h], axis=0)) == p
            values = np.linalg.svd(reference.attention_weights(kept.q[t, h], kept.k[t, h]))[1]
            assert (values[p:] < 1e-12 * values[0]).all()


def test_the_task_was_learned():
    """By the exact model, on every kind of text; the others are measured, and nothing is asserted of them."""
    kept = heads.load()
    assert (kept.right[0] > 0.95).all()
    assert ((kept.right >= 0) & (kept.right <= 1)).all()


def test_the_program_writes_what_is_read(program, tmp_path, capsys):
    out = tmp_path / "new" / "heads.npz"
    program.main(["--quick", "--models", "exact", "Linformer, r = 32", "--seed", "3", "--out", str(out)])
    made = heads.read(out)
    assert made.models == ("exact", "Linformer, r = 32")
    assert (made.seed, made.steps, made.periods) == (3, 2, program.PERIODS)
    assert [len(np.unique(row)) for row in made.tokens] == list(made.periods)
    assert "right [" in capsys.readouterr().out
    x, *qkv = program.projected(program.init(jax.random.key(0)), np.asarray(made.tokens[0]))
    assert x.shape == (128, 64)
    assert {part.shape for part in qkv} == {made.q.shape[1:]}


def test_arguments(program, capsys):
    assert program.arguments([]).out == PATH
    assert program.arguments(["--quick"]).out.parent == ROOT / "_build" / "benchmarks"
    for wrong, said in (
        (["--steps", "0"], "--steps: expected a positive integer, got 0"),
        (["--models", "Linformer, r = 32"], "--models: expected the exact one among them"),
    ):
        with pytest.raises(SystemExit):
            program.arguments(wrong)
        assert said in capsys.readouterr().err
