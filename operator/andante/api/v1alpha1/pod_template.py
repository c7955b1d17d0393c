"""Defines spec.engine.podTemplate: a strategic-merge patch over the generated pod, and the fields of the operator.

Only the parts that rules must see have types. All other parts pass through; the API server checks them when it
validates the pod template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, WithJsonSchema
from pydantic.types import JsonValue

from andante.api.rules import PRESERVE_UNKNOWN, Rule, cel_list, rules
from andante.api.values import APIModel

ENGINE_CONTAINER: Final = "engine"
CONFIG_VOLUME: Final = "config"
PACKAGE_CONTAINER: Final = "andante-package"
PACKAGE_VOLUME: Final = "andante-package"
OWNED_VOLUMES: Final[Mapping[str, str]] = {
    CONFIG_VOLUME: "holds the engine's settings",
    PACKAGE_VOLUME: "holds Andante's engine package",
}
"""Volumes of the pod that a patch must not change, each with its purpose."""
OWNED_LABELS: Final = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "andante.dev/llmservice",
)
OWNED_ANNOTATIONS: Final = ("andante.dev/engine-config-hash",)
OWNED_PREFIX: Final = "andante.dev/"
"""Prefix of the operator's labels and annotations."""
OWNED_CONTAINER_FIELDS: Final[Mapping[str, str]] = {
    "command": "the operator starts the engine; use spec.engine.extraArgs for vLLM's flags",
    "args": "the operator writes the engine's arguments; use spec.engine.extraArgs for vLLM's flags",
    "ports": "the engine listens on the port that the Service and the probes use",
}
OWNED_POD_FIELDS: Final[Mapping[str, str]] = {
    "restartPolicy": "a Deployment's pods always restart",
    "terminationGracePeriodSeconds": "it follows from spec.rollout.drainTimeout",
    "serviceAccountName": "engines run as the service's own ServiceAccount, which has no rights",
    "serviceAccount": "engines run as the service's own ServiceAccount, which has no rights",
    "automountServiceAccountToken": "engines get no token of the API server",
    "nodeName": "the scheduler chooses the node; use spec.engine.nodeSelector or affinity",
    "hostNetwork": "engines have a network of their own, apart from the node's",
    "hostPID": "engines see their own processes alone, not the node's",
    "hostIPC": "engines have shared memory of their own, apart from the node's",
}
"""Fields of the pod that the service's patch must not change, and why. The chart's enginePodTemplate may set them."""
MOST_CHARACTERS: Final = 65_536
"""Limit for each free part of a resource (podTemplate, affinity, the values of env): the operator keeps all of them in
memory."""


PRIVILEGED_REASON: Final = "such a container is root on its node; an administrator may set it for all engines"
_SECURITY_CONTEXT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"privileged": {"type": "boolean"}},
    **PRESERVE_UNKNOWN,
}
_WORDS: Final[dict[str, Any]] = {"type": "array", "maxItems": 128, "items": {"type": "string", "maxLength": 8192}}
_OBJECTS: Final[dict[str, Any]] = {"type": "array", "maxItems": 64, "items": {"type": "object", **PRESERVE_UNKNOWN}}


def _named(**typed_fields: Any) -> dict[str, Any]:
    # Rules see only fields that the schema gives a type.
    fields: dict[str, Any] = {"name": {"type": "string", "maxLength": 253}, **typed_fields}
    item = {"type": "object", "maxProperties": 64, "properties": fields, **PRESERVE_UNKNOWN}
    return {"type": "array", "maxItems": 32, "items": item}


def _labels(kind: str, owned: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 16_384 if kind == "annotation" else 63},
        **rules(
            Rule(
                rule=f"!{cel_list(owned)}.exists(owned, owned in self)",
                message=f"the {kind}{'s' if len(owned) > 1 else ''} {', '.join(owned)}"
                f" belong{'' if len(owned) > 1 else 's'} to the operator; take another key",
            ),
            Rule(
                rule=f"!self.exists(key, key.startsWith('{OWNED_PREFIX}'))",
                message=f"{kind}s that begin with {OWNED_PREFIX} belong to the operator; take another key",
            ),
            Rule(
                rule=f"self.map(key, size(self[key])).sum() <= {MOST_CHARACTERS}",
                message=f"{kind}s hold more than {MOST_CHARACTERS} characters together; keep long texts in a ConfigMap",
            ),
        ),
    }


