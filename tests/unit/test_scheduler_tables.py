"""The tables of the scheduler's pages: what is in the results is shown, what is not there is said so."""

from __future__ import annotations

from typing import Any

import pytest
from hack.scheduler_tables import gains_table, held_table, load_table, sweep_table, violations_table

FIGURES = {
    "mean_qoe": 0.9, "share_left": 0.05, "smooth_goodput": 1_000.0, "p1_qoe": 0.1, "p5_qoe": 0.2, "share_good": 0.8,
    "longest_wait": 60.0, "throughput": 1_500.0, "recomputed_tokens": 7.0, "seeds": [11],
}  # fmt: skip


def over_load(*points: dict[str, Any], **more: Any) -> dict[str, Any]:
    known = [FIGURES | point for point in points]
    return {"name": "scheduler", "headline": {}, "settings": {}, "figures": {"points": known, "violations": []}} | more


def pair(ours: dict[str, float], violations: list[str], **point: Any) -> dict[str, Any]:
    where = {
        "profile": "p", "lengths": "chat", "trace": "", "sessions": False, "common_prefix": 0, "pace": 4.8,
        "load": 1.0, "patience": None,
    }  # fmt: skip
    return {"point": where | point, "qoe": FIGURES | ours, "fcfs": FIGURES, "violations": violations}


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_the_share_who_left_stands_beside_each_mean_qoe() -> None:
    rows = cells(load_table(over_load({"scheduler": "qoe", "load": 1.1}, {"scheduler": "edf", "load": 1.1})))
    assert [row[:4] for row in rows] == [["1.1", "qoe", "0.9000", "5.00%"], ["1.1", "edf", "0.9000", "5.00%"]]


def test_a_load_that_is_not_crossed_has_no_ratio() -> None:
    held = {"qoe": 1.2, "fcfs": 1.0}
    document = over_load(
        {"scheduler": "qoe", "load": 1.1}, {"scheduler": "fcfs", "load": 1.1},
        headline={"load_held_at_mean_098": held, "load_held_at_mean_095": held, "load_held_at_mean_090": {"fcfs": 1.0}},
    )  # fmt: skip
    ours, _ = cells(held_table(document))
    assert ours == ["qoe", "1.200 (1.20 times)", "1.200 (1.20 times)", "not crossed"]


def test_each_violation_is_a_line_with_its_figures() -> None:
    dominated = {"what": "dominated", "scheduler": "qoe", "than": "edf", "load": 1.0, "figures": "mean QoE 0.9 (0.8)"}
    over = over_load({"scheduler": "qoe", "load": 1.0}, figures={"points": [], "violations": [dominated]})
    sweep = {"name": "sweep", "figures": {"points": [pair({}, ["tokens/s 1 (2)"], patience=60.0), pair({}, [])]}}
    assert cells(violations_table([over, sweep])) == [
        ["scheduler", "qoe at load 1", "dominated (edf)", "mean QoE 0.9 (0.8)"],
        ["sweep", "chat on p, pace 4.8, load 1, patience 60 s", "worse than stock (fcfs)", "tokens/s 1 (2)"],
    ]


def test_results_without_a_violation_say_how_many_points_were_looked_at() -> None:
    sweep = {"name": "sweep", "figures": {"points": [pair({}, []), pair({}, [])]}}
    assert cells(violations_table([sweep])) == [["sweep", "all 2 points", "none", ""]]


def test_a_sweep_is_summed_up_by_patience() -> None:
    points = [pair({"mean_qoe": 0.95}, []), pair({"mean_qoe": 0.8, "throughput": 1_425.0}, ["mean QoE"])]
    sweep = {"name": "sweep", "figures": {"points": [*points, pair({"share_left": 0.01}, [], patience=20.0)]}}
    assert cells(sweep_table(sweep)) == [
        ["no tokens", "endless", "2", "1", "-0.1000", "-0.0250", "+0.0500", "+0.0%", "95.0%", "+0.00%"],
        ["no tokens", "20 s", "1", "0", "+0.0000", "+0.0000", "+0.0000", "+0.0%", "100.0%", "-4.00%"],
    ]


@pytest.mark.parametrize("measured", [True, False])
def test_what_was_not_measured_is_said_so(measured: bool) -> None:
    points = [{"scheduler": name, "load": 1.2, "mean_qoe": q} for name, q in (("qoe", 0.95), ("fcfs", 0.25))]
    endless = over_load(*points) if measured else over_load()
    row = {line[0]: line[1:] for line in cells(gains_table(endless, None, None))}
    expected = "0.950 instead of 0.250" if measured else "not measured"
    assert row["mean QoE at load 1.2, after 20 minutes"] == [expected, "not measured"]
