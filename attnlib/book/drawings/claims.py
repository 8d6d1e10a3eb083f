"""Claims, checked: a bar of verdicts for each group."""

from __future__ import annotations

from attnlib.book.claims import GROUPS, VERDICTS, tally
from attnlib.book.draw import Picture, box, label, picture


def verdicts() -> Picture:
    """Draw how many claims of each group have which verdict, as bars of boxes.

    Returns:
        The chapter "Claims, checked" begins with it.

    Example:
        >>> verdicts()
        Picture('Verdicts by group')
    """
    left, right, step, high = 168, 396, 26, 19
    counts = {group: tally(group) for group in GROUPS}
    unit = (right - left) / max(sum(found.values()) for found in counts.values())
    marks, said = [], []
    given = [name for name in VERDICTS if any(found[name] for found in counts.values())]
    for i, name in enumerate(given):  # in two columns: what the marks say
        at, y = (8, 204)[i % 2], 14 + 22 * (i // 2)
        marks.append(box(at, y - 9, 26, 18, VERDICTS[name].mark, tone=VERDICTS[name].tone))
        marks.append(label(at + 33, y, name, anchor="start", size=12))
    top = 14 + 22 * ((len(given) + 1) // 2)
    for row, (group, title) in enumerate(GROUPS.items()):
        y, x = top + step * row, float(left)
        marks.append(label(left - 8, y + high / 2, title, anchor="end", size=11))
        found = {name: number for name, number in counts[group].items() if number}
        for name, number in found.items():
            width, sign = number * unit - 2, VERDICTS[name].mark
            # The narrowest box holds the mark alone: it stands for one claim.
            marks.append(
                box(x, y, width, high, sign if number == 1 else f"{sign} {number}", tone=VERDICTS[name].tone)
            )
            x += number * unit
        said.append(f"{title}: {', '.join(f'{number} {name}' for name, number in found.items())}")
    return picture(
        top + step * len(GROUPS),
        *marks,
        title="Verdicts by group",
        description=f"A bar for each group of claims, cut into its verdicts. {'; '.join(said)}.",
    )
