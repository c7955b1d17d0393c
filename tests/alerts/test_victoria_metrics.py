"""The rules on VictoriaMetrics: vmalert takes them, they record the same, and alerts fire as they do on Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from alerts.promtool import groups_of, judge, run, runs, vmalert_tool
from alerts.recorded import WORLDS, recorded, right
from alerts.scenario import SERVICES
from alerts.scenarios import ALL
from andante.domain.slo import recording
from andante.domain.slo.rules import generic_groups, rule_file
from debian_programs import program

BESIDE = {"other/chat/reading": 0.6, "team/plain/reading": 1.0, "team/idle/reading": 0.0, "team/ahead/reading": 1.8}
OTHERWISE: Mapping[str, Mapping[str, float]] = {
    # A rate is of the time for which the series has existed, and the second job has seen the new traffic alone.
    recording.CLASS_REQUESTS_RATE: {"team/chat/reading": 360 / 60, "team/chat/voice": 72 / 60, **BESIDE},
    # A rule sees what others of its group recorded a round before: two minutes of the new traffic.
    recording.RATIO_5M: {
        "team/chat": (5 * (28.8 + 36 + 0) + 1100) / (5 * 432 + 1100),
        "other/chat": 0,
        "team/plain": 0.4,
        "team/ahead": 0,
    },
}
"""Records of engines three minutes after a change that differ from Prometheus'."""
SCENARIOS = (
    "an outage",
    "three bad answers in an hour, scraped by two jobs",
    "an outage under a promise over two days",
    "an engine hangs",
)


@pytest.mark.parametrize("service", SERVICES)
def test_vmalert_takes_the_rules(service: str, tmp_path: Path) -> None:
    text = yaml.safe_dump(rule_file([*generic_groups(), *groups_of(service)]), width=10_000)
    (tmp_path / "rules.yaml").write_text(text, encoding="utf-8")
    vmalert = program("victoria-metrics", name="vmalert", suite="forky")
    done = run(vmalert, tmp_path, "-dryRun", "-rule=rules.yaml")
    assert done.returncode == 0, done.stderr
    (tmp_path / "rules.yaml").write_text(text.replace("max by", "largest by"), encoding="utf-8")
    assert run(vmalert, tmp_path, "-dryRun", "-rule=rules.yaml").returncode != 0


@pytest.mark.parametrize("name", sorted(WORLDS.keys() - {"weeks"}))
def test_records_are_what_was_worked_out_by_hand(name: str, tmp_path: Path) -> None:
    """But for the weeks, which are evaluated each hour: what was recorded an hour ago is not there any more."""
    world = WORLDS[name]
    found = recorded(vmalert_tool(), tmp_path, world)
    expected = {record: check.rows for record, check in world.checks.items()}
    if name == "engines":
        expected |= OTHERWISE
    wrong = {record: (found.get(record), rows) for record, rows in expected.items()}
    assert {record: pair for record, pair in wrong.items() if not right(pair[0] or {}, pair[1])} == {}


@pytest.mark.timeout(900)  # the tool waits after each evaluation
@pytest.mark.parametrize("name", SCENARIOS)
def test_alerts_fire_where_they_should_and_nowhere_else(name: str, tmp_path: Path) -> None:
    (each,) = (each for each in runs() if name in each.scenarios and not each.name.startswith("days"))
    done = judge(vmalert_tool(), tmp_path, replace(each, scenarios={name: ALL[name]}))
    assert done.returncode == 0, done.stdout + done.stderr
