"""Defines the value types of the resource: durations, quantities, names, and the base of its models."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from andante.api.rules import PATTERN_HINT, PRESERVE_UNKNOWN, Rule, cel_string, matching, rules

DURATION_PATTERN: Final = (
    r"^([0-9]{1,5}d|([0-9]{1,5}(\.[0-9]{1,3})?h)?([0-9]{1,6}(\.[0-9]{1,3})?m)?"
    r"([0-9]{1,7}(\.[0-9]{1,3})?s)?([0-9]{1,8}(\.[0-9]{1,3})?ms)?)$"
)
_UNIT_SECONDS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = re.compile(r"([0-9.]+)(ms|d|h|m|s)")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `200ms`, `1s`, `1m30s`, `6h` or `28d`. Raises ValueError."""
    if not text or re.fullmatch(DURATION_PATTERN, text) is None:
        raise ValueError(f"must be a duration such as 200ms, 1s, 1m30s, 6h or 28d, got {text!r}")
    return math.fsum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """Duration text for `seconds` >= 0, to the millisecond: 86400 -> `1d`, 0.2 -> `200ms`, 1.5 -> `1.500s`."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0 and (milliseconds > 0 or unit == "s"):
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3f}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """Marks a float of seconds that is a duration text in the API; `minimum` and `maximum` are duration texts too."""

    minimum: str
    maximum: str

    def parse(self, value: object) -> float:
        """Seconds of `value`: a duration text, or a number of seconds. Raises ValueError when out of bounds."""
        if isinstance(value, str):
            seconds = parse_duration(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        else:
            raise ValueError(f"must be a duration such as 200ms, 1s or 10m, got {value!r}")
        if not parse_duration(self.minimum) <= seconds <= parse_duration(self.maximum):
            raise ValueError(f"must be from {self.minimum} to {self.maximum}, got {value!r}")
        return seconds

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(format_duration)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        low, high = parse_duration(self.minimum), parse_duration(self.maximum)
        matches = f"self.matches({cel_string(DURATION_PATTERN)})"
        # CEL's duration() has no days. To compute hours from days costs too much by CEL's estimate of string sizes.
        within = (
            f"(self.endsWith('d') ? int(self.replace('d', '')) >= {math.ceil(low / 86_400)}"
            f" && int(self.replace('d', '')) <= {math.floor(high / 86_400)}"
            f" : duration(self) >= duration('{round(low * 1000)}ms')"
            f" && duration(self) <= duration('{round(high * 1000)}ms'))"
        )
        return {
            "type": "string",
            "minLength": 1,
            "maxLength": 32,
            PATTERN_HINT: DURATION_PATTERN,
            **rules(
                Rule(rule=matches, message="must be a duration such as 200ms, 1s, 1m30s, 6h or 28d"),
                Rule(
                    rule=f"!{matches} || {within}",
                    message=f"must be from {self.minimum} to {self.maximum}",
                ),
            ),
        }


_ACRONYMS: Final = {"ttft": "TTFT", "qoe": "QoE", "gpu": "GPU", "gib": "GiB", "mib": "MiB", "url": "URL"}


def api_name(field: str) -> str:
    """The resource's name of a Python field: `mean_qoe` -> `meanQoE`, `from_` -> `from`."""
    first, *rest = field.rstrip("_").split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


class APIModel(BaseModel):
    """Base of the resource's models: camelCase names, frozen. Docstrings become the descriptions of the CRD.

    Unknown fields are ignored here: the API server has refused or dropped them, and fields that a newer CRD stored must
    not stop an operator that was rolled back.
    """

    model_config = ConfigDict(
        alias_generator=api_name,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """The fields in the API's form, without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


FreeObject = Annotated[Mapping[str, Any], WithJsonSchema({"type": "object", **PRESERVE_UNKNOWN})]
"""An object of Kubernetes' own API that is passed on unchanged; the API server checks it later, as part of a pod."""

Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            **rules(
                Rule(
                    rule="type(self) == int || isQuantity(self)",
                    message="must be a Kubernetes quantity such as 2, 500m or 16Gi",
                )
            ),
            PATTERN_HINT: r"^[1-9][0-9]{0,3}(m|Ki|Mi|Gi)?$",
        }
    ),
]

DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=matching(
            DNS_SUBDOMAIN, "must be the name of a Kubernetes object: lower-case letters, digits, '-' and '.'"
        ),
    ),
]


def _share(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"must be above 0 and below 1, got {value}")
    return value


Share = Annotated[
    float,
    AfterValidator(_share),
    Field(
        json_schema_extra=rules(
            Rule(
                rule="self > 0.0 && self < 1.0",
                message="must be above 0 and below 1 (a goal of 1 leaves no error budget: nothing could ever change)",
            )
        )
    ),
]
"""A share strictly between 0 and 1. Bounds are a rule, not `minimum`/`maximum`, so that the answer says why."""
