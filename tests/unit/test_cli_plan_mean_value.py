"""AIConfigurator's mean-value answer beside that of `andante plan`; its own answers are recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from andante.cli.aiconfigurator import MeanValue, Replica
from andante.cli.errors import InputError
from andante.cli.mean_value import Answer, Question, busiest_rate
from unit.recorded_aiconfigurator import MEAN_VALUES, install, remove
from unit.run_cli import run_cli
from unit.test_cli_fleet import PROFILE

LLAMA = ("meta-llama/Meta-Llama-3-8B", "H100-SXM5-80GB")
ON = ("--trace", "trace.csv", "--profile", "small.yaml", "--max", 4)
QUESTION = Question(prompt_tokens=900, output_tokens=200, ttft=1.0, pace=4.8, mean_rate=3.0, busiest_rate=5.5)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a trace of 20 seconds; AIConfigurator is installed, and answers as recorded."""
    lines = [f"{i / 6:.3f},50,20,{'voice' if i % 4 == 0 else ''}" for i in range(120)]
    (tmp_path / "trace.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens,qoe_class", *lines]) + "\n")
    install(monkeypatch, tmp_path / "packages")
    monkeypatch.chdir(tmp_path)
    _profile(tmp_path)
    return tmp_path


def _profile(folder: Path, **changes: Any) -> None:
    units = {"time": "us", "price": "USD per hour", "warmup": "s"}
    document = {"version": 1, "units": units, "profiles": [PROFILE | {"tensor_parallel": 1} | changes]}
    (folder / "small.yaml").write_text(yaml.safe_dump(document))


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    return " ".join((said.out + said.err).split())


def test_it_is_asked_about_the_profile_s_model_and_gpu(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _profile(folder, model=LLAMA[0], gpu=LLAMA[1])
    assert run_cli(monkeypatch, "plan", *ON, "--json", "plan.json") == 0
    said = _said(capsys)
    assert "2 replicas: the fewest with which" in said
    assert (
        "AIConfigurator for the mean request (50 prompt and 20 answer tokens, TTFT 0.5 s, 4.8 tokens/s): 23.9" in said
    )
    assert "so 1 for the trace's 6.05 requests/s on average. It is a mean-value answer" in said
    document = json.loads((folder / "plan.json").read_text())
    assert document["replicas"] == 2
    assert document["aiconfigurator"]["replicas_for_mean_rate"] == 1
    assert document["aiconfigurator"]["found"]["requests_per_second"] == pytest.approx(23.886)


def test_the_page_quotes_its_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path)
    (model, gpu, tp), question = MEAN_VALUES[2]
    found = Replica(model, gpu, tp).mean_value(**question)
    assert found is not None
    page = (Path(__file__).parents[2] / "docs/how-to/sizing.md").read_text()
    assert f"Here it says {found.requests_per_second:.3g} requests a second and one replica" in page


def test_the_model_and_gpu_can_be_given(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "plan", *ON, "--aiconfigurator", *LLAMA) == 0
    assert "AIConfigurator for the mean request" in _said(capsys)


def test_a_target_that_no_batch_meets_is_said(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hasty = ("--class", "hasty", "--expected-ttft", 0.001, "--pace", 4.8)
    run_cli(monkeypatch, "plan", *ON, *hasty, "--aiconfigurator", *LLAMA, "--json", "plan.json")
    assert "TTFT 0.001 s, 4.8 tokens/s): no batch meets both." in _said(capsys)
    assert json.loads((folder / "plan.json").read_text())["aiconfigurator"]["found"] is None


@pytest.mark.parametrize("missing", [True, False], ids=["not installed", "another model"])
def test_nothing_changes_where_it_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str], missing: bool
) -> None:
    if missing:
        _profile(folder, model=LLAMA[0], gpu=LLAMA[1])
        remove(monkeypatch)
    assert run_cli(monkeypatch, "plan", *ON, "--json", "plan.json") == 0
    assert "AIConfigurator" not in _said(capsys)
    assert set(json.loads((folder / "plan.json").read_text())) == {"settings", "replicas", "answer", "curve"}


@pytest.mark.parametrize(
    ("given", "why"),
    [(("Qwen/Qwen3", "h100_sxm"), "brings no configuration of Qwen/Qwen3"), ((LLAMA[0], "h900"), "does not know h900")],
)
def test_a_given_model_or_gpu_that_it_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, str], why: str
) -> None:
    assert run_cli(monkeypatch, "plan", *ON, "--aiconfigurator", *given) == 2
    assert why in _said(capsys)


def test_asked_for_and_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remove(monkeypatch)
    assert run_cli(monkeypatch, "plan", *ON, "--aiconfigurator", *LLAMA) == 2
    assert "--aiconfigurator needs AIConfigurator: pip install 'andante[cli,estimate]'" in _said(capsys)


@pytest.mark.parametrize(("given", "status"), [((), 0), (("--aiconfigurator", *LLAMA), 2)], ids=["unasked", "asked"])
def test_what_it_cannot_estimate_ends_the_plan_only_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...],
    status: int,
) -> None:  # fmt: skip
    def refused(*_: object, **__: object) -> MeanValue:
        raise InputError("AIConfigurator cannot estimate this")

    monkeypatch.setattr(Replica, "mean_value", refused)
    _profile(folder, model=LLAMA[0], gpu=LLAMA[1])
    assert run_cli(monkeypatch, "plan", *ON, *given) == status
    assert "AIConfigurator cannot estimate this" in _said(capsys)


def test_replicas_are_rounded_up_for_the_mean_rate_and_the_busiest_minute() -> None:
    found = MeanValue(requests_per_second=2.0, concurrency=8, ttft_seconds=0.1, tpot_seconds=0.02)
    answer = Answer(data="data", model="model", question=QUESTION, found=found)
    assert (answer.replicas_for_mean, answer.replicas_for_busiest) == (2, 3)
    assert "so 2 for the trace's 3 requests/s on average, 3 for 5.5 in its busiest minute." in answer.text()
    nothing = Answer(data="data", model="model", question=QUESTION, found=None)
    assert (nothing.replicas_for_mean, nothing.replicas_for_busiest) == (None, None)


@given(st.lists(st.integers(0, 600), min_size=2, max_size=60))
def test_the_busiest_minute_is_that_of_any_60_seconds(seconds: list[int]) -> None:
    arrival = np.sort(np.array(seconds, dtype=np.float64))
    found = busiest_rate(arrival)
    if arrival[-1] - arrival[0] < 60:
        assert found is None
    else:
        assert found == max(int(((arrival >= t) & (arrival < t + 60)).sum()) for t in range(601)) / 60


def test_the_help_says_what_kind_of_answer_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "plan", "--help") == 0
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "It is a mean-value answer, without bursts." in said
    assert "--aiconfigurator MODEL GPU" in said
