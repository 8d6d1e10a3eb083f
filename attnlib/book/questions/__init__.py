"""Questions whose answer is a number: each seed asks for another one, and computes what is right and what is not.

A chapter's questions are the public functions of the module of its name, in their order: `draw(random) -> Number`.
The page shows the first seeds of each (`tools/ext/number.py`), a notebook asks with any seed (`ask`).
"""

import importlib
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from attnlib.book.output import text as written


@dataclass(frozen=True)
class Number:
    """A question, its answer, and what common mistakes give.

    Attributes:
        question: one paragraph of Markdown, its numbers filled in.
        answer: the right number, in `unit`.
        unit: such as "GiB" or "%"; "" for a number alone.
        tolerance: by how much of itself an answer may be off; 0 where it has to be exact.
        why: Markdown: how the answer comes about.
        wrong: a number, and the mistake that leads to it, in Markdown.
    """

    question: str
    answer: float | int
    unit: str
    tolerance: float
    why: str
    wrong: tuple[tuple[float | int, str], ...]

    def __post_init__(self) -> None:
        """Refuse a question that cannot be asked."""
        if "\n\n" in self.question.strip() or not self.question.strip():
            raise ValueError(f"Number: question: expected one paragraph, got {self.question!r}")
        if not 0 <= self.tolerance < 0.2:
            raise ValueError(f"Number: tolerance: expected a share from 0 to 0.2, got {self.tolerance}")
        if not self.wrong:
            raise ValueError("Number: wrong: expected one mistake at least, got none")
        for value, mistake in self.wrong:
            if not math.isfinite(value) or self.accepts(value):
                raise ValueError(f"Number: wrong: expected a number that is not accepted, got {value} ({mistake})")

    def accepts(self, value: float | int) -> bool:
        """Whether a number is right, up to the tolerance."""
        return near(value, self.answer, self.tolerance)

    def mistake(self, value: float | int) -> str | None:
        """What leads to this number, where it is a common mistake."""
        return next((said for wrong, said in self.wrong if near(value, wrong, self.tolerance)), None)

    @property
    def shown(self) -> str:
        """The answer with its unit, as the page writes it."""
        return with_unit(self.answer, self.unit)


def near(value: float | int, target: float | int, tolerance: float) -> bool:
    """Whether two numbers are the same up to a share of the second; what rounding in binary does is forgiven."""
    return abs(value - target) <= max(tolerance, 1e-9) * abs(target)


def with_unit(value: float | int, unit: str) -> str:
    """A number as the book writes it, and its unit.

    Example:
        >>> with_unit(1536.0, "GiB"), with_unit(0.33333, "")
        ('1,536 GiB', '0.3333')
    """
    whole = int(value) if float(value).is_integer() and abs(value) < 1e15 else float(value)
    return f"{written(whole)} {unit}".strip()


def tex(n: int) -> str:
    """An integer for a formula, where a bare comma would be followed by a gap.

    Example:
        >>> tex(65536)
        '65{,}536'
    """
    return f"{n:,}".replace(",", "{,}")


def names(chapter: str) -> list[str]:
    """The questions of a chapter, in their order; none where it has no module.

    Example:
        >>> names("no-such-chapter")
        []
    """
    try:
        module = importlib.import_module(f"{__name__}.{chapter.replace('-', '_')}")
    except ModuleNotFoundError:
        return []
    return [
        name
        for name, made in vars(module).items()
        if inspect.isfunction(made) and made.__module__ == module.__name__ and not name.startswith("_")
    ]


def find(name: str) -> Callable[[Random], Number]:
    """The function that makes a question, "chapter.name".

    Raises:
        ValueError: no such question; it lists those of the chapter.
    """
    chapter, _, question = name.partition(".")
    known = names(chapter)
    if question not in known:
        raise ValueError(f"questions.find: name: expected one of {_listed(chapter, known)}, got {name!r}")
    module = importlib.import_module(f"{__name__}.{chapter.replace('-', '_')}")
    made: Callable[[Random], Number] = getattr(module, question)
    return made


