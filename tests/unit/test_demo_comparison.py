"""The comparison of the demo's sides: it may come out against Andante, and says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hack.demo.comparison import Outcome, compare, paired, purchases, rows
from hack.demo.outcome import Side
from hack.demo.pod_lives import PodLife

from andante.cli.bench import RequestResult
from unit.demo_sides import FIRST, LATE, READER, SECOND, SURGE, demo, result, side

GOOD, POOR = [result(0), result(60)], [result(0), result(60, LATE)]
CHEAP, DEAR = [FIRST], [FIRST, SECOND]


def _rival(results: list[RequestResult], pods: list[PodLife]) -> Side:
    return side("stock", results, pods=pods)


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome", "words"),
    [
        ((GOOD, CHEAP), (POOR, DEAR), Outcome.WON, "won: it served its readers better, and took fewer"),
        ((GOOD, DEAR), (POOR, DEAR), Outcome.WON, "won: it served its readers better, for the same"),
        ((GOOD, DEAR), (POOR, CHEAP), Outcome.MIXED, "better, and paid for it with more"),
        ((GOOD, CHEAP), (GOOD, DEAR), Outcome.WON, "served its readers as well, with fewer"),
        ((GOOD, CHEAP), (GOOD, CHEAP), Outcome.MIXED, "Neither won"),
        ((GOOD, DEAR), (GOOD, CHEAP), Outcome.LOST, "lost: it served its readers no better, and took more"),
        ((POOR, CHEAP), (GOOD, DEAR), Outcome.MIXED, "served its readers worse, and took fewer"),
        ((POOR, DEAR), (GOOD, DEAR), Outcome.LOST, "lost: it served its readers worse, for the same"),
        ((POOR, DEAR), (GOOD, CHEAP), Outcome.LOST, "lost: it served its readers worse, and took more"),
    ],
)
def test_the_verdict_follows_the_figures(ours: tuple, theirs: tuple, outcome: Outcome, words: str) -> None:
    played = demo(side("Andante", ours[0], pods=ours[1]), _rival(*theirs))
    found = compare(played, rows(played, READER))
    assert found is not None
    assert found.outcome is outcome
    assert words in found.text


def test_there_is_no_verdict_without_a_rival() -> None:
    assert compare(demo(), rows(demo(), READER)) is None


def test_the_better_side_of_a_figure_is_named_unless_both_read_alike() -> None:
    played = demo(side("Andante", POOR, pods=CHEAP), _rival(GOOD, DEAR))
    winners = {row.name: row.winner for row in rows(played, READER)}
    assert (winners["QoE, mean"], winners["replica-minutes"], winners["streams cut"]) == (1, 0, None)
    assert winners["requests"] is None


def test_who_would_have_left_is_the_same_reader_on_both_sides() -> None:
    played = demo(side("Andante", POOR), _rival(GOOD, DEAR))
    left = {row.name: row.values for row in rows(played, READER)}["readers who would have left (mean patience 20 s)"]
    assert left[0] == pytest.approx((1 - 2.718281828 ** (-9 / 20)) + (1 - 2.718281828 ** (-0.5 / 20)), rel=1e-6)
    assert left[1] < left[0]


def test_the_shorter_side_is_paid_until_the_longer_one_ends() -> None:
    longer = replace(side("stock"), samples=(*side().samples, replace(side().samples[-1], at=600.0)))
    minutes = {row.name: row.values for row in rows(demo(rival=longer), READER)}["replica-minutes"]
    assert minutes == (10.0 + 3.0, 10.0 + 3.0)


def test_a_purchase_in_the_surge_served() -> None:
    (bought,) = purchases([FIRST, SECOND], surge=SURGE)
    assert not bought.too_late
    assert bought.words == "served from second 100, 50 s before the surge ended"


@pytest.mark.parametrize(
    ("ready", "gone", "words"),
    [
        (150.0, None, "bought too late to serve: it became ready 0 s after the surge had ended"),
        (163.0, 200.0, "bought too late to serve: it became ready 13 s after the surge had ended"),
        (None, 170.0, "bought too late to serve: it never became ready, and was gone at second 170"),
        (None, None, "bought too late to serve: it never became ready"),
    ],
)
def test_a_purchase_that_came_too_late_is_named_as_such(ready: float | None, gone: float | None, words: str) -> None:
    (bought,) = purchases([replace(SECOND, ready=ready, gone=gone)], surge=SURGE)
    assert bought.too_late
    assert bought.words == words


def test_requests_are_compared_one_by_one() -> None:
    ours, theirs = [result(0), result(1, LATE), result(2)], [result(2, LATE), result(0), result(1)]
    found = paired(demo(side("Andante", ours), side("stock", theirs)))
    assert found is not None
    assert (found.requests, found.better, found.worse) == (3, 1, 1)
    assert found.mean == pytest.approx(0.0)
