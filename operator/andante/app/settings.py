"""Reads operator.yaml, the settings from the chart, once at the start. Every error names the file and the field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from andante.api.v1alpha1.delivery import LONGEST_INTERVAL
from andante.api.values import Duration
from andante.domain.rollout_budget import BUDGET_PATTERN

OPERATOR_CONFIG_FILE: Final = "/etc/andante/operator.yaml"


PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class SettingsError(ValueError):
    """operator.yaml cannot be used; the message names the file and the field."""


def _field_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join("URL" if word == "url" else word.capitalize() for word in rest)


class _Settings(BaseModel):
    """Base of the settings. An unknown field is refused, so that a typo does not silently mean the default."""

    model_config = ConfigDict(
        alias_generator=_field_name, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
    )


class MonitoringSettings(_Settings):
    """What PodMonitors and PrometheusRules of services have where an LLMService does not say (spec.monitoring)."""

    labels: Mapping[str, str] = Field(default_factory=dict)
    """Labels of these objects, below the LLMService's own."""
    interval: Annotated[float, Duration(minimum="1s", maximum=LONGEST_INTERVAL)] = 15.0
    """Seconds between two scrapes of an engine."""
    histogram_buckets: bool = True
    """Whether Prometheus keeps the buckets of histograms."""
    runbook_url: Annotated[str, Field(alias="runbookURL", pattern=r"^(https?://\S+)?$", max_length=512)] = ""
    """Address of a runbook, with {alert} and {version} in it. Empty: alerts name the command that prints it."""


class PrometheusSettings(_Settings):
    """How to reach Prometheus, beside its URL. Files are read in the operator's pod; their content is never shown."""

    headers: Mapping[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")], Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=dict
    )
    """Headers of each query, such as the tenant (`X-Scope-OrgID`)."""
    bearer_token_file: str = ""
    """File with a token; read again for each query."""
    username_file: str = ""
    """File with the user's name."""
    password_file: str = ""
    """File with the password."""
    ca_file: str = ""
    """PEM file with the authorities that Prometheus' certificate is checked with; empty: the usual ones."""
    client_certificate_file: str = ""
    """PEM file with the operator's own certificate."""
    client_key_file: str = ""
    """PEM file with its key."""
    insecure_skip_verify: bool = False
    """Do not check Prometheus' certificate: any server in between can then read the token and make up figures."""

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        if bool(self.username_file) != bool(self.password_file):
            raise ValueError("usernameFile and passwordFile: give both")
        if self.bearer_token_file and self.username_file:
            raise ValueError("bearerTokenFile and usernameFile: give one of the two")
        if bool(self.client_certificate_file) != bool(self.client_key_file):
            raise ValueError("clientCertificateFile and clientKeyFile: give both")
        if self.insecure_skip_verify and self.ca_file:
            raise ValueError("insecureSkipVerify and caFile: give one of the two")
        return self


class LogSettings(_Settings):
    """The operator's log."""

    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line, with each decision and its steps as fields."""


class OperatorSettings(_Settings):
    """The operator's settings."""

    engine_image: Annotated[str, Field(min_length=1, max_length=512)]
    """Image of engines whose LLMService names none."""
    engine_image_pull_policy: PullPolicy = "IfNotPresent"
    engine_image_pull_secrets: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = ()
    """Names of pull secrets that every engine pod gets beside its service's own; each in the service's namespace."""
    engine_package_from: Literal["Operator", "Image"] = "Operator"
    """Where Andante's engine package comes from where an LLMService does not say (spec.engine.packageFrom)."""
    operator_image: Annotated[str, Field(max_length=512)] = ""
    """Image of the operator itself: an init container of engine pods copies the engine package from it."""
    operator_image_pull_policy: PullPolicy = "IfNotPresent"
    engine_pod_template: Mapping[str, Any] = Field(default_factory=dict)
    """Strategic-merge patch over every engine's pod template ({metadata, spec}), below the LLMService's own."""
    allow_pod_template: bool = True
    """Whether LLMServices may patch their pods (spec.engine.podTemplate)."""
    allow_host_path: bool = False
    """Whether LLMServices may mount folders of the node: model.source.hostPath, or a hostPath volume of podTemplate."""
    prometheus_url: Annotated[str, Field(alias="prometheusURL", pattern=r"^(https?://\S+)?$")] = ""
    """Base URL of Prometheus; empty: the operator scrapes the engine pods itself."""
    prometheus: PrometheusSettings = PrometheusSettings()
    """How to reach Prometheus, beside its URL."""
    monitoring: MonitoringSettings = MonitoringSettings()
    """What PodMonitors and PrometheusRules of services have where an LLMService does not say."""
    log: LogSettings = LogSettings()
    """The operator's log."""
    tick_seconds: Annotated[float, Field(ge=1, le=600, allow_inf_nan=False)] = 15.0
    """Seconds between two scaling ticks."""
    scrape_timeout_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 3.0
    """Seconds that one scrape or query may take."""
    rollout_budget: Annotated[str, Field(pattern=BUDGET_PATTERN)] = "10%"
    """How many services may replace their pods at once for a change of the operator's or the chart's: 3, or 10%."""
    resync_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 900.0
    """Seconds between two full checks of all objects, even if no change was reported; finds kinds that came or went."""
    watch_namespaces: tuple[Annotated[str, Field(min_length=1, max_length=63)], ...] = ()
    """Namespaces whose LLMServices are served; empty: all."""
    operator_namespace: Annotated[str, Field(max_length=63)] = ""
    """Namespace of the operator itself: NetworkPolicies of services let it scrape. Empty: not let in by name."""

    @model_validator(mode="after")
    def _package_has_a_source(self) -> Self:
        if self.engine_package_from == "Operator" and not self.operator_image:
            raise ValueError(
                "operatorImage: missing: engine pods copy Andante's engine package from it; give the operator's image,"
                " or set enginePackageFrom to Image where engineImage holds the package"
            )
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `path`. Raises SettingsError."""
        try:
            document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: not YAML: {error}") from error
        if not isinstance(document, dict):
            raise SettingsError(f"{path}: must be a mapping of fields, got {type(document).__name__}")
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            problems = "\n".join(
                f"  {'.'.join(map(str, e['loc'])) or '(document)'}: {e['msg']}" for e in error.errors()
            )
            raise SettingsError(f"{path}:\n{problems}") from error
