"""A simulated replica: vLLM's steps, one after the other, in workloads that can be reckoned by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from andante.domain.step_time import prefill_pairs
from andante.sim.run import Scheduling, simulate
from unit.sim_workloads import CLASSES, COEFFICIENTS, engine, requests


def prefill_seconds(tokens: int, offset: int = 0, decoding: int = 0, context: int = 0) -> float:
    return COEFFICIENTS.step_seconds(
        prefill_tokens=tokens, prefill_pairs=prefill_pairs(tokens=tokens, offset=offset), decode_seqs=decoding,
        context_tokens=context,
    )  # fmt: skip


def decode_seconds(*contexts: int) -> float:
    return prefill_seconds(0, decoding=len(contexts), context=sum(contexts))


def test_a_request_alone_takes_the_time_of_its_steps() -> None:
    outcome = simulate(requests([3.0], [40], [3]), engine(), record_times=True)
    assert outcome.token_times is not None
    first = prefill_seconds(40)
    second = first + decode_seconds(41)
    assert outcome.token_times[0] == pytest.approx([first, second, second + decode_seconds(42)], rel=1e-12)
    assert outcome.end == pytest.approx(3.0 + second + decode_seconds(42))
    assert outcome.steps == 3


def test_a_long_prompt_is_computed_in_chunks_beside_the_streams() -> None:
    """The first answer's second token shares a step with the rest of the second prompt: 63 of the 64 tokens."""
    outcome = simulate(requests([0.0, 0.0], [4, 100], [2, 1]), engine(), record_times=True)
    assert outcome.token_times is not None
    both = COEFFICIENTS.step_seconds(
        prefill_tokens=64, prefill_pairs=prefill_pairs(tokens=4) + prefill_pairs(tokens=60), decode_seqs=0,
        context_tokens=0,
    )  # fmt: skip
    rest = prefill_seconds(40, offset=60, decoding=1, context=5)
    assert outcome.token_times[0] == pytest.approx([both, both + rest])
    assert outcome.token_times[1] == pytest.approx([both + rest])


def test_a_threshold_for_long_prompts_holds_only_beside_others() -> None:
    alone = simulate(requests([0.0], [60], [1]), engine(long_prefill=20))
    assert alone.steps == 1
    beside = simulate(requests([0.0, 0.0], [60, 4], [1, 9]), engine(long_prefill=20))
    assert beside.first_token[1] < beside.first_token[0]


def test_without_kv_blocks_the_last_one_is_preempted_and_computed_again() -> None:
    """Two answers of 20 blocks together outgrow 12 blocks: the second waits for the first."""
    outcome = simulate(requests([0.0, 0.0], [16, 16], [144, 144]), engine(blocks=12, prefix_caching=False))
    assert outcome.preemptions.tolist() == [0, 1]
    assert outcome.first_token[1] == outcome.first_token[0]
    assert outcome.last_token[1] > outcome.last_token[0] + 0.5
    assert outcome.recomputed_tokens > 16


def test_a_watermark_keeps_blocks_free_for_growth() -> None:
    outcome = simulate(requests([0.0, 0.0], [64, 64], [64, 64]), engine(blocks=12, watermark_blocks=6))
    assert outcome.all_preemptions == 0
    assert outcome.first_token[1] > outcome.last_token[0]


def test_a_shared_prefix_is_computed_once() -> None:
    shared = requests([0.0, 5.0], [100, 100], [1, 1], source=[-1, 0], shared=[0, 96])
    outcome = simulate(shared, engine(max_step_tokens=512))
    assert outcome.first_token[1] == pytest.approx(prefill_seconds(4, offset=96))
    without = simulate(shared, engine(max_step_tokens=512, prefix_caching=False))
    assert without.first_token[1] == pytest.approx(prefill_seconds(100))


