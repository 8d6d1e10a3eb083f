"""The table of all mechanisms: a row for each entry, and each number what the models and the files say."""

import math
from dataclasses import replace

import pytest

from attnlib import registry
from attnlib.book import results, summary

ROWS = summary.rows()
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.entry.name)


def test_every_mechanism_has_a_row_and_says_what_it_gives_up():
    assert [row.entry for row in ROWS] == list(registry.MECHANISMS)
    assert all(row.entry.gives_up for row in ROWS)


@each
def test_cheaper_from_there_on_and_not_before(row):
    tiled = registry.mechanism("flash_attention").cost
    mask = {"causal": True} if row.causal else {}

    def fewer(n):
        return row.entry.cost(n, 64, **mask, **row.entry.typical).flops < 0.9 * tiled(n, 64, **mask).flops

    later = [n for n in summary.LENGTHS if n >= (row.cheaper or math.inf)]
    assert all(map(fewer, later))
    if row.cheaper is None:
        assert not fewer(summary.LENGTHS[-1])
    elif row.cheaper > summary.LENGTHS[0]:
        assert not fewer(row.cheaper // 2)


def test_a_tie_is_not_cheaper():
    # At 256 positions its blocks cover the square, but for 0.0015 % of the FLOPs.
    (row,) = (row for row in ROWS if row.entry.name == "bigbird_attention")
    assert row.cheaper == 1024


@each
def test_cells_fill_the_columns(row):
    cells = summary.cells(row)
    assert len(cells) == len(summary.HEADS)
    texts = [text for text, _ in cells]
    assert texts[texts.index("either") if "either" in texts else 2] in ("either", "only", "never")
    assert (texts[7] == "none") == (not row.entry.causal)
    assert texts[3].startswith("*n*²" if row.entry.time == 2 else "*n*:")


def test_what_was_measured_is_what_the_file_says():
    (row,) = (row for row in ROWS if row.entry.name == "gated_linear_attention")
    groups = [(one, g) for one in results.load("variants") for g in one.groups if g.ours == row.entry.name]
    one, group = next((one, g) for one, g in groups if g.work == "forward")
    ratio = group.ratio(f"flash_attention, {group.mask}", f"gated_linear_attention, {group.mask}").median
    assert (group.n, ratio, results.described(one.machine)) in row.faster
    (tiled,) = (row for row in ROWS if row.entry.name == "flash_attention")
    assert tiled.faster == ()  # beside itself, and packed texts are another problem


def test_a_new_entry_arrives(monkeypatch):
    entry = replace(registry.mechanism("linear_attention"), title="made up", gives_up="everything")
    monkeypatch.setattr(registry, "MECHANISMS", (*registry.MECHANISMS, entry))
    row = summary.rows(1024, 32)[-1]
    assert summary.cells(row)[0] == ("made up", "made up")
    assert summary.cells(row)[-1] == ("everything", "everything")
    assert row.state == 32 * 32 + 32


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match=r"summary\.rows: n: expected .* got 0"):
        summary.rows(0)
