"""The tables of the demo's page from benchmarks/results/demo.json, as Markdown. Pure: a document in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hack.scheduler_tables import table

Document = Mapping[str, Any]


def verdict(document: Document) -> str:
    """The verdict in words, and how many requests each side served better."""
    head = document["headline"]
    pair = head["paired"]
    return (
        f"{head['verdict']} Of {pair['requests']} requests, {pair['better']} were served better by Andante and"
        f" {pair['worse']} worse; the mean difference of their QoE is {pair['mean_qoe_difference']:+.3f}."
    )


def purchases_table(document: Document) -> str:
    """Each replica that was bought, and whether it served the surge."""
    rows = [
        (
            name,
            f"{bought['bought_s']:.0f} s",
            "never" if bought["warm_up_s"] is None else f"{bought['warm_up_s']:.0f} s",
            bought["words"],
        )
        for name, side in document["figures"]["measured"]["sides"].items()
        for bought in side["purchases"]
    ]
    return table(("side", "bought at", "ready after", "for the surge"), rows)


def in_time_table(document: Document) -> str:
    """Whether replicas were ready before readers had been below the objective for a warm-up."""
    rows = []
    for name, side in document["figures"]["measured"]["sides"].items():
        found = side["in_time"]
        rows.append(
            (
                name,
                *(_seconds(found[key]) for key in ("below_target_since_s", "first_ready_s", "warm_up_s")),
                "yes" if found["kept"] else "no",
            )
        )
    columns = ("side", "readers below the objective since", "first bought replica served at", "its warm-up", "in time")
    return table(columns, rows)


def simulated_table(document: Document) -> str:
    """Measured beside simulated."""
    rows = []
    for name, side in document["figures"]["simulated"].items():
        qoe, minutes = side["mean_qoe"], side["replica_minutes"]
        rows.append(
            (
                name,
                f"{qoe['measured']:.3f}",
                f"{qoe['simulated']:.3f} ({qoe['least']:.3f} to {qoe['most']:.3f})",
                f"{side['qoe_apart']:+.3f}",
                f"{minutes['measured']:.1f}",
                f"{minutes['simulated']:.1f} ({minutes['least']:.1f} to {minutes['most']:.1f})",
                f"{side['replica_minutes_apart']:+.1%}",
                "yes" if side["within_bars"] else "no",
            )
        )
    columns = (
        "side", "mean QoE, measured", "simulated (10 seeds)", "apart", "replica-minutes, measured", "simulated",
        "apart",
        "within .03 and 10 %",
    )  # fmt: skip
    return table(columns, rows)


def targets_table(document: Document) -> str:
    """The rival with other targets, in the simulator."""
    rows = [
        (f"{run['in_flight']:g}", f"{run['mean_qoe']:.3f}", f"{run['replica_minutes']:.1f}")
        for run in document["figures"]["other_targets_of_the_rival_simulated"]
    ]
    return table(("requests in flight for each replica", "mean QoE", "replica-minutes"), rows)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} s"