def test_the_prefix_cache_forgets_what_was_free_for_longest() -> None:
    """Three prompts of 3 blocks in 8 blocks: the third prompt and the fourth take the first one's last blocks."""
    prompts = requests(
        [0.0, 1.0, 2.0, 3.0, 4.0], [48] * 5, [1] * 5, source=[-1, -1, -1, 1, 0], shared=[0, 0, 0, 48, 48]
    )
    outcome = simulate(prompts, engine(blocks=8))
    assert outcome.first_token[3] == pytest.approx(prefill_seconds(16, offset=32))
    assert outcome.first_token[4] == pytest.approx(prefill_seconds(32, offset=16))


def test_by_priority_the_urgent_go_first_and_are_preempted_last() -> None:
    workload = requests([0.0, 0.001], [16, 16], [144, 144], priority=[1, 0])
    outcome = simulate(workload, engine(blocks=12, by_priority=True))
    assert outcome.preemptions.tolist() == [1, 0]
    assert outcome.last_token[1] < outcome.last_token[0]


def test_who_waits_too_long_leaves_and_their_blocks_are_free() -> None:
    """One sequence at a time: the second reader would wait for 2 s."""
    workload = requests([0.0, 0.0, 0.0], [16] * 3, [200, 9, 9], patience=[np.inf, 0.5, np.inf])
    outcome = simulate(workload, engine(max_seqs=1))
    assert outcome.left.tolist() == [False, True, False]
    assert outcome.tokens.tolist() == [200, 0, 9]
    assert outcome.finish[1] == pytest.approx(0.5, abs=0.02)
    assert np.isnan(outcome.first_token[1])


def test_who_has_something_to_read_stays() -> None:
    """Ten tokens are two seconds of reading; without any, patience ends after one."""
    workload = requests([0.0, 0.0], [16, 16], [144, 144], patience=[np.inf, 1.0])
    stalled = simulate(workload, engine(blocks=12, max_seqs=2))
    assert stalled.preemptions[1] == 1
    assert not stalled.left.any()


def test_the_production_policy_serves_the_short_before_the_long() -> None:
    """One long answer runs and two wait: `qoe` takes the short prompt first, vLLM the older."""
    workload = requests([0.0, 0.1, 0.2], [64, 512, 16], [200, 8, 8])
    by_policy = simulate(workload, engine(max_seqs=2, blocks=60), Scheduling())
    stock = simulate(workload, engine(max_seqs=1, blocks=60))
    assert by_policy.decisions > 0
    assert stock.decisions == 0
    assert stock.first_token[1] < stock.first_token[2] + 0.1


def test_a_request_that_no_empty_cache_could_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="request 1: the KV cache cannot hold its 700 tokens"):
        simulate(requests([0.0, 0.0], [10, 600], [10, 100]), engine())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arrival": [1.0, 0.5]}, r"arrival\[1\] must ascend"),
        ({"prompt": [0, 4]}, r"prompt_tokens\[0\] must be at least 1"),
        ({"output": [4, 5_000]}, r"output_tokens\[1\] must fit into the longest context"),
        ({"source": [-1, 1]}, r"source\[1\] must be an earlier request"),
        ({"source": [-1, 0], "shared": [0, 9]}, r"shared\[1\] must be at most the tokens of both"),
        ({"patience": [-1.0, 1.0]}, r"patience\[0\] must be seconds >= 0"),
        ({"class_of": [0, len(CLASSES)]}, rf"class_of\[1\] must be an index of {len(CLASSES)} classes"),
    ],
)
def test_a_wrong_workload_is_refused_by_its_field(wrong: dict[str, list[float]], message: str) -> None:
    columns: dict[str, Any] = {"arrival": [0.0, 1.0], "prompt": [4, 4], "output": [4, 4]} | wrong
    with pytest.raises(ValueError, match=message):
        requests(**columns)


def test_nobody_comes() -> None:
    outcome = simulate(requests([], [], []), engine(), record_times=True)
    assert outcome.end == 0.0
    assert outcome.token_times == ()
