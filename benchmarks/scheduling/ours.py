"""Andante's scheduler in virtual time: the shipped class, with another clock and its settings given directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.scheduling.rivals import RIVALS, RivalPolicy
from benchmarks.scheduling.virtual_time import VirtualClock
from benchmarks.scheduling.vllms_order import VLLMsOrder
from vllm.v1.request import Request

from andante.domain.pace import QoEClass
from andante.domain.scheduling.andes_policy import AndesPolicy, AndesPolicySettings
from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import SchedulingPolicy
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime, Profile
from andante_vllm import host_kv
from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_settings import Classes, SchedulerSettings


def _learn_nothing(**_: Any) -> None:
    """Stands in for what learns online."""


def _policy(name: str, options: Mapping[str, Any]) -> SchedulingPolicy:
    if name == "andes":
        return AndesPolicy(AndesPolicySettings(**options))
    settings = QoEPolicySettings(**options)
    return RivalPolicy(name, settings) if name in RIVALS else QoEPolicy(settings)


def virtual_qoe_scheduler(
    *,
    policy: str,
    clock: VirtualClock,
    classes: tuple[QoEClass, ...],
    profile: Profile,
    options: Mapping[str, Any],
) -> type[QoEScheduler]:
    """The scheduler class, bound to a virtual clock and to `policy` with `options` over its defaults.

    `policy`: `qoe`, `andes`, or one of `RIVALS`, whose options are the limits that it shares with `qoe`. Four options
    are not the policy's: `online_step_time` and `online_lengths`, false where an ablation wants the seeds,
    `true_step_time`, false where the fit starts as for a model that nobody measured and not from the profile, and
    `ended_first`, false where an ablation wants the host's memory to give up KV in vLLM's order.
    """
    options = dict(options)
    true_step_time = options.pop("true_step_time", True)
    online_step_time = options.pop("online_step_time", True)
    online_lengths = options.pop("online_lengths", True)
    ended_first = options.pop("ended_first", True)
    chosen = _policy(policy, options)
    in_force = Classes.of(classes, classes[0].name)
    settings = SchedulerSettings(
        policy=chosen,
        policy_name=policy,
        step_time=LinearStepTime.from_profile(profile.coefficients) if true_step_time else DEFAULT_STEP_TIME,
        classes=lambda: in_force,
        model_name=profile.model,
    )

    class VirtualQoEScheduler(QoEScheduler):
        """Reads virtual time."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if not online_step_time:
                self._step_time.observe = _learn_nothing  # type: ignore[method-assign]
            if not ended_first and self._seam.host is not None:
                self.connector.connector_scheduler.manager._policy = VLLMsOrder(self._seam.host.chunks)
                self._seam.host = host_kv.of(self.connector)

        def _leave(self, request: Request) -> None:
            if not online_lengths:
                self._table.remove(request.request_id, ended_itself=False)  # as if aborted, which tells no length
            super()._leave(request)

        def now(self) -> float:
            return clock.now

        def wall_clock(self) -> float:
            return clock.now

        def load_settings(self) -> SchedulerSettings:
            return settings

    return VirtualQoEScheduler
