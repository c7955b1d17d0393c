"""Two steps in flight, as vLLM's async scheduling has, and the ways before and behind the engine; reckoned by hand."""

from __future__ import annotations

import numpy as np
import pytest

from andante.domain.step_time import prefill_pairs
from andante.sim.engine import Engine, StepTime
from andante.sim.run import simulate
from unit.sim_workloads import COEFFICIENTS, engine, requests

STEP = 0.010
FIXED = StepTime(
    fixed_us=1e6 * STEP,
    prefill_step_us=0.0,
    weight_floor_us=0.0,
    token_us=0.0,
    pair_us=0.0,
    decode_seq_us=0.0,
    context_token_us=0.0,
)
"""Every step takes 10 ms."""


def test_a_request_alone_is_as_fast_with_two_steps_in_flight() -> None:
    alone = requests([3.0], [40], [5])
    one, two = (simulate(alone, engine(steps_in_flight=steps), record_times=True) for steps in (1, 2))
    assert one.token_times is not None
    assert two.token_times is not None
    assert two.token_times[0].tolist() == one.token_times[0].tolist()
    assert two.end == one.end


@pytest.mark.parametrize(("steps", "waits"), [(1, 1), (2, 2)])
def test_who_comes_waits_for_the_running_step_and_for_the_chosen_one(steps: int, waits: int) -> None:
    """The second request comes in the middle of the fourth step."""
    workload = requests([0.0, 3.5 * STEP], [4, 4], [20, 1])
    outcome = simulate(workload, engine(step_time=FIXED, steps_in_flight=steps))
    assert outcome.first_token[1] == pytest.approx((waits + 0.5) * STEP)


@pytest.mark.parametrize(("steps", "first"), [(1, 4), (2, 5)])
def test_a_slot_is_free_when_the_answer_ended_not_when_its_last_step_was_chosen(steps: int, first: int) -> None:
    """Two slots; the first answer's third and last token comes with step 3."""
    workload = requests([0.0, 0.0, 0.0], [4, 4, 4], [3, 20, 1])
    outcome = simulate(workload, engine(step_time=FIXED, max_seqs=2, steps_in_flight=steps))
    assert outcome.last_token[0] == pytest.approx(3 * STEP)
    assert outcome.first_token[2] == pytest.approx(first * STEP)


def test_the_gpu_never_waits_for_the_choice() -> None:
    outcome = simulate(requests([0.0] * 8, [40] * 8, [60] * 8), engine(steps_in_flight=2, blocks=80))
    assert outcome.busy == pytest.approx(outcome.end)


def test_who_is_preempted_with_a_token_in_flight_gets_it() -> None:
    """Two answers of 20 blocks together outgrow 12 blocks, with one step in flight as with two."""
    for steps in (1, 2):
        small = engine(blocks=12, prefix_caching=False, steps_in_flight=steps)
        outcome = simulate(requests([0.0, 0.0], [16, 16], [144, 144]), small, record_times=True)
        assert outcome.preemptions.tolist() == [0, 1]
        assert outcome.token_times is not None
        assert [times.size for times in outcome.token_times] == [144, 144]


def test_the_last_token_may_come_to_a_preempted_request() -> None:
    """Some workload on the way from many blocks to few preempts a request whose last token is in flight."""
    for blocks in range(6, 30):
        workload = requests([0.0] * 6, [16] * 6, [17, 33, 49, 65, 33, 17])
        outcome = simulate(workload, engine(blocks=blocks, steps_in_flight=2))
        assert (outcome.tokens == workload.output).all()


def test_the_ways_before_and_behind_the_engine_are_part_of_what_a_reader_sees() -> None:
    far = engine(hand_over=0.004, output_path=0.002)
    outcome = simulate(requests([1.0], [40], [3]), far)
    step = COEFFICIENTS.step_seconds(
        prefill_tokens=40, prefill_pairs=prefill_pairs(tokens=40), decode_seqs=0, context_tokens=0
    )
    assert outcome.first_token[0] == pytest.approx(0.004 + step + 0.002)
    near = simulate(requests([1.0], [40], [3]), engine())
    assert outcome.last_token[0] == pytest.approx(near.last_token[0] + 0.006)
    assert outcome.delay_area[0] >= near.delay_area[0]


@pytest.mark.parametrize(("whole", "step"), [(True, 5), (False, 4)])
def test_a_prompt_starts_where_all_of_it_has_room_or_where_its_first_chunk_has(whole: bool, step: int) -> None:
    """Beside an answer of 2 blocks, which ends with step 2, 9 blocks are free. The prompt has 10, its first chunk 4."""
    workload = requests([0.0, 0.5 * STEP], [16, 160], [2, 1])
    outcome = simulate(workload, engine(step_time=FIXED, blocks=11, reserve_whole=whole))
    assert outcome.first_token[1] == pytest.approx((step - 0.5) * STEP)


def test_more_than_two_steps_in_flight_are_refused() -> None:
    from andante.profiles import load_profiles

    profile = load_profiles()["llama-3-8b-1xh100"]
    with pytest.raises(ValueError, match="steps_in_flight must be 1 or 2, got 3"):
        Engine.of(profile, steps_in_flight=3)
    assert Engine.of(profile, steps_in_flight=2).hand_over == 0.0
    assert np.isfinite(Engine.of(profile).step_time).all()
