"""Defines the scheduler class that `andante-engine` gives to `vllm serve --scheduler-cls`.

It wraps vLLM's AsyncScheduler: before each step the policy chooses which requests the step may admit and which to
preempt. The step itself is vLLM's own `schedule()`, unchanged. Without scarcity, and where the policy cannot run or has
failed, only `schedule()` runs. The async base class also works where async scheduling is off.

Gather (`scheduler_view`), decide (`decisions`), apply (`vllm_seam`), and keep the books (`step_books`).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import llvmlite.binding.ffi
import vllm
from vllm.logger import init_logger
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from andante_vllm import await_compilation  # noqa: F401  before anything that is compiled is imported

# isort: split
from andante.domain.scheduling.latency import OnlineStepTime
from andante.domain.scheduling.view import SchedulingPolicy
from andante.engine_config import POLICY_FAILED
from andante_vllm.decisions import Decisions
from andante_vllm.eligibility import Eligibility
from andante_vllm.policy_guard import PolicyGuard
from andante_vllm.prefix_reuse import PrefixCacheLookup
from andante_vllm.scheduler_metrics import SchedulerMetrics
from andante_vllm.scheduler_settings import SchedulerSettings, settings_from_environment
from andante_vllm.scheduler_start import announce, policy_for, why_not
from andante_vllm.scheduler_table import RequestTable
from andante_vllm.scheduler_view import MAX_CLASSES, Gathering
from andante_vllm.step_books import StepBooks
from andante_vllm.vllm_seam import Orders, VLLMSeam

# vLLM on a CPU looks for its kernels in the __dict__ of every object of every module. This object of numba's compiler
# answers to any name with a function of the library, and the search would end the engine's start.
llvmlite.binding.ffi.lib._fntab["__dict__"] = {}

logger = init_logger("vllm.andante.scheduler")  # loggers outside the vllm tree print nothing

_LONGEST_REASON = 180
"""Characters of the reason in a metric; the log has the whole reason."""


class QoEScheduling(AsyncScheduler if TYPE_CHECKING else object):  # type: ignore[misc]
    """Andante's choice of requests, as a mixin before one of vLLM's scheduler classes."""

    vllm_version: ClassVar[str] = vllm.__version__
    _policy: SchedulingPolicy | None = None
    """None: vLLM's own scheduling."""
    _ours = False
    """Whether the policy, not vLLM, preempts a request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self._settings = self.load_settings()
        self._metrics = SchedulerMetrics(model_name=settings.model_name, policy=settings.policy_name)
        self._guard = PolicyGuard(self._fall_back)
        self._seam = seam = VLLMSeam(self)
        reason = why_not(self, settings)
        self._policy = None if reason else settings.policy
        self._metrics.set_active(self._policy is not None, reason or "policy")
        announce(settings, reason)
        if self._policy is not None:
            seam.take_over_queue()
            if seam.host is not None:
                self._policy = policy_for(self._policy, host_chunks=seam.host.chunks, gpu_blocks=seam.gpu_blocks)
        self._step_time = OnlineStepTime(settings.step_time.with_drafts(seam.most_drafts))
        self._table = RequestTable(classes=MAX_CLASSES)
        eligibility = Eligibility(self, self._table)
        prefixes = PrefixCacheLookup(self.kv_cache_manager)
        self._gathering = Gathering(seam, self._table, prefixes, eligibility, settings.classes)
        self._books = StepBooks(seam, self._table, self._gathering, eligibility, self._step_time, self._metrics)
        self._decisions = Decisions(self._table, self._gathering, eligibility, self._step_time, self._metrics)

    def now(self) -> float:
        """Seconds on a clock that is never set; virtual time overrides this."""
        return time.monotonic()

    def wall_clock(self) -> float:
        """Unix time in seconds, the clock of the requests' arrival times; virtual time overrides this.

        This clock may be set at any time, so it is used only for a request's age when it enters.
        """
        return time.time()

    def load_settings(self) -> SchedulerSettings:
        """Load the settings; tests and virtual time override this."""
        return settings_from_environment(log_error=logger.error, log_info=logger.info)

    # --- called by vLLM ------------------------------------------------------------------------------------------

    def add_request(self, request: Request) -> None:
        super().add_request(request)
        if self._policy is not None and request.request_id not in self._table:
            with self._guard:
                self._gathering.enter(request, now=self.now(), wall_clock=self.wall_clock())

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        if self._policy is None:
            return super().schedule(throttle_prefills)
        orders: Orders | None = None
        with self._guard:
            orders = self._decide(self._policy)
        stock = super().schedule
        if self._policy is None:  # the policy failed within the decision
            return stock(throttle_prefills)
        # Orders of None are a decision too: vLLM goes on by itself, but for requests whose adapter finds no slot.
        try:
            batch = self._seam.step(orders, schedule=lambda: stock(throttle_prefills), take_off=self._take_off)
        finally:
            if self._policy is None:  # the policy failed within the step
                self._seam.hand_back_queue()
        if self._policy is not None:
            with self._guard:
                self._books.scheduled(batch, self.now())
                if orders is not None:
                    self._gathering.refused(orders.refused())
        return batch

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, Any]:
        if scheduler_output.total_num_scheduled_tokens:
            with self._guard if self._policy is not None else suppress(Exception):
                self._metrics.computed()
        if self._policy is not None:
            with self._guard:
                self._books.brought(scheduler_output, model_runner_output, self.now())
        answers: dict[int, Any] = super().update_from_output(scheduler_output, model_runner_output)
        if self._policy is not None and not self.requests:
            with self._guard:
                self._metrics.hand_over()
        return answers

    def _preempt_request(self, request: Request, timestamp: float, drop_stale_output: bool = False) -> None:
        super()._preempt_request(request, timestamp, drop_stale_output)
        if self._policy is not None:
            with self._guard:
                self._books.taken_off(request, self.now(), by_policy=self._ours)

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> tuple[Any, Any]:
        if self._policy is not None:
            with self._guard:
                self._leave(request)
        answer: tuple[Any, Any] = super()._free_request(request, delay_free_blocks)
        return answer

    # --- Andante's part -----------------------------------------------------------------------------------------

    def _decide(self, policy: SchedulingPolicy) -> Orders | None:
        """The policy's plan in vLLM's terms; None: vLLM's own order."""
        plan, rows = self._decisions.decide(
            policy,
            self.now(),
            waiting=len(self.waiting),
            running=len(self.running),
            cached_share=self._books.cached_share,
            tokens_per_step=self._books.tokens_per_step,
        )
        if plan is None:
            return None
        return self._seam.orders(plan, lambda indices: self._table.names(rows[indices]) if indices.size else [])

    def _take_off(self, request: Request) -> None:
        self._ours = True
        try:
            self._preempt_request(request, time.monotonic())
        finally:
            self._ours = False

    def _leave(self, request: Request) -> None:
        self._books.left(request, self.now())

    def _fall_back(self, error: Exception) -> None:
        """Continue with vLLM's own scheduling until the process ends; `error` says why.

        The policy, the table and all learned values only choose among vLLM's requests, so no request is lost without
        them. An error of vLLM itself never comes here.
        """
        self._policy = None
        self._seam.hand_back_queue()
        reason = " ".join(f"{POLICY_FAILED} {type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        logger.error("QoE scheduling (%s): OFF, %s", self._settings.policy_name, reason, exc_info=error)
        try:
            self._metrics.set_active(False, reason)
            self._metrics.hand_over()
        except Exception:
            logger.exception("andante_scheduler_active does not show that the policy failed")


class AsyncQoEScheduler(QoEScheduling, AsyncScheduler):
    """Extends vLLM's asynchronous class, for vLLM's own tests of that class; engines use `QoEScheduler`."""


class QoEScheduler(AsyncQoEScheduler):
    """vLLM's scheduler with Andante's choice of requests, for async and synchronous engines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Read once: vLLM's platform code may set the flag again after the engine was built.
        self._drafts_come_here = self.num_spec_tokens > 0 and not self.scheduler_config.async_scheduling

    def _update_after_schedule(self, scheduler_output: SchedulerOutput) -> None:
        super()._update_after_schedule(scheduler_output)
        if self._drafts_come_here:
            # AsyncScheduler uses placeholders for draft tokens that stay on the device. In a synchronous engine the
            # draft tokens come here after the step, and the placeholders would be verified like real draft tokens.
            for request_id in scheduler_output.num_scheduled_tokens:
                self.requests[request_id].spec_token_ids = []


class SyncQoEScheduler(QoEScheduling, Scheduler):
    """Extends vLLM's synchronous class, for vLLM's own tests of that class; engines use `QoEScheduler`."""