def _listed(chapter: str, known: list[str]) -> str:
    return ", ".join(f"{chapter}.{name}" for name in known) or "'chapter.question' with a chapter that has questions"


def pose(name: str, seed: int = 0) -> Number:
    """The question of a seed.

    Args:
        name: "chapter.question".
        seed: an integer from 0 on; another one has other numbers.

    Raises:
        ValueError: no such question, or a seed that is no integer from 0 on.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"questions.pose: seed: expected an integer from 0 on, got {seed!r}")
    return find(name)(Random(f"{name}:{seed}"))


def ask(name: str, answer: float | int | str | None = None, seed: int = 0) -> None:
    """Print a question, or what is to be said of an answer.

    Args:
        name: "chapter.question".
        answer: a number, or a string such as "1.5e9" or "12 %"; without it the question is printed.
        seed: an integer from 0 on; another one has other numbers.

    Raises:
        ValueError: no such question, or an answer that is no number.

    Example:
        >>> ask("derivation.core", 1, seed=3)
        Not yet. 1 GFLOP is not within 2 % of what is right.
    """
    asked = pose(name, seed)
    if answer is None:
        print(asked.question, f"(a number{' in ' + asked.unit if asked.unit else ''})")
        return
    value = read(answer, asked.unit) if isinstance(answer, str) else float(answer)
    print(verdict(asked, value))


def verdict(asked: Number, value: float | int) -> str:
    """What is to be said of an answer."""
    if asked.accepts(value):
        return f"Correct: {asked.shown}. {asked.why}"
    mistake = asked.mistake(value) or _factor(asked, value)
    within = f"within {100 * asked.tolerance:g} % of" if asked.tolerance else "exactly"
    return f"Not yet. {mistake or f'{with_unit(value, asked.unit)} is not {within} what is right.'}"


# What an answer is multiplied by when nothing but a unit or a two is wrong. quiz.js has the same.
FACTORS = (
    (2.0, "twice what is right: does a multiply-add count as one or as two here, a key alone or key and value?"),
    (0.5, "half of what is right: does a multiply-add count as one or as two here, a key alone or key and value?"),
    *((1000.0**k, "off by a power of 1,000: look at the unit.") for k in (-3, -2, -1, 1, 2, 3)),
    *((1024.0**k, "off by a power of 1,024: look at the unit.") for k in (-3, -2, -1, 1, 2, 3)),
    *((100.0**k, "off by 100: per cent, or a share?") for k in (-1, 1)),
    *(((1000 / 1024) ** k, "decimal and binary units are mixed: 1 GiB is 1.074 GB.") for k in (-3, -2, 2, 3)),
    (-1.0, "right but for its sign."),
)


def _factor(asked: Number, value: float | int) -> str | None:
    for factor, said in FACTORS:
        if near(value, factor * asked.answer, min(asked.tolerance, 0.01)):
            return f"{with_unit(value, asked.unit)} is {said}"
    return None


def read(answer: str, unit: str = "") -> float:
    """A number as people write it: "1,536 GiB", "1.5e9", "1.5 × 10^9", "3/4".

    Raises:
        ValueError: no number, or a number with another unit than the question's.

    Example:
        >>> read("1,536"), read("1.5 × 10^9"), read("12 %", "%"), read("3/4")
        (1536.0, 1500000000.0, 12.0, 0.75)
    """
    plain = re.sub(r"[\s\u00a0\u202f,_]", "", answer).removesuffix(unit.replace(" ", "")).replace("−", "-")
    plain = re.sub(r"[×x*]10(\^|\*\*)?", "e", plain)
    found = re.fullmatch(r"([-+]?\d*\.?\d+(?:e[-+]?\d+)?)(?:/(\d*\.?\d+))?", plain)
    if not found or (found[2] and not float(found[2])):
        expected = f"a number, in {unit}" if unit else "a number"
        raise ValueError(f"questions.read: answer: expected {expected}, got {answer!r}")
    return float(found[1]) / float(found[2] or 1)