_METADATA_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "maxProperties": 16,
    **PRESERVE_UNKNOWN,
    "properties": {"labels": _labels("label", OWNED_LABELS), "annotations": _labels("annotation", OWNED_ANNOTATIONS)},
}


def _spec_rules() -> dict[str, JsonValue]:
    container_rules = [
        Rule(
            rule=f"!has(self.containers) || self.containers.all(c, !has(c.name) || c.name != '{ENGINE_CONTAINER}'"
            f" || !has(c.{field}))",
            message=f"containers named {ENGINE_CONTAINER}: {field} must not be set: {reason}",
            field_path=".containers",
        )
        for field, reason in OWNED_CONTAINER_FIELDS.items()
    ]
    pod_rules = [
        Rule(rule=f"!has(self.{field})", message=f"{field} must not be set: {reason}", field_path=f".{field}")
        for field, reason in OWNED_POD_FIELDS.items()
    ]
    volume_rules = [
        Rule(
            rule=f"!has(self.volumes) || self.volumes.all(v, !has(v.name) || v.name != '{name}')",
            message=f"the volume {name} {purpose}, it is the operator's; take another name",
            field_path=".volumes",
        )
        for name, purpose in OWNED_VOLUMES.items()
    ]
    package = Rule(
        rule="!has(self.initContainers)"
        f" || self.initContainers.all(c, !has(c.name) || c.name != '{PACKAGE_CONTAINER}')",
        message=f"the init container {PACKAGE_CONTAINER} copies Andante's engine package, it is the operator's;"
        " take another name",
        field_path=".initContainers",
    )
    privileged = [
        Rule(
            rule=f"!has(self.{field}) || self.{field}.all(c, !has(c.securityContext)"
            " || !has(c.securityContext.privileged) || !c.securityContext.privileged)",
            message=f"{field}: privileged must not be true: {PRIVILEGED_REASON}",
            field_path=f".{field}",
        )
        for field in ("containers", "initContainers")
    ]
    return rules(*container_rules, *pod_rules, *volume_rules, package, *privileged)


_SPEC_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "maxProperties": 64,
    **PRESERVE_UNKNOWN,
    "properties": {
        "containers": _named(command=_WORDS, args=_WORDS, ports=_OBJECTS, securityContext=_SECURITY_CONTEXT),
        "initContainers": _named(securityContext=_SECURITY_CONTEXT),
        "volumes": _named(),
        "restartPolicy": {"type": "string", "maxLength": 32},
        "terminationGracePeriodSeconds": {"type": "integer"},
        "serviceAccountName": {"type": "string", "maxLength": 253},
        "serviceAccount": {"type": "string", "maxLength": 253},
        "automountServiceAccountToken": {"type": "boolean"},
        "nodeName": {"type": "string", "maxLength": 253},
        "hostNetwork": {"type": "boolean"},
        "hostPID": {"type": "boolean"},
        "hostIPC": {"type": "boolean"},
    },
    **_spec_rules(),
}


class PodTemplate(APIModel):
    """Strategic-merge patch over the generated pod template: lists of containers, volumes, env and so on are merged by
    name as Kubernetes does. `{name: x, $patch: delete}` removes an entry, `field: {$patch: delete}` a field, and
    `$patch: replace` replaces (kubectl apply drops nulls from custom resources, so null deletes nothing)."""

    model_config = ConfigDict(extra="ignore")

    metadata: Annotated[Mapping[str, Any], WithJsonSchema(_METADATA_SCHEMA)] = Field(default_factory=dict)
    """Labels and annotations to add to the pods."""
    spec: Annotated[Mapping[str, Any], WithJsonSchema(_SPEC_SCHEMA)] = Field(default_factory=dict)
    """Patch over the pod's spec."""
