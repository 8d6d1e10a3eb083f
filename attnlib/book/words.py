"""Sentences that know their numbers: each function writes what is true of the measurements that it is given.

A cell measures, hands over the numbers of the table beside the sentence, and shows the result with `book.say`.
The wordings of every outcome stand here and nowhere else: plain functions of plain numbers, so that a test can hand
them made-up machines. A ratio within `SAME` of one is no difference: repeats of one program differ by as much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from attnlib import _numbers

SAME = 1.05
"""The largest ratio of two measured numbers that a sentence calls alike."""

HALVES = 2.0  # the factor that a prediction of a time has to keep

Real = int | float
Numbers = Sequence[int | float] | np.ndarray


def span(values: Numbers, digits: int = 2) -> str:
    """Write the least and the largest of some numbers: "1.03 to 1.52", or one number where they print alike.

    Example:
        >>> span([1.52, 1.03, 1.2]), span([2.001, 1.999])
        ('1.03 to 1.52', '2.00')
    """
    low, high = (f"{x:,.{digits}f}" for x in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def longer(ratio: Real) -> int:
    """Return 1 for a ratio above one, −1 for one below, 0 where `SAME` makes no difference of it."""
    return (ratio > SAME) - (ratio < 1 / SAME)


def above(ratios: Numbers) -> str:
    """Say on which side of one the ratios lie."""
    return "above" if min(ratios) > 1 else "below" if max(ratios) < 1 else "on both sides of"


def fold(ratio: Real) -> str:
    """Write a factor with two digits, and a large one whole: "2.3", "17", "1,204"."""
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:,.0f}"


def listed(parts: Sequence[str]) -> str:
    """Join words as a sentence does: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


# From operations to seconds --------------------------------------------------------------------


def kept_memory(gain: Real, agreed: bool) -> str:
    """Say what keeping memory does to attention that writes its scores; `gain`: new memory's time over kept's."""
    if not agreed:
        return "This system has no such switch: the two columns are two runs of the same programs."
    if longer(gain) > 0:
        return f"Attention that writes its scores becomes {gain:.2f} times as fast, and not an operation has changed."
    if longer(gain) < 0:
        return f"Attention that writes its scores takes {1 / gain:.2f} times as long in kept memory here."
    return "Attention that writes its scores takes the same time in both here: it does not wait for new memory."


def caches(near: Real, far: Real) -> str:
    """Compare the bytes a second of a small array with those of a large one."""
    said = f"An array of 4 MiB is read and written at {near / 1e9:.0f} GB/s, one of 128 MiB at {far / 1e9:.0f} GB/s: "
    if near > SAME * far:
        return said + f"the smaller one is {near / far:.1f} times as fast."
    return said + "on this machine the larger one is not the slower one."


def one_rate(slowest: Real, fastest: Real) -> str:
    """Say whether one rate in FLOP/s could predict programs that run at anything between these two."""
    said = (
        f"The programs themselves run at anything between {slowest / 1e9:.3g} and {fastest / 1e9:.3g} GFLOP/s, "
        "counted "
        "by their matrix products. "
    )
    # A rate r is within a factor of two of both ends only if fastest/2 ≤ r ≤ 2 · slowest.
    if fastest > HALVES**2 * slowest:
        return said + "No single rate predicts all of them within a factor of two."
    return said + "On this machine a single rate would predict all of them within a factor of two."


def products(large: Real, small: Real) -> str:
    """Say whether small products, one after another, reach the rate of a large one."""
    share = f"{small / large:.0%} of the rate of the large one"
    if large > SAME * small:
        return (
            f"This is {share}: on a CPU one JAX device spreads a large product over the cores, and such a small one "
            "stays on fewer of them, or is over before it reaches its speed."
        )
    return f"This is {share}: at this size a product loses nothing by being small here."


def moment(fastest: Real, best: Real) -> str:
    """Compare the fastest program with the fastest product measured before, both in FLOP/s."""
    if fastest > SAME * best:
        return (
            f"The fastest program ran at {fastest / best:.2g} times the rate of the fastest product that "
            "was measured before: programs ran faster than the rates, which were measured in a slower moment of "
            "this machine."
        )
    return "No program ran noticeably faster than the fastest product that was measured before."


