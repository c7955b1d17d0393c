"""The scheduler class that `andante-engine` gives to `vllm serve --scheduler-cls`.

It wraps vLLM's AsyncScheduler: before each step the policy chooses whom the step may admit, and whom to take
off; the step itself is vLLM's own `schedule()`, untouched. While nothing is short, and wherever the policy
cannot work or has failed, that is all there is. The async base also runs right where async scheduling is off.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import llvmlite.binding.ffi
import vllm
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.logger import init_logger
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import FCFSRequestQueue, SchedulingPolicy, create_request_queue
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from andante_vllm.await_compilation import WAITED_SECONDS

# isort: split
from andante.domain.compiled import Ints
from andante.domain.scheduling.latency import OnlineStepTime
from andante.domain.scheduling.plan_check import BrokenPlanError, check_plan
from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.view import NOBODY, EngineView, Plan
from andante.domain.scheduling.view import SchedulingPolicy as Policy
from andante.engine_config import POLICY_FAILED
from andante_vllm import host_kv_cache, request_args
from andante_vllm.compat import untested
from andante_vllm.eligibility import Eligibility
from andante_vllm.expectations import arguments_arrival, arguments_expectation
from andante_vllm.policy_guard import PolicyGuard
from andante_vllm.prefix_reuse import PrefixCacheLookup
from andante_vllm.scheduler_metrics import SchedulerMetrics
from andante_vllm.scheduler_settings import SchedulerSettings, settings_from_environment
from andante_vllm.scheduler_table import Batch, RequestTable
from andante_vllm.settings import ConfigError
from andante_vllm.waiting_queue import WaitingQueue

# vLLM on a CPU looks into the __dict__ of whatever any module holds, for kernels of its own. This object of numba's
# compiler answers to any name with a function of the library, and that look would end the engine's start.
llvmlite.binding.ffi.lib._fntab["__dict__"] = {}

logger = init_logger("vllm.andante.scheduler")  # names outside the vllm tree are silent

MAX_CLASSES = 64
_FIT_EVERY = 16
_STANDING_STEPS = 8
"""Steps for which a plan that lets nobody in holds while nothing has changed that could let somebody in."""
_LOOKED_UP_EACH_STEP = 8
"""Requests whose share of the prefix cache is looked up after a decision, in turn: what it holds changes."""
_EXPORT_EVERY = 64
_LONGEST_REASON = 180
"""Characters of the reason that a metric shows; the log has all of it."""
_STARTED = (RequestStatus.RUNNING, RequestStatus.WAITING_FOR_REMOTE_KVS)
"""Admitted: it holds KV blocks, and computes as soon as they are filled."""


class _Flight(NamedTuple):
    """A step between its scheduling and its output."""

    key: int
    scheduled_at: float
    prefill: float
    """Tokens."""
    decoding: float
    """Sequences."""
    context: float
    """Tokens."""
    whole: Batch | None
    """Whom it serves, where that is everybody who runs."""


class _Orders(NamedTuple):
    """A plan in vLLM's terms, checked."""

    admit: list[Request]
    preempt: list[Request]
    victims: list[Request]
    tokens: int | None
    """Of the step, at most."""


