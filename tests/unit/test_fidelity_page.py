"""The commands on the page about the simulator's fidelity, and the recorded runs in the repository."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from andante.cli.recorded_runs import read_recording
from unit.run_cli import run_cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/fidelity.md"
DATA = ROOT / "benchmarks/ground_truth"


def test_the_commands_on_the_page_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    for line in block.replace("\\\n", " ").splitlines():
        assert run_cli(monkeypatch, *shlex.split(line)[1:]) == 0
    lines = (tmp_path / "predicted.csv").read_text().splitlines()
    assert lines[0] == "request_id,first_token_s,last_token_s"
    assert len(lines) == 1 + 197
    assert "TTFT" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", [setup["name"] for setup in yaml.safe_load((DATA / "index.yaml").read_text())["setups"]]
)
def test_every_recorded_run_can_be_read(name: str) -> None:
    recording = read_recording(DATA / name, DATA / "index.yaml", times=True)
    assert (recording.kernels is None) == (recording.setup.kernels is None)
    assert sum(int(run.fit.sum()) for run in recording.runs) > 60
