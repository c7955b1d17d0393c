"""Sets the sides of a demo beside each other: their figures, who is better, and the verdict in words. Pure.

The verdict may come out against Andante: nothing here knows which side is ours but the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from andante.cli.bench import Ending, RequestResult
from andante.domain.pace import QoEClass
from hack.demo.outcome import Demo, Side
from hack.demo.pod_lives import PodLife, most_ready, replica_minutes
from hack.demo.readers import PATIENCE_SECONDS, expected_to_leave, longest_wait
from hack.demo.watch import Sample
from hack.demo.workload import Surge

EQUAL_QOE = 0.01
EQUAL_COST = 0.03
"""Differences below these, of the mean QoE and of the replica-minutes as a share, are not worth a word: this is one
run on one machine."""
EQUAL_SHARE = 0.01
"""The same of the figures of the table, as a share of the larger one."""


class Better(StrEnum):
    """Which direction of a figure is the better one."""

    MORE = "more"
    LESS = "less"
    NEITHER = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of every side; None: unknown."""

    name: str
    values: tuple[float | None, ...]
    digits: int
    better: Better = Better.NEITHER

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple("unknown" if value is None else f"{value:.{self.digits}f}" for value in self.values)

    @property
    def winner(self) -> int | None:
        """The place of the better side; None where there is none, or where they differ too little to tell."""
        known = [value for value in self.values if value is not None]
        if self.better is Better.NEITHER or len(known) < 2 or len(known) < len(self.values):
            return None
        most, least = max(known), min(known)
        if most - least <= EQUAL_SHARE * max(abs(most), abs(least)):
            return None
        return known.index(most if self.better is Better.MORE else least)


def rows(demo: Demo, reader: QoEClass) -> list[Row]:
    """All figures. `reader`: what the readers expect."""
    figures = [_figures(side, reader, until=demo.until) for side in demo.sides]

    def row(name: str, digits: int, better: Better = Better.NEITHER) -> Row:
        return Row(name=name, values=tuple(each[name] for each in figures), digits=digits, better=better)

    return [
        row("requests", 0),
        row("QoE, mean", 3, Better.MORE),
        row("QoE, p5", 3, Better.MORE),
        row("share good", 3, Better.MORE),
        *(row(_left_name(patience), 1, Better.LESS) for patience in PATIENCE_SECONDS),
        row("TTFT p50 (s)", 2, Better.LESS),
        row("TTFT p95 (s)", 2, Better.LESS),
        row("longest time between tokens, p95 (s)", 2, Better.LESS),
        row("smooth goodput (tokens/s; f(l)=l, alpha=pace)", 1, Better.MORE),
        row("throughput (tokens/s)", 1),
        row("replica-minutes", 1, Better.LESS),
        row("most replicas ready", 0),
        row("streams cut", 0, Better.LESS),
        row("generator lateness p95 (s)", 3),
    ]


def _left_name(patience: float) -> str:
    return f"readers who would have left (mean patience {patience:.0f} s)"


def _figures(side: Side, reader: QoEClass, *, until: float) -> dict[str, float | None]:
    def score(*keys: str) -> float | None:
        value: Any = side.scores
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return float(value) if isinstance(value, int | float) else None

    waited = waits(side.results, reader)
    return {
        "requests": score("requests"),
        "QoE, mean": score("qoe", "mean"),
        "QoE, p5": score("qoe", "p5"),
        "share good": score("share_good"),
        **{_left_name(patience): expected_to_leave(waited, patience=patience) for patience in PATIENCE_SECONDS},
        "TTFT p50 (s)": score("ttft_s", "p50"),
        "TTFT p95 (s)": score("ttft_s", "p95"),
        "longest time between tokens, p95 (s)": score("max_time_between_tokens_s", "p95"),
        "smooth goodput (tokens/s; f(l)=l, alpha=pace)": score("smooth_goodput_tokens_per_s", "alpha=1*pace"),
        "throughput (tokens/s)": score("throughput_tokens_per_s"),
        "replica-minutes": replica_minutes(side.pods, until=until),
        "most replicas ready": float(most_ready(side.pods)),
        "streams cut": score("streams_cut"),
        "generator lateness p95 (s)": score("generator_lateness_s", "p95"),
    }


def waits(results: Sequence[RequestResult], reader: QoEClass) -> list[float]:
    """Each reader's longest wait with nothing to read, seconds."""
    return [
        longest_wait(
            result.delivery,
            expected_ttft=reader.expected_ttft,
            pace=reader.pace,
            ended=None if result.ending is Ending.COMPLETED else result.duration,
        )
        for result in results
    ]


class Outcome(StrEnum):
    """How Andante came out; the class of the verdict's box in the report."""

    WON = "good"
    MIXED = "mixed"
    LOST = "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The comparison in words."""

    outcome: Outcome
    text: str


