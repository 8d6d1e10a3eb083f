"""No page, docstring or README says that SETH stands or that OVC fell; what is said of them is dated, in one box."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOX = ROOT / "chapters" / "_status-of-the-hypotheses.md"
PAGES = [ROOT / "index.md", *sorted((ROOT / "chapters").glob("*.md"))]
# Texts without a box to point at: they give the date themselves, or leave the matter alone.
OTHERS = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")), *ROOT.glob("attnlib/**/*.py")]

SETH = r"(?:S?ETH|(?:strong )?exponential[ -]time hypothes[ie]s)"
OVC = r"(?:OVC|orthogonal[ -]vectors conjecture)"
FALLEN = r"(?:false|refuted|disproved|broken|dead|wrong)"
BE = r"(?:is|are|was|were|has been|have been)"
# Names a premise of ours: fine on a page that shows or links the box, or beside the date.
NAMED = re.compile(rf"\b{SETH}\b", re.IGNORECASE)
# Says that SETH stands.
STANDS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"unless (?:the )?{SETH} (?:{BE} {FALLEN}|fails?)",
        rf"{SETH}\W+(?:{BE}|remains?) (?:(?:widely|generally) )?(?:believed|true|standing|unrefuted|safe|likely)",
        rf"(?:believe|trust) in (?:the )?{SETH}",
        r"(?:nobody|no one|no-one) has (?:ever )?(?:found|beaten|refuted|disproved)",
        rf"(?:nothing|no evidence) (?:is known |speaks )?against (?:the )?{SETH}",
    )
]
# Says that a conjecture has fallen: OVC has not, and of SETH it was announced.
FELL = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:{OVC}|{SETH}) {BE} (?:now |known to be |shown to be |proved )?{FALLEN}",
        rf"(?<!to )(?:refutes|refuted|disproves|disproved|broke|killed) (?:the |both )?(?:{OVC}|{SETH})",
    )
]
SUPPOSED = re.compile(r"\b(?:if|would|whether|announced?|announces|may|that (?:S?ETH|OVC) is)\b", re.IGNORECASE)
DATED = re.compile(r"October 2026|sec-status")


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """The line and the words of each paragraph, row of a table or option of a quiz."""
    block: list[str] = []
    first = 1
    for number, line in enumerate([*text.splitlines(), ""], 1):
        starts = re.match(r"\s*(?:- |\d+\. |\||> )", line)
        if block and (not line.strip() or starts):
            yield first, " ".join(" ".join(block).split())
            block = []
        if line.strip():
            first = first if block else number
            block.append(line)


def claims(text: str, *, box: bool) -> list[str]:
    """What a text says of the hypotheses that it must not; `box`: whether the page shows or links the box."""
    found = []
    for line, words in paragraphs(text):
        plain = re.sub(r"[*_`]", "", words)
        if plain.startswith("- [ ]"):  # the wrong option of a quiz
            continue
        dated = DATED.search(words) is not None
        found += [f"{line}: {m[0]!r}" for pattern in STANDS for m in pattern.finditer(plain) if not dated]
        for sentence in re.split(r"(?<=[.!?;]) ", plain):
            if not SUPPOSED.search(sentence):
                found += [f"{line}: {m[0]!r}" for pattern in FELL for m in pattern.finditer(sentence)]
        if not box and not dated:
            found += [f"{line}: {m[0]!r} without the box or the date" for m in NAMED.finditer(plain)]
    return found


def shows_box(text: str) -> bool:
    return "sec-status" in text or f"{{include}} {BOX.name}" in text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_says_that_seth_stands_or_ovc_fell(path: Path) -> None:
    text = path.read_text("utf8")
    assert claims(text, box=path == BOX or shows_box(text)) == []


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nor_does_any_other_text(path: Path) -> None:
    assert claims(path.read_text("utf8"), box=False) == []


@pytest.mark.parametrize(
    "planted",
    [
        "This is excluded, unless SETH fails.",
        "Attention is quadratic\nunless the strong exponential\ntime hypothesis is false.",
        "Two algorithms would do. Nobody has found them.",
        "SETH is widely believed.",
        "There is no evidence against SETH.",
        "The orthogonal vectors conjecture was refuted in 2026.",
        "OVC is false.",
        "*OVC* has been\ndisproved.",
        "The preprint refuted SETH.",
        "SETH is false.",
        "| no $n^{2-\\varepsilon}$ | unless SETH fails |",
        "- [x] Nothing, unless SETH fails.",
        "  > It is known. OVC is false.",
    ],
)
def test_planted_sentence_is_found_even_on_a_page_with_the_box(planted: str) -> None:
    assert claims(f"Before.\n\n{planted}\n\nAfter.", box=True)


@pytest.mark.parametrize(
    "planted", ["Assuming SETH, no algorithm does.", "If SETH holds, none does.", "Under SETH: no."]
)
def test_seth_as_a_premise_needs_the_box(planted: str) -> None:
    assert claims(planted, box=True) == []
    assert len(claims(planted, box=False)) == 1
    assert claims(f"{planted} (Announced to be false in October 2026.)", box=False) == []


@pytest.mark.parametrize(
    "fine",
    [
        "If OVC holds, none does.",
        "That would refute OVC.",
        "If SETH is false, OVC may still be true.",
        'It used to be said "unless SETH fails"; that it fails was announced in October 2026.',
        "- [ ] OVC is false.",
        "SETH was announced to be false in October 2026.",
        "ETHER is false. BETH too.",
        "Both fields together (nobody has normalised over sentences).",
    ],
)
def test_what_may_be_said(fine: str) -> None:
    assert claims(fine, box=True) == []


def test_line_of_a_claim() -> None:
    assert claims("a\n\nb\nOVC is false.\n", box=True) == ["3: 'OVC is false'"]


# The box ----------------------------------------------------------------------------------------------------


def dated(box: str) -> date:
    """The day in the title of the box."""
    match = re.match(r"```\{admonition\} Status of the hypotheses, (\d{1,2} \w+ \d{4})\n", box)
    if match is None:
        raise AssertionError("the box has no date in its title")
    return datetime.strptime(match[1], "%d %B %Y").date()


def test_box_is_dated_and_stands_in_one_file() -> None:
    text = BOX.read_text("utf8")
    assert dated(text) >= date(2026, 11, 28)
    assert [path.name for path in PAGES if "{admonition} Status of the hypotheses" in path.read_text("utf8")] == [
        BOX.name
    ]
    lower_bound = (ROOT / "chapters" / "lower-bound.md").read_text("utf8")
    assert f"```{{include}} {BOX.name}\n```" in lower_bound
    assert lower_bound.count("(sec-status)=") == 1
    for word in ("Announced", "examining", "machine can check", "no refereed version", "not* contradicted"):
        assert word in text
    assert "refuted" not in text


@pytest.mark.parametrize("box", ["```{admonition} Status of the hypotheses\n", "28 November 2026", ""])
def test_box_without_a_date_is_red(box: str) -> None:
    with pytest.raises(AssertionError, match="no date"):
        dated(box)


# Premises of the tables ------------------------------------------------------------------------------------

MAP = re.compile(r"\b(?:OVC|CNF of any width|SETH|unconditional|not checked)\b")
LOWER_SIDE = re.compile(
    r"^(?:none|the same two|OVC|\{prf:ref\}`(?:OVC|CNF of any width) <[\w-]+>`|SETH, now suspended.*)$"
)


def without_premise(text: str, label: str, premise: re.Pattern[str]) -> tuple[int, list[str]]:
    """How many rows the tables of a section have, and which name no premise in the column "from" or "premise"."""
    section = text.split(f"({label})=\n")[1]
    section = re.split(r"\n\([\w-]+\)=\n|\n## ", section.split("\n", 1)[1])[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    found, column = [], 0
    for row, below in zip(rows, [*rows[1:], ""], strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if below and set(below) <= set("|-: "):  # a head
            column = next(i for i, cell in enumerate(cells) if cell in ("from", "premise"))
        elif not set(row) <= set("|-: "):
            found.append((row, cells[column]))
    return len(found), [row for row, cell in found if not premise.search(cell)]


def test_every_row_of_the_map_names_its_premise() -> None:
    rows, bare = without_premise((ROOT / "chapters" / "open.md").read_text("utf8"), "sec-open-map", MAP)
    assert rows >= 25
    assert bare == []


def test_every_row_of_the_lower_side_names_its_premise() -> None:
    text = (ROOT / "chapters" / "lower-bound.md").read_text("utf8")
    rows, bare = without_premise(text, "sec-from-below", LOWER_SIDE)
    assert rows >= 10
    assert bare == []


def test_row_without_a_premise_is_found() -> None:
    text = (
        "(sec-a)=\n## A\n\n| who | from | what |\n|---|---|---|\n| x | OVC | q |\n| y | | OVC |\n"
        "| z | folklore | q |\n\n## B\n\n| w | | q |\n"
    )
    assert without_premise(text, "sec-a", MAP) == (3, ["| y | | OVC |", "| z | folklore | q |"])
