"""Defines andante.dev/v1alpha1: the models of the custom resource LLMService.

Field names, defaults, descriptions and rules of the CRD come from here (`andante.generate.crd` writes it out).
"""

from andante.api.v1alpha1.delivery import Monitoring, NetworkPolicy, Rollout
from andante.api.v1alpha1.engine import Engine, Scheduler, VirtualGPU
from andante.api.v1alpha1.model import ModelSource, ServedModel
from andante.api.v1alpha1.qoe import ExpectationClass, QoE, QoEObjective
from andante.api.v1alpha1.scaling import Scaling, ScalingBehavior, ScalingTarget
from andante.api.v1alpha1.service import (
    API_VERSION,
    GROUP,
    KIND,
    MAX_NAME_LENGTH,
    PLURAL,
    SHORT_NAMES,
    SINGULAR,
    VERSION,
    LLMService,
    LLMServiceSpec,
    Metadata,
    SpecError,
)
from andante.api.v1alpha1.status import (
    Condition,
    ControllerMemory,
    CurvePoint,
    Decision,
    DecisionInputs,
    DecisionStep,
    LLMServiceStatus,
    QoEStatus,
    ScalingStatus,
    Summary,
)

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "MAX_NAME_LENGTH",
    "PLURAL",
    "SHORT_NAMES",
    "SINGULAR",
    "VERSION",
    "Condition",
    "ControllerMemory",
    "CurvePoint",
    "Decision",
    "DecisionInputs",
    "DecisionStep",
    "Engine",
    "ExpectationClass",
    "LLMService",
    "LLMServiceSpec",
    "LLMServiceStatus",
    "Metadata",
    "ModelSource",
    "Monitoring",
    "NetworkPolicy",
    "QoE",
    "QoEObjective",
    "QoEStatus",
    "Rollout",
    "Scaling",
    "ScalingBehavior",
    "ScalingStatus",
    "ScalingTarget",
    "Scheduler",
    "ServedModel",
    "SpecError",
    "Summary",
    "VirtualGPU",
]
