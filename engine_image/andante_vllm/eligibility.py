"""Whom vLLM could schedule now. The policy does not see the others: room given to them would be lost.

vLLM goes on to the next in its queue where a grammar is not compiled yet, where tokens of an earlier step are still
under way, where a client has not sent the rest of its input, where an adapter finds no slot, or where something else
that the request needs is not there. In a step with a plan vLLM sees those only whom the plan lets in.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.request import Request, RequestStatus

from andante_vllm.adapter_slots import AdapterSlots
from andante_vllm.scheduler_table import RequestTable

_ASKED_AT_ONCE = 256
"""Hidden requests that are asked in one step whether they can be scheduled by now; the others in the next steps."""
_PASSED_OVER_FOR = 4
"""Steps for which a request stays hidden that vLLM passed over for a reason that is not known here."""


class Eligibility:
    """Hides from the table whom vLLM would pass over, and shows them again when it would not."""

    def __init__(self, scheduler: Any, table: RequestTable) -> None:
        """`scheduler` is vLLM's: its rules say who is blocked, and promote who no longer is."""
        self._scheduler, self._table = scheduler, table
        self._blocked: dict[str, tuple[Request, int]] = {}
        """By id: the request, and the step before which it is not asked again."""
        self._step = 0
        lora = scheduler.lora_config
        self._slots: AdapterSlots | None = None
        if lora is not None:
            self._slots = AdapterSlots(lora.max_loras, show=self._show, hide=self._hide)

    def waits(self, request: Request) -> None:
        """It came, was taken off, or waits for more input."""
        if self._passes_over(request):
            self._block(request, 0)
        elif self._slots is not None and request.lora_request is not None:
            self._slots.waits(request.request_id, request.lora_request.lora_int_id)

    def starts(self, request: Request) -> None:
        """It was admitted."""
        self._blocked.pop(request.request_id, None)
        if self._slots is not None and request.lora_request is not None:
            self._slots.starts(request.request_id, request.lora_request.lora_int_id)

    def leaves(self, request: Request) -> None:
        """It ended."""
        self._blocked.pop(request.request_id, None)
        if self._slots is not None:
            self._slots.leaves(request.request_id)

    def was_refused(self, request: Request) -> None:
        """vLLM did not start it although it was let in: for want of room, or it was passed over."""
        if request in self._scheduler.deferred_waiting:
            self._block(request, self._step + _PASSED_OVER_FOR)

    def refresh(self) -> None:
        """Shows who can be scheduled by now; asked once before each decision."""
        self._step += 1
        for request_id in list(self._blocked)[:_ASKED_AT_ONCE] if self._blocked else ():
            request, not_before = self._blocked.pop(request_id)
            if self._step < not_before or self._passes_over(request):
                self._blocked[request_id] = request, not_before  # at the end: others come first the next time
                continue
            self._scheduler.deferred_waiting.discard(request)
            if self._slots is not None and request.lora_request is not None:
                self._slots.waits(request_id, request.lora_request.lora_int_id)
            else:
                self._show(request_id)
        if self._slots is not None:
            self._slots.refresh()

    def _passes_over(self, request: Request) -> bool:
        """Whether vLLM would, for a reason of the request's own; promotes it as vLLM does where that is over."""
        if request.status is RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR:
            return not self._scheduler._handle_blocked_waiting_request(request)
        if request.status is RequestStatus.WAITING_FOR_STREAMING_REQ:
            return True
        return bool(request.num_stale_output_tokens and not request.drop_stale_output)

    def _block(self, request: Request, not_before: int) -> None:
        self._blocked[request.request_id] = request, not_before
        if self._slots is not None:
            self._slots.leaves(request.request_id)
        self._hide(request.request_id)

    def _show(self, request_id: str) -> None:
        self._table.show(request_id, True)

    def _hide(self, request_id: str) -> None:
        self._table.show(request_id, False)
