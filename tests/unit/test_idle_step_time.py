"""The fitted step time on its way from the scheduler's process to the delivery meter's."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from andante.domain.idle_replica import START, IdleReplica
from andante.engine_config import EngineConfig
from andante.profiles import load_profiles
from andante_vllm.idle_step_time import IdleStepTime, start_values

ROOT = Path(__file__).resolve().parents[2]
SCHEDULER = """
import sys
from andante.domain.step_time import LinearStepTime
from andante_vllm.scheduler_metrics import SchedulerMetrics
metrics = SchedulerMetrics(model_name="m", policy="qoe")
if len(sys.argv) > 1:
    *line, tokens = map(float, sys.argv[1:])
    metrics.set_fit(LinearStepTime(*line), 0.1, tokens_per_step=tokens)
"""


def _scheduler(folder: Path, *fit: float) -> None:
    """A process of its own that shows this fit (a line, and the tokens of a step), or none yet."""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": f"{ROOT}/operator:{ROOT}/engine_image"}
    command = [sys.executable, "-c", SCHEDULER, *map(str, fit)]
    subprocess.run(command, check=True, env=environment)


class Watch:
    """A meter's view, and its clock."""

    def __init__(self, folder: Path | None) -> None:
        self.now = 0.0
        self.errors: list[str] = []
        self.step_time = IdleStepTime(
            start=START, folder=folder, monotonic=lambda: self.now, log_error=self.errors.append
        )

    def later(self) -> IdleReplica:
        self.now += 60
        return self.step_time.current()


def test_the_fit_of_the_other_process_is_used(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    _scheduler(tmp_path)
    assert (watch.later(), watch.step_time.fitted) == (START, False)
    _scheduler(tmp_path, 0.01, 2e-5, 3e-5, 4e-8, 2.5)
    assert watch.later() == IdleReplica(
        base=0.01, prefill_token=2e-5, sequence=3e-5, context_token=4e-8, tokens_per_step=2.5
    )
    assert watch.step_time.fitted
    _scheduler(tmp_path, 0.02, 2e-5, 3e-5, 4e-8, 1.0)
    assert watch.later().base == 0.02


def test_without_files_the_start_values_stand(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "is not there"):
        watch = Watch(folder)
        assert (watch.later(), watch.step_time.fitted, watch.errors) == (START, False, [])


def test_a_file_that_cannot_be_read_is_told_once_and_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "gauge_mostrecent_1.db").write_bytes(struct.pack("ii", 48, 0) + struct.pack("i", 20) + b"not JSON" * 4)
    watch = Watch(tmp_path)
    assert (watch.later(), watch.later()) == (START, START)
    assert len(watch.errors) == 1


def test_the_chunk_is_the_engines_and_outlives_a_fit(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.step_time.use_chunk(512)
    assert watch.later().chunk == 512
    _scheduler(tmp_path, 0.01, 2e-5, 3e-5, 4e-8, 2.5)
    assert (watch.later().chunk, watch.later().base) == (512, 0.01)


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_a_virtual_gpu_starts_from_its_profile(scale: float) -> None:
    config = EngineConfig.model_validate(
        {
            "model": {"id": "tiny", "source": "synthetic", "servedName": "tiny"},
            "virtualGpu": {"profile": "llama-3-8b-1xh100", "timeScale": scale},
        }
    )
    idle, coefficients = start_values(config), load_profiles()["llama-3-8b-1xh100"].coefficients
    for context in (100, 1000):
        timeline = idle.timeline(prompt_tokens=context, cached_tokens=0, hidden_tokens=0, visible_tokens=2, sequences=1)
        true = coefficients.step_seconds(prefill_tokens=0, prefill_pairs=0, decode_seqs=1, context_tokens=context + 1)
        assert timeline.step == pytest.approx(scale * true, rel=0.02)
