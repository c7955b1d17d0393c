"""Makes the JSON document of a demo: the figures of each side, and how they came about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from andante.domain.pace import QoEClass
from hack.demo.comparison import compare, paired, purchases, rows
from hack.demo.outcome import Demo, Side
from hack.demo.pod_lives import replica_minutes
from hack.demo.slices import by_arrival, in_time


def document(demo: Demo, *, reader: QoEClass, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the single tokens, ready for JSON. An unknown figure is None."""
    found = rows(demo, reader)
    verdict, pair = compare(demo, found), paired(demo)
    return {
        "settings": dict(settings),
        "until_s": demo.until,
        "figures": {row.name: dict(zip((s.name for s in demo.sides), row.values, strict=True)) for row in found},
        "verdict": None if verdict is None else {"outcome": verdict.outcome.value, "text": verdict.text},
        "no_rival": demo.no_rival,
        "complaints": list(demo.complaints),
        "paired": None
        if pair is None
        else {"requests": pair.requests, "mean_qoe_difference": pair.mean, "better": pair.better, "worse": pair.worse},
        "sides": {side.name: _side(side, demo) for side in demo.sides},
    }


def _side(side: Side, demo: Demo) -> dict[str, Any]:
    slices = by_arrival(side.results)
    ready = in_time(slices, side.pods, surge=demo.surge, target=demo.target_qoe)
    return {
        "scores": dict(side.scores),
        "replica_minutes": replica_minutes(side.pods, until=demo.until),
        "pods": [
            {
                "created_s": pod.created,
                "bought": pod.bought,
                "ready_s": pod.ready,
                "leaving_s": pod.leaving,
                "gone_s": pod.gone,
            }
            for pod in side.pods
        ],
        "purchases": [
            {
                "bought_s": each.pod.created,
                "warm_up_s": each.pod.warm_up,
                "too_late": each.too_late,
                "words": each.words,
            }
            for each in purchases(side.pods, surge=demo.surge)
        ],
        "in_time": {
            "below_target_since_s": ready.below_since,
            "first_ready_s": ready.first_ready,
            "warm_up_s": ready.warm_up,
            "kept": ready.kept,
        },
        "changes": [
            {"at_s": change.at, "wanted": change.desired, "reason": change.reason, "message": change.message}
            for change in side.changes
        ],
        "qoe_by_arrival": [[s.since, s.readers, round(s.mean_qoe, 4)] for s in slices],
    }
