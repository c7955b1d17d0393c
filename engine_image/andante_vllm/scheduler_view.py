"""Gathers the policy's input: from vLLM's scheduler into the table, and from both into the two views."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vllm.v1.request import Request, RequestStatus

# isort: split
from andante.domain.compiled import Ints
from andante.domain.scheduling.asking import LOOKED_UP_EACH_STEP, TIGHT_BLOCKS, TIGHT_STEP
from andante.domain.scheduling.view import EngineView, RequestView
from andante.domain.step_time import LinearStepTime
from andante_vllm import request_args
from andante_vllm.eligibility import Eligibility
from andante_vllm.expectations import arguments_arrival, arguments_expectation
from andante_vllm.prefix_reuse import PrefixCacheLookup
from andante_vllm.scheduler_settings import Classes
from andante_vllm.scheduler_table import RequestTable
from andante_vllm.vllm_seam import VLLMSeam

MAX_CLASSES = 64


class Gathering:
    """Keeps the table up to date with the engine's requests, and fills the views."""

    def __init__(
        self, seam: VLLMSeam, table: RequestTable, prefixes: PrefixCacheLookup, eligibility: Eligibility,
        classes: Callable[[], Classes],
    ) -> None:  # fmt: skip
        """`classes`: the classes in force now."""
        self._seam, self._table, self._prefixes, self._eligibility = seam, table, prefixes, eligibility
        self._classes = classes
        self._next_lookup = 0

    def enter(self, request: Request, *, now: float, wall_clock: float) -> None:
        """Add a request. `now`: on the table's clock; `wall_clock`: on the clock of arrival times."""
        classes = self._classes()
        arguments = (request.sampling_params.extra_args if request.sampling_params else None) or {}
        name = arguments.get(request_args.CLASS)
        known = classes.by_name.get(name) if isinstance(name, str) else None
        index, qoe_class = known or classes.by_name[classes.default]
        received = arguments_arrival(arguments, now=wall_clock, otherwise=request.arrival_time)
        self._table.add(
            request.request_id,
            arrival=now - max(wall_clock - received, 0.0),
            expectation=arguments_expectation(arguments, qoe_class, prompt_tokens=request.num_prompt_tokens),
            weight=qoe_class.weight / _choices(arguments),
            class_index=min(index, MAX_CLASSES - 1),
            prompt_tokens=request.num_prompt_tokens,
            longest=request.max_tokens,
        )
        if self._seam.host is not None:
            self._seam.host.enters(request)
            self._table.on_host(request.request_id, kept=self._seam.host.kept(request))
        self._eligibility.waits(request)
        self.look_up(request)

    def look_up(self, request: Request) -> None:
        """Look up how much of the request the prefix cache holds now."""
        if not self._prefixes.works:
            return
        if request.status is RequestStatus.RUNNING:
            # After a preemption only blocks that other requests hold are certain to stay.
            cached = shared = self._prefixes.of_running(request)
        elif self._seam.holds_kv(request):
            return
        else:
            cached, shared = self._prefixes.of_waiting(request)
        self._table.reuse(request.request_id, cached=cached, shared=shared)

    def look_up_in_turn(self, rows: Ints) -> None:
        """Look up some of the requests in these rows, and the next ones at the next call."""
        if not self._prefixes.works or not rows.size:
            return
        start = self._next_lookup if self._next_lookup < rows.size else 0
        self._next_lookup = start + LOOKED_UP_EACH_STEP
        for request in self._seam.requests(self._table.names(rows[start : self._next_lookup])):
            self.look_up(request)

    def refused(self, requests: list[Request]) -> None:
        """Note requests that the plan admitted and vLLM did not start."""
        for request in requests:
            self._eligibility.was_refused(request)
        for request in requests[:LOOKED_UP_EACH_STEP]:
            self.look_up(request)

    def kept_by_host(self, request: Request) -> int:
        """Tokens of the request that need not be recomputed."""
        host = self._seam.host
        return 0 if host is None else host.kept(request)

    def requests(self, now: float) -> tuple[RequestView, Ints]:
        """The view of requests that vLLM could schedule now, and their rows."""
        host = self._seam.host
        if host is not None:
            for request in self._seam.requests_in_engine(host.take_changed()):
                self._table.on_host(request.request_id, kept=host.kept(request))
        return self._table.view(now, prefilling=[request.request_id for request in self._seam.prefilling])

    def engine(
        self, now: float, *, step_time: LinearStepTime, cached_share: float, tokens_per_step: float
    ) -> EngineView:
        """The view of the engine."""
        seam = self._seam
        return EngineView(
            now=now,
            kv_capacity=seam.kv_capacity,
            kv_free=float(seam.free_blocks * seam.block_size),
            block_size=seam.block_size,
            max_seqs=seam.slots,
            max_step_tokens=seam.step_tokens,
            unfinished_prefill=float(seam.unfinished_prefill()),
            step_time=step_time,
            cached_share=cached_share,
            tightest_pace=self._table.tightest_pace,
            admitted=float(self._table.admitted),
            kv_groups=seam.kv_groups,
            tokens_per_step=tokens_per_step,
            draft_slots=seam.draft_slots,
        )

    def tight(self, step_time: LinearStepTime, tokens_per_step: float) -> bool:
        """Whether a step could be bad without a waiting request: out of KV blocks, or too slow for readers.

        Called in every step of an engine with room for all requests, so it uses no view.
        """
        seam, running = self._seam, self._seam.running
        soon = TIGHT_BLOCKS * (seam.block_size + seam.draft_slots) * len(seam.kv_groups)
        if seam.free_blocks * seam.block_size < soon * (1 + running):
            return True
        pace = self._table.tightest_pace
        if pace <= 0:
            return False
        prefill = min(seam.unfinished_prefill(), seam.step_tokens)
        context = self._table.running_context()
        seconds = step_time.seconds(prefill_tokens=prefill, sequences=running, context_tokens=context)
        return seconds > TIGHT_STEP * tokens_per_step / pace


def _choices(arguments: Mapping[str, Any]) -> int:
    """Number of answers for one reader (`n`): together they have the weight of one."""
    choices = arguments.get(request_args.CHOICES)
    return choices if type(choices) is int and choices > 1 else 1
