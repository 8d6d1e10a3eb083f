"""Python in JavaScript: numbers are written as Python writes them, and what is not known is refused by line."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from attnlib._model import seconds
from attnlib._numbers import binary, three_digits
from attnlib.cost import MODELS, SelfAttention, model_share
from tools.javascript import TranslationError, translate

NAMED = {"binary": binary, "seconds": seconds, "three_digits": three_digits}


@pytest.fixture(scope="module")
def page(running: Browser) -> Page:
    """An empty page with some functions of attnlib."""
    page = running.new_page()
    page.add_script_tag(
        content=translate("IT", {**NAMED, "MODELS": MODELS, "share": model_share, "Self": SelfAttention})
    )
    return page


def test_numbers_are_written_as_python_writes_them(page: Page) -> None:
    """At random, and where a number lies half-way between two: Python takes the even one."""
    r = random.Random(3)
    ties = [Fraction(2 * k + 1, 2**j) for k in range(60) for j in range(1, 8)]
    numbers = [10 ** r.uniform(-9, 15) for _ in range(500)] + [float(x * 2**i) for x in ties for i in (0, 20)]
    for name, write in NAMED.items():
        ours = [write(x) for x in numbers]
        assert page.evaluate(f"all => all.map(x => IT.{name}(x))", numbers) == ours, name


def test_what_is_equal_is_one_key(page: Page) -> None:
    """Dataclasses are compared by what they hold; arguments come by place or by name; errors are Python's."""
    assert page.evaluate("IT.MODELS.get('gemma-3-27b').mixers.size") == len(MODELS["gemma-3-27b"].mixers)
    assert page.evaluate("IT.share(IT.MODELS.get('gpt-oss-20b'), 3).layers[0].mixer.h") == 24
    assert page.evaluate("IT.Self.bind_([8], {d_k: 4, h_kv: 2}).heads") == 2
    refused = "() => { try { return IT.Self.bind_([8], {d_k: 4, h_kv: 3}); } catch (e) { return e.message; } }"
    said = page.evaluate(refused)
    with pytest.raises(ValueError, match="h_kv") as error:
        SelfAttention(8, 4, h_kv=3)
    assert said == str(error.value)


def until(x: int) -> int:
    """Loop with an else, which is not known."""
    while x > 0:
        x -= 1
    else:
        x = 7
    return x


def bits(x: int) -> int:
    """Shift, which is not known."""
    return x << 1


def default(x: int = 1, y: int = 2) -> Any:
    """A parameter that hides a name of its own default."""

    def inner(x: int, y: int = x) -> int:
        return x + y

    return inner(y)


@pytest.mark.parametrize(("function", "what"), [(until, "While"), (bits, "LShift"), (default, "a default")])
def test_what_is_not_known_is_refused_by_line(
    function: Callable[..., Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "__module__", "attnlib.sample")  # nothing else is followed
    with pytest.raises(TranslationError, match=rf"test_javascript\.py:\d+: {what}.* is not translated"):
        translate("IT", {"function": function})