def against(simple: Numbers, model: Numbers, measured: Numbers) -> str:
    """Say on which measures which of two predictions of seconds is the better one."""
    both = [misses(guess, measured) for guess in (simple, model)]
    inside = [float(np.mean(miss <= HALVES)) for miss in both]
    pairs = [
        ("the median miss", longer(float(np.median(both[0]) / np.median(both[1]))), "median"),
        ("the worst miss", longer(float(both[0].max() / both[1].max())), "worst"),
        ("the share within a factor of two", (inside[0] < inside[1] - 0.005) - (inside[0] > inside[1] + 0.005), "in"),
    ]
    won = {sign: [name for name, which, _ in pairs if which == sign] for sign in (-1, 0, 1)}
    said = [
        f"{name} is the better one by {listed(won[sign])}"
        for name, sign in (("the single rate", -1), ("the roofline", 1))
        if won[sign]
    ]
    said += [f"the two are alike by {listed(won[0])}"] if won[0] else []
    return f"Here {', '.join(said)}."


def misses(predicted: Numbers, measured: Numbers) -> np.ndarray:
    """Return by which factor, at least one, each prediction misses."""
    return np.asarray(np.exp(np.abs(np.log(np.asarray(predicted) / np.asarray(measured)))))


def accuracy(predicted: Numbers, measured: Numbers) -> str:
    """Say how well seconds were predicted, and whether short or long programs were missed more."""
    miss, short = misses(predicted, measured), np.asarray(measured) < 1e-3
    said = (
        f"predicted the time of half of the programs here to within a factor of {np.median(miss):.2f}, and of "
        f"{np.mean(miss <= HALVES):.0%} of them to within a factor of two"
    )
    if not short.any() or short.all():
        return said + "."
    briefly, at_length = np.median(miss[short]), np.median(miss[~short])
    if briefly > SAME * at_length:
        return said + "; programs below a millisecond were missed by more than longer ones."
    if at_length > SAME * briefly:
        return said + "; programs above a millisecond were missed by more than shorter ones."
    return said + "; programs below and above a millisecond were missed alike."


def predicted_alt(predicted: Numbers, measured: Numbers) -> str:
    """Describe the figure of predicted against measured seconds."""
    later = float(np.mean(np.asarray(measured) > np.asarray(predicted)))
    inside = np.mean(misses(predicted, measured) <= HALVES)
    decades = math.log10(max(measured) / min(measured))
    where = (
        "most of them above it: they took longer than predicted"
        if later > 2 / 3
        else "most of them below it: they took less than predicted"
        if later < 1 / 3
        else "some on either side"
    )
    return (
        f"Measured against predicted seconds of four kinds of program, over {decades:.1f} powers of ten. "
        f"{inside:.0%} of "
        f"the points lie within the band of a factor of two around the diagonal, {where}."
    )


def direction(predicted: Numbers, measured: Numbers) -> str:
    """Say what kind of cause the worst predictions have: at least three in four on one side, or both kinds."""
    later = float(np.mean(np.asarray(measured) > np.asarray(predicted)))
    if later >= 0.75:
        return "Most of the worst misses took longer than predicted, as they do with work that nobody counted."
    if later <= 0.25:
        return (
            "Most of the worst misses took less time than predicted, and work that nobody counted cannot be the "
            "reason: rates measured in a slower moment can, or bytes that were counted and stayed in a cache."
        )
    return (
        "The worst misses lie on both sides: work that nobody counted makes a program slower than predicted, rates "
        "measured in a slower moment make it faster."
    )


def worst(predicted: Numbers, measured: Numbers) -> str:
    """Say of the worst predictions in which direction they miss, and how many are of short programs."""
    p, m = np.asarray(predicted), np.asarray(measured)
    return (
        f"Of these {len(m)}, {np.sum(m > p)} took longer than predicted and {np.sum(m <= p)} did not; "
        f"{np.sum(m < 1e-3)} "
        "took less than a millisecond."
    )


# Generation ------------------------------------------------------------------------------------


def growth(measured: Real, counted: Real) -> str:
    """Compare the slope of the clock with that of the count."""
    if measured < counted - 0.1:
        return "The clock grows more slowly than the count, as it does where larger products run at a better rate."
    if measured > counted + 0.1:
        return "The clock grows faster than the count, as it does where arrays outgrow a cache."
    return "Clock and count grow alike."


