"""The demo's surge is cut from the real trace: same requests, other density."""

from __future__ import annotations

import pytest
from hack.demo.workload import Surge, thin

from andante.domain.trace import TraceRequest

SURGE = Surge(base_rate=1.0, peak_rate=8.0, start=100.0, duration=50.0)
TRACE = [TraceRequest(arrival_s=i / 10, prompt_tokens=100 + i, output_tokens=50) for i in range(4000)]


def _thin(seed: int = 1) -> list[TraceRequest]:
    return thin(TRACE, surge=SURGE, speed=1.0, seconds=400, max_prompt_tokens=3000, max_output_tokens=40, seed=seed)


def test_the_surge_is_denser_than_the_base() -> None:
    inside = sum(100 <= r.arrival_s < 150 for r in _thin()) / 50
    outside = sum(not 100 <= r.arrival_s < 150 for r in _thin()) / 350
    assert inside == pytest.approx(8.0, rel=0.2)
    assert outside == pytest.approx(1.0, rel=0.2)


def test_the_same_seed_gives_the_same_requests() -> None:
    assert _thin() == _thin()


def test_lengths_are_cut_to_the_caps() -> None:
    assert max(r.prompt_tokens for r in _thin()) <= 3000
    assert {r.output_tokens for r in _thin()} == {40}


def test_a_trace_too_thin_for_the_peak_is_refused() -> None:
    with pytest.raises(ValueError, match="peak"):
        thin(TRACE[:40], surge=SURGE, speed=1.0, seconds=400, max_prompt_tokens=9, max_output_tokens=9, seed=1)
