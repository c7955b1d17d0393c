"""Connects the scheduler to vLLM's internals: reads them, and turns a plan into a step.

vLLM has no hook for the choice of a step's requests. A small hook would replace this module. Before a step, vLLM would
give a plug-in its running and waiting requests, and the plug-in would return four answers:

* the waiting requests that this step may admit, in order (today: `waiting` is another queue during `schedule()`);
* the running requests to preempt before the step (today: they are removed from `running` and preempted here);
* the order in which running requests are preempted when vLLM is out of KV blocks (today: the end of `running`);
* the most tokens of the step (today: `max_num_scheduled_tokens` is lower during `schedule()`).

For `eligibility` vLLM would have to say which requests it would skip; for `prefix_reuse`, how much of a request its
prefix cache holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import FCFSRequestQueue, create_request_queue
from vllm.v1.request import Request, RequestStatus

from andante.domain.scheduling.plan_check import BrokenPlanError
from andante.domain.scheduling.view import Plan
from andante_vllm import host_kv
from andante_vllm.kv_groups import kv_groups
from andante_vllm.waiting_queue import WaitingQueue

_STARTED = (RequestStatus.RUNNING, RequestStatus.WAITING_FOR_REMOTE_KVS)
"""States of an admitted request: it holds KV blocks, and computes as soon as they are filled."""


class Orders(NamedTuple):
    """A checked plan in vLLM's terms."""

    admit: list[Request]
    preempt: list[Request]
    victims: list[Request]
    tokens: int | None
    """Most tokens of the step, without draft tokens."""

    def refused(self) -> list[Request]:
        """After the step: the requests that the plan admitted and vLLM did not start."""
        return [request for request in self.admit if request.status not in _STARTED]


