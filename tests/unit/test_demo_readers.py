"""Who would have left the demo: the reader of the simulator, asked of measured token times."""

from __future__ import annotations

import numpy as np
import pytest
from hack.demo.readers import expected_to_leave, longest_wait

from andante.domain.pace import QoEClass
from andante.profiles import load_profiles
from andante.sim.engine import Engine
from andante.sim.requests import Requests
from andante.sim.run import Outcome, simulate

FAST = QoEClass(name="fast", expected_ttft=0.0, pace=1000.0)


def _wait(*delivery: float, ended: float | None = None) -> float:
    return longest_wait(delivery, expected_ttft=1.0, pace=5.0, ended=ended)


def test_the_wait_for_the_first_token_counts_from_the_request() -> None:
    assert _wait(3.0, 3.1) == 3.0


def test_a_stall_counts_from_when_all_that_came_was_read() -> None:
    assert _wait(0.5, 0.6, 10.0) == pytest.approx(10.0 - 1.4)


def test_a_reader_who_is_not_done_does_not_wait() -> None:
    assert _wait(0.5, *[0.6] * 50, 9.0) == 0.5


def test_an_answer_that_breaks_off_is_waited_for_until_it_does() -> None:
    assert _wait(0.5, ended=30.0) == pytest.approx(30.0 - 1.2)
    assert _wait(ended=30.0) == 30.0


@pytest.mark.parametrize("share", [0.6, 1.01])
def test_the_simulators_reader_leaves_where_this_one_does(share: float) -> None:
    """A simulated reader leaves between two steps, and the last of this prompt's takes a third of the wait."""
    engine = Engine.of(load_profiles()["llama-3-8b-1xa100"])

    def run(patience: float) -> Outcome:
        requests = Requests.of(
            arrival=np.array([0.0]), prompt_tokens=[6000], output_tokens=[40], classes=(FAST,), class_of=0,
            most_tokens=8000, patience=patience,
        )  # fmt: skip
        return simulate(requests, engine, record_times=True)

    whole = run(np.inf)
    assert whole.token_times is not None
    wait = longest_wait(whole.token_times[0], expected_ttft=0.0, pace=FAST.pace)
    assert bool(run(share * wait).left[0]) is (share < 1)


def test_patience_is_exponential() -> None:
    drawn = np.random.default_rng(1).exponential(20.0, 200_000)
    assert expected_to_leave([5.0, 40.0], patience=20.0) == pytest.approx(
        (drawn < 5.0).mean() + (drawn < 40.0).mean(), abs=0.01
    )
    assert expected_to_leave([], patience=20.0) == 0
