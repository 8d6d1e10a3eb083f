"""The lint flags numbers that look measured or computed, and leaves the others alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.lint_numbers import lint, main

ROOT = Path(__file__).parents[2]

FLAGGED = [
    # decimals, thousands, long numbers
    ("It grows with exponent 1.98 on this machine.", ["1.98"]),
    ("The core needs 805,306,368 operations.", ["805,306,368"]),
    ("The matrix has 262144 entries.", ["262144"]),
    ("A cache of 4096 entries fits.", ["4096"]),
    ("About 3e9 of them.", ["3e9"]),
    # percentages
    ("The projections are 40% of it.", ["40%"]),
    ("The projections are 7 percent of it.", ["7 percent"]),
    # multipliers
    ("FlashAttention is 2.3× faster.", ["2.3×"]),
    ("It is 4× the work.", ["4×"]),
    ("It runs 3x as fast.", ["3x"]),
    ("It is 12 times slower.", ["12 times"]),
    ("It shrinks by a factor of 64.", ["64"]),
    ("It is $4\\times$ slower.", ["4×"]),
    # quantities
    ("One call takes 12 ms.", ["12 ms"]),
    ("One call takes 3–5 s.", ["3–5 s"]),
    ("It needs 16 GB.", ["16 GB"]),
    ("A 16-GB card is enough.", ["16-GB"]),
    ("It stores 4 bytes per entry.", ["4 bytes"]),
    ("It does 7 GFLOP in a second.", ["7 GFLOP"]),
    ("The device reaches 19 TFLOP/s.", ["19 TFLOP/s"]),
    ("It reads 900 GB/s.", ["900 GB/s"]),
    ("The model has 175 billion parameters.", ["175 billion"]),
    ("It needs 2048 bytes.", ["2048 bytes"]),
    ("It takes $12$ ms.", ["12 ms"]),
    # powers of ten
    ("About 10^6 operations.", ["10^6"]),
    ("About 10⁶ operations.", ["10⁶"]),
    ("About $10^{6}$ operations.", ["10^{6}"]),
    ("About $3 \\cdot 10^9$ operations.", ["10^9"]),
    # formulas
    ("The core needs $4 n^2 d = 805306368$ operations.", ["805306368"]),
    ("That is $805{,}306{,}368$ operations.", ["805\u2009306\u2009368"]),
    ("The ratio is $r(n) = 0.75$ there.", ["0.75"]),
    ("They cross at $n = 6d = 4608$, or $n = 6 d = 4608$.", ["4608", "4608"]),
    ("It holds when $n > 4608$.", ["4608"]),
    ("The matrix takes $3\\,\\text{GB}$.", ["3 GB"]),
    ("The share is $40\\%$.", ["40%"]),
    ("It is $2 \\cdot 1024$, so $2048$.", ["1024", "2048"]),
    ("$$\nF = 4 \\cdot 512^2 \\cdot 768 \\\\\n  = 805306368\n$$", ["805306368"]),
    ("```{math}\n:label: eq-x\nF = 1234\n```", ["1234"]),
    # everywhere a reader reads
    ("# Why 3.7 GB matters", ["3.7 GB"]),
    ("- one\n- a point with 12 ms", ["12 ms"]),
    ("> quoted 12 ms", ["12 ms"]),
    ("| a | b |\n|---|---|\n| x | 12,345 |", ["12,345"]),
    ("| a | b |\n|---|---|\n| x | $12345$ |", ["12345"]),
    ("```{admonition} Takeaway\n:class: takeaway\nIt is 2.3× faster.\n```", ["2.3×"]),
    ("```{note}\n```{tip}\nx\n```\n", []),
    (":::{quiz} q\nHow many?\n\n- [ ] 1,000.\n  > No.\n- [x] None.\n  > It is 12.5.\n:::", ["1,000", "12.5"]),
    ("```{prf:theorem} A bound of 3.5\nAt most 7.25.\n```", ["3.5", "7.25"]),
    ("See [the 12.5 page](https://example.org/12.5).", ["12.5"]),
    # one sentence's source does not vouch for the next
    ("It has 96 layers {cite:p}`brown`. It needs 350 GB.", ["350 GB"]),
    # an exception names its tokens, and only those
    ("% digits: 12 ms — from the log\n\nIt takes 12 ms and 13 ms.", ["13 ms"]),
    ("% digits: 12 ms — from the log\n\nIt takes 12 ms.\n\nIt takes 12 ms.", ["12 ms"]),
    ("% digits: 12 ms — from the log\n\nNo number.", ["12 ms"]),
    ("% digits: 12 ms\n\nIt takes 12 ms.", ["digits:", "12 ms"]),
]

ALLOWED = [
    "The core needs {glue:text}`derivation-core` operations.",
    "GPT-3 has 175 billion parameters and 96 layers {cite:p}`brown2020language`.",
    "As {cite:t}`vaswani2017attention` say, training took 3.5 days on 8 devices.",
    "Since 2017, and in the 1990s, this was so.",
    "For $n = 512$, $d=768$ and $h = 8$ it is small.",
    "Take $n = 8192$, $d = 1024$ and $d_k = 64$, $d_{\\text{ff}} = 4096$.",
    "Lengths $n \\in \\{512, 1024, 2048\\}$ and $n = 1024, 2048, \\dots, 65{,}536$ and $n = 2^{17}$.",
    "The examples (512, 768) and (8192, 1024), also $(8192, 1024)$.",
    "GPT-3, float32, bfloat16, A100 and a 2-core machine; Llama 2 7B; a 3D plot.",
    "Python 3.11 and JAX ≥ 0.7, JAX 0.10.2, version 1.5, CC BY 4.0.",
    "The core is $8nd^2 + 4n^2d$ with $n^2$ pairs, $\\frac{1}{2} n(n+1)$ of them causal.",
    "Two products at $2 s$ and $4 B L$, where $\\min(2 s, 3 m)$.",
    "It is 4 times as much, 3 steps, 12 layers, 100 lines.",
    "A 16 × 16 matrix and an $n \\times n$ one, $2 \\times 3$.",
    "Section 3 of `x = 3.14159` in `12 ms`.",
    "```python\nx = 3.14159\n```",
    "```{code-cell} ipython3\n---\nmystnb:\n  image:\n    alt: 12 ms\n---\nx = 3.14159\n```",
    "```{figure} x-1.25.png\n:width: 12.5em\n:alt: a curve\nA curve.\n```",
    "[the paper](https://arxiv.org/abs/1706.03762), arXiv:1706.03762 and <https://example.org/12345>.",
    "## 3.2 A numbered heading",
    "1. First.\n2. Second.",
    "% a comment with 12.5 ms in it",
    "% digits: 12 ms; 1,024 — from the log\n\nIt takes 12 ms for 1,024.",
    "<!-- digits: 6 minutes — the budget that CI enforces -->\n\nIt takes 6 minutes.",
    "% digits: 12 ms, 13 ms — from the log\n\n| a | b |\n|---|---|\n| 12 ms | 13 ms |",
    "```{admonition} In this chapter\n:class: objectives\n\n**Time** 20 minutes to read, 30 s to run.\n```",
    "| step | source |\n|---|---|\n| 12,345 | {cite:p}`x` |",
    "$$\n8 n d^2 + 4 n^2 d \\tag{12345} \\\\[1.5em]\nx\n$$ (eq-1234)",
]


@pytest.mark.parametrize(("text", "tokens"), FLAGGED)
def test_flagged(text, tokens):
    assert [finding.token for finding in lint(text)] == tokens


@pytest.mark.parametrize("text", ALLOWED)
def test_allowed(text):
    assert [finding.token for finding in lint(text)] == []


def test_lines_point_at_the_number():
    text = "---\nkey: 12.5\n---\n\n# Title\n\nA line\nand 1.5 here.\n"
    text += "\n```{note}\n:class: x\n\nIt is\n2.5 then.\n```\n"
    text += "\n| a |\n|---|\n| 3.5 |\n\n$$\na\n= 4.5\n$$\n\n- x\n  - y 5.5\n"
    lines = text.splitlines()
    findings = lint(text)
    assert [finding.token for finding in findings] == ["1.5", "2.5", "3.5", "4.5", "5.5"]
    assert all(finding.token in lines[finding.line - 1] for finding in findings)


def test_command_names_file_and_line_and_fails(tmp_path, capsys):
    bad, good = tmp_path / "bad.md", tmp_path / "good.md"
    bad.write_text("# Title\n\nIt takes 12 ms.\n")
    good.write_text("# Title\n\nIt takes a while.\n")
    assert main([str(good)]) == 0
    assert capsys.readouterr().out == ""
    assert main([str(good), str(bad)]) == 1
    assert capsys.readouterr().out.startswith(f"{bad}:3: 12 ms — ")
    assert main([str(tmp_path / "absent.md")]) == 1
    assert "absent.md" in capsys.readouterr().err


def test_runs_as_a_script():
    done = subprocess.run([sys.executable, "-m", "tools.lint_numbers", "tests/book/sample/index.md"], cwd=ROOT)
    assert done.returncode == 0


def test_sample_is_clean():
    for file in (ROOT / "tests" / "book" / "sample").rglob("*.md"):
        assert lint(file.read_text("utf8")) == [], file
