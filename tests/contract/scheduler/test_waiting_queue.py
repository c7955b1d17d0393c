"""Our queue of waiting requests is vLLM's first-come-first-served queue in all that vLLM does with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.request_queue import FCFSRequestQueue
from vllm.v1.request import Request

from andante_vllm.waiting_queue import WaitingQueue

REQUESTS = [
    Request(request_id=str(i), prompt_token_ids=[1], sampling_params=SamplingParams(max_tokens=1), pooling_params=None)
    for i in range(6)
]
MOVES = st.lists(
    st.tuples(st.sampled_from(["add", "prepend", "prepend_many", "pop", "remove", "remove_many"]), st.integers(0, 5)),
    max_size=30,
)


def _move(queue: Any, move: str, at: int) -> None:
    inside = list(queue)
    outside = [request for request in REQUESTS if request not in inside]
    match move:
        case "add" if outside:
            queue.add_request(outside[at % len(outside)])
        case "prepend" if outside:
            queue.prepend_request(outside[at % len(outside)])
        case "prepend_many":
            queue.prepend_requests(outside[:at])
        case "pop" if inside:
            queue.pop_request()
        case "remove" if inside:
            queue.remove_request(inside[at % len(inside)])
        case "remove_many":
            queue.remove_requests(inside[:at])


@given(moves=MOVES)
def test_it_holds_what_vllms_queue_holds_in_the_same_order(moves: list[tuple[str, int]]) -> None:
    ours, theirs = WaitingQueue(), FCFSRequestQueue()
    for move, at in moves:
        _move(ours, move, at)
        _move(theirs, move, at)
        assert list(ours) == list(theirs)
        assert (len(ours), bool(ours)) == (len(theirs), bool(theirs))
        if theirs:
            assert ours.peek_request() is theirs.peek_request()
            assert ours[0] is theirs[0]
            assert ours[-1] is theirs[-1]


def test_a_look_into_an_empty_queue_is_an_error_as_in_vllm() -> None:
    with pytest.raises(IndexError):
        WaitingQueue().peek_request()
