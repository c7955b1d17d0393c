"""Series of an engine by name: those alone, and enough for the operator. Metrics go to files, as in an engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from andante.adapters.exposition import WANTED, sample_of
from andante.adapters.exposition_lines import WantedLines
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.step_time import LinearStepTime
from andante.ports import PodSample
from andante_vllm.chosen_metrics import chosen_metrics, chosen_names

WRITE = """
from andante.domain.deficit_cause import DeficitByCause
from andante.domain.request_meter import Objective
from andante.domain.step_time import LinearStepTime
from andante_vllm.engine_demand import EngineLimits, Waiting
from andante_vllm.meter_metrics import MeterMetrics, OpenRequests
from andante_vllm.scheduler_metrics import SchedulerMetrics
meter = MeterMetrics(model_name="chat", objective=Objective())
meter.show_class("reading")
meter.set_step_time_fitted(True)
meter.arrived(4, 800)
meter.set_demand(Waiting(requests=2, prompt_tokens=300), EngineLimits(400_000, 256, 8192))
none = DeficitByCause(load=0.0, idle=0.0, failed=0.0, client=0.0)
meter.set_open({"reading": OpenRequests(requests=2, qoe_sum=1.5, deficit=none, bad=0)})
scheduler = SchedulerMetrics(model_name="chat", policy="qoe")
scheduler.set_active(True, "policy")
scheduler.set_fit(LinearStepTime(0.01, 2e-5, 3e-5, 4e-8), 0.1, tokens_per_step=1.0)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an engine has written; the client library looks for the folder once, when it is imported."""
    path = tmp_path_factory.mktemp("metrics")
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", WRITE], env=environment, check=True)
    return path


def test_the_operator_gets_what_it_asks_for(folder: Path) -> None:
    lines = WantedLines(WANTED)
    lines.feed(chosen_metrics(folder, WANTED))
    sample = sample_of(lines, at=0.0)
    assert isinstance(sample, PodSample)
    assert (sample.open_requests, sample.open_qoe_sum, sample.scheduling) == (2.0, 1.5, "")


def test_the_operator_learns_what_a_forecast_needs(folder: Path) -> None:
    lines = WantedLines(WANTED)
    lines.feed(chosen_metrics(folder, WANTED))
    sample = sample_of(lines, at=0.0)
    assert isinstance(sample, PodSample)
    assert (sample.arrived, sample.waiting) == ((4.0, 800.0), (2.0, 300.0))
    assert sample.capacity == EngineCapacity(
        kv_tokens=400_000,
        max_num_seqs=256,
        max_step_tokens=8192,
        step_time=LinearStepTime(base=0.01, prefill_token=2e-5, sequence=3e-5, context_token=4e-8),
        fitted=True,
    )


def test_explanations_are_left_out_and_types_are_not(folder: Path) -> None:
    text = chosen_metrics(folder, {"andante_open_requests"}).decode()
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# TYPE andante_open_requests gauge"]


def test_other_series_are_left_out(folder: Path) -> None:
    text = chosen_metrics(folder, {"andante_open_requests"}).decode()
    series = [line for line in text.splitlines() if not line.startswith("#")]
    assert series == ['andante_open_requests{model_name="chat",qoe_class="reading"} 2.0']


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (b"", set()),
        (b"x=1", set()),
        (b"name=a", set()),
        (b"name[]=a&name%5B%5D=b&x=c", {"a", "b"}),
        (b"name[]=\xff\xfe", {"\xff\xfe"}),
    ],
)
def test_names_are_those_of_prometheus_parameter(query: bytes, names: set[str]) -> None:
    assert chosen_names(query) == names
