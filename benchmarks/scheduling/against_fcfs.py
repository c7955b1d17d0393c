"""When a run is worse than FCFS's of the same requests, by the measures that waiting cannot improve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEAST_QOE = 0.002
"""How much lower a mean QoE may be before it is worse."""
TOLERANCE = 0.01
"""Of the throughput: a difference of smooth goodput below that is one of rounding."""


def worse(ours: Mapping[str, Any], stock: Mapping[str, Any]) -> list[str]:
    """What of `scoring.Scores`, as mappings, is worse than FCFS's."""
    found = []
    if ours["mean_qoe"] < stock["mean_qoe"] - LEAST_QOE:
        found.append("mean QoE")
    if ours["smooth_goodput"] < stock["smooth_goodput"] - TOLERANCE * stock["throughput"]:
        found.append("smooth goodput")
    return found
