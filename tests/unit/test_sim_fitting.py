"""The fit finds the coefficients that made a run, where the run can tell them apart."""

from __future__ import annotations

import numpy as np
import pytest

from andante.domain.step_time import StepTimeCoefficients
from andante.profiles import load_profiles
from andante.sim.engine import Engine, StepTime
from andante.sim.real_runs.fitting import fit
from andante.sim.real_runs.recorded import EngineSettings, RecordedRun, predict, workload

SETTINGS = EngineSettings(
    max_seqs=64, max_step_tokens=2048, max_model_len=4096, block_size=16, blocks=4000, steps_in_flight=1,
    reserve_whole=False,
)  # fmt: skip
TRUE = StepTimeCoefficients(
    fixed_us=1_000, prefill_step_us=400, weight_floor_us=5_200, token_us=21, pair_us=0.0007, decode_seq_us=8,
    context_token_us=0.5,
)  # fmt: skip


def light_load(count: int = 40) -> RecordedRun:
    """What an engine with the step time `TRUE` serves: one to three answers at once, with long contexts."""
    random = np.random.default_rng(2)
    arrival = np.cumsum(random.uniform(0.3, 1.0, count))
    arrival -= arrival[0]
    run = RecordedRun(
        name="", ids=tuple(map(str, range(count))), arrival=arrival, prompt=random.integers(100, 3500, count),
        output=np.full(count, 120), blocks=((),) * count, first=np.full(count, np.nan), last=np.full(count, np.nan),
        queued=arrival + 0.001, outside=np.full(count, np.nan),
    )  # fmt: skip
    engine = Engine.of(load_profiles()["llama-3-8b-1xh100"], reserve_whole=False)._replace(
        blocks=4000, max_seqs=64, max_step_tokens=2048, step_time=StepTime.of(TRUE), hand_over=0.001
    )
    first, last = predict(workload(run, SETTINGS), engine)
    noise = random.normal(1.0, 0.005, count)
    return RecordedRun(
        name="", ids=run.ids, arrival=arrival, prompt=run.prompt, output=run.output, blocks=run.blocks,
        first=first, last=first + noise * (last - first), queued=run.queued, outside=run.outside,
    )  # fmt: skip


def test_a_light_load_tells_what_a_token_of_context_costs() -> None:
    """The first guess is a tenth of it; the search must not stop there because the latencies jump."""
    found = fit([light_load()], SETTINGS, load_profiles()["llama-3-8b-1xh100"])
    assert found.coefficients.context_token_us == pytest.approx(TRUE.context_token_us, rel=0.1)
    together = found.coefficients.fixed_us + found.coefficients.weight_floor_us
    assert together == pytest.approx(TRUE.fixed_us + TRUE.weight_floor_us, rel=0.02)
