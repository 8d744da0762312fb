"""Tables in Markdown, and what they are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table whose first `left` columns are words, and the others numbers."""
    rules = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rules, *rows))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all, at least, do not exceed; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def number(value: float, digits: int) -> str:
    """With thousands set apart; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def three_digits(value: float) -> str:
    """As many decimals as tell anything."""
    return number(value, 0 if value >= 100 else 1 if value >= 10 else 2)