def growth_alt(without: Real, kept: Real, times: Real) -> str:
    """Describe the time until each token is there; `times`: without a cache over with one, at the last token."""
    return (
        f"Seconds against tokens written, both axes logarithmic. Over the last three quarters the line without "
        "a cache "
        f"has slope {without:.1f}, the one with a cache {kept:.1f}; at 1024 tokens the first stands at "
        f"{fold(times)} times "
        "the second."
    )


def overhead(step: Real, empty: Real) -> str:
    """Compare a step that should be short with a program that does next to nothing."""
    said = (
        f"A cached step of this small layer takes {1e6 * step:.0f} µs, a program that adds one to a row "
        f"{1e6 * empty:.0f} µs. "
    )
    if step > 1.5 * empty:
        return said + "The rest goes to the step's many small parts."
    return said + "So what a call costs is most of the step."


def decode(ratios: Numbers) -> str:
    """Say how the time of a step compares with reading as many bytes."""
    said = f"Over all contexts the ratio is {span(ratios)}. "
    return (
        said
        + {
            "above": "What is above one is what a step does besides reading.",
            "below": "Below one, the product did not read as fast as the machine can: it is a yardstick and no "
            "limit.",
            "on both sides of": "What is above one is what a step does besides reading. Below one, the product "
            "did not "
            "read as fast as the machine can: it is a yardstick and no limit.",
        }[above(ratios)]
    )


def decode_alt(ratios: Numbers, seconds: Numbers) -> str:
    """Describe steps, in seconds, beside a product that reads as many bytes; each context is twice the last."""
    first, last = (math.log2(seconds[i + 1] / seconds[i]) for i in (0, len(seconds) - 2))
    return (
        f"The steps lie {above(ratios)} the line of the product, at {span(ratios)} times its height. Their slope is "
        f"{first:.1f} at the left end, where the weights are most of the bytes, and {last:.1f} at the right "
        "end, where "
        "the cache is."
    )


def ridge(here: Real, published: Numbers) -> str:
    """Compare the ridge point of this machine with those of accelerators and with the half FLOP a byte of a step."""
    said = f"The ridge point, for large products and large arrays, is at {here:.1f} FLOPs a byte: "
    side = "below those of accelerators" if here < min(published) else "no lower than that of every accelerator"
    if here > 0.5:
        return f"{said}{side}, and above the one half of a decode step."
    return f"{said}{side}, and not above the one half of a decode step."


def waits(prefill: str, decodes: Sequence[str], slower: Real) -> str:
    """Say what the roofline has prefill and decode wait for, and how they compare on the clock."""
    different = sorted(set(decodes))
    said = (
        f"By the roofline the slowest part of prefill waits for {prefill}, that of decode for "
        f"{' or '.join(different)}. "
        f"For about the same operations, a token that is written takes {fold(slower)} times as long as one that "
        "is read. "
    )
    if longer(slower) > 0:
        return said + "This is the true part of the claim."
    return said + "On this machine even this part of the claim does not hold."


def shared_heads(steps: Numbers, readings: Numbers) -> str:
    """Say what sharing key heads does to a step: seconds with sixteen, four and one key head."""
    many, some, one = (f"{1e3 * s:.2f}" for s in steps)
    said = (
        f"The core's FLOPs stay and its bytes fall. A step takes {many} ms with sixteen key heads, {some} with "
        "four and "
        f"{one} with one. "
    )
    said += (
        "From sixteen to four the time falls with the bytes. "
        if longer(steps[0] / steps[1]) > 0
        else "From sixteen to four the time does not fall with the bytes. "
    )
    ratio = steps[2] / readings[2]
    if ratio > 1.5:
        return said + (
            f"With a single key head the step takes {ratio:.1f} times as long as reading its bytes. The rest is "
            "arithmetic, and how this compiler runs a product with so few rows."
        )
    return (
        said + f"With a single key head, too, it takes no more than {ratio:.2f} times as long as reading its bytes."
    )


