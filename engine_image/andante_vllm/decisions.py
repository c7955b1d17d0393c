"""Decides when to ask the policy, and how long a plan without an admission is kept."""

from __future__ import annotations

import time

from andante.domain.compiled import Ints
from andante.domain.scheduling.asking import STANDING_STEPS
from andante.domain.scheduling.latency import OnlineStepTime
from andante.domain.scheduling.plan_check import check_plan
from andante.domain.scheduling.view import NOBODY, EngineView, Plan, SchedulingPolicy
from andante_vllm.eligibility import Eligibility
from andante_vllm.scheduler_metrics import SchedulerMetrics
from andante_vllm.scheduler_table import RequestTable
from andante_vllm.scheduler_view import Gathering


class Decisions:
    """Asks the policy before a step if any resource may be scarce."""

    def __init__(
        self, table: RequestTable, gathering: Gathering, eligibility: Eligibility, step_time: OnlineStepTime,
        metrics: SchedulerMetrics,
    ) -> None:  # fmt: skip
        self._table, self._gathering, self._eligibility = table, gathering, eligibility
        self._step_time, self._metrics = step_time, metrics
        self._standing: tuple[Plan, Ints] | None = None
        self._standing_key: tuple[int, int, float] | None = None
        self._standing_free = 0.0
        self._standing_left = 0

    def decide(
        self,
        policy: SchedulingPolicy,
        now: float,
        *,
        waiting: int,
        running: int,
        cached_share: float,
        tokens_per_step: float,
    ) -> tuple[Plan | None, Ints]:
        """The plan, and the rows to which its indices refer; None: vLLM's own order.

        Raises BrokenPlanError for a plan that no engine can carry out, and the policy's own errors.
        """
        if not waiting and not running:
            return None, NOBODY
        started = time.perf_counter()
        if not waiting and not self._gathering.tight(self._step_time.line, tokens_per_step):
            return None, NOBODY
        self._eligibility.refresh()
        engine = self._gathering.engine(
            now, step_time=self._step_time.line, cached_share=cached_share, tokens_per_step=tokens_per_step
        )
        key = (self._table.version, running, engine.unfinished_prefill)
        unchanged = key == self._standing_key and engine.kv_free <= self._standing_free
        if self._standing and self._standing_left and unchanged:
            # Values change with time, but the number of free blocks only fell: no request could be admitted.
            self._standing_left -= 1
            self._decided(started, engine, chosen=True)
            return self._standing
        requests, rows = self._gathering.requests(now)
        plan = policy.decide(requests, engine) if len(requests) else None
        if plan is not None:
            check_plan(plan, requests)
            self._gathering.look_up_in_turn(rows)
        self._standing = None
        if plan is not None and plan.standing and not (plan.admit.size or plan.preempt.size):
            self._standing, self._standing_key = (plan, rows), key
            self._standing_free, self._standing_left = engine.kv_free, STANDING_STEPS
        self._decided(started, engine, chosen=plan is not None)
        return plan, rows

    def _decided(self, started: float, engine: EngineView, *, chosen: bool) -> None:
        kv_use = 1 - engine.kv_free / engine.kv_capacity if chosen else None
        self._metrics.decided(seconds=time.perf_counter() - started, kv_use=kv_use)
