"""`andante rules --replay` on a real Prometheus whose history has one outage, and no rule that recorded anything."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts.series import Engine, Phase
from metric_stores import Sample, filled

MANIFEST = """\
apiVersion: andante.dev/v1alpha1
kind: LLMService
metadata: {name: chat, namespace: team}
spec: {model: {id: org/model}}
"""
H = 60
DAY_BEFORE = (
    Phase(minutes=18 * H, requests=300, bad=0.002),
    Phase(minutes=30, requests=300, bad=1),
    Phase(minutes=4 * H, requests=300, bad=0.002),
)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with a day of an engine's series; its address."""
    with filled("prometheus 3", tmp_path_factory.mktemp("prometheus"), list(_samples())) as url:
        yield url


def _samples() -> Iterator[Sample]:
    # Ends some minutes ago, at a whole minute; a sample a minute.
    end = int(time.time()) // 60 * 60 - 600
    engine = Engine(phases=DAY_BEFORE)
    for series, values in engine.samples(namespace="team", llmservice="chat", per_minute=1).items():
        start = end - 60 * len(values)
        yield from ((start + 60 * place, f"{series} {value}") for place, value in enumerate(values))


def test_an_outage_of_the_day_before_is_told_once_by_each_alert(history: str, tmp_path: Path) -> None:
    (tmp_path / "chat.yaml").write_text(MANIFEST)
    command = [str(Path(sys.executable).with_name("andante")), "rules", "chat.yaml", "--replay", history, "--days", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    times = {row[0]: int(row[2]) for row in rows}
    assert times.pop("AndanteQoEBudgetBurnFast") == 1
    assert times.pop("AndanteQoEBudgetBurnSlow") == 1
    assert times.pop("AndanteQoEBudgetBurnTrend") == 1
    assert set(times.values()) == {0}, times
