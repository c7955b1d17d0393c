"""Andante's scheduler in virtual time: the shipped class, with another clock and its settings given directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.scheduling.virtual_time import VirtualClock

from andante.domain.pace import QoEClass
from andante.domain.scheduling.andes_policy import AndesPolicy, AndesPolicySettings
from andante.domain.scheduling.latency import LinearStepTime
from andante.domain.scheduling.qoe_policy import QoEPolicy, QoEPolicySettings
from andante.domain.scheduling.view import SchedulingPolicy
from andante.domain.step_time import Profile
from andante_vllm.scheduler import QoEScheduler
from andante_vllm.scheduler_settings import Classes, SchedulerSettings


def virtual_qoe_scheduler(
    *,
    policy: str,
    clock: VirtualClock,
    classes: tuple[QoEClass, ...],
    profile: Profile,
    options: Mapping[str, Any],
) -> type[QoEScheduler]:
    """The scheduler class, bound to a virtual clock and to `policy` with `options` over its defaults."""
    chosen: SchedulingPolicy = (
        AndesPolicy(AndesPolicySettings(**options)) if policy == "andes" else QoEPolicy(QoEPolicySettings(**options))
    )
    in_force = Classes.of(classes, classes[0].name)
    settings = SchedulerSettings(
        policy=chosen,
        policy_name=policy,
        step_time=LinearStepTime.from_profile(profile.coefficients),
        classes=lambda: in_force,
        model_name=profile.model,
    )

    class VirtualQoEScheduler(QoEScheduler):
        """Reads virtual time."""

        def now(self) -> float:
            return clock.now

        def load_settings(self) -> SchedulerSettings:
            return settings

    return VirtualQoEScheduler
