"""operator.yaml: what the chart tells the operator. Read once at start; every error names the file and the field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

OPERATOR_CONFIG_FILE: Final = "/etc/andante/operator.yaml"


class SettingsError(ValueError):
    """operator.yaml cannot be used; the message names the file and the field."""


def _field_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join("URL" if word == "url" else word.capitalize() for word in rest)


class OperatorSettings(BaseModel):
    """The operator's settings; a field that is not known is refused, a typing error must not pass for a default."""

    model_config = ConfigDict(
        alias_generator=_field_name, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
    )

    engine_image: Annotated[str, Field(min_length=1, max_length=512)]
    """Image of engines whose LLMService names none."""
    engine_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    engine_pod_template: Mapping[str, Any] = Field(default_factory=dict)
    """Strategic-merge patch over every engine's pod template ({metadata, spec}), below the LLMService's own."""
    prometheus_url: Annotated[str, Field(alias="prometheusURL", pattern=r"^(https?://\S+)?$")] = ""
    """Base URL of Prometheus; empty: the operator scrapes the engine pods itself."""
    tick_seconds: Annotated[float, Field(ge=1, le=600, allow_inf_nan=False)] = 15.0
    """Seconds between two scaling ticks."""
    scrape_timeout_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 3.0
    """Seconds that one scrape or query may take."""
    resync_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 900.0
    """Seconds between two looks at everything, whatever the watches told; also for kinds that came or went."""
    watch_namespaces: tuple[Annotated[str, Field(min_length=1, max_length=63)], ...] = ()
    """Namespaces whose LLMServices are served; empty: all."""
    operator_namespace: Annotated[str, Field(max_length=63)] = ""
    """Namespace of the operator itself: NetworkPolicies of services let it scrape. Empty: not let in by name."""

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
            problems = "\n".join(f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise SettingsError(f"{path}:\n{problems}") from error
