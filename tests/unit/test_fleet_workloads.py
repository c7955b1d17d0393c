"""Workloads for fleets: their rates, their halves, and recordings with more readers."""

from __future__ import annotations

import numpy as np
import pytest

from andante.sim.workloads.arrivals import Traffic, by_rate, crowded
from andante.sim.workloads.catalogue import SHAPES, Half, half_of, recorded, shaped
from andante.sim.workloads.rates import flash_crowd, noisy, series, step

RECORDING = Traffic(
    arrival=np.arange(0.0, 600.0, 0.5),
    prompt=np.repeat([100, 900], 600),
    output=np.repeat([10, 90], 600),
    seconds=600.0,
)


def test_a_step_begins_and_ends() -> None:
    rate = step(2.0, begins=10.0, ends=20.0, factor=3.0)
    assert rate(np.array([9.9, 10.0, 19.9, 20.0])).tolist() == [2.0, 6.0, 6.0, 2.0]


def test_a_flash_crowd_rises_and_decays() -> None:
    rate = flash_crowd(1.0, begins=100.0, factor=5.0)
    times = np.array([0.0, 100.0, 130.0, 160.0, 460.0])
    assert rate(times).tolist() == pytest.approx([1.0, 1.0, 3.0, 5.0, 1 + 4 / np.e])


def test_a_series_is_laid_over_the_whole() -> None:
    rate = series(np.array([0.0, 4.0, 2.0]), seconds=100.0)
    assert rate(np.array([0.0, 25.0, 50.0, 100.0])).tolist() == [0.0, 2.0, 4.0, 2.0]


def test_noise_leaves_the_mean_rate() -> None:
    random = np.random.default_rng(1)
    rate = noisy(step(3.0, begins=0.0, ends=0.0, factor=1.0), seconds=50_000.0, deviation=0.15, memory=60.0,
                 random=random)  # fmt: skip
    values = rate(np.arange(50_000.0))
    assert values.mean() == pytest.approx(3.0, rel=0.02)
    assert np.std(np.log(values)) == pytest.approx(0.15, rel=0.15)


def test_arrivals_follow_the_rate_with_lengths_of_the_recording() -> None:
    random = np.random.default_rng(2)
    found = by_rate(
        step(5.0, begins=500.0, ends=1_000.0, factor=3.0), seconds=1_000.0, lengths=RECORDING, random=random
    )
    assert (np.diff(found.arrival) >= 0).all()
    assert (found.arrival < 500.0).sum() == pytest.approx(2_500, rel=0.1)
    assert (found.arrival >= 500.0).sum() == pytest.approx(7_500, rel=0.1)
    assert set(zip(found.prompt.tolist(), found.output.tolist(), strict=True)) == {(100, 10), (900, 90)}


def test_a_crowd_keeps_the_shape_of_its_recording() -> None:
    crowd = crowded(RECORDING, 2.5, jitter=3.0, random=np.random.default_rng(3))
    assert crowd.arrival.size == pytest.approx(2.5 * RECORDING.arrival.size, rel=0.05)
    assert (np.diff(crowd.arrival) >= 0).all()
    assert crowd.arrival[-1] < crowd.seconds == 600.0
    early = crowd.arrival < 290.0
    assert (crowd.prompt[early] == 100).all()


def test_the_halves_share_no_request() -> None:
    tuning, judging = (half_of(RECORDING, half) for half in Half)
    assert tuning.arrival.size + judging.arrival.size == RECORDING.arrival.size
    assert set(tuning.prompt.tolist()) == {100}
    assert set(judging.prompt.tolist()) == {900}
    assert judging.arrival[0] == 0.0
    busy = recorded(RECORDING, factor=2.0, jitter=1.0, half=Half.JUDGING, seed=1)
    assert set(busy.prompt.tolist()) == {900}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_an_hour_of_its_own_half_and_seed(name: str) -> None:
    def made(half: Half, seed: int) -> Traffic:
        return shaped(name, rate=4.0, lengths=RECORDING, half=half, seed=seed)

    once, again, other = made(Half.TUNING, 1), made(Half.TUNING, 1), made(Half.TUNING, 2)
    assert once.arrival.tobytes() == again.arrival.tobytes() != other.arrival.tobytes()
    assert once.seconds == 3_600.0
    assert set(once.prompt.tolist()) == {100}
    assert set(made(Half.JUDGING, 1).prompt.tolist()) == {900}
    assert 0.2 * 4 * 3_600 < once.arrival.size < 1.2 * 4 * 3_600
