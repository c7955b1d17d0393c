"""The recording rules record what was worked out by hand; a rule that is changed in one place does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts.promtool import promtool
from alerts.recorded import MUTANT, WORLDS, recorded, right
from andante.domain.slo.alerts import Rule
from andante.domain.slo.recording import recording_groups

SWAPPED = {
    " > ": (" < ", " >= "),
    " - ": (" + ",),
    " + ": (" - ",),
    " * ": (" / ",),
    " / ": (" * ",),
    "sum by": ("max by",),
    "max by": ("sum by", "min by"),
    "sum_over_time": ("avg_over_time",),
    "avg_over_time": ("sum_over_time",),
    "rate(": ("increase(",),
    "increase(": ("rate(",),
    "clamp_min": ("clamp_max",),
    '!=""': ('=""',),
}
WINDOWS = {"5m": ("150s", "10m"), "30m": ("15m", "1h"), "1h": ("30m", "2h"), "6h": ("3h", "12h")}
WINDOWS |= {"3d": ("36h", "6d"), "28d": ("14d", "56d")}
"""Half of each, and twice. Not of 15m, in which the newest sample is asked for, as a round may be late."""
EQUIVALENT = {
    r"or 0 \* 300 \* max by": "what is multiplied by 0 may be any number",
    r"or 0 \* 300 / sum by": "0 divided by the requests is 0, too; of no requests no share is recorded",
    r"or 0 / 300 \*": "0 divided is 0, too",
    r"or 0 \* 150": "what is multiplied by 0 may be any number",
    r"scored_total\[.*good_total\{|scored_total\{.*good_total\[": "both sides have the same labels, so one matcher"
    " would do; two read fewer series",
    r"open_bad_requests\)": "a share is recorded of a service that has requests; the matcher reads fewer series",
}
"""Mutants that record the same, by what they have in common, and why."""


def mutants(expression: str) -> Iterator[str]:
    """`expression` with one operator, function, window, factor, label or condition changed or left out."""
    for old, news in SWAPPED.items():
        for found in re.finditer(re.escape(old), expression):
            for new in news:
                yield expression[: found.start()] + new + expression[found.end() :]
    for found in re.finditer(r"\[(\w+)\]", expression):
        for window in WINDOWS.get(found[1], ()):
            yield f"{expression[: found.start(1)]}{window}{expression[found.end(1) :]}"
    for found in re.finditer(r"\b(300|60) \*", expression):
        yield f"{expression[: found.start(1)]}{int(found[1]) // 2}{expression[found.end(1) :]}"
    for by in re.finditer(r"by \(([^)]*)\)", expression):
        labels = by[1].split(", ")
        for label in labels:
            kept = ", ".join(each for each in labels if each != label)
            yield f"{expression[: by.start(1)]}{kept}{expression[by.end(1) :]}"
    for found in re.finditer(r'\{llmservice!=""\}', expression):
        yield expression[: found.start()] + expression[found.end() :]
    for found in re.finditer(r" > 0", expression):
        yield expression[: found.start()] + expression[found.end() :]
    for found in re.finditer(r" or 0 \* 300 \* sum by \([^)]*\) \([^)]*\)", expression):
        yield expression[: found.start()] + expression[found.end() :]
    for found in re.finditer(r"^clamp_min\((.*), 0\)$", expression):
        yield found[1]


@pytest.mark.parametrize("generation", [2, 3])
@pytest.mark.parametrize("name", WORLDS)
def test_records_are_what_was_worked_out_by_hand(name: str, generation: int, tmp_path: Path) -> None:
    world = WORLDS[name]
    found = recorded(promtool(generation), tmp_path, world)
    wrong = {record: (found.get(record), check.rows) for record, check in world.checks.items()}
    assert {record: pair for record, pair in wrong.items() if not right(pair[0] or {}, pair[1])} == {}


def test_every_record_is_checked() -> None:
    checked = {record for world in WORLDS.values() for record in world.checks}
    assert checked == {rule["record"] for group in recording_groups() for rule in group["rules"]}


@pytest.mark.timeout(900)  # ten seconds of a core; machines may be busy
@pytest.mark.parametrize("name", sorted(WORLDS.keys() - {"rounds"}))  # whose records the weeks have, too
def test_each_mutant_of_a_recording_rule_is_caught(name: str, tmp_path: Path) -> None:
    world = WORLDS[name]
    made: dict[str, Rule] = {}
    for rule in world.rules:
        if rule["record"] in world.checks:
            for number, expression in enumerate(mutants(rule["expr"])):
                mutant = f"{rule['record']}{MUTANT}{number}"
                made[mutant] = {**rule, "record": mutant, "expr": expression}
    found = recorded(promtool(3), tmp_path, world, made.values())
    alive = {
        rule["expr"]
        for mutant, rule in made.items()
        if right(found.get(mutant, {}), world.checks[mutant.partition(MUTANT)[0]].rows)
    }
    equivalent = {rule["expr"] for rule in made.values() if any(re.search(each, rule["expr"]) for each in EQUIVALENT)}
    assert len(made) > 10
    assert sorted(alive - equivalent) == []
    assert sorted(equivalent - alive) == []  # what is said to be the same is the same
