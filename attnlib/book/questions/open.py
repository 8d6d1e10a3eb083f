"""Questions of *What the bound leaves open*."""

from random import Random

from attnlib.book.questions import Number, tex


def different_keys(draw: Random) -> Number:
    """What equal keys save."""
    letters = draw.choice((2, 3))
    width = draw.randrange(6, 13) if letters == 2 else draw.randrange(5, 9)
    n = 1000 * draw.randrange(100, 5001)
    entries = "0 or 1" if letters == 2 else "−1, 0 or 1"
    return Number(
        f"All entries of the keys of a head are {entries}, and its width is $d_k = {width}$. It has $n = {tex(n)}$ "
        f"keys. "
        "Queries are compared with each different key only. By which factor does the number of scores fall, at "
        "least?",
        n / letters**width,
        "",
        0.01,
        f"There are at most ${letters}^{{{width}}} = {tex(letters**width)}$ different keys, so a query takes so "
        f"many scores instead of ${tex(n)}$.",
        (
            (n / width**letters, f"${width}$ entries of ${letters}$ kinds each: ${letters}^{{{width}}}$ keys."),
            (n / (letters * width), "Each entry multiplies the number of different keys; it does not add to it."),
        ),
    )


def state(draw: Random) -> Number:
    """Keys that a state cannot serve."""
    numbers, bits = 1000 * draw.randrange(2, 500), draw.choice((16, 32))
    return Number(
        f"A mechanism reads keys and values once, and keeps a state of ${tex(numbers)}$ numbers of ${bits}$ bits. "
        f"The "
        "keys are wide enough to be different, scores as large as one likes. Above how many keys does the theorem "
        "say that it misses softmax attention by a quarter for some values?",
        numbers * bits,
        "keys",
        0.001,
        rf"A value of 0 or 1 for each key takes a bit of state for each: ${tex(numbers)} \cdot {bits}$ bits are "
        rf"enough for "
        "no more keys than that.",
        (
            (numbers, f"A number of ${bits}$ bits can hold that many values of 0 or 1, not just one."),
            (numbers * bits // 8, "Those are bytes. A value of 0 or 1 takes a bit."),
        ),
    )
