"""The doctor: what is missing, and the one command that fixes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hack.localcluster.doctor import Finding, examine, report
from hack.localcluster.settings import REPOSITORY


def doctor(**changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hack.localcluster", "doctor"]
    environment = {**os.environ, **changes}
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)


def test_machine_that_runs_these_tests_is_well(tmp_path: Path) -> None:
    said = doctor(ANDANTE_STATE=str(tmp_path))
    assert (said.returncode, said.stderr) == (0, "")
    assert "MISS" not in said.stdout


def test_empty_cache_is_a_note_with_the_command_that_fills_it(tmp_path: Path) -> None:
    said = doctor(ANDANTE_CACHE=str(tmp_path), ANDANTE_STATE=str(tmp_path / "state"))
    assert said.returncode == 0
    assert "make cluster-binaries helm" in said.stdout


def test_cluster_that_was_never_taken_down_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forgotten").mkdir()
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path))
    (finding,) = [f for f in examine() if f.subject == "cluster forgotten"]
    assert finding.remedy == "python3 -m hack.localcluster down --name forgotten"


def test_report_says_each_remedy_once() -> None:
    findings = [Finding("a", "gone", "cure", fatal=True), Finding("b", "gone", "cure"), Finding("c", "well")]
    lines = report(findings).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["MISS", "note", "ok"]
    assert [line for line in lines if "fix it" in line or "cure" in line] == ["to fix it:", "  cure"]


@pytest.mark.parametrize("name", ["Upper", "a_b", "-a", "a" * 33, "../up"])
def test_bad_cluster_name_is_refused_with_an_example(name: str) -> None:
    command = [sys.executable, "-m", "hack.localcluster", "up", f"--name={name}"]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert f"cluster name {name!r} is refused" in said.stderr
