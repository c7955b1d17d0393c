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

from collections.abc import Callable, Iterable, Set
from itertools import chain
from typing import Any, NamedTuple

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import FCFSRequestQueue, create_request_queue
from vllm.v1.request import Request, RequestStatus

from andante.domain.scheduling.plan_check import BrokenPlanError
from andante.domain.scheduling.view import Plan
from andante_vllm import host_kv
from andante_vllm.adapter_limit import AdapterLimit
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
        self._adapters = AdapterLimit(scheduler)
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
        self, orders: Orders | None, *, schedule: Callable[[], SchedulerOutput], take_off: Callable[[Request], None]
    ) -> SchedulerOutput:
        """Run vLLM's own `schedule`, which sees only the admitted requests; the others keep their places.

        `orders` None: vLLM sees all requests. In both cases it sees none whose LoRA adapter finds no slot.
        """
        vllm = self._vllm
        if orders is not None:
            self._make_room(orders, take_off)
        seen: Iterable[Request] = vllm.waiting if orders is None else orders.admit
        hidden = self._adapters.without_slot(chain(vllm.kv_holding_waiting, seen))
        if orders is None and not hidden:
            return schedule()
        whole = vllm.max_num_scheduled_tokens
        if orders is not None and orders.tokens is not None:
            vllm.max_num_scheduled_tokens = min(whole, orders.tokens + self.drafts)
        queue, holding = vllm.waiting, vllm.kv_holding_waiting
        shown = [request for request in seen if request not in hidden] if hidden else list(seen)
        vllm.waiting = FCFSRequestQueue(shown)
        if hidden:
            vllm.kv_holding_waiting = FCFSRequestQueue(request for request in holding if request not in hidden)
            vllm.deferred_waiting.difference_update(hidden)  # vLLM compares their number with that of all it sees
        try:
            return schedule()
        finally:
            vllm.max_num_scheduled_tokens = whole
            left, vllm.waiting = vllm.waiting, queue
            queue.remove_requests([request for request in shown if request.status in _STARTED])
            if len(left):
                known = {request.request_id for request in shown}
                # Requests that vLLM preempted in this step come to the front, as in vLLM.
                for request in reversed([request for request in left if request.request_id not in known]):
                    queue.prepend_request(request)
            if hidden:
                self._hand_back_holding(holding, hidden)
                vllm.deferred_waiting.update(hidden)  # as if vLLM had skipped them

    def _make_room(self, orders: Orders, take_off: Callable[[Request], None]) -> None:
        """Preempt what the orders preempt, and put the victims at the end of the running requests."""
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

    def _hand_back_holding(self, holding: Any, hidden: Set[Request]) -> None:
        """Put back vLLM's queue of requests that hold KV, without those that it started and with the new ones."""
        left, self._vllm.kv_holding_waiting = self._vllm.kv_holding_waiting, holding
        before, stayed = set(holding), set(left)
        holding.remove_requests(before - stayed - hidden)
        for request in left:
            if request not in before:  # since this step its KV is on its way from the host
                holding.add_request(request)

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
