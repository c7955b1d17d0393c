"""Defines LLMService: the metadata that the operator needs, spec, status, and the parser of a raw object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, ValidationError

from andante.api.rules import Rule, rules
from andante.api.v1alpha1.delivery import Monitoring, NetworkPolicy, Rollout
from andante.api.v1alpha1.engine import Engine
from andante.api.v1alpha1.model import ServedModel
from andante.api.v1alpha1.qoe import QoE
from andante.api.v1alpha1.scaling import Scaling
from andante.api.v1alpha1.status import LLMServiceStatus
from andante.api.values import APIModel

GROUP: Final = "andante.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "LLMService"
PLURAL: Final = "llmservices"
SINGULAR: Final = "llmservice"
SHORT_NAMES: Final = ("lls",)
API_VERSION: Final = f"{GROUP}/{VERSION}"

MAX_NAME_LENGTH: Final = 52
"""Children add a suffix to the name, and the name is a label value; both may have at most 63 characters."""


class SpecError(ValueError):
    """An LLMService cannot be read: `problems` lists (field path, what is wrong)."""

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems))
        self.problems = problems


class LLMServiceSpec(APIModel):
    """What to serve, on which hardware, for which users, and with how many replicas."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!has(self.model.source.synthetic) || !has(self.model.maxModelLen)"
                " || self.model.maxModelLen <= 32768",
                message="the synthetic model reads at most 32768 tokens",
                field_path=".model.maxModelLen",
            ),
            Rule(
                rule="!has(self.model.maxModelLen) || !has(self.engine.virtualGPU)"
                " || !has(self.engine.virtualGPU.kvCapacityTokens)"
                " || self.model.maxModelLen <= self.engine.virtualGPU.kvCapacityTokens",
                message="model.maxModelLen is above the KV cache of engine.virtualGPU: a request of that length could"
                " never run; lower maxModelLen or raise kvCapacityTokens",
                field_path=".engine.virtualGPU.kvCapacityTokens",
            ),
        )
    )

    model: ServedModel
    """What to serve."""
    engine: Engine = Engine()
    """How one replica runs."""
    qoe: QoE = QoE()
    """What users expect, and what is promised to them: the one objective of scheduler, scaler and alerts."""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Replicas in the scaling modes Manual and Advisory (default: scaling.minReplicas); `kubectl scale` sets this
    field. In Auto mode the scaler ignores it and chooses between scaling.minReplicas and scaling.maxReplicas."""
    scaling: Scaling = Scaling()
    """How many replicas, and why."""
    rollout: Rollout = Rollout()
    """How a change reaches the pods, and how they leave."""
    monitoring: Monitoring = Monitoring()
    """Objects that Andante creates for Prometheus. Grafana's dashboards serve all services: see the chart's
    dashboards."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """Who may open connections to the engines."""


class Metadata(APIModel):
    """The part of metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)


class LLMService(APIModel):
    """A model served to readers: vLLM replicas whose scheduler, number and alerts follow one quality-of-experience
    objective."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule=f"self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
                f" && size(self.metadata.name) <= {MAX_NAME_LENGTH}",
                message="the Service and the pods take this name: it must start with a letter, hold only lower-case"
                f" letters, digits and '-', and have at most {MAX_NAME_LENGTH} characters",
                field_path=".metadata.name",
            )
        )
    )

    metadata: Metadata
    spec: LLMServiceSpec
    status: LLMServiceStatus = LLMServiceStatus()

    @classmethod
    def parse(cls, obj: Mapping[str, Any]) -> Self:
        """Parse an object of the API (or a manifest), with defaults filled in.

        Every object that the API server admits can be parsed. The API server refuses wrong combinations of fields (CEL
        rules of the CRD); this method checks types and ranges again. Raises SpecError with every problem.
        """
        if not isinstance(obj.get("spec"), Mapping):
            raise SpecError((("spec", "is missing"),))
        try:
            return cls.model_validate(
                {"metadata": obj.get("metadata"), "spec": obj["spec"], "status": LLMServiceStatus.parse(obj)}
            )
        except ValidationError as error:
            raise SpecError(tuple((_path(e["loc"]), e["msg"]) for e in error.errors())) from error

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def served_name(self) -> str:
        """The name for `model` in clients' requests."""
        return self.spec.model.served_name or self.metadata.name

    @property
    def fixed_replicas(self) -> int:
        """Replicas in the modes Manual and Advisory."""
        return self.spec.scaling.min_replicas if self.spec.replicas is None else self.spec.replicas


def _path(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