def batched(time: Real, size: Real) -> str:
    """Compare what a batch leaves of the time of a step, for each sequence, with what it leaves of the bytes."""
    if time < size / SAME:
        return (
            "The time falls further than the bytes. By the law of this page it cannot: the step of a single sequence "
            "did not read at the full rate."
        )
    if time > size * SAME:
        return "The time falls less than the bytes, as it does where a step does more than read."
    return "The time falls as the bytes do."


def single_key(intensity: Real, ridge: Real) -> str:
    """Say what a core of so many FLOPs a byte waits for, at this ridge point."""
    said = f"the ridge point of this machine, {ridge:.1f}: by the roofline even that waits for"
    if intensity < ridge:
        return f"That is below {said} reading."
    return f"That is not below {said.replace('even that', 'it')} arithmetic."


# Linear attention ------------------------------------------------------------------------------


def best_chunk(chunks: Sequence[int], seconds: Numbers, predicted: Real) -> str:
    """Compare the chunk that was fastest with the one that the times of the first and the last predict."""
    fastest = chunks[int(np.argmin(seconds))]
    said = f"Of the chunks timed here {fastest:,} was the fastest; the two ends predict {predicted:,.0f}"
    if fastest in (chunks[0], chunks[-1]):
        return said + ". It is itself an end of what was timed."
    if max(fastest / predicted, predicted / fastest) <= HALVES:
        return said + ", within a factor of two of it."
    return (
        said
        + ", which is off by more than a factor of two: a step or a FLOP costs more in some chunks than in others."
    )


def chunk_alt(chunks: Sequence[int], seconds: Numbers) -> str:
    """Describe the figure of time against the chunk."""
    first, last = (fold(s / min(seconds)) for s in (seconds[0], seconds[-1]))
    return (
        f"Time against the chunk, on a logarithmic axis. It is least at {chunks[int(np.argmin(seconds))]:,}; at "
        f"{chunks[0]:,} it is {first} times as long, at {chunks[-1]:,} {last} times."
    )


# Taylor attention ------------------------------------------------------------------------------

Crossing = tuple[
    str, Real, Real, Sequence[int]
]  # width and order; by clock, by roofline; the lengths that were timed


def crossings(cases: Sequence[Crossing]) -> str:
    """Say which crossings lie outside the lengths that were timed, and how far clock and roofline are apart."""
    never = [name for name, clock, *_ in cases if not math.isfinite(clock)]
    outside = [
        name for name, clock, _, lengths in cases if name not in never and not min(lengths) <= clock <= max(lengths)
    ]
    apart = max(max(clock / model, model / clock) for _, clock, model, _ in cases)
    said = f"Clock and roofline differ by a factor of {apart:.2f} at most. " if math.isfinite(apart) else ""
    if not outside and not never:
        return said + "Every crossing of the clock lies within the lengths that were timed."
    if outside:
        said += (
            f"For {listed(outside)} the clock's crossing lies outside the lengths that were timed: it is "
            "extrapolated. "
        )
    if never:
        said += f"For {listed(never)} the measured ratios do not fall, and give no crossing. "
    return said.rstrip()


def length(n: Real) -> str:
    """Write the length at which a line crosses another, or that it never does."""
    return f"{n:,.0f}" if math.isfinite(n) else "no length"


def crossing_alt(cases: Sequence[Crossing], slopes: Numbers, ratios: Sequence[Numbers] | None = None) -> str:
    """Describe ratios to exact attention; `slopes` of the fitted lines in their order, `ratios` their points."""
    each = listed(
        [
            f"{name} with slope {slope:.1f}, one at {length(clock)} (roofline: {length(model)})"
            for (name, clock, model, _), slope in zip(cases, slopes, strict=True)
        ]
    )
    how = "All fitted lines fall" if max(slopes) < 0 else "Not all fitted lines fall"
    points = ""
    if ratios is not None:
        rising = [case[0] for case, along in zip(cases, ratios, strict=True) if any(np.diff(along) > 0)]
        steps = f"the points rise in places for {listed(rising)}" if rising else "the points fall at every step"
        points = f" From one length to the next {steps}."
    return f"{how} with the length: {each}.{points} Dotted lines are the roofline's."


# FlashAttention --------------------------------------------------------------------------------


