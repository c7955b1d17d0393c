"""vLLM's queue of waiting requests: first come, first served, or by priority."""

from __future__ import annotations

from andante.domain.compiled import uncounted
from andante.sim.engine import Engine
from andante.sim.requests import Requests
from andante.sim.state import QUEUE_ENDS, Queue, State


@uncounted
def first_waiting(state: State) -> int:
    """The request that vLLM would admit next; `QUEUE_ENDS` where nobody waits."""
    return int(state.queue.following[state.counts[QUEUE_ENDS]])


@uncounted
def enqueue(requests: Requests, engine: Engine, state: State, request: int, in_front: bool) -> None:
    """Put the request at the end, or `in_front` of all (after a preemption); by priority, to its place."""
    queue = state.queue
    ends = state.counts[QUEUE_ENDS]
    after = ends if in_front else queue.preceding[ends]
    if engine.by_priority:
        after = queue.preceding[ends]
        while after != ends and _before(requests, request, after):
            after = queue.preceding[after]
    _link(queue, request, after)


@uncounted
def dequeue(state: State, request: int) -> None:
    """Take the request out, wherever it is."""
    queue = state.queue
    before, after = queue.preceding[request], queue.following[request]
    queue.following[before], queue.preceding[after] = after, before


@uncounted
def _link(queue: Queue, request: int, after: int) -> None:
    following = queue.following[after]
    queue.preceding[request], queue.following[request] = after, following
    queue.following[after] = queue.preceding[following] = request


@uncounted
def _before(requests: Requests, one: int, other: int) -> bool:
    if requests.priority[one] != requests.priority[other]:
        return bool(requests.priority[one] < requests.priority[other])
    return one < other  # the numbers are in order of arrival