def compare(demo: Demo, found: Sequence[Row]) -> Verdict | None:
    """Readers and cost of ours beside the rival's, from `rows`; None without a rival, or without a QoE."""
    if demo.rival is None:
        return None
    by_name = {row.name: row for row in found}
    (ours, theirs), (paid, their_paid) = by_name["QoE, mean"].values, by_name["replica-minutes"].values
    if ours is None or theirs is None or not paid or not their_paid:
        return None
    better = _sign(ours - theirs, EQUAL_QOE)
    cheaper = -_sign(paid / their_paid - 1, EQUAL_COST)
    good, left = by_name["share good"].values, by_name[_left_name(PATIENCE_SECONDS[-1])].texts
    text = (
        f"Mean QoE {ours:.3f} with {demo.ours.name}, {theirs:.3f} with {demo.rival.name}; good answers"
        f" {_share(good[0])} and {_share(good[1])}; of readers with a mean patience of {PATIENCE_SECONDS[-1]:.0f} s,"
        f" {left[0]} and {left[1]} would have left. {demo.ours.name} took {paid:.1f} replica-minutes,"
        f" {demo.rival.name} {their_paid:.1f} ({paid / their_paid - 1:+.0%})."
    )
    return Verdict(_OUTCOMES[better, cheaper], f"{_words(demo, better, cheaper)} {text}")


def _words(demo: Demo, better: int, cheaper: int) -> str:
    ours, theirs = demo.ours.name, demo.rival.name if demo.rival else ""
    said = {
        (1, 1): f"{ours} won: it served its readers better, and took fewer replica-minutes.",
        (1, 0): f"{ours} won: it served its readers better, for the same replica-minutes.",
        (1, -1): f"{ours} served its readers better, and paid for it with more replica-minutes.",
        (0, 1): f"{ours} won: it served its readers as well, with fewer replica-minutes.",
        (0, 0): f"Neither won: {ours} and {theirs} served their readers alike, for the same replica-minutes.",
        (0, -1): f"{ours} lost: it served its readers no better, and took more replica-minutes.",
        (-1, 1): f"{ours} served its readers worse, and took fewer replica-minutes.",
        (-1, 0): f"{ours} lost: it served its readers worse, for the same replica-minutes.",
        (-1, -1): f"{ours} lost: it served its readers worse, and took more replica-minutes.",
    }
    return said[better, cheaper]


_OUTCOMES: Mapping[tuple[int, int], Outcome] = {
    (1, 1): Outcome.WON,
    (1, 0): Outcome.WON,
    (0, 1): Outcome.WON,
    (1, -1): Outcome.MIXED,
    (0, 0): Outcome.MIXED,
    (-1, 1): Outcome.MIXED,
    (0, -1): Outcome.LOST,
    (-1, 0): Outcome.LOST,
    (-1, -1): Outcome.LOST,
}


def _sign(difference: float, equal: float) -> int:
    return 0 if abs(difference) < equal else (1 if difference > 0 else -1)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A replica that was bought during the replay."""

    pod: PodLife
    too_late: bool
    """It became ready when the surge had ended, or never."""
    words: str


def purchases(pods: Sequence[PodLife], *, surge: Surge) -> list[Purchase]:
    """Every bought replica, and whether it could serve the surge that it was bought for."""
    end = surge.start + surge.duration
    found = []
    for pod in (pod for pod in pods if pod.bought):
        if pod.ready is None:
            last = "" if pod.gone is None else f", and was gone at second {pod.gone:.0f}"
            too_late, words = True, f"bought too late to serve: it never became ready{last}"
        elif pod.ready >= end:
            late = f"{pod.ready - end:.0f} s after the surge had ended"
            too_late, words = True, f"bought too late to serve: it became ready {late}"
        else:
            too_late = False
            words = f"served from second {pod.ready:.0f}, {end - pod.ready:.0f} s before the surge ended"
        found.append(Purchase(pod=pod, too_late=too_late, words=words))
    return found


def steps(side: Side) -> list[tuple[int | None, Sample]]:
    """Each change with the number of replicas that was wanted before it."""
    if not side.changes:
        return []
    before = [s.desired for s in side.samples if s.at < side.changes[0].at and s.desired is not None]
    first = before[-1] if before else None
    return [(first, side.changes[0]), *((a.desired, b) for a, b in pairwise(side.changes))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The same requests on both sides: ours less the rival's QoE."""

    requests: int
    mean: float
    better: int
    """Requests that ours served better by more than `EQUAL_QOE`."""
    worse: int


def paired(demo: Demo) -> Paired | None:
    """The differences request by request; None without a rival, or where no request has a QoE on both sides."""
    if demo.rival is None:
        return None
    theirs = {r.number: r.score.qoe for r in demo.rival.results}
    differences = [
        ours.score.qoe - other
        for ours in demo.ours.results
        if ours.score.qoe is not None and (other := theirs.get(ours.number)) is not None
    ]
    if not differences:
        return None
    return Paired(
        requests=len(differences),
        mean=sum(differences) / len(differences),
        better=sum(difference > EQUAL_QOE for difference in differences),
        worse=sum(difference < -EQUAL_QOE for difference in differences),
    )
