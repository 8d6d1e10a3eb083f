"""Numeric questions: every seed of every question, how answers are read, and what is said of them."""

import pkgutil
import re
from pathlib import Path

import pytest

from attnlib.book import ask, questions
from attnlib.book.questions import Number, pose, read, verdict

CHAPTERS = [module.name.replace("_", "-") for module in pkgutil.iter_modules(questions.__path__)]
PAGES = {path.stem: path.read_text() for path in sorted((Path(__file__).parents[1] / "chapters").glob("*.md"))}
ASKING = sorted(name for name, text in PAGES.items() if "\n## Check yourself\n" in text)
# A list of other people's sentences, to be looked up: it asks and sets no exercises.
WITHOUT_EXERCISES = {"claims"}
NAMES = [f"{chapter}.{name}" for chapter in CHAPTERS for name in questions.names(chapter)]
ASKED = Number("How much?", 48.0, "GiB", 0.01, "So.", ((12.0, "A quarter."),))


def test_there_are_questions() -> None:
    assert len(NAMES) == len(set(NAMES))
    # A module that is imported would take the place of what the package defines.
    own = {name for name, made in vars(questions).items() if callable(made)}
    assert not own & {chapter.replace("-", "_") for chapter in CHAPTERS}


def test_chapters_ask_what_the_modules_hold() -> None:
    """Each question stands on the page of its chapter, once, and every chapter that checks its readers has some."""
    asked = [name for text in PAGES.values() for name in re.findall(r"^:::\{number\} (\S+)$", text, re.MULTILINE)]
    assert sorted(asked) == sorted(NAMES)
    assert {name.partition(".")[0] for name in asked} == set(ASKING)
    for chapter in ASKING:
        assert all(name.startswith(f"{chapter}.") for name in re.findall(r"\{number\} (\S+)", PAGES[chapter]))


@pytest.mark.parametrize("chapter", ASKING)
def test_chapters_have_questions_and_exercises(chapter: str) -> None:
    """Five questions at least, of which one is numeric; four exercises, each with a hidden solution."""
    text = PAGES[chapter]
    numeric = len(re.findall(r"^:::\{number\} ", text, re.MULTILINE))
    assert numeric >= 1
    assert numeric + len(re.findall(r"^:::\{quiz\} ", text, re.MULTILINE)) >= 5
    exercises = re.findall(r"^`{3,}\{exercise\}.*\n:label: (\S+)$", text, re.MULTILINE)
    assert len(exercises) >= 4 or chapter in WITHOUT_EXERCISES
    assert exercises == re.findall(r"^`{3,}\{solution\} (\S+)\n:class: dropdown$", text, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_ask_for_other_numbers(name: str) -> None:
    """No mistake is accepted (`Number` refuses one), no number is broken, and the page's seeds are different."""
    asked = [pose(name, seed) for seed in range(40)]
    assert len({each.question for each in asked[:4]}) == 4
    assert len({each.answer for each in asked[:4]}) == 4
    assert len({each.answer for each in asked}) >= 8
    assert len({each.unit for each in asked}) == 1
    assert pose(name, 7) == pose(name, 7)
    for each in asked:
        assert each.accepts(read(f"{each.answer:.6g} {each.unit}", each.unit)) or not each.tolerance
        assert all(each.mistake(value) is not None for value, _ in each.wrong)
        # Two mistakes that give the same number cannot both be explained.
        assert [each.mistake(value) for value, _ in each.wrong] == [said for _, said in each.wrong]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("48", 48.0),
        ("48 GiB", 48.0),
        ("1,536GiB", 1536.0),
        ("−3", -3.0),
        (".5", 0.5),
        ("1.5e9", 1.5e9),
        ("1.5 × 10^9", 1.5e9),
        ("1.5*10**9", 1.5e9),
        ("3/4", 0.75),
    ],
)
def test_read(typed: str, value: float) -> None:
    assert read(typed, "GiB") == value


@pytest.mark.parametrize("typed", ["", "much", "48 GB", "1..5", "3/0", "1e", "12 13x"])
def test_what_is_no_number_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r"answer: expected a number, in GiB, got"):
        read(typed, "GiB")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (48.4, "Correct: 48 GiB. So."),
        (12.0, "Not yet. A quarter."),
        (24.0, "Not yet. 24 GiB is half of what is right"),
        (96.0, "Not yet. 96 GiB is twice what is right"),
        (48 * 1024.0, "Not yet. 49,152 GiB is off by a power of 1,024: look at the unit."),
        (48e3, "Not yet. 48,000 GiB is off by a power of 1,000: look at the unit."),
        (48 * 1.024**3, "Not yet. 51.54 GiB is decimal and binary units are mixed"),
        (-48.0, "Not yet. -48 GiB is right but for its sign."),
        (7.0, "Not yet. 7 GiB is not within 1 % of what is right."),
    ],
)
def test_verdicts(value: float, said: str) -> None:
    assert verdict(ASKED, value).startswith(said)


def test_ask(capsys: pytest.CaptureFixture[str]) -> None:
    asked = pose(NAMES[0], 5)
    ask(NAMES[0], seed=5)
    ask(NAMES[0], f"{asked.answer} {asked.unit}", seed=5)
    shown, said = capsys.readouterr().out.splitlines()
    assert shown.startswith(asked.question)
    assert said.startswith("Correct: ")


@pytest.mark.parametrize(
    ("name", "seed", "message"),
    [
        ("derivation.cores", 0, "name: expected one of derivation.core.*got 'derivation.cores'"),
        ("nowhere.core", 0, "name: expected .*got 'nowhere.core'"),
        ("derivation.core", -1, "seed: expected an integer from 0 on, got -1"),
        ("derivation.core", 1.0, "seed: expected an integer from 0 on, got 1.0"),
    ],
)
def test_what_cannot_be_asked_is_refused(name: str, seed: int, message: str, untyped: None) -> None:
    with pytest.raises(ValueError, match=message):
        pose(name, seed)


def test_a_question_that_accepts_a_mistake_is_refused() -> None:
    with pytest.raises(ValueError, match=r"wrong: expected a number that is not accepted, got 48\.2"):
        Number("How much?", 48.0, "GiB", 0.01, "So.", ((48.2, "No."),))
    with pytest.raises(ValueError, match="question: expected one paragraph"):
        Number("How\n\nmuch?", 48.0, "GiB", 0.01, "So.", ((1.0, "No."),))
    with pytest.raises(ValueError, match="wrong: expected one mistake at least"):
        Number("How much?", 48.0, "GiB", 0.01, "So.", ())
