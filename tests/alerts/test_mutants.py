"""A rule with one comparison turned round, or one condition left out, behaves differently in some scenario.

All mutants stand beside each other in one file, each an alert with a name of its own, so that one run of promtool for
each kind of scenarios judges them all. test_recorded.py does the same with the rules that record.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.promtool import MUTANT, Run, answers, judge, promtool, runs
from andante.domain.slo.alerts import BURN_TREND, SERVICE_ALERTS, Rule
from andante.domain.slo.fleet_alerts import FLEET_ALERTS
from andante.domain.slo.recording import Group

TURNED = {">": "<", "<": ">=", ">=": "<", "==": "!="}
CONDITION = re.compile(r"(?m)(?:^|\n) *(?:and|or|unless) [^\n]*")


def mutants(expression: str) -> Iterator[str]:
    """`expression` with one comparison turned round, or without one of its conditions; each stands on its own line.

    Where classes are looked at too, only that part: what it says of the whole is judged with a service of one class.
    """
    whole, classes, of_a_class = expression.partition("\nor sum_over_time")
    if classes:
        yield whole
        yield from (f"{whole}\nor {mutant}" for mutant in mutants(f"sum_over_time{of_a_class}"))
        return
    for found in re.finditer(r" (>=|==|>|<) ", expression):
        yield f"{expression[: found.start(1)]}{TURNED[found[1]]}{expression[found.end(1) :]}"
    for found in CONDITION.finditer(expression):
        yield expression[: found.start()] + expression[found.end() :]
    head, begun, rest = expression.partition("\nand ")
    if begun and "\n" not in head:
        yield rest
    head, begun, rest = expression.rpartition("\nor ")
    if begun and "(\n" not in head:
        yield rest


MUTATED: Mapping[str, tuple[str, ...]] = {
    "budget of s99": SERVICE_ALERTS,
    "days of s99": SERVICE_ALERTS,
    "days of one-class": (BURN_TREND,),
    "fleet": FLEET_ALERTS,
}
"""By run, the alerts that are judged there."""


def _mutated(group: Group, alerts: tuple[str, ...]) -> Group:
    """What is recorded, and the alerts with their mutants."""
    rules: list[Rule] = []
    for rule in group["rules"]:
        name = rule.get("alert")
        if name in alerts:
            rules += [
                {**rule, "alert": f"{name}{MUTANT}{number}", "expr": expression}
                for number, expression in enumerate(mutants(rule["expr"]))
            ]
        if name is None or name in alerts:
            rules.append(rule)
    return {**group, "rules": rules}


def _caught(each: Run, output: str) -> Iterator[str]:
    """The expressions of mutants that did not do what the rule does, in an answer of promtool."""
    mutants_of: dict[str, dict[str, str]] = defaultdict(dict)
    for name, expression in _alerts(each).items():
        mutants_of[name.partition(MUTANT)[0]][name] = expression
    for check, got in answers(each, output):
        for original in mutants_of if check.about is None else check.about & mutants_of.keys():
            its = mutants_of[original].items()
            yield from (text for name, text in its if (name in got) != (original in got))


def _alerts(each: Run) -> dict[str, str]:
    rules = (rule for group in each.groups for rule in group["rules"])
    return {rule["alert"]: rule["expr"] for rule in rules if "alert" in rule}


@pytest.mark.timeout(900)  # a minute of a core; machines may be busy
def test_each_mutant_of_a_rule_is_caught(tmp_path: Path) -> None:
    alive: set[str] = set()
    caught: set[str] = set()
    for each in runs():
        alerts = MUTATED.get(each.name, ())
        if alerts:
            # At five minutes, as whether a mutant does something else needs no minute, and there are many of them.
            minutes = 1 if each.name == "fleet" else 5
            groups = tuple(_mutated(group, alerts) for group in each.groups)
            mutated = replace(each, groups=groups, minutes=minutes)
            done = judge(promtool(3), tmp_path, mutated)
            caught |= set(_caught(mutated, done.stdout + done.stderr))
            alive |= {expression for name, expression in _alerts(mutated).items() if MUTANT in name}
    assert len(alive) > 60
    assert sorted(alive - caught) == []
