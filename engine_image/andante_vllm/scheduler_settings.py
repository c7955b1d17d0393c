"""Reads the scheduler's settings from engine.yaml and qoe.yaml: policy, classes and a first guess of the step time.

The engine core process reads them once at its start, from the path that `andante-engine serve` set in the environment.
Without this path (vLLM started by hand, vLLM's own tests) vLLM's own scheduling runs. No vLLM import here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from andante.domain.pace import PRESETS, QoEClass
from andante.domain.scheduling.andes_policy import AndesPolicy, AndesPolicySettings
from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import SchedulingPolicy
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime
from andante.engine_config import EngineConfig
from andante.profiles import load_profiles
from andante_vllm.live_settings import LiveQoESettings
from andante_vllm.settings import ENGINE_CONFIG_VARIABLE, engine_config_path, qoe_settings_path, read_engine_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The QoE classes in force."""

    by_name: dict[str, tuple[int, QoEClass]]
    """Each class with its index, by name."""
    default: str

    @classmethod
    def of(cls, classes: tuple[QoEClass, ...], default: str) -> Classes:
        return cls(by_name={c.name: (index, c) for index, c in enumerate(classes)}, default=default)


READING = Classes.of((PRESETS["reading"],), "reading")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """All inputs of `QoEScheduler` from outside."""

    policy: SchedulingPolicy | None = None
    """None: vLLM's own scheduling."""
    policy_name: str = "fcfs"
    step_time: LinearStepTime = DEFAULT_STEP_TIME
    """Start of the online fit."""
    classes: Callable[[], Classes] = field(default=lambda: READING)
    """The classes in force now; called once for each request that arrives."""
    model_name: str = ""
    """Label of the metrics."""


def settings_from_environment(
    *, log_error: Callable[[str], None], log_info: Callable[[str], None]
) -> SchedulerSettings:
    """The settings of this process's engine. Raises ConfigError naming the file and the field."""
    if not os.environ.get(ENGINE_CONFIG_VARIABLE):
        return SchedulerSettings()
    path = engine_config_path()
    config = read_engine_config(path)
    live = LiveQoESettings(qoe_settings_path(path), log_error=log_error, log_info=log_info)
    return SchedulerSettings(
        policy=make_policy(config),
        policy_name=config.scheduler.policy,
        step_time=_first_guess(config),
        classes=_LiveClasses(live),
        model_name=config.model.served_name,
    )


def make_policy(config: EngineConfig) -> SchedulingPolicy | None:
    """The policy that engine.yaml names; None for `fcfs`."""
    scheduler = config.scheduler
    match scheduler.policy:
        case "fcfs":
            return None
        case "andes":
            return AndesPolicy(
                AndesPolicySettings(
                    objective=scheduler.objective,
                    max_preemptions_per_request=(
                        scheduler.preemption.max_per_request if scheduler.preemption.enabled else 0.0
                    ),
                )
            )
        case "qoe":
            return QoEPolicy(
                QoEPolicySettings(
                    objective=scheduler.objective,
                    ageing_share=scheduler.ageing_share,
                    preemption=scheduler.preemption.enabled,
                    max_preemptions_per_request=scheduler.preemption.max_per_request,
                    preemption_margin=scheduler.preemption.margin,
                    kv_offload=scheduler.kv_offload_gib > 0,
                )
            )


class _LiveClasses:
    """The classes of qoe.yaml. A name always keeps its index, so that learned lengths stay with their class."""

    def __init__(self, live: LiveQoESettings) -> None:
        self._live = live
        self._version = -1
        self._indices: dict[str, int] = {}
        self._classes = READING

    def __call__(self) -> Classes:
        settings = self._live.current()
        if self._live.version != self._version:
            self._version = self._live.version
            for entry in settings.classes:
                self._indices.setdefault(entry.name, len(self._indices))
            self._classes = Classes(
                by_name={c.name: (self._indices[c.name], c.to_domain()) for c in settings.classes},
                default=settings.default_class,
            )
        return self._classes


def _first_guess(config: EngineConfig) -> LinearStepTime:
    if config.virtual_gpu is None:
        return DEFAULT_STEP_TIME
    coefficients = load_profiles()[config.virtual_gpu.profile].coefficients
    return LinearStepTime.from_profile(coefficients.scaled(config.virtual_gpu.time_scale))
