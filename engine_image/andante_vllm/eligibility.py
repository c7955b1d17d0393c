"""Finds the requests that vLLM could schedule now. The policy does not see the others: their room would be lost.

vLLM skips a request in its queue if the grammar is not compiled yet, if tokens of an earlier step are pending, if the
client has not sent the rest of its input, if the adapter finds no slot, or if another resource is missing. In a step
with a plan vLLM sees only the requests that the plan admits.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.request import Request, RequestStatus

from andante_vllm.adapter_slots import AdapterSlots
from andante_vllm.scheduler_table import RequestTable

_ASKED_AT_ONCE = 256
"""Hidden requests that are checked again in one step; the others are checked in the next steps."""
_PASSED_OVER_FOR = 4
"""Steps for which a request stays hidden after vLLM skipped it for an unknown reason."""


def passes_over(scheduler: Any, request: Request) -> bool:
    """Whether vLLM would skip the request for its own reason; promote the request as vLLM does where it is over."""
    if request.status is RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR:
        return not scheduler._handle_blocked_waiting_request(request)
    if request.status is RequestStatus.WAITING_FOR_STREAMING_REQ:
        return True
    return bool(request.num_stale_output_tokens and not request.drop_stale_output)


class Eligibility:
    """Hides requests that vLLM would skip from the table, and shows them again when vLLM would schedule them."""

    def __init__(self, scheduler: Any, table: RequestTable) -> None:
        """`scheduler` is vLLM's: its rules say which request is blocked, and promote a request that is not any more."""
        self._scheduler, self._table = scheduler, table
        self._blocked: dict[str, tuple[Request, int]] = {}
        """By id: the request, and the step before which it is not checked again."""
        self._step = 0
        lora = scheduler.lora_config
        self._slots: AdapterSlots | None = None
        if lora is not None:
            self._slots = AdapterSlots(lora.max_loras, show=self._show, hide=self._hide)

    def waits(self, request: Request) -> None:
        """Note that the request arrived, was preempted, or waits for more input."""
        if passes_over(self._scheduler, request):
            self._block(request, 0)
        elif self._slots is not None and request.lora_request is not None:
            self._slots.waits(request.request_id, request.lora_request.lora_int_id)

    def starts(self, request: Request) -> None:
        """Note that the request was admitted."""
        self._blocked.pop(request.request_id, None)
        if self._slots is not None and request.lora_request is not None:
            self._slots.starts(request.request_id, request.lora_request.lora_int_id)

    def leaves(self, request: Request) -> None:
        """Note that the request ended."""
        self._blocked.pop(request.request_id, None)
        if self._slots is not None:
            self._slots.leaves(request.request_id)

    def was_refused(self, request: Request) -> None:
        """Note that vLLM did not start an admitted request: there was no room, or vLLM skipped it."""
        if request in self._scheduler.deferred_waiting:
            self._block(request, self._step + _PASSED_OVER_FOR)

    def refresh(self) -> None:
        """Show the requests that can be scheduled by now; called once before each decision."""
        self._step += 1
        for request_id in list(self._blocked)[:_ASKED_AT_ONCE] if self._blocked else ():
            request, not_before = self._blocked.pop(request_id)
            if self._step < not_before or passes_over(self._scheduler, request):
                self._blocked[request_id] = request, not_before  # at the end: others are first next time
                continue
            self._scheduler.deferred_waiting.discard(request)
            if self._slots is not None and request.lora_request is not None:
                self._slots.waits(request_id, request.lora_request.lora_int_id)
            else:
                self._show(request_id)
        if self._slots is not None:
            self._slots.refresh()

    def _block(self, request: Request, not_before: int) -> None:
        self._blocked[request.request_id] = request, not_before
        if self._slots is not None:
            self._slots.leaves(request.request_id)
        self._hide(request.request_id)

    def _show(self, request_id: str) -> None:
        self._table.show(request_id, True)

    def _hide(self, request_id: str) -> None:
        self._table.show(request_id, False)