class VLLMSeam:
    """Wraps one of vLLM's scheduler objects for the policy's adapter."""

    def __init__(self, scheduler: Any) -> None:
        self._vllm = scheduler
        self._pool = scheduler.kv_cache_manager.block_pool
        self.block_size: int = scheduler.block_size
        self.gpu_blocks = int(self._pool.num_gpu_blocks - 1)  # vLLM reserves one block
        self.kv_capacity = float(self.gpu_blocks * self.block_size)
        self.kv_groups = kv_groups(scheduler)
        self.host = host_kv.of(scheduler.connector)
        """The KV in the host's memory; None without offload."""

    # --- reads --------------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Number of running requests."""
        return len(self._vllm.running)

    @property
    def free_blocks(self) -> int:
        return int(self._pool.get_num_free_blocks())

    @property
    def slots(self) -> int:
        """Most requests that may run at once; a session that waits for its client's input keeps its slot."""
        return int(max(self._vllm.max_num_active_reqs - self._vllm.num_waiting_for_streaming_input, 1))

    @property
    def step_tokens(self) -> int:
        """Most tokens that the next step computes, without draft tokens."""
        return int(max(self._vllm.max_num_scheduled_tokens - self.drafts, 1))

    @property
    def most_drafts(self) -> int:
        """Most draft tokens of a sequence in a step; 0 without speculative decoding."""
        return int(self._vllm.num_spec_tokens)

    @property
    def draft_slots(self) -> int:
        """Additional KV tokens of a decoding sequence: draft tokens that are verified, and that are being drafted."""
        return int(self._vllm.num_spec_tokens + self._vllm.num_lookahead_tokens)

    @property
    def drafts(self) -> int:
        """Draft tokens of running requests that the next step verifies: vLLM counts them among a step's tokens."""
        if not self._vllm.num_spec_tokens:
            return 0
        return sum(len(request.spec_token_ids) for request in self._vllm.running)

    @property
    def prefilling(self) -> set[Request]:
        """Admitted requests with an unfinished prefill."""
        prefills: set[Request] = self._vllm._inflight_prefills
        return prefills

    @property
    def holding(self) -> Iterable[Request]:
        """Requests that hold KV blocks and wait for KV from the host or for a client's input."""
        waiting: Iterable[Request] = self._vllm.kv_holding_waiting
        return waiting

    def unfinished_prefill(self) -> int:
        """Tokens of admitted requests that must still be prefilled."""
        return sum(r.num_tokens - r.num_computed_tokens for r in self.prefilling) if self.prefilling else 0

    def request(self, request_id: str) -> Request:
        request: Request = self._vllm.requests[request_id]
        return request

    def requests(self, request_ids: Iterable[str]) -> list[Request]:
        return [self._vllm.requests[request_id] for request_id in request_ids]

    def requests_in_engine(self, request_ids: Iterable[str]) -> list[Request]:
        """The requests with these ids that have not ended."""
        requests = self._vllm.requests
        return [requests[request_id] for request_id in request_ids if request_id in requests]

    def holds_kv(self, request: Request) -> bool:
        """Whether a request that is not running holds KV blocks."""
        return bool(self._vllm._holds_kv_blocks(request))

    # --- writes -------------------------------------------------------------------------------------------------

    def take_over_queue(self) -> None:
        """Replace vLLM's queue by one from whose middle a request can be removed at no cost."""
        self._vllm.waiting = WaitingQueue(self._vllm.waiting)

    def hand_back_queue(self) -> None:
        """Move waiting requests into vLLM's own queue, in order of arrival; after a running step has restored it."""
        held = self._vllm.waiting
        if isinstance(held, WaitingQueue):
            self._vllm.waiting = create_request_queue(self._vllm.policy)
            for request in sorted(held, key=lambda request: request.arrival_time):
                self._vllm.waiting.add_request(request)

    def orders(self, plan: Plan, names: Callable[[Any], list[str]]) -> Orders:
        """Translate the plan into vLLM's requests, without a change to vLLM. `names`: the request ids of indices.

        Raises BrokenPlanError if an admitted request is not in the queue.
        """
        admit = [request for request in self.requests(names(plan.admit)) if not self.holds_kv(request)]
        if not self._vllm.waiting.holds(admit):
            raise BrokenPlanError("admit: names a request that is not in vLLM's queue")
        return Orders(
            admit=admit,
            preempt=self._running(names(plan.preempt)),
            victims=self._running(names(plan.victims)),
            tokens=self._whole_chunks(plan.step_tokens),
        )

    def step(
        self, orders: Orders, *, schedule: Callable[[], SchedulerOutput], take_off: Callable[[Request], None]
    ) -> SchedulerOutput:
        """Run vLLM's own `schedule`, which sees only the admitted requests; the others keep their places."""
        vllm = self._vllm
        for request in orders.preempt:
            del vllm.running[_place(request, vllm.running)]
        for request in orders.preempt:
            take_off(request)
        victims = [request for request in reversed(orders.victims) if request.status is RequestStatus.RUNNING]
        if victims and vllm.running[-len(victims) :] != victims:  # vLLM preempts the last one first
            for request in victims:
                del vllm.running[_place(request, vllm.running)]
            vllm.running.extend(victims)
        whole = vllm.max_num_scheduled_tokens
        if orders.tokens is not None:
            vllm.max_num_scheduled_tokens = min(whole, orders.tokens + self.drafts)
        held = vllm.waiting
        vllm.waiting = FCFSRequestQueue(orders.admit)
        try:
            return schedule()
        finally:
            vllm.max_num_scheduled_tokens = whole
            left, vllm.waiting = vllm.waiting, held
            held.remove_requests([request for request in orders.admit if request.status in _STARTED])
            if len(left):
                known = {request.request_id for request in orders.admit}
                # Requests that vLLM preempted in this step come to the front, as in vLLM.
                for request in reversed([request for request in left if request.request_id not in known]):
                    held.prepend_request(request)

    def _running(self, request_ids: list[str]) -> list[Request]:
        return [request for request in self.requests(request_ids) if request.status is RequestStatus.RUNNING]

    def _whole_chunks(self, tokens: int | None) -> int | None:
        """Tokens of a step that vLLM can use: it prefills some models only in whole blocks, and others in one step."""
        if tokens is None or not self._vllm.scheduler_config.enable_chunked_prefill:
            return None
        if self._vllm.need_mamba_block_aligned_split:
            return max(tokens, self.running + int(self._vllm.cache_config.block_size))
        return tokens


def _place(request: Request, line: list[Request]) -> int:
    """The request's negative index in `line`, searched from the end, where the last victims are. `==` costs more."""
    return -next(place for place, other in enumerate(reversed(line), 1) if other is request)
