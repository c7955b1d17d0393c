"""Runs scenarios through `promtool test rules`, of Prometheus 2 and 3, which count windows differently, and through
VictoriaMetrics' tool of the same kind."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alerts.scenario import NAMESPACE, SERVICES, Scenario
from alerts.scenarios import BUDGET, DAYS, FLEET
from andante.domain.slo.fleet_alerts import fleet_group
from andante.domain.slo.recording import Group, recording_groups
from andante.domain.slo.rules import rule_file, service_groups
from debian_programs import Program, program

MUTANT = "__"
"""Between an alert's name and the mark of a mutant."""


def promtool(generation: int) -> Program:
    """Debian 12's promtool 2, or a promtool 3 from a later Debian."""
    return program("promtool", suite="forky") if generation == 3 else program("prometheus", name="promtool")


def vmalert_tool() -> Program:
    """A VictoriaMetrics and its vmalert, for tests of rules as promtool's."""
    return program("victoria-metrics", name="vmalert-tool", suite="forky")


@dataclass(frozen=True, slots=True)
class Run:
    """Scenarios of one service that are judged by the same rules, in one run of promtool."""

    name: str
    groups: tuple[Group, ...]
    scenarios: Mapping[str, Scenario]
    minutes: int
    """Between two evaluations."""

    @property
    def per_minute(self) -> int:
        """Scrapes."""
        return 4 if self.minutes == 1 else 1


def runs() -> list[Run]:
    """All scenarios, with no more rules than they are about: promtool evaluates each rule for each minute."""
    found = []
    for kind, table, minutes in (("budget", BUDGET, 1), ("days", DAYS, 5)):
        for service in SERVICES:
            own = {name: scenario for name, scenario in table.items() if scenario.service == service}
            if own:
                found.append(Run(f"{kind} of {service}", (*recording_groups(), *groups_of(service)), own, minutes))
    beside = {name: BUDGET[name] for name in ("all pods are replaced", "from zero to one and back", "batch alone")}
    return [*found, Run("fleet", (fleet_group(),), {**FLEET, **beside}, 1)]


def groups_of(service: str) -> tuple[Group, ...]:
    """The rules of one service of the scenarios."""
    promise, classes = SERVICES[service]
    return service_groups(namespace=NAMESPACE, name=service, promise=promise, classes=classes)


def run(tool: Program, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(tool.path), *arguments]
    return subprocess.run(command, cwd=folder, env=dict(tool.environment), capture_output=True, text=True, check=False)


def evaluated(
    tool: Program, folder: Path, groups: Iterable[Group], *, minutes: int, tests: Sequence[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """`promtool test rules`: the rules evaluated each so many minutes, and tests in promtool's form."""
    groups = list(groups)
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_file(groups), width=10_000), encoding="utf-8")
    arguments = ["test", "rules", "tests.yaml"]
    if tool.path.name == "vmalert-tool":
        arguments = ["unittest", "--files", "tests.yaml"]
        tests = [{key.replace("promql_", "metricsql_"): value for key, value in test.items()} for test in tests]
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": f"{minutes}m",
        # Else the order is another one each time, and an alert may find the last sample too old, five minutes ago.
        "group_eval_order": [group["name"] for group in groups],
        "tests": tests,
    }
    (folder / "tests.yaml").write_text(yaml.safe_dump(document, width=10_000), encoding="utf-8")
    return run(tool, folder, *arguments)


def lint(tool: Program, folder: Path, groups: Iterable[Group], *, level: str = "all") -> str:
    """What `promtool check rules` complains of; empty: of nothing."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_file(groups)), encoding="utf-8")
    done = run(tool, folder, "check", "rules", f"--lint={level}", "--lint-fatal", "rules.yaml")
    return done.stdout + done.stderr if done.returncode else ""


def judge(tool: Program, folder: Path, each: Run) -> subprocess.CompletedProcess[str]:
    """The tests of a run."""
    groups = [_at_one_interval(group, each.minutes) for group in each.groups]
    tests = [_test(name, scenario, each.per_minute) for name, scenario in each.scenarios.items()]
    return evaluated(tool, folder, groups, minutes=each.minutes, tests=tests)


def _at_one_interval(group: Group, minutes: int) -> Group:
    """promtool evaluates every group at one interval; what adds up samples is told what time each stands for."""
    if group["interval"] == f"{minutes}m":
        return group
    old, new = ("300 * avg", "60 * avg") if minutes == 1 else ("60 * sum", "300 * sum")
    return {**group, "rules": [{**rule, "expr": rule["expr"].replace(old, new)} for rule in group["rules"]]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is asked at one minute of a scenario, and which alerts the answer must hold."""

    scenario: str
    minute: int
    about: frozenset[str] | None
    """The alert that is asked for; None: every alert that has fired so far."""
    expected: frozenset[str]

    @property
    def expression(self) -> str:
        if self.about is None:
            asked = f'count_over_time(ALERTS{{alertstate="firing"}}[{self.minute + 1}m])'
        else:
            asked = f'ALERTS{{alertstate="firing",alertname=~"({"|".join(self.about)})({MUTANT}.*)?"}}'
        # The comment makes it the only one of its kind in promtool's output.
        return f"group by (alertname) ({asked}) # {self.scenario}, {self.minute}"

    def to_promtool(self) -> dict[str, Any]:
        samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(self.expected)]
        return {"expr": self.expression, "eval_time": f"{self.minute}m", "exp_samples": samples}


def checks(name: str, scenario: Scenario) -> Iterator[Check]:
    for alert, fires in scenario.fires.items():
        one = frozenset({alert})
        for minute, expected in ((fires.after, frozenset()), (fires.by, one), (fires.over, frozenset())):
            if minute is not None:
                yield Check(scenario=name, minute=minute, about=one, expected=expected)
    everything = frozenset(scenario.fires)
    yield Check(scenario=name, minute=scenario.minutes, about=None, expected=everything)


def _test(name: str, scenario: Scenario, per_minute: int) -> dict[str, Any]:
    found = scenario.series(per_minute=per_minute)
    series = [{"series": series, "values": values} for series, values in found.items() if values]
    asked = [check.to_promtool() for check in checks(name, scenario)]
    return {"name": name, "interval": f"{60 // per_minute}s", "input_series": series, "promql_expr_test": asked}


def answers(each: Run, output: str) -> Iterator[tuple[Check, frozenset[str]]]:
    """Every check with the alerts that were found, from promtool's `output`, which tells of wrong answers alone."""
    wrong: dict[str, frozenset[str]] = {}
    for expression, got in re.findall(
        r'expr: ("(?:[^"\\]|\\.)*"), time: [^\n]*\n\s*exp:[^\n]*\n\s*got:([^\n]*)', output
    ):
        wrong[json.loads(expression)] = frozenset(re.findall(r'alertname="([^"]+)"', got))
    for name, scenario in each.scenarios.items():
        for check in checks(name, scenario):
            yield check, wrong.pop(check.expression, check.expected)
    assert not wrong
