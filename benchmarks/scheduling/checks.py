"""What the tables must show of a policy: it is never worse than stock, and no rival dominates it.

Both are asked of `scoring.Scores` as mappings, so of result files too. Mean QoE alone can be bought with who waits, and
with who leaves; smooth goodput alone with throughput.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

LEAST_QOE = 0.002
"""How much lower a mean QoE may be before it is worse."""
TOLERANCE = 0.01
"""Of the rival's tokens/s: a difference of smooth goodput below that is one of rounding."""
LEAST_THROUGHPUT = 0.95
"""Of the rival's tokens/s."""
MOST_LEAVERS = 0.002
"""How much larger the share of who leaves may be."""
FIRST_LOAD, LAST_LOAD = 0.9, 1.5
"""No rival may dominate at a load between these."""
SEEDS = 10
"""Arrivals with which a violation is looked at again."""
_FIGURES = {
    "mean QoE": ("mean_qoe", ".4f"),
    "smooth goodput": ("smooth_goodput", ".0f"),
    "tokens/s": ("throughput", ".0f"),
    "share who left": ("share_left", ".2%"),
}
"""Of each figure that is compared: its key in the scores, and its form."""
_QUANTILE = 2.262
"""Student's t, 97.5 %, of 9 degrees of freedom."""


def worse(ours: Mapping[str, Any], stock: Mapping[str, Any]) -> list[str]:
    """In what a run is worse than stock's run of the same requests, with the figures."""
    beyond = beyond_limits(ours, stock)
    return [
        f"{what} {ours[key]:{form}} ({stock[key]:{form}})" for what, (key, form) in _FIGURES.items() if beyond[what] > 0
    ]


def dominates(rival: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether the rival is above in mean QoE and in smooth goodput too, each by more than a tie."""
    return bool(
        rival["mean_qoe"] > ours["mean_qoe"] + LEAST_QOE
        and rival["smooth_goodput"] > ours["smooth_goodput"] + TOLERANCE * abs(ours["smooth_goodput"])
    )


def dominating(points: Mapping[tuple[str, float], Mapping[str, Any]], ours: str) -> list[tuple[str, float, str]]:
    """Each rival and load at which it dominates `ours`, with the figures; `points` by (scheduler, load).

    A rival with KV in host memory competes with ours with host memory only, and the other way round.
    """
    found = []
    for (name, load), rival in sorted(points.items(), key=lambda item: (item[0][1], item[0][0])):
        alike = name.endswith("+host") == ours.endswith("+host")
        if name == ours or not alike or not FIRST_LOAD <= load <= LAST_LOAD or (ours, load) not in points:
            continue
        mine = points[ours, load]
        if dominates(rival, mine):
            both = ((what, *_FIGURES[what]) for what in ("mean QoE", "smooth goodput"))
            figures = "; ".join(f"{what} {rival[key]:{form}} ({mine[key]:{form}})" for what, key, form in both)
            found.append((name, load, figures))
    return found


def beyond_limits(ours: Mapping[str, Any], stock: Mapping[str, Any]) -> dict[str, float]:
    """By how much each figure is worse than it may be, in the figure's unit: above 0 it is a violation."""
    return {
        "mean QoE": stock["mean_qoe"] - LEAST_QOE - ours["mean_qoe"],
        "smooth goodput": stock["smooth_goodput"] - TOLERANCE * stock["throughput"] - ours["smooth_goodput"],
        "tokens/s": LEAST_THROUGHPUT * stock["throughput"] - ours["throughput"],
        "share who left": ours["share_left"] - MOST_LEAVERS - stock["share_left"],
    }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of `SEEDS` values and the half width of its 95 % interval (Student's t).

    Raises ValueError for another number of values: the quantile is that of so many.
    """
    if len(values) != SEEDS:
        raise ValueError(f"expected {SEEDS} values, got {len(values)}")
    return mean(values), _QUANTILE * stdev(values) / math.sqrt(SEEDS)


def verdict(beyond: Sequence[float]) -> str:
    """What `SEEDS` values of `beyond_limits` of one figure show of the policy, and not of one seed."""
    middle, half = interval(beyond)
    if middle - half > 0:
        return "worse"
    return "not worse" if middle + half <= 0 else "not decided"
