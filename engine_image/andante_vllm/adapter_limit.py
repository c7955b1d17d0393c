"""Finds the waiting requests that would bring a batch more LoRA adapters than the engine has slots.

vLLM has this limit, but counts only the adapters of running requests that get tokens in the step. A running request may
get none, for example while its next KV block belongs to a step under way. Then vLLM starts a request with one adapter
too many, and in the next step, where all run, an assertion ends the engine. So here all running requests count.
`adapter_slots` says which adapters the policy sees; this module looks at what vLLM would start.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

from vllm.v1.request import Request, RequestStatus

from andante_vllm.eligibility import passes_over

_NOBODY: frozenset[Request] = frozenset()


class AdapterLimit:
    """Applies the engine's limit of adapters to the requests that vLLM would see in a step."""

    def __init__(self, scheduler: Any) -> None:
        """`scheduler`: vLLM's."""
        self._scheduler = scheduler
        lora = scheduler.lora_config
        self._slots: int | None = None if lora is None else lora.max_loras

    def without_slot(self, waiting: Iterable[Request]) -> Set[Request]:
        """The requests of `waiting` whose adapter finds no slot in the next step.

        `waiting`: in the order in which vLLM would start them. A free slot goes to the first request that can start.
        """
        if self._slots is None:
            return _NOBODY
        adapters = [(r, r.lora_request.lora_int_id) for r in waiting if r.lora_request is not None]
        if not adapters:
            return _NOBODY
        fitting = {r.lora_request.lora_int_id for r in self._scheduler.running if r.lora_request is not None}
        for request, adapter in adapters:
            if len(fitting) >= self._slots:
                break
            if adapter not in fitting and self._can_start(request):
                fitting.add(adapter)
        return {request for request, adapter in adapters if adapter not in fitting}

    def _can_start(self, request: Request) -> bool:
        if request.status is RequestStatus.WAITING_FOR_REMOTE_KVS:
            return request.request_id in self._scheduler.finished_recving_kv_req_ids
        return not passes_over(self._scheduler, request)