def memory_alt(lengths: Sequence[int], plans: Mapping[str, Numbers]) -> str:
    """Describe how the temporary bytes of programs grow; the slope is that of the last step."""

    def grown(name: str, sizes: Numbers) -> str:
        slope = math.log(sizes[-1] / sizes[-2]) / math.log(lengths[-1] / lengths[-2])
        return f"{name}: slope {slope:.1f} at the end, {sizes[-1] / 2**30:.2g} GiB"

    each = "; ".join(grown(name, sizes) for name, sizes in plans.items())
    return f"Temporary memory against length, both axes logarithmic, to {lengths[-1]:,} positions. {each}."


def skipping(causal: Numbers, window: Numbers) -> str:
    """Say whether skipped blocks saved time: median and quartiles of time over time without a mask."""
    said = (
        f"Causal took {causal[0]:.2f} of the time of full attention (quartiles {causal[1]:.2f} to "
        f"{causal[2]:.2f}), a "
        f"window of 512 {window[0]:.2f} ({window[1]:.2f} to {window[2]:.2f})"
    )
    saved = [name for name, (_, _, high) in (("the causal mask", causal), ("the window", window)) if high < 1]
    if len(saved) == 2:
        return f"Skipping works. {said}."
    return f"{said}: skipping saved time for {saved[0]} only." if saved else f"{said}: skipping saved no time here."


def written_out(full: Real, causal: Real, masked: Real) -> str:
    """Compare the formula as written with flash of the same mask, and its causal version with that without a mask."""
    said = (
        f"Without a mask, the formula as written took {full:.2f} times as long as flash; with a causal mask, "
        f"{causal:.2f} times as long as causal flash"
    )
    if longer(masked) >= 0:
        return said + ": it computes everything and masks, so a mask saves it nothing."
    return said + "."


def peers(ratios: Mapping[str, Numbers], n: int, of: str = "") -> str:
    """Say how much longer other programs took than ours: one ratio a machine, as a range; `of` names one."""
    machines = len(next(iter(ratios.values())))
    where = (
        (f"on {of}" if of else "on the machine of the file")
        if machines == 1
        else (f"over the {machines} machines of the files")
    )
    each = listed([f"{name} took {span(values)} times as long" for name, values in ratios.items()])
    return f"At {n:,} positions, forward and without a mask, {each} as flash_attention, {where}."


def reported(ratios: Mapping[str, Real], n: int, machine: str, date: str) -> str:
    """Say what was read off a run of which there is no file."""
    each = listed([f"{ratio:g} times for {name}" for name, ratio in ratios.items()])
    return (
        f"A run of the same programs at {n:,} positions on {machine} gave {each} ({date}). Its file was not "
        "kept, so it has "
        "no table here."
    )


def peers_alt(ratios: Mapping[str, Numbers]) -> str:
    """Describe the lines of other programs' times over ours."""
    below = [name for name, values in ratios.items() if min(values) < 1]
    said = "Two panels, without a mask and causal: relative time against length, one line for each other program. "
    if below:
        return said + f"Somewhere below one, and so faster than flash_attention: {listed(below)}."
    return said + "All lie above one: flash_attention, spread over the cores, took the least time at every length."


# Recurrence and convolution --------------------------------------------------------------------


def passing(ratios: Numbers, lengths: Sequence[int]) -> str:
    """Say where ratios over growing lengths pass one, for good."""
    if min(ratios) > 1:
        return "is above one at every length"
    if max(ratios) < 1:
        return "is below one at every length"
    last = max(i for i, ratio in enumerate(ratios) if ratio <= 1)
    if last == len(ratios) - 1:
        return f"is not above one at {lengths[-1]:,}"
    return f"is above one for good from {lengths[last + 1]:,} on"


def crossings_alt(clocked: Mapping[str, Numbers], lengths: Sequence[int]) -> str:
    """Describe the time of attention over that of recurrent layers, one list of ratios for each layer."""
    measured = "; ".join(f"{name} {passing(ratios, lengths)}" for name, ratios in clocked.items())
    return (
        "Dotted ratios of FLOPs rise with the length and reach one at n = 128 for the GRU and n = 256 for the "
        "LSTM; that "
        f"of the vanilla layer starts above two. Measured, the ratio of times of attention to each layer: {measured}."
    )


