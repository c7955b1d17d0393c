"""Makes the CRD from the models; `make generate` writes it to crds/.

Pydantic's JSON schema becomes a Kubernetes structural schema: references inlined, `X | None` turned into "may be
absent", defaults of sub-objects turned into `{}` (the API server then fills in the fields' own), bounds in the form of
OpenAPI 3.0, rules copied from the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from andante.api.rules import PATTERN_HINT, Rule, cel_list
from andante.api.v1alpha1.service import (
    GROUP,
    KIND,
    PLURAL,
    SHORT_NAMES,
    SINGULAR,
    VERSION,
    LLMService,
    LLMServiceSpec,
)
from andante.api.v1alpha1.status import UNTOUCHED, LLMServiceStatus
from andante.api.values import format_duration
from andante.profiles import load_profiles

Schema = dict[str, Any]

_KEPT: Final = (
    "type", "format", "description", "default", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties", "required", "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)  # fmt: skip

PRINTER_COLUMNS: Final[tuple[Mapping[str, Any], ...]] = (
    {"name": "Ready", "type": "string", "jsonPath": ".status.summary.ready",
     "description": "Replicas that serve, of the replicas that there should be."},
    {"name": "QoE", "type": "number", "jsonPath": ".status.qoe.mean", "description": "Mean QoE, 0 to 1."},
    {"name": "Good", "type": "number", "jsonPath": ".status.qoe.goodFraction", "description": "Share good, 0 to 1."},
    {"name": "Budget", "type": "string", "jsonPath": ".status.summary.budget",
     "description": "The error budget that is left."},
    {"name": "Measured", "type": "date", "jsonPath": ".status.qoe.observedAt",
     "description": "Time since the figures of this row were measured; empty: without traffic, or not measured."},
    {"name": "Problem", "type": "string", "jsonPath": ".status.summary.problem",
     "description": "The worst condition and its reason; empty: all is well."},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "Time since creation."},
    {"name": "Desired", "type": "integer", "priority": 1, "jsonPath": ".status.scaling.desired",
     "description": "Replicas that the scaler wants."},
    {"name": "Scaling", "type": "string", "priority": 1, "jsonPath": ".status.scaling.reason",
     "description": "Why the scaler wants them."},
    {"name": "Deficit", "type": "number", "priority": 1, "jsonPath": ".status.qoe.deficit",
     "description": "Mean QoE that requests lack to the target."},
    {"name": "Goodput", "type": "number", "priority": 1, "jsonPath": ".status.qoe.smoothGoodput",
     "description": "Smooth goodput, tokens per second."},
    {"name": "$/H", "type": "number", "priority": 1, "jsonPath": ".status.scaling.pricePerHour",
     "description": "Price of the present replicas per hour."},
    {"name": "Worst", "type": "string", "priority": 1, "jsonPath": ".status.qoe.worstClass",
     "description": "Class with the lowest QoE."},
    {"name": "Endpoint", "type": "string", "priority": 1, "jsonPath": ".status.endpoint",
     "description": "URL inside the cluster."},
)  # fmt: skip


def structural(schema: Mapping[str, Any], *, hints: bool = False) -> Schema:
    """A pydantic JSON schema as a structural schema.

    hints: keep the regular expressions behind string rules as `pattern` (for the fuzzer; not part of the CRD).
    """
    return _convert(schema, schema.get("$defs", {}), hints=hints)


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any], *, hints: bool) -> Schema:
    node = _resolve(node, definitions)
    converted: Schema = {key: node[key] for key in _KEPT if key in node}
    if "default" in converted:
        converted["default"] = _wire_default(converted["default"], converted)
    if "description" in converted:
        converted["description"] = " ".join(str(converted["description"]).split())
    if "const" in node:
        converted["enum"] = [node["const"]]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:
            converted[bound], converted[exclusive] = node[exclusive], True
    for bound, operator in (("minimum", ">="), ("maximum", "<=")):
        # The API server compares a whole number with the limit's whole part: 0 would pass `minimum: 0.001`.
        if not float(converted.get(bound, 0)).is_integer():
            rule = Rule(
                rule=f"self {operator} {converted[bound]!r}", message=f"must be {operator} {converted.pop(bound)}"
            )
            converted.setdefault("x-kubernetes-validations", []).append(rule.to_schema())
    if hints and PATTERN_HINT in node:
        converted["pattern"] = node[PATTERN_HINT]
    if "properties" in node:
        converted["properties"] = {
            name: _convert(child, definitions, hints=hints) for name, child in node["properties"].items()
        }
    elif isinstance(node.get("additionalProperties"), Mapping):
        converted["additionalProperties"] = _convert(node["additionalProperties"], definitions, hints=hints)
    if "items" in node:
        converted["items"] = _convert(node["items"], definitions, hints=hints)
    if converted.get("default") == []:
        del converted["default"]  # an absent list and an empty list mean the same
    # {} lets the API server fill in the fields' own defaults. If rules read the fields, it needs all of them.
    default = converted.get("default")
    if isinstance(default, Mapping) and "x-kubernetes-validations" not in node and _only_defaults(default, converted):
        converted["default"] = {}
    return converted


def _wire_default(value: Any, schema: Schema) -> Any:
    """A Python default in the API's form: durations as text, without unset fields."""
    if isinstance(value, Mapping):
        return {name: _wire_default(item, {}) for name, item in value.items() if item not in (None, [])}
    if isinstance(value, list):
        return [_wire_default(item, {}) for item in value]
    if schema.get("type") == "string" and isinstance(value, int | float):
        return format_duration(value)
    return value


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """`node` with its reference resolved and `X | None` replaced by X; keys beside a reference win."""
    while True:
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[-1]]
            node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
        elif "anyOf" in node:
            choices = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
            if len(choices) != 1:
                raise TypeError(f"a structural schema knows no unions: {node}")
            siblings = {
                k: v for k, v in node.items() if k not in {"anyOf", "default"} or (k == "default" and v is not None)
            }
            node = {**choices[0], **siblings}
        else:
            return {k: v for k, v in node.items() if k != "default" or v is not None}


