"""Every alert fires where it should, in time, and nowhere else; on Prometheus 2 and 3."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.promtool import Run, groups_of, judge, lint, promtool, runs
from alerts.scenario import SERVICES
from alerts.scenarios import ALL
from andante.domain.pace import PRESETS
from andante.domain.slo.promise import DAY, Promise
from andante.domain.slo.rules import ALERTS, generic_groups, service_groups

GENERATIONS = (2, 3)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("each", runs(), ids=lambda each: str(each.name))
def test_alerts_fire_where_they_should_and_nowhere_else(each: Run, generation: int, tmp_path: Path) -> None:
    done = judge(promtool(generation), tmp_path, each)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("service", SERVICES)
def test_promtool_has_nothing_to_say_of_the_rules(service: str, generation: int, tmp_path: Path) -> None:
    groups = [*generic_groups(), *groups_of(service)]
    assert lint(promtool(generation), tmp_path, groups) == ""


@pytest.mark.parametrize("generation", GENERATIONS)
def test_prometheus_takes_the_rules_of_any_name(generation: int, tmp_path: Path) -> None:
    hostile = (
        '"} or vector(1) #',
        "{{ query `up` }}",
        "a\nb",
        "\\",
        "`",
        "$labels",
        "\x00\x7f\u2028",
        "é",
        "\U0001f600",
    )
    classes = (PRESETS["reading"], PRESETS["voice"])
    groups = [
        group
        for name in hostile
        for days in (28, 2)
        for group in service_groups(
            namespace=f"{name}{days}",
            name=name,
            promise=Promise(good_fraction=0.99, window=days * DAY),
            classes=classes,
        )
    ]
    # Two services have the same alerts, which is what the linter looks for.
    assert lint(promtool(generation), tmp_path, groups, level="none") == ""


def test_each_alert_has_a_scenario_that_fires_it() -> None:
    assert {alert for scenario in ALL.values() for alert in scenario.fires} == set(ALERTS)