def equal_work(core: Real, gru: Real, lstm: Real) -> str:
    """Say who is ahead where FLOPs are equal: the time of attention over that of recurrence."""
    said = (
        f"Where the counts are equal, the layer of attention took {gru:.2f} times as long as the GRU and "
        f"{lstm:.2f} times "
        f"as long as the LSTM; the core took {core:.2f} times as long as the vanilla layer. "
    )
    return (
        said
        + {
            "below": "All are below one: attention stays ahead for longer than the count says.",
            "above": "All are above one: recurrence is ahead for longer than the count says.",
            "on both sides of": "Below one, attention stays ahead for longer than the count says; above, for "
            "less long.",
        }[above((core, gru, lstm))]
    )


def ahead(core: Real, gru: Real, lstm: Real) -> str:
    """Say the same in one line."""
    return f"In time, attention was ahead at equal FLOPs in {sum(x < 1 for x in (core, gru, lstm))} of 3 cases here."


def lstm(ratio: Real, n: int) -> str:
    """Say against which of two layers the lead of attention ends earlier: the time of an LSTM over that of a GRU."""
    said = (
        f"An LSTM takes a third more FLOPs than a GRU. At {n:,} positions it took {ratio:.2f} times the GRU's "
        "time here"
    )
    if ratio < 1 / SAME:
        return f"{said}, so attention's lead ends earlier against it: FLOPs alone do not set the time of a step."
    if ratio > SAME:
        return f"{said}, so attention's lead ends later against it."
    return f"{said}, so attention's lead ends at about the same length against both."


# Induction heads -------------------------------------------------------------------------------


def control(best: Real, chance: Real) -> str:
    """Say how far the control with one layer gets, beside a guess."""
    side = "above" if best > chance else "not above"
    return (
        f"The control never passes {best:.1%}, which is {side} the {chance:.1%} of a guess that knows the "
        "tokens of the sequence."
    )


# Memory ----------------------------------------------------------------------------------------


def report(reported: Real, measured: Real, copy: Real) -> str:
    """Say whether the compiler's report of memory has the scores in it."""
    said = (
        f"At n = 8192 XLA reported {_numbers.binary(reported)}, and the process grew by {_numbers.binary(measured)}, "
        f"which is {measured / copy:.1f} copies of the attention weights. "
    )
    if measured < 0.9 * copy:
        said += "The weights of all heads were never there at once. "
    if reported < measured / 2:
        return said + "The report leaves most of it out."
    if measured < reported / 2:
        return said + "The process did not touch all that the compiler planned."
    return said + "So the report has the weights in it."


# From satisfiability to attention --------------------------------------------------------------


def call_alt(tokens: Sequence[int], seconds: Mapping[str, Numbers]) -> str:
    """Describe the time of one call of attention over the number of tokens: the slope of each kernel's last step."""

    def slope(times: Numbers) -> float:
        last = len(times) - 1
        return math.log(times[last] / times[last - 1]) / math.log(tokens[last] / tokens[last - 1])

    each = listed([f"{slope(times):.1f} for {name}" for name, times in seconds.items()])
    return (
        f"Time against tokens, both axes logarithmic, beside a dotted line of slope two. The slope of the "
        f"last step is {each}."
    )


def faster_at(tokens: Sequence[int], written: Numbers, tiled: Numbers) -> str:
    """Say at which lengths which program made the call faster; `tokens` may go on where `written` has ended."""
    which: dict[int, list[str]] = {-1: [], 0: [], 1: []}
    for n, first, second in zip(tokens, written, tiled, strict=False):
        which[longer(first / second)].append(f"{n:,}")
    said = [
        f"{name} was the faster one at {listed(which[sign])} tokens"
        for name, sign in (("attention", -1), ("flash_attention", 1))
        if which[sign]
    ]
    said += [f"they were alike at {listed(which[0])}"] if which[0] else []
    return f"Where both programs ran, {'; '.join(said)}."


def last_step(time: Real, flops: Real) -> str:
    """Compare the growth of a call's time with that of its operations, from the last size but one to the last."""
    if longer(time / flops) < 0:
        return (
            "The call grew by less than its operations: part of a shorter call is what any call costs, or "
            "small products run at a lower rate."
        )
    if longer(time / flops) > 0:
        return "The call grew by more than its operations, as it does where arrays outgrow a cache."
    return "The call grew as its operations."