class QoEScheduling(AsyncScheduler if TYPE_CHECKING else object):  # type: ignore[misc]
    """Andante's choice of whom to serve, to be put before one of vLLM's scheduler classes."""

    vllm_version: ClassVar[str] = vllm.__version__
    max_num_scheduled_tokens: int  # vLLM's: tokens of one step
    waiting: Any
    running: list[Request]
    _policy: Policy | None = None
    """None: vLLM's own scheduling."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self.load_settings()
        self._settings = settings
        self._metrics = SchedulerMetrics(model_name=settings.model_name, policy=settings.policy_name)
        self._policy = settings.policy
        self._guard = PolicyGuard(self._fall_back)
        reason = self._why_not()
        if reason:
            self._policy = None
        self._metrics.set_active(self._policy is not None, reason or "policy")
        if settings.policy is not None:
            level = logger.warning if reason else logger.info
            waited = f", {WAITED_SECONDS:.1f} s waited for its compilation" if WAITED_SECONDS >= 0.1 else ""
            level("QoE scheduling (%s): %s%s", settings.policy_name, f"OFF, {reason}" if reason else "on", waited)
        if self._policy is not None:
            self.waiting = WaitingQueue(self.waiting)
        self._host = host_kv_cache.of(self.connector)
        if self._policy is not None and self._host is not None:
            gpu_blocks = self.kv_cache_manager.block_pool.num_gpu_blocks - 1
            warning = host_kv_cache.too_small(self._host.cache_capacity, gpu_blocks)
            if warning:
                logger.warning(warning)
                if isinstance(self._policy, QoEPolicy):
                    self._policy = self._policy.without_host_memory()
        self._table = RequestTable(classes=MAX_CLASSES, kept_block=self.block_size if self._host is not None else 0)
        self._eligibility = Eligibility(self, self._table)
        self._prefixes = PrefixCacheLookup(self.kv_cache_manager)
        self._next_lookup = 0
        self._kv_capacity = float((self.kv_cache_manager.block_pool.num_gpu_blocks - 1) * self.block_size)
        self._step_time = OnlineStepTime(settings.step_time)
        self._flights: deque[_Flight] = deque()
        self._last_update = 0.0
        self._cached_share = 0.0
        self._steps = 0
        self._ours = False
        self._taken_off: dict[str, float] = {}
        self._standing: tuple[Plan, Ints] | None = None
        self._standing_key: tuple[int, int, float] | None = None
        self._standing_free = 0.0
        self._standing_left = 0

    def now(self) -> float:
        """Seconds on a clock that is never set; virtual time overrides it."""
        return time.monotonic()

    def wall_clock(self) -> float:
        """Unix time in seconds, the clock of the requests' arrival times; virtual time overrides it.

        It may be set at any time, so it is asked for nothing but how old a request is when it enters.
        """
        return time.time()

    def load_settings(self) -> SchedulerSettings:
        """Where the settings come from; tests and virtual time override it."""
        return settings_from_environment(log_error=logger.error, log_info=logger.info)

    def _why_not(self) -> str:
        """Why vLLM's own scheduling runs instead of the policy; empty when it does not.

        Raises ConfigError for a combination that somebody must have chosen, and must choose again.
        """
        if self._settings.policy is None:
            return "policy fcfs"
        reason = untested(self.vllm_version)
        if reason:
            return reason
        unsupported = {
            "speculative decoding": self.vllm_config.speculative_config is not None,
            "pipeline parallelism": self.use_pp,
            "a pooling model": self.vllm_config.model_config.runner_type == "pooling",
            "an encoder-decoder model": self.is_encoder_decoder,
            "--scheduling-policy priority": self.policy is not SchedulingPolicy.FCFS,
            # vLLM's own offload is a cache: it neither waits for another engine nor delivers to one.
            "a KV connector other than vLLM's OffloadingConnector": (
                self.connector is not None and not isinstance(self.connector, OffloadingConnector)
            ),
        }
        for what, present in unsupported.items():
            if present:
                raise ConfigError(
                    f"scheduler.policy: {self._settings.policy_name!r} does not support {what}; "
                    "leave that out, or set scheduler.policy to 'fcfs'"
                )
        return ""

    # --- what vLLM calls -----------------------------------------------------------------------------------------

    def add_request(self, request: Request) -> None:
        super().add_request(request)
        if self._policy is not None and request.request_id not in self._table:
            with self._guard:
                self._enter(request)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        if self._policy is None:
            return super().schedule(throttle_prefills)
        orders: _Orders | None = None
        with self._guard:
            plan, rows = self._decide(self._policy)
            orders = None if plan is None else self._orders(plan, rows)
        batch = super().schedule(throttle_prefills) if orders is None else self._carry_out(orders, throttle_prefills)
        if self._policy is not None:
            with self._guard:
                self._note(batch)
                if orders is not None:
                    self._note_refused([request for request in orders.admit if request.status not in _STARTED])
        return batch

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, Any]:
        if self._policy is not None:
            with self._guard:
                self._learn(scheduler_output, model_runner_output)
        answers: dict[int, Any] = super().update_from_output(scheduler_output, model_runner_output)
        if self._policy is not None and not self.requests:
            with self._guard:
                self._metrics.hand_over()
        return answers

    def _preempt_request(self, request: Request, timestamp: float, drop_stale_output: bool = False) -> None:
        super()._preempt_request(request, timestamp, drop_stale_output)
        if self._policy is not None:
            with self._guard:
                self._taken(request)

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> tuple[Any, Any]:
        if self._policy is not None:
            with self._guard:
                self._leave(request)
        answer: tuple[Any, Any] = super()._free_request(request, delay_free_blocks)
        return answer

    # --- should the policy fail ---------------------------------------------------------------------------------

    def _fall_back(self, error: Exception) -> None:
        """Goes on as vLLM's own scheduler for the rest of the process; `error` says why.

        The policy, the table and all that is learned only choose among requests that are vLLM's: nothing is lost
        without them. An error of vLLM's own never comes here.
        """
        self._policy = None
        self._hand_back()
        reason = " ".join(f"{POLICY_FAILED} {type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        logger.error("QoE scheduling (%s): OFF, %s", self._settings.policy_name, reason, exc_info=error)
        try:
            self._metrics.set_active(False, reason)
            self._metrics.hand_over()
        except Exception:
            logger.exception("andante_scheduler_active does not show that the policy failed")

    def _hand_back(self) -> None:
        """Puts who waits into a queue of vLLM's, in order of arrival; once a step under way has put it back."""
        held = self.waiting
        if isinstance(held, WaitingQueue):
            self.waiting = create_request_queue(self.policy)
            for request in sorted(held, key=lambda request: request.arrival_time):
                self.waiting.add_request(request)

    # --- gather --------------------------------------------------------------------------------------------------

    def _enter(self, request: Request) -> None:
        classes = self._settings.classes()
        arguments = (request.sampling_params.extra_args if request.sampling_params else None) or {}
        name = arguments.get(request_args.CLASS)
        known = classes.by_name.get(name) if isinstance(name, str) else None
        index, qoe_class = known or classes.by_name[classes.default]
        wall = self.wall_clock()
        received = arguments_arrival(arguments, now=wall, otherwise=request.arrival_time)
        self._table.add(
            request.request_id,
            arrival=self.now() - max(wall - received, 0.0),
            expectation=arguments_expectation(arguments, qoe_class, prompt_tokens=request.num_prompt_tokens),
            weight=qoe_class.weight,
            class_index=min(index, MAX_CLASSES - 1),
            prompt_tokens=request.num_prompt_tokens,
            longest=request.max_tokens,
        )
        self._eligibility.waits(request)
        if self._prefixes.works:
            self._look_up(request)

    def _look_up(self, request: Request) -> None:
        """What the prefix cache holds of it now."""
        if request.status is RequestStatus.RUNNING:
            # What nobody else holds is gone when it is taken off, as far as one can rely on it.
            cached = shared = self._prefixes.of_running(request)
        elif self._holds_kv_blocks(request):
            return
        else:
            cached, shared = self._prefixes.of_waiting(request)
        self._table.reuse(request.request_id, cached=cached, shared=shared)

    def _look_up_in_turn(self, rows: Ints) -> None:
        """For some of the requests of those rows, and the next time for the next."""
        if not self._prefixes.works or not rows.size:
            return
        start = self._next_lookup if self._next_lookup < rows.size else 0
        self._next_lookup = start + _LOOKED_UP_EACH_STEP
        for request in self._named(rows[start : self._next_lookup]):
            self._look_up(request)

    def _note_refused(self, refused: list[Request]) -> None:
        """Whom the plan let in and vLLM did not."""
        for request in refused:
            self._eligibility.was_refused(request)
        if self._prefixes.works:
            for request in refused[:_LOOKED_UP_EACH_STEP]:
                self._look_up(request)

    def _leave(self, request: Request) -> None:
        self._eligibility.leaves(request)
        ended = request.status is not RequestStatus.FINISHED_ABORTED
        self._table.remove(request.request_id, ended_itself=ended)
        self._came_back(request.request_id)

    def _taken(self, request: Request) -> None:
        """It was taken off, by the policy or for want of blocks."""
        request_id = request.request_id
        self._table.preempted(request_id, kept=self._kept_by_host(request_id))
        self._eligibility.waits(request)
        self._taken_off[request_id] = self.now()
        (self._metrics.preemptions if self._ours else self._metrics.famine_preemptions).inc()

    def _decide(self, policy: Policy) -> tuple[Plan | None, Ints]:
        if not self.waiting and not self.running:
            return None, NOBODY
        started = time.perf_counter()
        if not self.waiting and not self._tight():
            return None, NOBODY
        self._eligibility.refresh()
        engine = self._engine_view()
        key = (self._table.version, len(self.running), engine.unfinished_prefill)
        unchanged = key == self._standing_key and engine.kv_free <= self._standing_free
        if self._standing and self._standing_left and unchanged:
            # Values change with time, but blocks only became fewer: nobody could be let in.
            self._standing_left -= 1
            self._metrics.decided(seconds=time.perf_counter() - started, kv_use=1 - engine.kv_free / engine.kv_capacity)
            return self._standing
        self._note_losses()
        prefilling = [request.request_id for request in self._inflight_prefills]
        requests, rows = self._table.view(self.now(), prefilling=prefilling)
        plan = policy.decide(requests, engine) if len(requests) else None
        if plan is not None:
            check_plan(plan, requests)
            self._look_up_in_turn(rows)
        self._standing = None
        if plan is not None and not (plan.admit.size or plan.preempt.size):
            self._standing, self._standing_key = (plan, rows), key
            self._standing_free, self._standing_left = engine.kv_free, _STANDING_STEPS
        self._metrics.decided(
            seconds=time.perf_counter() - started,
            kv_use=None if plan is None else 1 - engine.kv_free / engine.kv_capacity,
        )
        return plan, rows

    def _kept_by_host(self, request_id: str) -> int:
        """Tokens of it that need not be computed again."""
        return 0 if self._host is None else self._host.kept(request_id, chunk=self.block_size)

    def _note_losses(self) -> None:
        if self._host is None:
            return
        for request_id in self._host.take_shortened():
            self._table.lost(request_id, kept=self._kept_by_host(request_id))

    def _engine_view(self) -> EngineView:
        pool = self.kv_cache_manager.block_pool
        return EngineView(
            now=self.now(),
            kv_capacity=self._kv_capacity,
            kv_free=float(pool.get_num_free_blocks() * self.block_size),
            block_size=self.block_size,
            max_seqs=max(self.max_num_active_reqs - self.num_waiting_for_streaming_input, 1),
            max_step_tokens=self.max_num_scheduled_tokens,
            unfinished_prefill=float(self._unfinished_prefill()),
            step_time=self._step_time.line,
            cached_share=self._cached_share,
            tightest_pace=self._table.tightest_pace,
        )

    def _unfinished_prefill(self) -> int:
        prefills = self._inflight_prefills
        return sum(r.num_tokens - r.num_computed_tokens for r in prefills) if prefills else 0

    def _tight(self) -> bool:
        """Whether a step could go wrong although nobody waits: blocks may run out, or it may be too slow to read by.

        Asked in every step of an engine with room for all, so without a view.
        """
        running = len(self.running)
        pool = self.kv_cache_manager.block_pool
        free = pool.get_num_free_blocks()
        if free < 2 * (1 + running):
            return True
        pace = self._table.tightest_pace
        if pace <= 0:
            return False
        prefill = min(self._unfinished_prefill(), self.max_num_scheduled_tokens)
        step = self._step_time.line.seconds(
            prefill_tokens=prefill, sequences=running, context_tokens=self._table.running_context()
        )
        return step > 0.7 / pace

    # --- apply ---------------------------------------------------------------------------------------------------

    def _orders(self, plan: Plan, rows: Ints) -> _Orders:
        """The plan's requests by what is done with them; changes nothing of vLLM's.

        Raises BrokenPlanError if somebody who is to be let in is not in the queue.
        """
        admit = [request for request in self._named(rows[plan.admit]) if not self._holds_kv_blocks(request)]
        if not self.waiting.holds(admit):
            raise BrokenPlanError("admit: names a request that is not in vLLM's queue")
        chunked = self.scheduler_config.enable_chunked_prefill
        return _Orders(
            admit=admit,
            preempt=self._named(rows[plan.preempt], running=True),
            victims=self._named(rows[plan.victims], running=True),
            tokens=plan.step_tokens if chunked else None,
        )

    def _carry_out(self, orders: _Orders, throttle_prefills: bool) -> SchedulerOutput:
        if orders.preempt:
            for request in orders.preempt:
                del self.running[_place(request, self.running)]
            self._ours = True
            for request in orders.preempt:
                self._preempt_request(request, time.monotonic())
            self._ours = False
        victims = [request for request in reversed(orders.victims) if request.status is RequestStatus.RUNNING]
        if victims and self.running[-len(victims) :] != victims:  # vLLM takes the last one off first
            for request in victims:
                del self.running[_place(request, self.running)]
            self.running.extend(victims)
        # schedule() sees only those whom the plan lets in; the others keep their places in the queue.
        whole = self.max_num_scheduled_tokens
        if orders.tokens is not None:
            self.max_num_scheduled_tokens = min(whole, orders.tokens)
        held: Any = self.waiting
        self.waiting = FCFSRequestQueue(orders.admit)
        try:
            batch = super().schedule(throttle_prefills)
        finally:
            self.max_num_scheduled_tokens = whole
            left, self.waiting = self.waiting, held
            held.remove_requests([request for request in orders.admit if request.status in _STARTED])
            if len(left):
                known = {request.request_id for request in orders.admit}
                # Those that vLLM took off in this step come to the front, as in vLLM.
                for request in reversed([request for request in left if request.request_id not in known]):
                    held.prepend_request(request)
            if self._policy is None:  # it failed within the step
                self._hand_back()
        return batch

    def _named(self, rows: Ints, *, running: bool = False) -> list[Request]:
        """The requests of those rows; of them those that are `running`, where that is asked for."""
        if not rows.size:
            return []
        named = [self.requests[request_id] for request_id in self._table.names(rows)]
        return [request for request in named if request.status is RequestStatus.RUNNING] if running else named

    def _note(self, batch: SchedulerOutput) -> None:
        """Remembers what the step holds, for the fit, and who started."""
        for request in self.kv_holding_waiting:
            if request.status is RequestStatus.WAITING_FOR_STREAMING_REQ:
                self._eligibility.waits(request)
            else:
                self._table.started(request.request_id)  # its KV is on its way back from the host
        cached = batch.scheduled_cached_reqs
        started = [new.req_id for new in batch.scheduled_new_reqs]
        started.extend(cached.resumed_req_ids)
        prefill = 0
        tokens = batch.num_scheduled_tokens
        for request_id in started:
            self._table.started(request_id)
            request = self.requests[request_id]
            self._eligibility.starts(request)
            if self._prefixes.works:
                self._look_up(request)
            prefill += tokens[request_id]
            if request.num_preemptions:
                self._came_back(request_id)
                known = request.num_tokens
                found = request.num_computed_tokens - tokens[request_id]
                self._cached_share += 0.05 * (found / known - self._cached_share)
                self._metrics.recomputed_tokens.inc(max(known - found, 0))
        total = batch.total_num_scheduled_tokens
        if not total:
            return
        sequences = len(tokens)
        decoding = sequences - len(started)
        prefilling = self._inflight_prefills.union(self.requests[name] for name in started)
        if total - prefill != decoding:  # somebody is in the middle of a prefill
            new = set(started)
            middle = [(r, n) for r, n in tokens.items() if n > 1 and r not in new]
            prefill += sum(n for _, n in middle)
            decoding -= len(middle)
            prefilling.update(self.requests[name] for name, _ in middle)
        running = self._table.running()
        context = self._table.running_context() - sum(request.num_tokens for request in prefilling)
        self._flights.append(
            _Flight(
                key=id(batch),
                scheduled_at=self.now(),
                prefill=float(prefill),
                decoding=float(decoding),
                context=max(context, 0.0),
                whole=running if running.rows.size == sequences else None,
            )
        )

    def _came_back(self, request_id: str) -> None:
        """Counts how long it was off, if it was."""
        since = self._taken_off.pop(request_id, None)
        if since is not None:
            self._metrics.stalled_seconds.inc(max(self.now() - since, 0.0))

    def _learn(self, batch: SchedulerOutput, output: ModelRunnerOutput) -> None:
        """Counts the tokens that this step brought, and fits the step time."""
        now = self.now()
        flight = self._landed(batch)
        if output.sampled_token_ids:
            self._deliver(flight, output, now)
        if flight is not None:
            seconds = now - max(flight.scheduled_at, self._last_update)
            self._metrics.stepped(seconds=max(seconds, 0.0))
            self._steps += 1
            # Plain decode steps come by the hundred and all say the same.
            if flight.prefill or self._steps % _FIT_EVERY == 0:
                self._step_time.observe(
                    prefill_tokens=flight.prefill,
                    sequences=flight.decoding,
                    context_tokens=flight.context,
                    seconds=seconds,
                )
            if self._steps % _EXPORT_EVERY == 1:  # not where times are handed over as well
                self._metrics.set_fit(self._step_time.line, self._step_time.relative_error)
        self._last_update = now

    def _landed(self, batch: SchedulerOutput) -> _Flight | None:
        """The flight of `batch`; those before it are forgotten."""
        while self._flights:
            flight = self._flights.popleft()
            if flight.key == id(batch):
                return flight
        return None

    def _deliver(self, flight: _Flight | None, output: ModelRunnerOutput, now: float) -> None:
        # Nobody gets two in a step: without speculative decoding, which is refused, each who gets any gets one.
        if all(output.sampled_token_ids):
            whole = flight.whole if flight is not None else None
            if whole is None or whole.layout != self._table.layout:
                whole = self._table.batch(output.req_ids)
            self._table.deliver_one_each(whole, now)
            return
        some = [name for name, tokens in zip(output.req_ids, output.sampled_token_ids, strict=True) if tokens]
        if some:
            self._table.deliver_one_each(self._table.batch(some), now)


def _place(request: Request, line: list[Request]) -> int:
    """Its index in `line`, negative: sought from the end, where the last step's victims are. `==` would cost more."""
    return -next(place for place, other in enumerate(reversed(line), 1) if other is request)


class QoEScheduler(QoEScheduling, AsyncScheduler):
    """vLLM's scheduler with Andante's choice of whom to serve; right for async and for synchronous engines."""


class SyncQoEScheduler(QoEScheduling, Scheduler):
    """The same over vLLM's synchronous class, for vLLM's own tests of that class; engines use `QoEScheduler`."""
