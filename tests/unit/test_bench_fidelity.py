"""`make bench-fidelity`: when it looks at the half of the judge, its exit status, and what a kept fit depends on."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmarks import bench_fidelity, kept_runs, results_file

from andante.cli.recorded_runs import Recording
from andante.cli.simulator_errors import Prediction
from andante.domain.step_time import Profile
from andante.profiles import load_profiles
from andante.sim.real_runs.fitting import Fit

ROOT = Path(__file__).parents[2]
ONE = "rtxpro6000-llama31-8b"
Slow = Callable[[float], None]


def measured(name: str) -> dict[str, tuple[float, float, float]]:
    """Arrival, first and last token of all requests of the set-up, both halves."""
    text = gzip.decompress((bench_fidelity.DATA / name / "requests.csv.gz").read_bytes()).decode()
    return {
        row["request_id"]: (float(row["arrival_s"]), float(row["first_token_s"]), float(row["last_token_s"]))
        for row in csv.DictReader(io.StringIO(text))
    }


@pytest.fixture
def slower(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Slow:
    """Replaces simulator and fit: every latency is predicted as measured, times a factor."""
    profile = load_profiles()["llama-3-8b-1xh100"]
    found = Fit(
        coefficients=profile.coefficients, hand_over_us=0.0, output_path_us=0.0, host_us=None, layers=None, runs=1
    )
    fits: tuple[Profile, Fit] = (profile, found)
    monkeypatch.setattr(bench_fidelity, "all_fits", lambda names: dict.fromkeys(names, fits))
    monkeypatch.setattr(bench_fidelity, "GATED", (ONE,))
    monkeypatch.setattr(bench_fidelity, "REPORTED", ())
    monkeypatch.setattr(results_file, "RESULTS", tmp_path)
    monkeypatch.setattr(bench_fidelity, "RESULTS", tmp_path)

    def by(factor: float) -> None:
        def predicted(recording: Recording, _: Profile) -> Prediction:
            times = measured(recording.setup.name)
            answers = []
            for run in recording.runs:
                arrival, first, last = np.array([times[request] for request in run.ids]).T
                answers.append((arrival + factor * (first - arrival), arrival + factor * (last - arrival)))
            return answers

        monkeypatch.setattr(bench_fidelity, "predicted", predicted)

    return by


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.002, 0), (1.2, 1)])
def test_a_missed_bar_is_the_exit_status(slower: Slow, tmp_path: Path, factor: float, status: int) -> None:
    slower(factor)
    assert bench_fidelity.main(["--verdict"]) == status
    headline = json.loads((tmp_path / "fidelity.json").read_text())["headline"]
    assert headline[f"{ONE}.max_rel_error_half"] == pytest.approx(factor - 1, abs=1e-3)


def test_a_set_up_that_is_not_asked_changes_no_status(
    slower: Slow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slower(1.2)
    monkeypatch.setattr(bench_fidelity, "GATED", ())
    monkeypatch.setattr(bench_fidelity, "REPORTED", (ONE,))
    assert bench_fidelity.main(["--verdict"]) == 0
    assert "missed" not in capsys.readouterr().out


def test_nothing_but_the_verdict_looks_at_the_judge_s_half(
    slower: Slow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forbidden(name: str) -> dict[str, tuple[float, float]]:
        raise AssertionError(f"the judge's half of {name} was read")

    slower(1.0)
    monkeypatch.setattr(bench_fidelity, "judged_times", forbidden)
    (arguments,) = re.findall(r"bench_fidelity (.*)", (ROOT / "hack/make/fidelity.mk").read_text())
    assert arguments == "$(ARGS)"
    assert bench_fidelity.main([]) == 0
    assert bench_fidelity.main(["--only", ONE]) == 0
    assert not list(tmp_path.iterdir())


def test_no_look_at_the_judge_s_half_stays_uncounted(slower: Slow, capsys: pytest.CaptureFixture[str]) -> None:
    slower(1.0)
    with pytest.raises(SystemExit) as refused:
        bench_fidelity.main(["--verdict", "--only", ONE])
    assert refused.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_the_result_counts_the_versions_that_were_judged(
    slower: Slow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slower(1.0)
    for version, count in (("one", 1), ("one", 1), ("two", 2), ("one", 2)):
        monkeypatch.setattr(kept_runs, "version_of", lambda _, version=version: version)
        bench_fidelity.main(["--verdict"])
        assert json.loads((tmp_path / "fidelity.json").read_text())["settings"]["verdicts_asked"] == count


def test_a_verdict_that_is_broken_off_was_a_look(slower: Slow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(recording: Recording, prediction: Prediction) -> bench_fidelity.Judged:
        raise KeyboardInterrupt

    slower(1.0)
    monkeypatch.setattr(kept_runs, "version_of", lambda _: "one")
    bench_fidelity.main(["--verdict"])
    monkeypatch.setattr(kept_runs, "version_of", lambda _: "two")
    monkeypatch.setattr(bench_fidelity, "judge", broken)
    with pytest.raises(KeyboardInterrupt):
        bench_fidelity.main(["--verdict"])
    document = json.loads((tmp_path / "fidelity.json").read_text())
    assert document["settings"]["judged_versions"] == ["one", "two"]
    assert document["settings"]["verdicts_asked"] == 2
    assert document["headline"]


def test_what_the_fit_is_told_of_the_set_ups_is_part_of_the_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = bench_fidelity.version()
    (tmp_path / "index.yaml").write_text((bench_fidelity.DATA / "index.yaml").read_text() + "\n# another\n")
    monkeypatch.setattr(bench_fidelity, "DATA", tmp_path)
    assert bench_fidelity.version() != before


def test_a_kept_fit_depends_on_every_file_that_a_fit_runs() -> None:
    names = {str(file).rpartition("/andante/")[2] for file in bench_fidelity.sources()}
    assert {"domain/step_time.py", "domain/scheduling/qoe_plan.py", "profiles/__init__.py", "sim/batch.py"} <= names
    assert {"sim/real_runs/fitting.py", "sim/real_runs/recorded.py", "cli/traces.py", "__init__.py"} <= names
    assert not any(name.startswith(("sim/fleet", "sim/laws", "app")) for name in names)


def test_a_kept_fit_depends_on_all_data_that_it_reads() -> None:
    names = {str(file.relative_to(bench_fidelity.DATA)) for file in bench_fidelity.inputs("rtx4090-llama31-8b-s256")}
    assert {
        "index.yaml",
        "rtx4090-llama31-8b-s256/requests.csv.gz",
        "rtx4090-llama31-8b-s256/prefix_blocks.jsonl.gz",
        "kernels/rtx4090-llama31-8b-tp1/attention.csv.gz",
    } <= names