def _only_defaults(value: Mapping[str, Any], schema: Schema) -> bool:
    """Whether the API server would make `value` by itself from {}."""
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name, item in value.items():
        if name not in properties:
            return False
        default = properties[name].get("default")
        if item is None or item == default:
            continue
        if isinstance(item, Mapping) and default == {} and _only_defaults(item, properties[name]):
            continue
        return False
    return True


def spec_schema(*, hints: bool = False) -> Schema:
    """Structural schema of spec."""
    schema = structural(LLMServiceSpec.model_json_schema(by_alias=True, mode="validation"), hints=hints)
    # The names are data of this version, not of the models. The API server refuses an unknown profile; otherwise the
    # engine would crash.
    profiles = sorted(load_profiles())
    known = Rule(
        rule=f"self in {cel_list(profiles)}",
        message=f"there is no such step-time profile; there are {', '.join(profiles)}",
    )
    profile = schema["properties"]["engine"]["properties"]["virtualGPU"]["properties"]["profile"]
    profile["x-kubernetes-validations"] = [known.to_schema()]
    if hints:
        profile["pattern"] = f"^({'|'.join(profiles)})$"
    return schema


def status_schema() -> Schema:
    """Structural schema of status. No field has a default, as an unknown figure must stay absent. The whole status has
    a default, which the API server shows until the operator's first write."""
    schema = structural(LLMServiceStatus.model_json_schema(by_alias=True, mode="validation"))
    _drop_defaults(schema)
    return {**schema, "default": UNTOUCHED.to_wire()}


def _drop_defaults(schema: Schema) -> None:
    schema.pop("default", None)
    for child in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        _drop_defaults(child)


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition of LLMService."""
    service = LLMService.model_json_schema(by_alias=True, mode="validation")
    schema: Schema = {
        "type": "object",
        "description": " ".join(str(service["description"]).split()),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Always andante.dev/v1alpha1."},
            "kind": {"type": "string", "description": "Always LLMService."},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": spec_schema(),
            "status": status_schema(),
        },
        "x-kubernetes-validations": service["x-kubernetes-validations"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "andante"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": SINGULAR,
                "shortNames": list(SHORT_NAMES),
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "additionalPrinterColumns": [dict(column) for column in PRINTER_COLUMNS],
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                }
            ],
        },
    }  # fmt: skip


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that indents lists and writes no anchors: people read this file in reviews."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def crd_yaml() -> str:
    """The text of the CRD's file in crds/."""
    header = "# Generated from operator/andante/api by `make generate`; a test compares. Do not edit.\n"
    return header + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
