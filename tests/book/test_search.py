"""What search reads of a page, and what it finds, run in V8 without a browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.ext import search
from tools.mathml import mathml

SCRIPT = Path(__file__).resolve().parents[2] / "theme" / "static" / "search.js"
PAGE = f"""<nav>Not this</nav><article><section id="cost"><h1>Cost<a class="headerlink" href="#cost">#</a></h1>
<p>It takes <span class="math">{mathml("8nd^2 + 4n^2d")}</span> FLOPs<span>.</span></p><pre>def hidden(): ...</pre>
<section class="theorem-content"><p>A bound.</p></section>
<section id="far"><h2>How far <em>it</em> goes</h2><details class="hide"><summary><span class="collapsed">Code</span>
</summary><pre>x</pre></details><ul><li>one</li><li>two</li></ul></section></section></article>
<footer>Nor this</footer>"""


def test_a_page_in_sections() -> None:
    assert search.read_sections(PAGE) == [
        search.Section("cost", "Cost", "It takes 8nd² + 4n²d FLOPs. A bound."),
        search.Section("far", "How far it goes", "one two"),
    ]


def test_names_of_the_library_and_references_are_sections() -> None:
    page = (
        '<article><section id="api"><h1>API</h1><dl>'
        '<dt class="sig" id="attnlib.cost.gru">cost.gru(n)</dt><dd><p>A layer.</p>'
        f'<p>{"word " * 200}</p></dd></dl></section><section id="b"><h2>B</h2><div class="citation" id="cite-x">'
        '<span class="label">[Li, 2020]</span><p>A paper.</p></div></section></article>'
    )
    api, gru, _, paper = search.read_sections(page)
    assert (api.anchor, gru.anchor, gru.heading) == ("api", "attnlib.cost.gru", "cost.gru")
    assert gru.text.startswith("A layer. word")
    assert gru.text.endswith(" …")
    assert len(gru.text) <= search.DEFINITION + 2
    assert (paper.heading, paper.text) == ("Li, 2020", "A paper.")


@pytest.mark.parametrize(
    ("tex", "words"),
    [
        ("n^2", "n²"),
        ("n^{2-o(1)}", "n^(2−o(1))"),
        (r"h_{t-1}", "hₜ₋₁"),
        (r"\frac{QK^T}{\sqrt{d_k}}", "(QK^T)/√(dₖ)"),
        (r"\Theta(n^2 d^2 / M)", "Θ(n²d²/M)"),
        (r"a \le b", "a ≤ b"),
        (r"x_i^2", "xᵢ²"),
    ],
)
def test_formulas_are_read_as_they_would_be_typed(tex: str, words: str) -> None:
    assert search.readable(mathml(tex)) == words


Find = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """search.js without a page."""
    from py_mini_racer import MiniRacer

    made = MiniRacer()
    made.eval("globalThis.window = globalThis;" + SCRIPT.read_text("utf8"))
    yield made
    made.close()


ANSWER = """
(text) => {
  const {query, hits} = bookSearch.search(globalThis.book, text);
  const mark = ([text, marked]) => marked ? `[${text}]` : text;
  const said = hit => bookSearch.excerpt(hit.section, query).map(mark).join("");
  return JSON.stringify(hits.map(hit => ({
    to: `${hit.section.address}#${hit.section.anchor}`, heading: hit.section.heading, said: said(hit),
  })));
}
"""


def finder(engine: Any, index: str) -> Find:
    engine.eval(f"globalThis.book = bookSearch.prepare({index}); globalThis.answer = {ANSWER}; 0")
    return lambda text: json.loads(str(engine.call("answer", text)))


@pytest.fixture
def find(engine: Any) -> Find:
    texts = {
        "Orthogonal vectors": "Is there a pair of orthogonal vectors? " * 2,
        "The cache": "A cache of keys. "
        + "Nothing of note stands here. " * 20
        + "The caches hold n² d numbers. An end.",
        "FlashAttention": "FlashAttention forgets.",
        "Work": "It takes 8nd² + 4n²d FLOPs, and vectors are long. A recurrent layer is cheaper.",
    }
    rows = [[0, name.lower().replace(" ", "-"), name, text, 1.0] for name, text in texts.items()]
    return finder(engine, json.dumps({"pages": [["p.html", "Page"]], "sections": rows, "names": search.NAMES}))


@pytest.mark.parametrize(
    ("words", "heading"),
    [
        ("orthogonal vectors", "Orthogonal vectors"),
        ("VECTOR", "Orthogonal vectors"),
        ("caching", "The cache"),
        ("8nd^2", "Work"),
        ("8nd²", "Work"),
        ("flash attention", "FlashAttention"),
        ("flash-attention", "FlashAttention"),
        ("flashatt", "FlashAttention"),
        ("when is an RNN cheaper?", "Work"),
    ],
)
def test_first_hit(find: Find, words: str, heading: str) -> None:
    assert find(words)[0]["heading"] == heading


def test_powers_are_one_word_however_they_are_typed(find: Find) -> None:
    typed, set_, braces = find("n^2"), find("n²"), find("$n^{2}$")
    assert {hit["heading"] for hit in typed} == {"The cache", "Work"}
    assert typed == set_ == braces


def test_excerpts_show_where_the_words_stand(find: Find) -> None:
    (hit,) = [hit for hit in find("n^2") if hit["heading"] == "The cache"]
    assert hit["said"].endswith("The caches hold [n²] d numbers. An end.")
    assert find("orthogonal vectors")[0]["said"].startswith("Is there a pair of [orthogonal] [vectors]?")


def test_nothing_is_found_where_nothing_is(find: Find) -> None:
    assert [find(words) for words in ("zzqq", "", "  ", "()", "constructor", "__proto__")] == [[]] * 6


# The places that a reader who asks so wants, among the first three.
WANTED = {
    "KV cache": "generation.html#",
    "n^2": "cheat-sheet.html#why-not-just-o-n-2",
    "FlashAttention": "flash.html#flashattention-exact",
    "orthogonal vectors": "lower-bound.html#orthogonal-vectors",
    "when is attention cheaper than an RNN": "recurrence.html#who-does-less-work",
    "causal mask": "self-attention.html#masks-come-before-the-softmax",
    "induction heads": "induction.html#",
    "grouped query attention": "generation.html#fewer-key-heads",
    "exponential or quadratic": "question.html#quadratic-is-not-exponential",
}


def test_the_book_answers(engine: Any, html: Path) -> None:
    text = (html / "_static" / "sections.js").read_text("utf8")
    assert len(text.encode()) < 1_000_000
    find = finder(engine, text.partition("=")[2].rstrip(";\n"))
    first = {words: [hit["to"] for hit in find(words)[:3]] for words in WANTED}
    assert {words: to for words, to in first.items() if not any(WANTED[words] in one for one in to)} == {}


def test_every_hit_leads_to_a_section(html: Path) -> None:
    text = (html / "_static" / "sections.js").read_text("utf8")
    index = json.loads(text.partition("=")[2].rstrip(";\n"))
    pages = {address: (html / address).read_text("utf8") for address, _ in index["pages"]}
    lost = [
        (page, anchor)
        for page, anchor, *_ in index["sections"]
        if f'id="{anchor}"' not in pages[index["pages"][page][0]]
    ]
    assert lost == []
    assert len(index["sections"]) > 300
